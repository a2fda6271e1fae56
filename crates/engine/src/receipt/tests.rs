//! The chain, however it was folded, gives the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array};
use planner::Location;
use proptest::prelude::*;
use worker::{Registry, RegistryOptions};

use super::*;
use crate::head::HeadFile;
use crate::session::{register_changes, sorting_session};

/// What one run did: a key and its new size, or `None` where it was removed. A run may write everything again.
#[derive(Debug, Clone)]
struct Did {
    rows: Vec<(u8, Option<u8>)>,
    complete: bool,
}

fn key(name: u8) -> String {
    format!("k/{name:03}")
}

/// A key and its size, or `None` where it was removed.
type Change = (String, Option<i64>);

/// The store has another etag than the commit for these.
fn differs(size: i64) -> bool {
    size % 5 == 4
}

fn changes_of(rows: &[Change]) -> RecordBatch {
    let texts = |f: &dyn Fn(&Change) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(f).collect::<StringArray>()) };
    let keys = texts(&|r| Some(r.0.clone()));
    let none = texts(&|_| None);
    let columns: Vec<ArrayRef> = vec![
        Arc::clone(&keys),
        keys,
        Arc::new(rows.iter().map(|r| Some(r.1.is_some())).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.1.map(i64::to_be_bytes)).collect::<BinaryArray>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        texts(&|r| r.1.map(|s| format!("{s:032x}"))),
        texts(&|r| r.1.map(|s| if differs(s) { format!("{s:032x}-2") } else { format!("{s:032x}") })),
        Arc::clone(&none),
        Arc::clone(&none),
        Arc::clone(&none),
        Arc::clone(&none),
        none,
    ];
    RecordBatch::try_new(Arc::clone(&CHANGES_SCHEMA), columns).unwrap()
}

fn changes_file(folder: &Path, rows: &[Change]) -> PathBuf {
    let batch = changes_of(rows);
    let path = folder.join(CHANGES_FILE);
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), Arc::clone(&CHANGES_SCHEMA), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

fn draft(seq: u64, previous: Option<String>, changes: usize) -> Receipt {
    let mut receipt: Receipt = serde_json::from_str(include_str!("../../tests/golden/receipt-1.json")).unwrap();
    receipt.format = RECEIPT_FORMAT;
    (receipt.seq, receipt.previous, receipt.changes) = (seq, previous, changes as u64);
    receipt.run = ulid::Ulid::from_parts(seq, 1).to_string();
    receipt
}

async fn memory(name: &str) -> Destination {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let registry = Registry::load(RegistryOptions::default()).await.unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Destination::open(&registry, &Location::parse(&format!("memory://{name}-{number}/d")).unwrap()).unwrap()
}

/// The state that the chain gives: keys that are present with their sizes, and keys that were removed.
async fn state_of(destination: &Destination, newest: &str) -> (BTreeMap<String, i64>, BTreeSet<String>) {
    let chain = chain(destination, newest).await.unwrap();
    let context = sorting_session().unwrap();
    let _fetched = register_changes(&context, destination, &chain).await.unwrap();
    let (mut present, mut removed, mut keys) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut rows = state::newest(&context, "key").await.unwrap();
    while let Some(batch) = rows.next().await.unwrap() {
        let sizes = batch.column(4).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        for i in 0..batch.num_rows() {
            let key = batch.column(0).as_string::<i32>().value(i).to_owned();
            keys.push(key.clone());
            if batch.column(2).as_boolean().value(i) {
                present.insert(key, sizes.value(i));
            } else {
                removed.insert(key);
            }
        }
    }
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    (present, removed)
}

/// Writes the receipts of all runs and compares the chain with a plain map after each.
async fn play(runs: &[Did], keep: u64) -> Result<(), TestCaseError> {
    let destination = memory("chain").await;
    let (mut model, mut ever_removed) = (BTreeMap::new(), BTreeSet::new());
    let mut previous: Option<String> = None;
    for (seq, did) in (1..).zip(runs) {
        let mut changes: BTreeMap<String, Option<i64>> = did.rows.iter().map(|(k, s)| (key(*k), s.map(i64::from))).collect();
        let complete = did.complete || previous.is_none();
        if complete {
            for (key, size) in &model {
                changes.entry(String::clone(key)).or_insert(Some(*size));
            }
        }
        for (key, size) in &changes {
            if let Some(size) = size {
                model.insert(key.clone(), *size);
            } else {
                model.remove(key);
                ever_removed.insert(key.clone());
            }
        }
        // A marker that was retracted and published again has two rows.
        let twice: Vec<_> = changes.iter().filter(|(_, s)| s.is_some()).map(|(k, _)| (k.clone(), None)).collect();
        let rows: Vec<_> = twice.into_iter().take(1).chain(changes).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = changes_file(folder.path(), &rows);
        let options = fold::WriteOptions { complete, keep };
        let mut receipt = draft(seq, previous.take(), rows.len());
        let mut etags = Etags::default();
        etags.see(&changes_of(&rows)).unwrap();
        receipt.etags = Some(etags);
        let (at, receipt) = fold::write(&destination, receipt, &file, options).await.unwrap();
        let smallest = model.values().filter(|size| differs(**size)).min();
        let below = receipt.etags.unwrap().same_below();
        prop_assert!(smallest.is_none_or(|size| below <= size.unsigned_abs()), "{} is said of {:?}", below, model);
        if receipt.whole.is_some() {
            prop_assert_eq!(below, smallest.map_or(u64::MAX, |size| size.unsigned_abs()));
        }
        let length = receipt.chain.unwrap();
        prop_assert!(length.receipts <= keep, "{:?}", length);
        let head = HeadFile { seq, ..HeadFile::default() };
        collect::collect(&destination, &head, length.first, keep).await.unwrap();
        let kept = destination.list("_millrace/receipts/").await.unwrap();
        let kept = kept.iter().filter(|l| l.key.ends_with("/receipt.json")).count() as u64;
        prop_assert!(kept <= keep.max(length.receipts), "{} receipts are kept of {}", kept, keep);
        let (present, removed) = state_of(&destination, &at).await;
        prop_assert_eq!(&present, &model);
        prop_assert!(removed.is_subset(&ever_removed) && removed.iter().all(|k| !model.contains_key(k)));
        let just_removed = rows.iter().map(|r| &r.0).filter(|k| !model.contains_key(*k));
        prop_assert!(just_removed.into_iter().all(|k| removed.contains(k)));
        previous = Some(at);
    }
    Ok(())
}

fn runs() -> impl Strategy<Value = Vec<Did>> {
    let row = (0u8..12, proptest::option::weighted(0.7, any::<u8>()));
    let did = (proptest::collection::vec(row, 0..8), proptest::bool::weighted(0.1));
    proptest::collection::vec(did.prop_map(|(rows, complete)| Did { rows, complete }), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_gives_the_state_however_it_is_folded(runs in runs(), keep in 1u64..5) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&runs, keep))?;
    }
}

#[tokio::test]
async fn a_claimed_root_keeps_its_claim_and_everything_that_was_removed() {
    let destination = memory("claimed").await;
    let claim = PlanBase { commit: "c".into(), metarange: "m".into(), claimed: true };
    let mut previous = None;
    for seq in 1..=7 {
        let folder = tempfile::tempdir().unwrap();
        let file = changes_file(folder.path(), &[(key(u8::try_from(seq).unwrap()), None)]);
        let mut receipt = draft(seq, previous.take(), 1);
        receipt.claim = (seq == 1).then(|| claim.clone());
        let options = fold::WriteOptions { complete: false, keep: 2 };
        let (at, receipt) = fold::write(&destination, receipt, &file, options).await.unwrap();
        assert_eq!(receipt.claim.as_ref(), Some(&claim), "{seq}");
        previous = Some(at);
    }
    let (present, removed) = state_of(&destination, &previous.unwrap()).await;
    assert_eq!((present.len(), removed.len()), (0, 7));
}

#[tokio::test]
async fn receipts_of_another_version_are_named() {
    let destination = memory("versions").await;
    for (format, kind) in [(RECEIPT_FORMAT + 1, planner::ErrorKind::Usage), (0, planner::ErrorKind::Usage)] {
        let mut receipt = draft(1, None, 0);
        receipt.format = format;
        destination.put_json("_millrace/receipts/r/receipt.json", &receipt).await.unwrap();
        let error = read(&destination, "_millrace/receipts/r").await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(&format!("has format {format}")) && error.help().is_some(), "{error}");
    }
}
