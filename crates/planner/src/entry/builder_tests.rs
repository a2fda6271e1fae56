use datafusion::arrow::array::Array;
use graveler::Entry;

use super::*;
use crate::entry::EntryRow;

fn message(number: i64, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let entry = Entry {
        address: format!("data/{number}"),
        size: number,
        e_tag: format!("tag{number}"),
        address_type: 1,
        metadata: metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Entry::default()
    };
    graveler::encode::entry(&entry, &mut out);
    out
}

/// Batches of rows, each present with metadata, present without, or absent; read back as values.
fn built(columns: Columns, batches: &[&[Option<bool>]]) -> Vec<Vec<EntryRow>> {
    let mut builder = EntryBuilder::new(columns, "s3://lake/ns/".into(), 4);
    let mut all = Vec::new();
    for rows in batches {
        let mut paths = Vec::new();
        for (number, row) in (0..).zip(*rows) {
            let path = format!("p{number}");
            match row {
                Some(true) => builder.append(&path, b"id", &message(number, &[("k", &path)])).unwrap(),
                Some(false) => builder.append(&path, b"id", &message(number, &[])).unwrap(),
                None => builder.append_absent(),
            }
            paths.push(path);
        }
        assert_eq!(builder.len(), rows.len());
        let batch = builder.finish(&paths.into()).unwrap();
        assert_eq!((builder.len(), batch.batch().num_rows()), (0, rows.len()));
        all.push((0..rows.len()).map(|i| batch.row(i)).collect());
    }
    all
}

fn expected(number: i64, row: Option<bool>) -> EntryRow {
    let path = format!("p{number}");
    let Some(metadata) = row else { return EntryRow { path, ..EntryRow::default() } };
    EntryRow {
        size: number,
        etag: Some(format!("tag{number}")),
        mtime: Some(0),
        content_type: None,
        metadata: if metadata { vec![("k".to_owned(), path.clone())] } else { vec![] },
        address: format!("s3://lake/ns/data/{number}"),
        identity: b"id".to_vec(),
        path,
    }
}

#[test]
fn batches_hold_what_was_added_in_whatever_order() {
    let (with, bare, absent) = (Some(true), Some(false), None);
    let batches: [&[Option<bool>]; 8] = [
        &[bare, bare],
        &[absent, absent, absent],
        &[absent, bare, absent, with, bare, absent],
        &[with],
        &[bare, with, with, bare, bare, bare, absent],
        &[],
        &[absent],
        &[with, absent],
    ];
    for (rows, found) in batches.iter().zip(built(Columns::ALL, &batches)) {
        let expected: Vec<_> = (0..).zip(*rows).map(|(number, row)| expected(number, *row)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn columns_that_were_not_asked_for_are_null() {
    let mut builder = EntryBuilder::new(Columns::SIZES, "s3://lake/ns/".into(), 4);
    builder.append("a", b"id", &message(7, &[("k", "v")])).unwrap();
    let batch = builder.finish(&vec!["a"].into()).unwrap();
    assert_eq!(batch.size().value(0), 7);
    for column in [2, 3, 4, 5, 6, 7] {
        assert!(batch.batch().column(column).is_null(0), "column {column}");
    }
    let mut builder = EntryBuilder::new(Columns::KEYS, "s3://lake/ns/".into(), 4);
    builder.append("a", b"id", b"not decoded").unwrap();
    assert_eq!(builder.finish(&vec!["a"].into()).unwrap().path().value(0), "a");
}

#[test]
fn a_batch_may_be_longer_than_the_shared_nulls() {
    let rows = vec![None; NULLS + 3];
    let found = built(Columns::ALL, &[&rows]);
    assert_eq!((found[0].len(), &found[0][NULLS + 2]), (NULLS + 3, &expected(4098, None)));
}
