//! Prefixes of keys that are replaced as a whole.

use crate::range::RangeInfo;

/// Prefixes, of which none starts with another. They are plain texts: `a/b` holds `a/bc` too, as it
/// does in lakeFS's import, and the empty prefix holds every key. Who means a folder adds the slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes(Vec<Vec<u8>>);

impl Prefixes {
    /// No prefix: nothing is replaced.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether a key starts with one of them.
    #[must_use]
    pub fn hold(&self, key: &[u8]) -> bool {
        self.prefix_of(key).is_some()
    }

    /// Whether every key of a range starts with one of them, which is the same for all.
    pub(super) fn cover(&self, range: &RangeInfo) -> bool {
        self.prefix_of(&range.min_key).is_some_and(|prefix| range.max_key.starts_with(prefix))
    }

    fn prefix_of(&self, key: &[u8]) -> Option<&[u8]> {
        // Everything between a prefix and a key that starts with it starts with it as well, so only
        // the last one not above the key can be its prefix.
        let after = self.0.partition_point(|prefix| **prefix <= *key);
        let last = &self.0[after.checked_sub(1)?];
        key.starts_with(last).then_some(last)
    }

    /// Whether a key between a range's first and last may start with one of them.
    pub(super) fn may_touch(&self, range: &RangeInfo) -> bool {
        self.hold(&range.min_key) || {
            let after = self.0.partition_point(|prefix| **prefix < *range.min_key);
            self.0.get(after).is_some_and(|prefix| **prefix <= *range.max_key)
        }
    }
}

impl<P: Into<Vec<u8>>> FromIterator<P> for Prefixes {
    fn from_iter<I: IntoIterator<Item = P>>(prefixes: I) -> Self {
        let mut all: Vec<Vec<u8>> = prefixes.into_iter().map(Into::into).collect();
        all.sort_unstable();
        all.dedup_by(|next, kept| next.starts_with(kept));
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn range(min: &str, max: &str) -> RangeInfo {
        let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        RangeInfo { id: String::new(), min_key: own(min), max_key: own(max), count: 0, estimated_size: 0 }
    }

    #[test]
    fn a_prefix_is_a_plain_text() {
        let prefixes: Prefixes = ["a/b", "c/"].into_iter().collect();
        for (key, held) in [("a/b", true), ("a/bc", true), ("a/b/c", true), ("a/", false), ("c", false), ("c/x", true)] {
            assert_eq!(prefixes.hold(key.as_bytes()), held, "{key}");
        }
        assert!(Prefixes::from_iter([""]).hold(b"any"));
        assert!(!Prefixes::none().hold(b"any"));
    }

    proptest! {
        #[test]
        fn answers_are_those_of_asking_each_prefix(
            prefixes in proptest::collection::vec("[ab]{0,3}", 0..4),
            keys in proptest::collection::btree_set("[ab]{0,5}", 2..8),
        ) {
            let all: Prefixes = prefixes.iter().map(String::as_bytes).collect();
            let held = |key: &str| prefixes.iter().any(|prefix| key.starts_with(&**prefix));
            let (first, last) = (keys.first().unwrap(), keys.last().unwrap());
            let range = range(first, last);
            for key in &keys {
                prop_assert_eq!(all.hold(key.as_bytes()), held(key));
                prop_assert!(!all.cover(&range) || held(key));
                prop_assert!(all.may_touch(&range) || !held(key));
            }
            prop_assert!(all.may_touch(&range) || !all.cover(&range));
        }
    }
}
