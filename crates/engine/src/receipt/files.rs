//! The files of a chain of receipts, fetched to this machine and compared with what their receipts say they are.
//!
//! A file that lost or changed a byte would show as differences that nobody made, or as a base that is none. So nothing is read
//! of a file before all of it was found to be what was written. Memory is flat: files go to the temporary folder, in pieces.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use planner::digest::FileDigest;
use planner::stores::fetch_file;
use planner::{Error, MetadataStore, Result, RoundsSpec};
use tempfile::TempDir;

use super::Receipt;
use crate::destination::Destination;
use crate::prepare::temporary;

/// Files that are fetched at a time.
const FETCHES: usize = 8;

/// Fetches the files that make up the state of `chain` into a temporary folder, each under its receipt's folder.
///
/// # Errors
/// `Corrupt` for a file that is missing or not what its receipt says, `Unreachable` for one that cannot be read or kept.
pub(crate) async fn fetch(destination: &Destination, chain: &[(String, Receipt)]) -> Result<TempDir> {
    let folder = temporary()?;
    let from = destination.metadata("")?;
    let fetches = chain.iter().filter_map(|(at, receipt)| {
        let name = format!("{at}/{}", receipt.file()?);
        Some(fetch_one(destination, &from, receipt, name, folder.path()))
    });
    // Of a long chain many are small.
    futures::stream::iter(fetches.collect::<Vec<_>>()).buffer_unordered(FETCHES).try_collect::<Vec<()>>().await?;
    Ok(folder)
}

async fn fetch_one(
    destination: &Destination,
    from: &MetadataStore,
    receipt: &Receipt,
    name: String,
    folder: &Path,
) -> Result<()> {
    let at = destination.status();
    let found = fetch_file(from, &name, &folder.join(&name)).await.map_err(|e| e.context(at))?;
    let expected = receipt.file().and_then(|file| receipt.files.get(file));
    let wrong = match (found, expected) {
        (None, _) => "is missing".to_owned(),
        (Some(found), Some(expected)) if found != *expected => {
            format!("is not what was written: it has {found} instead of {expected}")
        }
        _ => return Ok(()),
    };
    Err(Error::corrupt(format!("{at}{name} {wrong}")).with_help(way_on(destination, receipt)))
}

/// What a local file is.
///
/// # Errors
/// `Unreachable` where it cannot be read.
pub(crate) fn digest_of(path: &Path) -> Result<FileDigest> {
    FileDigest::of(path).map_err(|e| super::local(path, &e))
}

/// The command that needs no earlier receipt.
pub(crate) fn way_on(destination: &Destination, receipt: &Receipt) -> String {
    let mut command = vec!["millrace export".to_owned(), receipt.source.as_deref().map_or_else(|| "SOURCE".to_owned(), quoted)];
    command.push(quoted(&destination.location().to_string()));
    if destination.served().is_some() {
        command.push(format!("--status-path {}", quoted(&destination.status().to_string())));
    }
    command.push("--full".to_owned());
    let view = &receipt.view;
    let plain = view.selection.is_all() && view.rounds == RoundsSpec::default();
    let options = if plain { "" } else { ", with the options that it was exported with" };
    format!(
        "restore it from a backup, or copy everything again, which needs no earlier receipt: `{}`{options}",
        command.join(" ")
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-@%+=,~".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("s3://b/x_y"), "s3://b/x_y");
        assert_eq!(quoted("lake+file:///l?ref=main&prefix=a/"), "'lake+file:///l?ref=main&prefix=a/'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
