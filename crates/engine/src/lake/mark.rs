//! `_lakefs/millrace.json`: the mark of a lake that Millrace made.

use planner::source::{LAKE_FORMAT, newer_format};
use planner::{Error, Location, Result};
use serde::{Deserialize, Serialize};

/// Its key.
pub const MARK_KEY: &str = "_lakefs/millrace.json";

/// The format of the lake, and of the mark itself; the list is at [`LAKE_FORMAT`].
pub const MARK_FORMAT: u32 = LAKE_FORMAT;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// [`MARK_FORMAT`].
    pub format: u32,
    /// When the lake was made, RFC 3339.
    pub created: String,
    /// The branch that came with the lake, which cannot be deleted.
    pub default_branch: String,
}

impl Mark {
    /// The mark of a lake that is being made.
    #[must_use]
    pub fn new(default_branch: &str) -> Self {
        Self { format: MARK_FORMAT, created: crate::clock::now(), default_branch: default_branch.to_owned() }
    }

    /// Reads it. A format that is not known is told as such, whatever else the document holds.
    pub(super) fn parse(json: &[u8], lake: &Location) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        match serde_json::from_slice(json) {
            Ok(Format { format }) if format != MARK_FORMAT => return Err(newer_format(lake, format)),
            _ => {}
        }
        serde_json::from_slice(json).map_err(|error| {
            Error::corrupt(format!("{MARK_KEY} of the lake at {lake} cannot be understood: {error}"))
                .with_help("somebody changed it: restore it from a copy of the lake")
        })
    }
}

#[cfg(test)]
mod tests {
    use planner::ErrorKind;

    use super::*;

    #[test]
    fn a_mark_reads_what_it_wrote() {
        let (mark, lake) = (Mark::new("main"), Location::parse("/srv/lake").unwrap());
        assert_eq!(Mark::parse(&serde_json::to_vec(&mark).unwrap(), &lake).unwrap(), mark);
        let newer = Mark::parse(br#"{"format": 2, "born": true}"#, &lake).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Usage);
        assert!(newer.message().contains("has format 2") && newer.help().is_some(), "{newer}");
        assert_eq!(Mark::parse(b"{", &lake).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
