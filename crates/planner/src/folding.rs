//! File systems that take different names for one: `Readme` and `README`, or the two spellings of `é`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use icu_normalizer::ComposingNormalizerBorrowed;

/// What a file system does not tell apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folding {
    /// Upper and lower case.
    pub case: bool,
    /// Unicode's ways to spell one character.
    pub normal: bool,
}

impl Folding {
    /// Whether there are different names that mean one file.
    #[must_use]
    pub fn any(self) -> bool {
        self.case || self.normal
    }

    /// What stands for all names that mean the same file as `name`.
    #[must_use]
    pub fn fold(self, name: &str) -> Cow<'_, str> {
        let normalizer = ComposingNormalizerBorrowed::new_nfc();
        match (self.case, self.normal) {
            (false, false) => Cow::Borrowed(name),
            (false, true) => normalizer.normalize(name),
            (true, false) => Cow::Owned(name.to_lowercase()),
            // Lower case may be spelt otherwise, and so is spelt anew.
            (true, true) => Cow::Owned(normalizer.normalize(&normalizer.normalize(name).to_lowercase()).into_owned()),
        }
    }
}

/// The names seen so far, and which of them mean one file. Memory: some 40 bytes a key and folder, since names are kept as
/// digests; only file systems that fold pay it.
#[derive(Debug, Default)]
pub(crate) struct Names {
    folding: Folding,
    seen: HashMap<u128, u64>,
    digests: (RandomState, RandomState),
}

impl Names {
    pub(crate) fn new(folding: Folding) -> Self {
        Self { folding, ..Self::default() }
    }

    /// Takes `key` and the folders above it. The first of them that an earlier one of another spelling stands for.
    pub(crate) fn collides<'k>(&mut self, key: &'k str) -> Option<&'k str> {
        if !self.folding.any() {
            return None;
        }
        let folders = key.match_indices('/').map(|(at, _)| &key[..at]);
        let mut names = folders.chain([key]);
        names.find(|name| {
            let folded = self.folding.fold(name);
            let (one, two) = (self.digests.0.hash_one(&*folded), self.digests.1.hash_one(&*folded));
            let spelt = self.digests.0.hash_one(*name);
            *self.seen.entry(u128::from(one) << 64 | u128::from(two)).or_insert(spelt) != spelt
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSED: &str = "caf\u{e9}";
    const DECOMPOSED: &str = "cafe\u{301}";

    #[test]
    fn names_are_folded_as_the_file_system_does() {
        let (case, normal) = (Folding { case: true, normal: false }, Folding { case: false, normal: true });
        let both = Folding { case: true, normal: true };
        assert_eq!(case.fold("A/README"), case.fold("a/ReadMe"));
        assert_ne!(case.fold(COMPOSED), case.fold(DECOMPOSED));
        assert_eq!(normal.fold(COMPOSED), normal.fold(DECOMPOSED));
        assert_ne!(normal.fold("a"), normal.fold("A"));
        assert_eq!(both.fold("CAF\u{c9}"), both.fold("cafE\u{301}"));
        assert_eq!(Folding::default().fold("A"), "A");
    }

    #[test]
    fn a_collision_is_one_of_spellings_not_of_names() {
        let mut names = Names::new(Folding { case: true, normal: true });
        for key in ["a/b", "a/c", "a/b", "x"] {
            assert_eq!(names.collides(key), None, "{key}");
        }
        assert_eq!(names.collides("a/B"), Some("a/B"));
        assert_eq!(names.collides("A/other"), Some("A"), "folders are names as well");
        assert_eq!(names.collides("X"), Some("X"));
        let mut none = Names::new(Folding::default());
        assert!(["a", "A"].iter().all(|key| none.collides(key).is_none()));
    }
}
