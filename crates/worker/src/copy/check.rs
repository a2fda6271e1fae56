//! Whether a source is still the committed object, and what a copy proves: decisions from facts, without I/O.

use crate::store::{Expected, Head, Put, Sums, etag_md5};

/// What a commit says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its etag, where it has one.
    pub etag: Option<&'a str>,
    /// Its size in bytes, where it is known.
    pub size: Option<u64>,
    /// It lies below the lake's own `data/`, where nothing is overwritten.
    pub own_data: bool,
}

impl Entry<'_> {
    /// The source's etag is not the entry's: is it the committed object all the same?
    ///
    /// Below the lake's own `data/` objects are never overwritten, so one of the right size is it, whatever its etag is
    /// (KMS, gateway uploads). Elsewhere the etags must be equal, or the store's the entry's plus the `-N` that lakeFS's
    /// gateway cuts off.
    #[must_use]
    pub fn is_still(&self, head: &Head) -> bool {
        if self.size.is_some_and(|size| size != head.size) {
            return false;
        }
        let (Some(entry), Some(store)) = (self.etag, head.etag.as_deref()) else { return self.own_data };
        self.own_data || store == entry || store.strip_prefix(entry).is_some_and(is_part_count)
    }

    /// How a copy through here was checked: by what its source said of the bytes, or by the entry's own MD5. Other bytes than
    /// the source said have failed before.
    #[must_use]
    pub fn proof_of_stream(&self, expected: &Expected, sums: &Sums) -> &'static str {
        let is_entrys = sums.md5.is_some() && sums.md5 == self.etag.and_then(etag_md5);
        expected.proof(sums).unwrap_or(if is_entrys { "md5" } else { "size" })
    }

    /// How a copy inside a store was checked: by the answered etag, by the parts, else by the pin alone.
    #[must_use]
    pub fn proof_of_copy(&self, expected: &Expected, put: &Put, pinned: bool) -> Option<&'static str> {
        let answered = put.etag.as_deref().filter(|_| put.etag_is_md5).and_then(etag_md5);
        let md5s = [expected.md5, self.etag.and_then(etag_md5)];
        if answered.is_some() && md5s.contains(&answered) {
            return Some("md5");
        }
        match &put.etag {
            _ if expected.proof(&put.sums).is_some() => expected.proof(&put.sums),
            _ if pinned => Some("etag"),
            // Without a pin only a store that compared the size has checked anything.
            None => Some("size"),
            Some(_) => None,
        }
    }
}

/// The size of the parts to send: the source's own where it is near enough, because then its etag can be compared without
/// summing the parts twice.
#[must_use]
pub fn part_size(usual: u64, expected: &Expected) -> u64 {
    let own = expected.parts.as_ref().map(|parts| parts.part_size);
    own.filter(|own| (usual / 4..=usual * 4).contains(own)).unwrap_or(usual)
}

/// `-N`.
fn is_part_count(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|count| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "9e107d9d372bb6826bd81d3542a419d6";

    fn head(etag: &str, size: u64) -> Head {
        Head { etag: Some(etag.to_owned()), size, ..Head::default() }
    }

    #[test]
    fn below_own_data_the_size_decides() {
        let entry = Entry { etag: Some(MD5), size: Some(3), own_data: true };
        assert!(entry.is_still(&head("anything", 3)));
        assert!(!entry.is_still(&head(MD5, 4)));
    }

    #[test]
    fn elsewhere_the_etag_decides() {
        let entry = Entry { etag: Some(MD5), size: Some(3), own_data: false };
        assert!(entry.is_still(&head(MD5, 3)));
        assert!(entry.is_still(&head(&format!("{MD5}-2"), 3)));
        for other in [format!("{MD5}-"), format!("{MD5}-x"), format!("{MD5}2"), "anything".to_owned()] {
            assert!(!entry.is_still(&head(&other, 3)), "{other}");
        }
        assert!(!entry.is_still(&head(&format!("{MD5}-2"), 4)));
    }

    #[test]
    fn proofs_say_no_more_than_was_seen() {
        let entry = Entry { etag: Some(MD5), size: Some(3), own_data: true };
        let nothing = Expected::default();
        let sums = |md5| Sums { md5, ..Sums::default() };
        assert_eq!(entry.proof_of_stream(&Expected::md5(Some([1; 16])), &sums(Some([1; 16]))), "md5");
        assert_eq!(entry.proof_of_stream(&nothing, &sums(etag_md5(MD5))), "md5");
        assert_eq!(entry.proof_of_stream(&nothing, &sums(Some([1; 16]))), "size");
        assert_eq!(entry.proof_of_stream(&nothing, &sums(None)), "size");
    }

    #[test]
    fn a_copy_is_proven_by_its_answer_or_by_its_pin() {
        let entry = Entry { etag: Some(MD5), size: Some(3), own_data: true };
        let put = |etag: &str, etag_is_md5| Put { etag: Some(etag.to_owned()), etag_is_md5, ..Put::default() };
        let expected = Expected::of_etag(MD5, 3);
        assert_eq!(entry.proof_of_copy(&expected, &put(MD5, true), true), Some("md5"));
        assert_eq!(entry.proof_of_copy(&Expected::default(), &put(MD5, true), true), Some("md5"));
        assert_eq!(entry.proof_of_copy(&expected, &put(MD5, false), true), Some("etag"));
        assert_eq!(entry.proof_of_copy(&expected, &put("other", false), false), None);
        assert_eq!(entry.proof_of_copy(&expected, &Put::default(), false), Some("size"));
    }

    #[test]
    fn parts_are_cut_as_the_source_had_them_where_that_is_near() {
        let of = |etag: &str, size: u64| part_size(16 << 20, &Expected::of_etag(etag, size));
        assert_eq!(of(&format!("{MD5}-128"), 1 << 30), 8 << 20);
        assert_eq!(of(&format!("{MD5}-2"), 1 << 30), 16 << 20);
        assert_eq!(of(MD5, 1 << 30), 16 << 20);
    }
}
