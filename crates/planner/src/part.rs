//! The part of a lake that is exported, and the keys it gets at the destination.
//!
//! Prefixes match whole segments: `foo` is the object `foo` or everything below `foo/`, never `foobar`; `foo/` is only what
//! lies below. What lies below is re-rooted; an object that is named exactly keeps its last segment.

/// A part of a lake by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    text: String,
    folder: String,
}

impl Part {
    /// The part that `prefix` names; an empty one is the whole lake.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let folder = match prefix {
            "" => String::new(),
            p if p.ends_with('/') => p.to_owned(),
            p => format!("{p}/"),
        };
        Self { text: prefix.to_owned(), folder }
    }

    /// Everything is in it.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.text.is_empty()
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` is in this part.
    #[must_use]
    pub fn contains(&self, path: &[u8]) -> bool {
        path.starts_with(self.folder.as_bytes()) || (!self.is_folder() && path == self.text.as_bytes())
    }

    /// The key of `path` at the destination; `None` when it is not in this part.
    #[must_use]
    pub fn re_root<'a>(&self, path: &'a str) -> Option<&'a str> {
        if let Some(rest) = path.strip_prefix(self.folder.as_str()) {
            return Some(rest);
        }
        (!self.is_folder() && path == self.text).then(|| path.rsplit('/').next().unwrap_or(path))
    }

    /// The path in the lake, below this part's folder, that has `key` at the destination.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.folder)
    }

    /// Every path in the lake that has `key` at the destination: the one below the folder, and the object that this part
    /// names exactly where that has the same last segment.
    #[must_use]
    pub fn paths_of(&self, key: &str) -> Vec<String> {
        let exact = (self.re_root(&self.text) == Some(key) && self.names(&self.text)).then(|| self.text.clone());
        exact.into_iter().chain([self.path_of(key)]).collect()
    }

    /// Whether `path` is the object that this part names exactly.
    #[must_use]
    pub fn names(&self, path: &str) -> bool {
        !self.is_folder() && path == self.text
    }

    /// Whether a range of keys from `min` to `max`, both included, can hold anything of this part.
    #[must_use]
    pub fn overlaps(&self, min: &[u8], max: &[u8]) -> bool {
        if self.is_all() {
            return true;
        }
        let below = self.folder.as_bytes();
        let folder = max >= below && (min <= below || min.starts_with(below));
        folder || (!self.is_folder() && min <= self.text.as_bytes() && self.text.as_bytes() <= max)
    }

    /// The whole range lies in this part.
    #[must_use]
    pub fn covers(&self, min: &[u8], max: &[u8]) -> bool {
        min.starts_with(self.folder.as_bytes()) && max.starts_with(self.folder.as_bytes())
    }

    /// The first key that can be in this part.
    #[must_use]
    pub fn start(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// No key from `key` on can be in this part.
    #[must_use]
    pub fn is_past(&self, key: &[u8]) -> bool {
        let below = self.folder.as_bytes();
        key > below && !key.starts_with(below)
    }

    fn is_folder(&self) -> bool {
        self.text == self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_matched_whole() {
        let part = Part::new("main/foo");
        for (path, key) in [("main/foo", Some("foo")), ("main/foo/a/b", Some("a/b")), ("main/foobar", None), ("main/fo", None)] {
            assert_eq!(part.re_root(path), key, "{path}");
            assert_eq!(part.contains(path.as_bytes()), key.is_some(), "{path}");
        }
        assert_eq!(Part::new("main/foo/").re_root("main/foo"), None);
        assert_eq!(Part::new("").re_root("a"), Some("a"));
        assert_eq!(Part::new("foo/").re_root("foo/"), Some(""));
        assert_eq!(part.paths_of("foo"), ["main/foo", "main/foo/foo"]);
        assert_eq!(part.paths_of("bar"), ["main/foo/bar"]);
        assert_eq!(Part::new("main/foo/").paths_of("foo"), ["main/foo/foo"]);
        assert_eq!(Part::new("").paths_of("foo"), ["foo"]);
    }

    #[test]
    fn ranges_are_pruned_by_their_bounds() {
        let part = Part::new("foo/");
        assert!(part.overlaps(b"a", b"z") && part.overlaps(b"foo/a", b"foo/b") && part.overlaps(b"a", b"foo/"));
        assert!(!part.overlaps(b"a", b"foo") && !part.overlaps(b"foo0", b"z"));
        assert!(part.covers(b"foo/a", b"foo/z") && !part.covers(b"a", b"foo/z"));
        assert!(Part::new("foo").overlaps(b"a", b"foo"));
        assert!(part.is_past(b"foo0") && !part.is_past(b"foo/x") && !part.is_past(b"a"));
    }
}
