//! `millrace.toml`: the `[[store]]` tables, and where the file is looked for.
//!
//! Messages name file, line and the keys that are known, and never repeat a value: it may be a secret in the wrong place.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use planner::{Error, Result};
use serde::Deserialize;
use worker::StoreSettings;

use crate::args::GlobalArgs;

const FILE_NAME: &str = "millrace.toml";

const EXAMPLE: &str = "a settings file holds tables such as [[store]] prefix = \"s3://bucket\" endpoint = \"https://HOST\"";

/// What a settings file may hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "store")]
    stores: Vec<StoreSettings>,
}

/// The stores' settings: the file's, then `--store`, so that of equal prefixes the command line wins.
pub(crate) fn stores(global: &GlobalArgs) -> Result<Vec<StoreSettings>> {
    let mut all = match file(global.config.as_deref())? {
        Some(path) => read(&path)?,
        None => Vec::new(),
    };
    for spec in &global.stores {
        all.push(StoreSettings::parse_spec(spec)?);
    }
    Ok(all)
}

/// A folder of the user's for what a run leaves on this machine; made where it is not there.
pub(crate) fn cache_folder(name: &str) -> Result<PathBuf> {
    let dirs = ProjectDirs::from("", "", "millrace")
        .ok_or_else(|| Error::usage("there is no home directory to keep the log of a run in").with_help("set HOME"))?;
    let folder = dirs.cache_dir().join(name);
    std::fs::create_dir_all(&folder)
        .map_err(|e| Error::usage(format!("{}: {e}", folder.display())).with_help("set XDG_CACHE_HOME"))?;
    Ok(folder)
}

/// `--config`, else `./millrace.toml`, else the user's. A file that was named must be there, the others need not.
fn file(named: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(named) = named {
        return if named.is_file() {
            Ok(Some(named.to_owned()))
        } else {
            Err(Error::usage(format!("--config: there is no file {}", named.display())).with_help(EXAMPLE))
        };
    }
    let own = ProjectDirs::from("", "", "millrace").map(|dirs| dirs.config_dir().join(FILE_NAME));
    Ok([Some(PathBuf::from(FILE_NAME)), own].into_iter().flatten().find(|path| path.is_file()))
}

fn read(path: &Path) -> Result<Vec<StoreSettings>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::usage(format!("cannot read the settings in {}", path.display())).with_source(e))?;
    parse(&text).map_err(|e| e.context(path.display()))
}

fn parse(text: &str) -> Result<Vec<StoreSettings>> {
    let file: File = toml::from_str(text).map_err(|e| explain(text, &e))?;
    file.stores.iter().try_for_each(StoreSettings::check)?;
    Ok(file.stores)
}

/// `line 3: unknown key …`, with the known ones as the remedy.
fn explain(text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let line = line.map(|n| format!("line {n}: ")).unwrap_or_default();
    let message = error.message();
    if let Some((unknown, known)) = message.strip_prefix("unknown field ").and_then(|m| m.split_once(", expected ")) {
        let known = known.trim_start_matches("one of ").replace('`', "");
        return Error::usage(format!("{line}unknown key {unknown}")).with_help(format!("known keys are {known}"));
    }
    let said = match message.split_once(", expected ") {
        // What was found is a value; only what was expected is told.
        Some((found, expected)) if found.starts_with("invalid type") || found.starts_with("invalid value") => {
            format!("a value of the wrong kind, expected {expected}")
        }
        _ => message.replace("field", "key"),
    };
    Error::usage(format!("{line}{said}")).with_help(EXAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let text =
            "[[store]]\nprefix = \"s3://a\"\nregion = \"eu-west-1\"\n\n[[store]]\nprefix = \"local://\"\npath = \"/srv/block\"\n";
        let stores = parse(text).unwrap();
        assert_eq!(stores.iter().map(|s| s.prefix.as_str()).collect::<Vec<_>>(), ["s3://a", "local://"]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_the_line_and_the_keys_that_are_known() {
        let error = parse("[[store]]\nprefix = \"s3://a\"\n\nendpiont = \"x\"\n").unwrap_err();
        assert_eq!(error.message(), "line 4: unknown key `endpiont`");
        assert!(error.help().unwrap().contains("endpoint"), "{:?}", error.help());

        let error = parse("[store]\nprefix = \"s3://a\"\n").unwrap_err();
        assert!(error.message().starts_with("line 1: "), "{error}");
        let error = parse("concurrency = 3\n").unwrap_err();
        assert_eq!((error.message(), error.help()), ("line 1: unknown key `concurrency`", Some("known keys are store")));
        let error = parse("[[store]]\nregion = \"x\"\n").unwrap_err();
        assert_eq!(error.message(), "line 1: missing key `prefix`");
        assert_eq!(parse("[[store]\n").unwrap_err().kind(), planner::ErrorKind::Usage);
    }

    #[test]
    fn values_are_never_repeated() {
        for bad in [
            "[[store]]\nprefix = \"s3://a\"\npath_style = \"hunter2\"\n",
            "[[store]]\nprefix = \"s3://a\"\nsecret_access_key = \"hunter2\"\n",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(!format!("{error} {:?}", error.help()).contains("hunter2"), "{error}");
            assert!(error.message().starts_with("line 3: "), "{error}");
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = file(Some(Path::new("/nowhere/x.toml"))).unwrap_err();
        assert_eq!(error.message(), "--config: there is no file /nowhere/x.toml");
    }
}
