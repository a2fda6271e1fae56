//! What a plan refuses: keys that a destination cannot hold or that are Millrace's own, and rows that would destroy what
//! they are made from. The first ten are named; nothing is written.

use std::collections::HashMap;

use object_store::path::Path;

use crate::error::Error;
use crate::location::{Location, Scheme};
use crate::stores::{KeyRules, Stores};

/// Offenders that are named in a message.
const NAMED: usize = 10;

/// Longest segment of a path in a file system, in bytes.
const MAX_SEGMENT: usize = 255;

/// Whether `key` is reserved at every destination: `_millrace/…`, and at the root `EXPORT_…_SUCCESS` or `…_FAILURE`.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    key == "_millrace" || key.starts_with("_millrace/") || is_status_marker(key)
}

/// Whether `key` lies in the `_millrace/` of a destination below the one that is written.
#[must_use]
pub fn is_of_another(key: &str) -> bool {
    key.contains("/_millrace/")
}

/// Whether `name` is a status marker: `^EXPORT_[^/]*_(SUCCESS|FAILURE)$`.
#[must_use]
pub fn is_status_marker(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("EXPORT_") else { return false };
    let body = rest.strip_suffix("_SUCCESS").or_else(|| rest.strip_suffix("_FAILURE"));
    body.is_some_and(|b| !b.contains('/'))
}

/// Why a destination with `rules` cannot hold `key`, whose prefix there has `prefix_bytes`.
#[must_use]
pub fn unfit(key: &str, rules: KeyRules, prefix_bytes: usize) -> Option<&'static str> {
    if key.is_empty() {
        return Some("re-roots to nothing");
    }
    if rules.max_key_bytes > 0 && key.len() + prefix_bytes > rules.max_key_bytes {
        return Some("is longer than the store allows");
    }
    if rules.no_blank_root && prefix_bytes == 0 && key.trim().is_empty() {
        return Some("is white space alone, which can be written below a prefix only");
    }
    if rules.plain_paths && !Path::parse(key).is_ok_and(|path| path.as_ref() == key) {
        return Some("is no plain path, and this kind of store holds no other keys");
    }
    if !rules.file_system {
        return None;
    }
    if key.starts_with('/') {
        return Some("begins with a slash");
    }
    if key.ends_with('/') {
        return Some("ends in a slash");
    }
    if key.contains('\0') {
        return Some("holds a NUL");
    }
    key.split('/').find_map(|segment| match segment {
        "" => Some("has an empty segment"),
        "." | ".." => Some("has a `.` or `..` segment"),
        s if s.len() > MAX_SEGMENT => Some("has a segment of more than 255 bytes"),
        _ => None,
    })
}

/// What was refused, by cause.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    named: Vec<String>,
    total: u64,
    destroys: bool,
}

impl Refusals {
    /// One refused key.
    pub(crate) fn add(&mut self, key: &str, why: &str) {
        self.total += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("`{}` {why}", key.escape_debug()));
        }
    }

    /// A row whose source or whose base's bytes lie below the destination.
    pub(crate) fn add_destruction(&mut self, key: &str, address: &str) {
        self.destroys = true;
        self.add(key, &format!("is stored at {address}, below the destination"));
    }

    /// Nothing was refused so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The error, where anything was refused.
    pub(crate) fn into_error(self, destination: &Location) -> Option<Error> {
        if self.total == 0 {
            return None;
        }
        let more = self.total.saturating_sub(self.named.len() as u64);
        let more = if more > 0 { format!("\n  … and {more} more") } else { String::new() };
        let list = self.named.join("\n  ");
        let (what, help) = if self.destroys {
            (
                "the export would overwrite or delete the lake's own objects",
                "choose a destination that does not hold the lake's data, nor objects that were imported into it",
            )
        } else {
            (
                "these keys cannot be written there",
                "leave them out with --exclude, move away what is in their way, or choose another destination",
            )
        };
        Some(Error::guard(format!("{destination}: {what}:\n  {list}{more}\nNothing was written.")).with_help(help))
    }
}

/// Sees addresses that lie below a destination.
#[derive(Debug)]
pub(crate) struct SelfDestruction<'a> {
    stores: &'a dyn Stores,
    destination: String,
    /// Identity of each bucket (or, for files, each folder) seen so far.
    roots: HashMap<String, String>,
    storage: String,
}

impl<'a> SelfDestruction<'a> {
    /// For a lake at `storage` and a `destination`.
    pub(crate) fn new(stores: &'a dyn Stores, storage: &Location, destination: &Location) -> Self {
        let storage = storage.as_folder();
        let text = storage.to_string();
        let roots = HashMap::from([(text.clone(), stores.identity(&storage))]);
        Self { stores, destination: stores.identity(&destination.as_folder()), roots, storage: text }
    }

    /// Whether the bytes at `address` lie below the destination.
    pub(crate) fn hits(&mut self, address: &str) -> bool {
        let Some((root, rest)) = self.split(address) else { return false };
        let destination = &self.destination;
        if !self.roots.contains_key(root) {
            let Ok(location) = Location::parse(root) else { return false };
            self.roots.insert(root.to_owned(), self.stores.identity(&location));
        }
        let Some(identity) = self.roots.get(root) else { return false };
        if identity.len() >= destination.len() {
            return identity.starts_with(destination.as_str());
        }
        destination.strip_prefix(identity.as_str()).is_some_and(|below| rest.starts_with(below))
    }

    /// The part of an address whose identity is worth keeping, and the raw rest.
    fn split<'t>(&self, address: &'t str) -> Option<(&'t str, &'t str)> {
        if address.starts_with(&self.storage) {
            return Some(address.split_at(self.storage.len()));
        }
        let (scheme, rest) = address.split_once("://")?;
        let cut = if matches!(scheme, "file" | "local") { rest.rfind('/')? } else { rest.find('/')? };
        Some(address.split_at(scheme.len() + 3 + cut + 1))
    }
}

/// A destination that would hold, or lie in, what the lake needs.
#[must_use]
pub fn overlaps_lake(stores: &dyn Stores, storage: &Location, destination: &Location) -> Option<&'static str> {
    let to = stores.identity(&destination.as_folder());
    let of = |name: &str| stores.identity(&storage.join(name).as_folder());
    if of("_lakefs").starts_with(&to) || of("data").starts_with(&to) {
        return Some("holds the lake itself");
    }
    if to.starts_with(&of("data")) || to.starts_with(&of("_lakefs")) {
        return Some("lies inside the lake's own data");
    }
    None
}

/// Whether `scheme` is a file system.
#[must_use]
pub fn is_file_system(scheme: Scheme) -> bool {
    matches!(scheme, Scheme::File | Scheme::Local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_millraces_own_names_are_reserved() {
        for (key, expected) in [
            ("_millrace/HEAD.json", true),
            ("_millrace", true),
            ("_millrace2/x", false),
            ("EXPORT_x_SUCCESS", true),
            ("EXPORT__FAILURE", true),
            ("EXPORT_report.csv", false),
            ("EXPORT_a/b_SUCCESS", false),
            ("a/EXPORT_x_SUCCESS", false),
            ("EXPORT_SUCCESS", false),
        ] {
            assert_eq!(is_reserved(key), expected, "{key}");
        }
    }

    #[test]
    fn another_destinations_folder_is_its_own() {
        for (key, expected) in
            [("a/_millrace/HEAD.json", true), ("a/b/_millrace/x", true), ("a/_millrace", false), ("a_millrace/x", false)]
        {
            assert_eq!(is_of_another(key), expected, "{key}");
        }
    }

    #[test]
    fn file_systems_cannot_hold_every_key() {
        let files = KeyRules { file_system: true, ..KeyRules::default() };
        for key in ["", "/a", "a/", "a//b", "a/../b", "./a", "a\0b", &"x".repeat(256)] {
            assert!(unfit(key, files, 0).is_some(), "{key:?}");
        }
        assert_eq!(unfit("a/b..c/…", files, 0), None);
        let s3 = KeyRules { max_key_bytes: 1024, ..KeyRules::default() };
        assert_eq!(unfit("a//../b/", s3, 3), None);
        assert!(unfit(&"k".repeat(1024), s3, 1).is_some());
        let s3 = KeyRules { no_blank_root: true, ..s3 };
        assert!(unfit(" ", s3, 0).is_some() && unfit(" ", s3, 4).is_none() && unfit(" x", s3, 0).is_none());
        let plain = KeyRules { plain_paths: true, ..KeyRules::default() };
        for key in ["/a", "a/", "a//b", "a/../b", "./a", "a\tb"] {
            assert!(unfit(key, plain, 0).is_some(), "{key:?}");
        }
        assert_eq!(unfit("a b/é%2F?#+", plain, 0), None);
    }
}
