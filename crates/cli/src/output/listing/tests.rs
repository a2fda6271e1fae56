//! Listings, line by line.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, MapBuilder, MapFieldNames, StringBuilder};

use super::*;

fn metadata(pairs: &[&[(&str, &str)]]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in pairs {
        for (key, value) in *row {
            map.keys().append_value(key);
            map.values().append_value(value);
        }
        map.append(!row.is_empty()).unwrap();
    }
    Arc::new(map.finish())
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<StringArray>())
}

fn two_objects() -> RecordBatch {
    let mtime = TimestampMicrosecondArray::from(vec![1_795_198_832_000_001, 0]).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("path", texts(&[Some("a/\n\"b\""), Some("c")])),
        ("size", Arc::new(Int64Array::from(vec![4143, 0])) as ArrayRef),
        ("etag", texts(&[Some("d41d"), None])),
        ("mtime", Arc::new(mtime)),
        ("content_type", texts(&[Some("text/plain"), None])),
        ("metadata", metadata(&[&[("owner", "é"), ("b", "")], &[]])),
        ("address", texts(&[Some("s3://lake/data/x?y"), Some("s3://lake/data/z")])),
    ])
    .unwrap()
}

fn shown(render: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), Failure>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
}

#[test]
fn objects_are_lines_of_json_with_the_names_of_lakefs() {
    let style = ObjectStyle { format: OutputFormat::Json, human_readable: false };
    assert_eq!(
        shown(|out| objects(out, &two_objects(), style)),
        "{\"path\":\"a/\\n\\\"b\\\"\",\"size\":4143,\"etag\":\"d41d\",\"mtime\":1795198832,\"content_type\":\"text/plain\",\
         \"metadata\":{\"owner\":\"é\",\"b\":\"\"},\"address\":\"s3://lake/data/x?y\"}\n\
         {\"path\":\"c\",\"size\":0,\"etag\":null,\"mtime\":0,\"content_type\":\"application/octet-stream\",\"metadata\":{},\"address\":\"s3://lake/data/z\"}\n"
    );
}

#[test]
fn objects_are_lines_of_time_size_and_path() {
    let text = |human_readable| {
        let batch = two_objects().project(&[0, 1, 3]).unwrap();
        shown(|out| objects(out, &batch, ObjectStyle { format: OutputFormat::Text, human_readable }))
    };
    assert_eq!(text(false), "2026-11-20T18:20:32Z         4143 a/\\n\"b\"\n1970-01-01T00:00:00Z            0 c\n");
    assert_eq!(text(true), "2026-11-20T18:20:32Z      4.0 KiB a/\\n\"b\"\n1970-01-01T00:00:00Z          0 B c\n");
}

#[test]
fn differences_are_marked() {
    let batch = RecordBatch::try_from_iter([
        ("type", texts(&[Some("added"), Some("changed"), Some("removed")])),
        ("path", texts(&[Some("a"), Some("b"), Some("c")])),
        ("size", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
    ])
    .unwrap();
    assert_eq!(shown(|out| differences(out, &batch, OutputFormat::Text)), "+ added a\n~ changed b\n- removed c\n");
    assert_eq!(
        shown(|out| differences(out, &batch, OutputFormat::Json)).lines().next(),
        Some("{\"type\":\"added\",\"path\":\"a\",\"size\":1}")
    );
}

#[test]
fn commits_read_like_a_log() {
    let one = Commit {
        id: "c0ff".to_owned(),
        metarange: "2b59".to_owned(),
        parents: vec!["a".repeat(64), "b".repeat(64)],
        committer: "admin".to_owned(),
        message: "first line\n\nmore".to_owned(),
        created: 1_795_198_832,
        metadata: [("key".to_owned(), "value".to_owned())].into(),
        generation: 3,
    };
    assert_eq!(
        shown(|out| Ok(commit(out, &one, OutputFormat::Text)?)),
        "ID:            c0ff\nAuthor:        admin\nDate:          2026-11-20T18:20:32Z\nMerge:         aaaaaaaaaaaa bbbbbbbbbbbb\n\n\
         \x20   first line\n    \n    more\n\n    key = value\n\n"
    );
    let json = shown(|out| Ok(commit(out, &one, OutputFormat::Json)?));
    assert!(json.starts_with("{\"id\":\"c0ff\",\"parents\":["), "{json}");
    assert!(json.contains("\"creation_date\":1795198832,\"meta_range_id\":\"2b59\""), "{json}");
}

#[test]
fn refs_are_a_table() {
    let refs = [
        Reference { kind: RefKind::Branch, name: "main".to_owned(), commit: "c0ff".to_owned() },
        Reference { kind: RefKind::Tag, name: "v1".to_owned(), commit: "bdb7".to_owned() },
    ];
    assert_eq!(
        shown(|out| Ok(super::refs(out, &refs, OutputFormat::Text)?)),
        "TYPE    NAME  COMMIT\nbranch  main  c0ff\ntag     v1    bdb7\n"
    );
    assert_eq!(
        shown(|out| Ok(super::refs(out, &refs[..1], OutputFormat::Json)?)),
        "{\"type\":\"branch\",\"id\":\"main\",\"commit_id\":\"c0ff\"}\n"
    );
}
