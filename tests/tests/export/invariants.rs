//! What holds after each and every write: a completion marker only ever stands over a directory that is wholly the old
//! commit's or wholly the new one's, and a status marker only over a destination that is what it says.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use millrace_tests::{
    s3::{Buckets, Op},
    tree::is_reserved,
};

use super::{BUCKET, PREFIX, Place, Stage, is_marker, is_status_marker, success};

/// Keys and what a reader sees of their objects.
pub(crate) type Seen = BTreeMap<String, String>;

fn print(etag: &str, content_type: Option<&String>, metadata: &BTreeMap<String, String>) -> String {
    format!("{etag} {content_type:?} {metadata:?}")
}

/// What a reader sees at a place.
pub(super) fn seen(buckets: &Buckets, prefix: &str) -> Seen {
    let look = |key: &str| {
        let object = buckets.get(BUCKET, key).unwrap();
        print(&object.etag, object.content_type.as_ref(), &object.metadata)
    };
    buckets.keys(BUCKET, prefix).map(|key| (key[prefix.len()..].to_owned(), look(key))).collect()
}

/// The lake's keys below a directory, but for its own marker.
fn below<'a>(seen: &'a Seen, directory: &'a str) -> impl Iterator<Item = (&'a String, &'a String)> {
    let marker = format!("{directory}_SUCCESS");
    let range = seen.range::<str, _>((Bound::Included(directory), Bound::Unbounded));
    range.take_while(move |(key, _)| key.starts_with(directory)).filter(move |(key, _)| !is_reserved(key) && **key != marker)
}

/// Says what is wrong with a state between others, each with the name of its SUCCESS marker.
fn judge(now: &Seen, ends: &[(String, Seen)]) -> Result<(), String> {
    let same = |end: &Seen, directory: &str| below(now, directory).eq(below(end, directory));
    for key in now.keys().filter(|key| is_marker(key)) {
        let directory = key.strip_suffix("_SUCCESS").unwrap();
        let stands = |end: &Seen| end.contains_key(key) && same(end, directory);
        if !ends.iter().any(|(_, end)| stands(end)) {
            return Err(format!("{key} stands over a mixture"));
        }
    }
    let status: Vec<_> = now.keys().filter(|key| is_status_marker(key)).collect();
    for key in status.iter().filter(|key| key.ends_with("_SUCCESS")) {
        if status.len() > 1 {
            return Err(format!("{status:?} at once"));
        }
        if !ends.iter().any(|(name, end)| *name == **key && same(end, "")) {
            return Err(format!("{key} stands over something else"));
        }
    }
    Ok(())
}

/// Judges the destination after every write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Vec<(String, Seen)>>>);

impl Watch {
    /// Of a destination in a bucket. Nothing is judged before [`Watch::between`] has said by what.
    pub(crate) fn start(stage: &Stage) -> Self {
        let watch = Self::default();
        let ends = Arc::clone(&watch.0);
        stage.server.watch(move |op: &Op, buckets: &Buckets| {
            let ends = ends.lock().unwrap();
            if ends.is_empty() || op.bucket != BUCKET || !op.key.starts_with(PREFIX) {
                return Ok(());
            }
            judge(&seen(buckets, PREFIX), &ends)
        });
        watch
    }

    /// From now on the destination is between these states, each with the name of its SUCCESS marker.
    pub(crate) fn between(&self, ends: Vec<(String, Seen)>) {
        *self.0.lock().unwrap() = ends;
    }
}

/// What an export of a commit, without a selection, looks like.
pub(crate) fn looks(stage: &Stage, label: &str) -> (String, Seen) {
    let objects = stage.lake.objects(label).into_iter();
    let seen = objects.map(|object| (object.path, print(&object.checksum, object.content_type.as_ref(), &object.metadata)));
    (success(&stage.lake.commit(label).id), seen.collect())
}

/// Exports a commit over what is there, watching every write; what must come out is what a fresh export gives.
pub(super) fn export_watched(stage: &Stage, watch: &Watch, before: &str, (label, options): (&str, &[&str])) {
    let fresh = format!("fresh-{}", stage.server.log().len());
    stage.export_to(label, &fresh, options).expect_code(0);
    let snapshot = stage.server.snapshot();
    let name = |label: &str| success(&stage.lake.commit(label).id);
    let wanted = seen(&snapshot, &format!("{fresh}/"));
    watch.between(vec![(name(before), seen(&snapshot, PREFIX)), (name(label), wanted.clone())]);
    stage.exported(label, &[&["--concurrency", "16"], options].concat());
    watch.between(Vec::new());
    stage.server.assert_no_violations();
    let lakes = |seen: &Seen| seen.clone().into_iter().filter(|(key, _)| !is_reserved(key)).collect::<Seen>();
    assert_eq!(lakes(&seen(&stage.server.snapshot(), PREFIX)), lakes(&wanted), "{before} → {label} {options:?}");
}

/// Exports each commit over the one before it, with options, watching every write.
fn walk(stage: &Stage, path: &[(&str, &[&str])]) {
    let (first, options) = path[0];
    stage.exported(first, options);
    let watch = Watch::start(stage);
    for pair in path.windows(2) {
        export_watched(stage, &watch, pair[0].0, pair[1]);
    }
}

#[test]
fn markers_never_stand_over_a_mixture_of_two_commits() {
    let stage = Stage::s3("orders");
    walk(&stage, &[("load", &[]), ("day4", &[]), ("merged", &[]), ("reverted", &[]), ("nothing", &[]), ("load", &[])]);
}

#[test]
fn nor_do_they_in_a_tree_of_nested_markers_that_is_edited_at_random() {
    let stage = Stage::s3("churn");
    walk(&stage, &[("c00", &[]), ("c05", &[]), ("c11", &[]), ("c03", &[])]);
}

#[test]
fn nor_when_the_bytes_pass_through() {
    let stage = Stage::new("churn", Place::Folder, Place::Bucket);
    walk(&stage, &[("c02", &[]), ("c08", &[])]);
}

#[test]
fn nor_while_the_selection_changes() {
    let stage = Stage::s3("churn");
    let no_x: &[&str] = &["--exclude", "x/**"];
    let small: &[&str] = &["--exclude", "a/**", "--where", "size < 20"];
    walk(&stage, &[("c04", no_x), ("c06", &[]), ("c06", small), ("c09", no_x), ("c10", small), ("c10", &[])]);
}

#[test]
fn nor_when_everything_is_deleted_and_comes_back() {
    let stage = Stage::s3("orders");
    let all: &[&str] = &["--max-delete", "100%"];
    walk(&stage, &[("head", &[]), ("all-deleted", all), ("head", &["--force"])]);
}

#[test]
fn a_mixture_would_be_seen() {
    let state =
        |pairs: &[(&str, &str)]| -> Seen { pairs.iter().map(|(key, print)| ((*key).to_owned(), (*print).to_owned())).collect() };
    let old = state(&[("_SUCCESS", ""), ("a/_SUCCESS", ""), ("a/x", "1"), ("b", "1"), ("EXPORT_old_SUCCESS", "")]);
    let new = state(&[("_SUCCESS", ""), ("a/_SUCCESS", ""), ("a/x", "2"), ("b", "1"), ("EXPORT_new_SUCCESS", "")]);
    let ends = [(success("old"), old.clone()), (success("new"), new.clone())];
    assert_eq!((judge(&old, &ends), judge(&new, &ends)), (Ok(()), Ok(())));
    let mixtures = [
        state(&[("_SUCCESS", ""), ("a/x", "2"), ("b", "1")]),
        state(&[("a/_SUCCESS", ""), ("a/x", "3")]),
        state(&[("EXPORT_old_SUCCESS", ""), ("a/x", "2"), ("b", "1")]),
        state(&[("EXPORT_old_SUCCESS", ""), ("EXPORT_new_SUCCESS", "")]),
    ];
    for mixture in mixtures {
        assert!(judge(&mixture, &ends).is_err(), "{mixture:?}");
    }
    assert_eq!(judge(&state(&[("a/_SUCCESS", ""), ("a/x", "2"), ("b", "0")]), &ends), Ok(()));
}
