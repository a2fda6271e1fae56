//! `cat`: the bytes of one object, wherever they lie.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use planner::entry::EntryRow;
use planner::{Error, ErrorKind, Location, Result, table};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use worker::store::{Body, GetOptions};

use super::{Context, source};
use crate::args::CatArgs;
use crate::exit::ExitStatus;
use crate::failure::{Failure, Outcome};
use crate::output::{self, json};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &CatArgs) -> Outcome {
    let registry = context.registry(None).await?;
    let at = source::lake_at(&registry, &args.lake).await?;
    let entry = table::lookup(at.lake.commits.as_ref(), &at.commit, &args.key).await?;
    let entry = entry.ok_or_else(|| absent(args, at.lake.url.prefix()))?;
    let address = Location::parse(&entry.address)?;
    let (store, key) = registry.source(&address)?;
    let get = store.get(&key, &GetOptions::default()).await;
    let get = get.map_err(|e| e.into_error(&address, format_args!("`{}` at {address}", entry.path)))?;
    if u64::try_from(entry.size).ok() != Some(get.size) {
        let message = format!("`{}` at {address} has {} bytes, and the commit says {}", entry.path, get.size, entry.size);
        return Err(Error::corrupt(message).with_help("the object was overwritten since the commit").into());
    }
    match args.file.as_deref().filter(|file| *file != Path::new("-")) {
        None => to_stdout(get.body, &address).await?,
        Some(file) => {
            to_file(get.body, &address, file).await?;
            told(context, &entry, file)?;
        }
    }
    Ok(ExitStatus::Success)
}

fn absent(args: &CatArgs, prefix: &str) -> Error {
    let help = if args.key.starts_with(prefix) {
        "paths are those that `millrace ls` prints, from the root of the lake".to_owned()
    } else {
        format!("paths start at the root of the lake: did you mean `{prefix}{}`?", args.key)
    };
    Error::usage(format!("there is no object `{}` in {}", args.key, args.lake)).with_help(help)
}

async fn to_stdout(mut body: Body, address: &Location) -> Result<(), Failure> {
    let mut out = output::raw_stdout();
    while let Some(bytes) = body.try_next().await.map_err(|e| e.into_error(address, "reading"))? {
        out.write_all(&bytes)?;
    }
    out.flush()?;
    Ok(())
}

/// Writes beside the file and renames, so that a half of an object is never taken for the whole.
async fn to_file(body: Body, address: &Location, file: &Path) -> Result<()> {
    let part = part_of(file);
    let written = match write_part(body, address, &part).await {
        Ok(()) => tokio::fs::rename(&part, file).await.map_err(|e| unwritable(file, e)),
        Err(error) => Err(error),
    };
    if written.is_err() {
        let _ = tokio::fs::remove_file(&part).await;
    }
    written
}

async fn write_part(mut body: Body, address: &Location, part: &Path) -> Result<()> {
    let mut out = tokio::fs::File::create(part).await.map_err(|e| unwritable(part, e))?;
    while let Some(bytes) = body.try_next().await.map_err(|e| e.into_error(address, "reading"))? {
        out.write_all(&bytes).await.map_err(|e| unwritable(part, e))?;
    }
    out.flush().await.map_err(|e| unwritable(part, e))
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    file.with_file_name(name)
}

fn unwritable(file: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unreachable, format!("cannot write {}", file.display())).with_source(error)
}

fn told(context: &Context, entry: &EntryRow, file: &Path) -> Result<(), Failure> {
    if context.out.is_json() {
        let mut out = output::stdout();
        json::line(&mut out, &json!({ "path": entry.path, "size": entry.size, "etag": entry.etag, "file": file }))?;
        out.flush()?;
    }
    Ok(())
}
