//! Keys that break tools, byte for byte.

use std::collections::BTreeSet;

use millrace_tests::tree::is_reserved;

use super::{BUCKET, PREFIX, Place, Stage};

/// Leaves out the keys that are Millrace's own at every destination.
const WITHOUT_RESERVED: [&str; 4] = ["--exclude", "/EXPORT_*_*", "--exclude", "_millrace/"];

fn reserved(stage: &Stage, label: &str) -> Vec<String> {
    stage.lake.objects(label).into_iter().map(|object| object.path).filter(|path| is_reserved(path)).collect()
}

#[test]
fn keys_that_are_millraces_own_are_refused_by_name() {
    let stage = Stage::s3("odd-keys");
    let reserved = reserved(&stage, "all");
    assert_eq!(reserved, ["EXPORT_0000_FAILURE", "EXPORT_0000_SUCCESS", "_millrace/HEAD.json"]);
    let refused = stage.export("all", &[]).expect_code(3).json();
    assert_eq!((&refused["state"], &refused["error"]["kind"]), (&"refused".into(), &"guard".into()));
    let message = refused["error"]["message"].as_str().unwrap();
    let named: Vec<_> = message.lines().filter_map(|line| line.trim().strip_prefix('`')?.split('`').next()).collect();
    assert_eq!(named, reserved, "{message}");
    assert!(refused["error"]["help"].as_str().unwrap().contains("--exclude"));
    assert!(stage.tree().is_empty(), "nothing was written");
    assert_eq!(stage.effects(), []);
}

#[test]
fn every_other_key_arrives_byte_for_byte() {
    for from in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("odd-keys", from, Place::Bucket);
        for label in ["all", "changed", "all"] {
            stage.exported(label, &[&WITHOUT_RESERVED[..], &["--force"]].concat());
            let mut expected = stage.expected(label);
            expected.retain(|key, _| !is_reserved(key));
            let (there, wanted) = (stage.data(), &expected);
            let keys = |tree: &super::Tree| tree.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(keys(&there), keys(wanted), "{label}");
            assert_eq!(there, expected, "{label}");
            for object in stage.lake.objects(label).iter().filter(|object| !is_reserved(&object.path)) {
                let stored = stage.server.get(BUCKET, &format!("{PREFIX}{}", object.path)).unwrap();
                assert_eq!((&stored.content_type, &stored.metadata), (&object.content_type, &object.metadata), "{}", object.path);
            }
            stage.assert_success(label);
        }
    }
}

#[test]
fn a_folder_refuses_what_it_cannot_hold_and_takes_the_rest() {
    let stage = Stage::new("odd-keys", Place::Folder, Place::Folder);
    let refused = stage.export("all", &WITHOUT_RESERVED).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!(message.lines().filter(|line| line.trim().starts_with('`')).count(), 10, "the first ten are named: {message}");
    assert!(message.contains(" more\n") && message.ends_with("Nothing was written."), "{message}");
    assert!(stage.tree().is_empty());
    let excluded = |key: &str| {
        let segments: Vec<_> = key.split('/').collect();
        is_reserved(key)
            || segments.iter().any(|segment| segment.is_empty() || *segment == "." || *segment == ".." || segment.len() > 255)
            || key == "a"
            || key == "x/_SUCCESS/child"
    };
    let mut expected = stage.expected("all");
    let left_out: Vec<_> = expected.keys().filter(|key| excluded(key)).cloned().collect();
    let quoted: Vec<_> = left_out.iter().map(|key| format!("'{}'", key.replace('\'', "''"))).collect();
    stage.exported("all", &["--where", &format!("key NOT IN ({})", quoted.join(", "))]);
    // The marker of `x/` is held back, since not everything below `x/` is there.
    expected.retain(|key, _| !left_out.contains(key) && key != "x/_SUCCESS");
    assert_eq!(stage.data(), expected);
}
