//! Every document that stays at a destination, in each format version that was ever written: it is read, and written back the
//! same. A change that breaks one of these needs a new format version and a file of its own here.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own golden file must fail")]

use std::path::PathBuf;

use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use engine::RunReport;
use engine::head::HeadFile;
use engine::receipt::{CHANGES_SCHEMA, Receipt};
use planner::digest::{FileDigest, is_whole, sealed};
use planner::plan::{PlanFile, ROW_SCHEMA};
use serde::{Serialize, de::DeserializeOwned};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn reads_and_writes_back<T: DeserializeOwned + Serialize>(name: &str) -> T {
    let text = std::fs::read_to_string(golden(name)).unwrap();
    let value: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(serde_json::to_string_pretty(&value).unwrap(), text.trim_end(), "{name}");
    value
}

#[test]
fn plans_of_format_1_are_read() {
    let plan: PlanFile = reads_and_writes_back("plan-1.json");
    assert_eq!((plan.format, plan.summary.copied, plan.summary.deleted, plan.summary.retracted), (1, 18, 12, 4));
    assert_eq!(plan.view.digest(), plan.view_digest, "the digest of a view never changes");
}

#[test]
fn heads_of_format_1_are_read() {
    let head: HeadFile = reads_and_writes_back("head-1.json");
    assert_eq!((head.format, head.seq, head.current.unwrap().objects), (1, 2, 343));
}

#[test]
fn receipts_of_format_1_are_read() {
    let receipt: Receipt = reads_and_writes_back("receipt-1.json");
    assert_eq!((receipt.format, receipt.seq, receipt.changes), (1, 2, 34));
}

#[test]
fn receipts_of_format_2_are_read() {
    let receipt: Receipt = reads_and_writes_back("receipt-2.json");
    assert_eq!((receipt.format, receipt.seq, receipt.changes), (2, 31, 34));
    assert_eq!((receipt.file(), receipt.chain.unwrap().first), (Some("state.parquet"), 31));
    assert_eq!(receipt.etags, None, "what is not said is not known");
    let receipt: Receipt = reads_and_writes_back("receipt-2-etags.json");
    assert_eq!(receipt.etags.unwrap().same_below(), 64 << 20);
}

#[test]
fn receipts_say_what_their_files_are() {
    let receipt: Receipt = reads_and_writes_back("receipt-2-files.json");
    assert_eq!(receipt.files["changes.parquet"], FileDigest::of(&golden("changes-1.parquet")).unwrap());
    assert_eq!(receipt.files.len(), 2);
}

#[test]
fn documents_carry_their_digest() {
    let text = std::fs::read(golden("head-1-digest.json")).unwrap();
    assert!(is_whole(&text));
    let head: HeadFile = serde_json::from_slice(&text).unwrap();
    assert_eq!(sealed(&head).unwrap(), text);
    assert!(is_whole(&std::fs::read(golden("head-1.json")).unwrap()), "those of earlier versions have none");
}

#[test]
fn records_of_runs_are_read() {
    let report: RunReport = reads_and_writes_back("run-1.json");
    assert_eq!((report.copied, report.deleted, report.rounds.len()), (18, 12, 3));
}

#[test]
fn parquet_files_keep_their_columns() {
    for (name, schema, rows) in [("plan-1-copy.parquet", &ROW_SCHEMA, 15), ("changes-1.parquet", &CHANGES_SCHEMA, 34)] {
        let file = std::fs::File::open(golden(name)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(reader.schema().fields(), schema.fields(), "{name}");
        assert_eq!(reader.build().unwrap().map(|b| b.unwrap().num_rows()).sum::<usize>(), rows, "{name}");
    }
}
