//! Whether a source is still the committed object, and what a copy proves: decisions from facts, without I/O.

use crate::store::{Confirmation, Head, Put, etag_md5};

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

    /// How a copy through here was checked. `source_md5` is the source's etag where that is an MD5; an upload with other
    /// bytes has failed before.
    #[must_use]
    pub fn proof_of_stream(&self, put: &Put, source_md5: bool) -> &'static str {
        let is_entrys = || put.md5.is_some() && put.md5 == self.etag.and_then(etag_md5);
        match put.confirmed {
            _ if source_md5 || is_entrys() => "md5",
            Some(Confirmation::PartsMd5) => "parts-md5",
            _ => "size",
        }
    }
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
        let parts = Put { confirmed: Some(Confirmation::PartsMd5), md5: Some([1; 16]), ..Put::default() };
        assert_eq!(entry.proof_of_stream(&parts, true), "md5");
        assert_eq!(entry.proof_of_stream(&parts, false), "parts-md5");
        assert_eq!(entry.proof_of_stream(&Put { md5: etag_md5(MD5), ..Put::default() }, false), "md5");
        assert_eq!(entry.proof_of_stream(&Put { md5: Some([1; 16]), ..Put::default() }, false), "size");
    }
}
