//! What a key's group means: a pure function.

use planner::guard::is_reserved;

use super::group::{Found, Group, Recorded, Wanted};
use super::report::{Difference, Kind};

/// What is to be said of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not there, and should not be.
    Nothing,
    /// One of Millrace's own objects.
    Own,
    /// Somebody else's.
    Foreign,
    /// As it should be, as far as a listing tells.
    Same,
    /// Something else than it should be.
    Different(Difference),
}

/// Judges a group. `own`: the folder of Millrace's own objects, where that is not the root. `against`: the commit counts as
/// well, and a key without a commit's row is not in the commit.
pub(super) fn judge(group: &Group, own: &str, against: bool) -> Verdict {
    if is_reserved(&group.key) || group.key.strip_prefix(own).is_some_and(is_reserved) {
        return if group.found.is_some() { Verdict::Own } else { Verdict::Nothing };
    }
    let recorded = group.recorded.as_ref();
    let present = recorded.filter(|r| r.present);
    let different =
        |kind, expected: String, found: String| Verdict::Different(Difference { key: group.key.clone(), kind, expected, found });
    let nothing = || "nothing".to_owned();
    match (&group.found, present, &group.wanted) {
        (None, None, None) => Verdict::Nothing,
        (None, Some(there), _) => different(Kind::Missing, shown(there.size, there.stored_etag.as_deref()), nothing()),
        (None, None, Some(wanted)) => different(Kind::Missing, shown(wanted.size, wanted.etag.as_deref()), nothing()),
        (Some(found), None, None) if recorded.is_some() => different(Kind::LeftOver, nothing(), shown_found(found)),
        (Some(_), None, None) => Verdict::Foreign,
        (Some(found), Some(there), wanted) => match (changed(there, found), wanted) {
            (Some((expected, found)), _) => different(Kind::Changed, expected, found),
            (None, Some(wanted)) if other_version(there, wanted) => different(
                Kind::Changed,
                format!("the commit's {}", shown(wanted.size, wanted.etag.as_deref())),
                shown_found(found),
            ),
            (None, Some(wanted)) if there.is_drifted() => different(
                Kind::Changed,
                format!("the commit's {}", shown(wanted.size, wanted.etag.as_deref())),
                format!("{}, taken by --on-drift take", shown_found(found)),
            ),
            (None, None) if against => different(Kind::Extra, nothing(), shown_found(found)),
            (None, _) => Verdict::Same,
        },
        (Some(found), None, Some(wanted)) => {
            let unlike = wanted.size.is_some_and(|size| size != found.size) || other_etag(wanted, found);
            if unlike {
                different(Kind::Changed, shown(wanted.size, wanted.etag.as_deref()), shown_found(found))
            } else {
                Verdict::Same
            }
        }
    }
}

/// What was recorded and what was found, where they differ.
fn changed(recorded: &Recorded, found: &Found) -> Option<(String, String)> {
    let size = recorded.size.is_some_and(|size| size != found.size);
    let etag = matches!((&recorded.stored_etag, &found.etag), (Some(a), Some(b)) if a != b);
    (size || etag).then(|| (shown(recorded.size, recorded.stored_etag.as_deref()), shown_found(found)))
}

/// The receipts prove another version than the commit has.
fn other_version(recorded: &Recorded, wanted: &Wanted) -> bool {
    match (&recorded.identity, &wanted.identity) {
        (Some(a), Some(b)) => a != b,
        _ => recorded.etag != wanted.etag,
    }
}

/// Without a receipt the entry's etag is all there is. Two that look like MD5s and differ are of different bytes.
fn other_etag(wanted: &Wanted, found: &Found) -> bool {
    let plain = |etag: &Option<String>| etag.clone().filter(|e| e.len() == 32 && e.bytes().all(|b| b.is_ascii_hexdigit()));
    matches!((plain(&wanted.etag), plain(&found.etag)), (Some(a), Some(b)) if a != b)
}

fn shown(size: Option<i64>, etag: Option<&str>) -> String {
    let size = size.map_or_else(|| "unknown size".to_owned(), |size| format!("{size} bytes"));
    etag.map_or_else(|| size.clone(), |etag| format!("{size}, etag {etag}"))
}

fn shown_found(found: &Found) -> String {
    shown(Some(found.size), found.etag.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(group: &Group, against: bool) -> Verdict {
        super::judge(group, "", against)
    }

    fn recorded(size: i64, etag: &str, version: u8) -> Recorded {
        let text = || Some(etag.to_owned());
        let identity = Some(vec![version]);
        Recorded { present: true, size: Some(size), stored_etag: text(), etag: text(), identity, ..Recorded::default() }
    }

    fn group(recorded: Option<Recorded>, found: Option<(i64, Option<&str>)>, wanted: Option<(i64, &str, u8)>) -> Group {
        Group {
            key: "k".to_owned(),
            recorded,
            found: found.map(|(size, etag)| Found { size, etag: etag.map(str::to_owned) }),
            wanted: wanted.map(|(size, etag, version)| Wanted {
                size: Some(size),
                etag: Some(etag.to_owned()),
                identity: Some(vec![version]),
            }),
        }
    }

    fn kind(group: &Group, against: bool) -> Option<Kind> {
        match judge(group, against) {
            Verdict::Different(difference) => Some(difference.kind),
            _ => None,
        }
    }

    #[test]
    fn every_state_of_a_key_has_one_verdict() {
        let there = || Some(recorded(3, "e", 1));
        let removed = || Some(Recorded { present: false, ..recorded(3, "e", 1) });
        let (same, flipped, longer, bare) = (Some((3, Some("e"))), Some((3, Some("f"))), Some((4, Some("e"))), Some((3, None)));
        for against in [false, true] {
            let wanted = against.then_some((3, "e", 1));
            assert_eq!(judge(&group(there(), same, wanted), against), Verdict::Same);
            assert_eq!(judge(&group(there(), bare, wanted), against), Verdict::Same, "a store without etags");
            assert_eq!(kind(&group(there(), None, wanted), against), Some(Kind::Missing));
            assert_eq!(kind(&group(there(), flipped, wanted), against), Some(Kind::Changed));
            assert_eq!(kind(&group(there(), longer, wanted), against), Some(Kind::Changed));
            assert_eq!(kind(&group(removed(), same, None), against), Some(Kind::LeftOver));
            assert_eq!(judge(&group(removed(), None, None), against), Verdict::Nothing);
            assert_eq!(judge(&group(None, same, None), against), Verdict::Foreign);
        }
    }

    #[test]
    fn the_commit_is_compared_with_what_the_receipts_prove() {
        let there = || Some(recorded(3, "e", 1));
        let same = Some((3, Some("e")));
        assert_eq!(kind(&group(there(), same, Some((3, "e", 2))), true), Some(Kind::Changed));
        assert_eq!(kind(&group(there(), same, None), true), Some(Kind::Extra));
        let taken = || Some(Recorded { proof: Some("drifted".to_owned()), ..recorded(3, "e", 1) });
        assert_eq!(kind(&group(taken(), same, Some((4, "f", 1))), true), Some(Kind::Changed), "not the commit's bytes");
        assert_eq!(judge(&group(taken(), same, None), false), Verdict::Same, "what the receipts say");
        assert_eq!(kind(&group(None, None, Some((3, "e", 1))), true), Some(Kind::Missing));
        assert_eq!(judge(&group(None, same, Some((3, "e", 1))), true), Verdict::Same, "of a claimed root");
        assert_eq!(kind(&group(None, Some((4, None)), Some((3, "e", 1))), true), Some(Kind::Changed));
        let (one, other) = ("0".repeat(32), "1".repeat(32));
        assert_eq!(kind(&group(None, Some((3, Some(&one))), Some((3, &other, 1))), true), Some(Kind::Changed));
        let parts = format!("{one}-2");
        assert_eq!(judge(&group(None, Some((3, Some(&parts))), Some((3, &other, 1))), true), Verdict::Same);
    }

    #[test]
    fn millraces_own_objects_are_told_apart() {
        for key in ["_millrace/HEAD.json", "EXPORT_c_SUCCESS"] {
            let own = Group { key: key.to_owned(), ..group(None, Some((3, None)), None) };
            assert_eq!(judge(&own, true), Verdict::Own);
        }
        let other = Group { key: "a/EXPORT_c_SUCCESS".to_owned(), ..group(None, Some((3, None)), None) };
        assert_eq!(judge(&other, false), Verdict::Foreign);
        assert_eq!(super::judge(&other, "a/", false), Verdict::Own, "a status path below the data");
    }
}
