//! Metaranges: the list of ranges that is the tree of a commit.
//!
//! The ranges are sorted and share no key: [`Metarange::new`] checks that, so that a merge can rely
//! on it.

use bytes::Bytes;
use prost::Message;

use crate::error::{Error, Result};
use crate::proto::RangeData;
use crate::range::RangeInfo;
use crate::refs::Entity;
use crate::sstable::LoadedTable;
use crate::value;

/// The ranges of a commit, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metarange {
    id: String,
    ranges: Vec<RangeInfo>,
    /// What a refs dump lists; `None`: objects.
    pub(crate) entity: Option<Entity>,
}

impl Metarange {
    /// A metarange of these ranges. Fails unless they are sorted and disjoint.
    pub fn new(id: impl Into<String>, ranges: Vec<RangeInfo>) -> Result<Self> {
        let id = id.into();
        let mut previous: Option<&RangeInfo> = None;
        for range in &ranges {
            if range.min_key > range.max_key {
                return Err(disorder(&id, range, "a first key not above its last key"));
            }
            if previous.is_some_and(|previous| previous.max_key >= range.min_key) {
                return Err(disorder(&id, range, "a first key above the range before"));
            }
            previous = Some(range);
        }
        Ok(Self { id, ranges, entity: None })
    }

    /// The metarange of a repository's first commit: no ranges, no file, and the empty id.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the records of a metarange's file.
    pub fn read(id: &str, table: &LoadedTable) -> Result<Self> {
        let mut ranges = Vec::new();
        let mut records = table.records();
        while records.advance()? {
            let range = range_info(records.key(), records.value()).map_err(|message| records.corrupt(message))?;
            ranges.push(range);
        }
        Self::new(id, ranges).map_err(|error| error.in_file(table.name()))
    }

    /// The id: equal ids mean equal trees.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The ranges, in key order.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInfo] {
        &self.ranges
    }

    /// The number of objects in all ranges.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count))
    }

    /// The range that holds `key` if any does.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&RangeInfo> {
        self.ranges_from(key).first().filter(|range| range.covers(key))
    }

    /// The ranges that may hold keys of at least `key`.
    #[must_use]
    pub fn ranges_from(&self, key: &[u8]) -> &[RangeInfo] {
        let at = self.ranges.partition_point(|range| *range.max_key < *key);
        &self.ranges[at..]
    }
}

/// What a record of a metarange says, or what was expected of it instead.
fn range_info(key: &[u8], framed: &[u8]) -> std::result::Result<RangeInfo, String> {
    let (identity, data) = value::split(framed).map_err(|error| error.message().to_owned())?;
    let id = std::str::from_utf8(identity).ok().filter(|id| is_id(id)).ok_or_else(|| {
        let found = identity.escape_ascii();
        format!("expected a range id of 64 hexadecimal digits, found `{found}`")
    })?;
    let data = RangeData::decode(data).map_err(|error| format!("expected the description of range {id}, found none: {error}"))?;
    if *data.max_key != *key {
        return Err(format!(
            "expected range {id} under its last key `{}`, found it under `{}`",
            data.max_key.escape_ascii(),
            key.escape_ascii()
        ));
    }
    let count =
        u64::try_from(data.count).map_err(|_| format!("expected a number of records in range {id}, found {}", data.count))?;
    Ok(RangeInfo {
        id: id.to_owned(),
        min_key: Bytes::copy_from_slice(&data.min_key),
        max_key: data.max_key,
        count,
        estimated_size: data.estimated_size,
    })
}

/// Whether a text can be the id of a range, metarange or commit.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn disorder(id: &str, range: &RangeInfo, expected: &str) -> Error {
    Error::corrupt(
        id,
        format!(
            "expected sorted and disjoint ranges, found range {} from `{}` to `{}` without {expected}",
            range.id,
            range.min_key.escape_ascii(),
            range.max_key.escape_ascii()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn range(min: &'static str, max: &'static str) -> RangeInfo {
        RangeInfo {
            id: format!("{min}-{max}"),
            min_key: Bytes::from_static(min.as_bytes()),
            max_key: Bytes::from_static(max.as_bytes()),
            count: 10,
            estimated_size: 0,
        }
    }

    #[test]
    fn a_key_is_found_in_the_range_around_it_and_not_in_the_gaps() {
        let metarange = Metarange::new("m", vec![range("b", "d"), range("f", "f")]).unwrap();
        let found = |key: &str| metarange.find(key.as_bytes()).map(|range| &*range.id);
        assert_eq!(found("a"), None);
        assert_eq!(found("b"), Some("b-d"));
        assert_eq!(found("c"), Some("b-d"));
        assert_eq!(found("d"), Some("b-d"));
        assert_eq!(found("e"), None);
        assert_eq!(found("f"), Some("f-f"));
        assert_eq!(found("g"), None);
        assert_eq!(metarange.count(), 20);
    }

    #[test]
    fn ranges_out_of_order_or_overlapping_are_refused() {
        for ranges in [
            vec![range("c", "d"), range("a", "b")],
            vec![range("a", "c"), range("c", "d")],
            vec![range("a", "c"), range("b", "d")],
            vec![range("b", "a")],
        ] {
            let error = Metarange::new("m", ranges).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.message().starts_with("expected sorted and disjoint"));
        }
    }

    #[test]
    fn the_first_commit_has_no_ranges() {
        assert_eq!(Metarange::empty().id(), "");
        assert_eq!(Metarange::empty().count(), 0);
        assert_eq!(Metarange::empty().find(b""), None);
    }
}
