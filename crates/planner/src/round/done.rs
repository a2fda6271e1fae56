//! Done files: empty objects of Millrace's own in folders that a reader waits for.

use regex::Regex;

use crate::error::{Error, Result};
use crate::guard::is_reserved;
use crate::view::DoneSpec;

/// Compiled `--done-file` and `--done-prefix`.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    name: String,
    folders: Regex,
}

impl Done {
    /// # Errors
    /// `Usage` for a name that is none, and for an expression that cannot be read.
    pub(crate) fn compile(spec: &DoneSpec) -> Result<Self> {
        if spec.name.is_empty() || spec.name.contains(['/', '\0']) || matches!(spec.name.as_str(), "." | "..") {
            return Err(Error::usage(format!("--done-file `{}` is no name of a file", spec.name))
                .with_help("give a name without a slash, such as _DONE"));
        }
        if is_reserved(&spec.name) {
            return Err(Error::usage(format!("--done-file `{}` is a name that Millrace keeps for itself", spec.name))
                .with_help("give another one, such as _DONE"));
        }
        if spec.prefix.is_empty() {
            return Err(Error::usage("--done-prefix is empty, and would match the root alone")
                .with_help("name the folders, such as 'tables/[^/]+/dt=[^/]+'; '.{0}' is the root"));
        }
        let folders = Regex::new(&format!("^(?:{})$", spec.prefix)).map_err(|e| {
            Error::usage(format!("--done-prefix `{}` cannot be read: {e}", spec.prefix))
                .with_help("it is a regular expression over folders, such as 'tables/[^/]+/dt=[^/]+'")
        })?;
        Ok(Self { name: spec.name.clone(), folders })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The key of the done file in `folder`, which has a slash at its end or is empty.
    pub(crate) fn key(&self, folder: &str) -> Option<String> {
        self.folders.is_match(folder.strip_suffix('/').unwrap_or(folder)).then(|| format!("{folder}{}", self.name))
    }

    /// Whether `key` is that of a done file.
    pub(crate) fn is_key(&self, key: &str) -> bool {
        key.strip_suffix(self.name.as_str())
            .is_some_and(|folder| (folder.is_empty() || folder.ends_with('/')) && self.key(folder).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_matched_as_a_whole() {
        let done = |prefix: &str| Done::compile(&DoneSpec { name: "_DONE".into(), prefix: prefix.into() });
        let tables = done("tables/[^/]+").unwrap();
        assert_eq!(tables.key("tables/a/").as_deref(), Some("tables/a/_DONE"));
        for other in ["", "tables/", "tables/a/b/", "x/tables/a/"] {
            assert_eq!(tables.key(other), None, "{other}");
        }
        assert!(tables.is_key("tables/a/_DONE") && !tables.is_key("tables/a/x_DONE") && !tables.is_key("tables/_DONE"));
        assert_eq!(done(".*").unwrap().key("").as_deref(), Some("_DONE"));
        assert!(done("(").is_err());
        for name in ["", ".", "..", "a/b", "a/", "_millrace", "EXPORT_x_SUCCESS"] {
            assert!(Done::compile(&DoneSpec { name: name.into(), prefix: ".*".into() }).is_err(), "{name}");
        }
        assert!(done("").is_err());
    }
}
