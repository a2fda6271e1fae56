use std::collections::BTreeMap;

use std::time::Duration;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, MapBuilder, RecordBatch, StringArray, StringBuilder, new_null_array,
};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::{collect, displayable};
use planner::Location;
use planner::plan::ROW_SCHEMA;

use super::*;
use crate::copy::Concurrency;
use crate::store::{GetOptions, PutOptions, RequestClass, Store, md5_of};
use crate::{OnDrift, RegistryOptions};

#[derive(Clone, Default)]
pub(in crate::copy) struct PlanRow {
    action: &'static str,
    key: String,
    source: Option<String>,
    size: Option<i64>,
    etag: Option<String>,
    content_type: Option<&'static str>,
    metadata: Option<(&'static str, &'static str)>,
}

fn copy(key: &str, source: &str, bytes: &[u8]) -> PlanRow {
    PlanRow {
        action: "copy",
        key: key.to_owned(),
        source: Some(source.to_owned()),
        size: Some(i64::try_from(bytes.len()).unwrap()),
        etag: Some(hex::encode(md5_of(bytes))),
        ..PlanRow::default()
    }
}

/// A copy of an object that is not there.
pub(in crate::copy) fn copy_of(key: &str, size: i64) -> PlanRow {
    PlanRow { size: Some(size), ..copy(key, "memory://nowhere/x", b"") }
}

pub(in crate::copy) fn delete(key: &str) -> PlanRow {
    PlanRow { action: "delete", key: key.to_owned(), ..PlanRow::default() }
}

pub(in crate::copy) fn batch(rows: &[PlanRow]) -> RecordBatch {
    let text = |of: &dyn Fn(&PlanRow) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let names = datafusion::arrow::array::MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut metadata = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        if let Some((key, value)) = row.metadata {
            metadata.keys().append_value(key);
            metadata.values().append_value(value);
        }
        metadata.append(row.metadata.is_some()).unwrap();
    }
    let columns = ROW_SCHEMA.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "round" => Arc::new(Int32Array::from(vec![1; rows.len()])),
            "action" => text(&|row| Some(row.action.to_owned())),
            "key" | "path" => text(&|row| Some(row.key.clone())),
            "source" => text(&|row| row.source.clone()),
            "size" => Arc::new(rows.iter().map(|row| row.size).collect::<Int64Array>()),
            "etag" => text(&|row| row.etag.clone()),
            "content_type" => text(&|row| row.content_type.map(str::to_owned)),
            "metadata" => Arc::new(metadata.finish()),
            "reason" => text(&|_| Some("added".to_owned())),
            "shard" => Arc::new(Int32Array::from(vec![0; rows.len()])),
            "row" => Arc::new((0..i32::try_from(rows.len()).unwrap()).collect::<Int32Array>()),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    });
    RecordBatch::try_new(Arc::clone(&ROW_SCHEMA), columns.collect()).unwrap()
}

struct Bed {
    registry: Arc<Registry>,
    source: Arc<dyn Store>,
    destination: Arc<dyn Store>,
    spec: CopySpec,
    cancel: CancellationToken,
}

impl Bed {
    async fn new(source: &str, destination: &str) -> Self {
        let registry = Registry::load(RegistryOptions::default()).await.unwrap();
        let open = |url: &str| registry.open(&Location::parse(url).unwrap(), RequestClass::Control).unwrap();
        let (source, destination) = (open(source), open(destination));
        let spec = CopySpec { concurrency: Concurrency::Fixed(4), ..CopySpec::new(destination.location().clone()) };
        Self { registry, source, destination, spec, cancel: CancellationToken::new() }
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> String {
        self.source.put(key, bytes.to_vec().into(), &PutOptions::default()).await.unwrap();
        self.source.location().join(key).to_string()
    }

    fn exec(&self, batches: &[Vec<RecordBatch>]) -> Arc<CopyExec> {
        let input = MemorySourceConfig::try_new_exec(batches, Arc::clone(&ROW_SCHEMA), None).unwrap();
        Arc::new(CopyExec::new(input, self.spec.clone(), Arc::clone(&self.registry), self.cancel.clone()))
    }

    /// Outcomes by key: proof, or kind and text of the failure.
    async fn run(&self, rows: &[PlanRow]) -> BTreeMap<String, Result<Option<String>, (String, String)>> {
        let half = rows.len() / 2;
        let exec = self.exec(&[vec![batch(&rows[..half])], vec![batch(&rows[half..])]]);
        outcomes(&collect(exec, Arc::default()).await.unwrap())
    }

    async fn read(&self, key: &str) -> Option<String> {
        let got = self.destination.get_small(key).await.unwrap();
        got.map(|(bytes, _)| String::from_utf8(bytes.to_vec()).unwrap())
    }
}

fn outcomes(batches: &[RecordBatch]) -> BTreeMap<String, Result<Option<String>, (String, String)>> {
    let mut found = BTreeMap::new();
    for batch in batches {
        assert_eq!(batch.schema(), *OUTCOME_SCHEMA);
        let text = |name: &str, at: usize| {
            let column = batch.column_by_name(name).unwrap().as_string::<i32>();
            column.is_valid(at).then(|| column.value(at).to_owned())
        };
        for at in 0..batch.num_rows() {
            let ok = batch.column_by_name("ok").unwrap().as_boolean().value(at);
            let end = if ok { Ok(text("proof", at)) } else { Err((text("error_kind", at).unwrap(), text("error", at).unwrap())) };
            assert!(found.insert(text("key", at).unwrap(), end).is_none(), "two outcomes of one row");
        }
    }
    found
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with outcomes")]
fn ok(proof: &str) -> Result<Option<String>, (String, String)> {
    Ok(Some(proof.to_owned()))
}

#[tokio::test]
async fn a_failing_row_stops_no_other() {
    let bed = Bed::new("memory://exec-a/data", "memory://exec-b/out").await;
    let here = bed.put("1", b"one").await;
    let typed = PlanRow { content_type: Some("text/x"), metadata: Some(("owner", "crm")), ..copy("typed", &here, b"one") };
    let gone = bed.source.location().join("gone").to_string();
    bed.destination.put("old", "x".into(), &PutOptions::default()).await.unwrap();
    let rows = [
        copy("a", &here, b"one"),
        copy("lost", &gone, b"xyz"),
        typed,
        delete("old"),
        delete("never-was"),
        copy("short", &here, b"longer"),
        PlanRow { action: "retract", ..delete("d/_SUCCESS") },
        copy("a//b", &here, b"one"),
        PlanRow { source: None, ..copy("nowhere", "", b"one") },
    ];
    let ends = bed.run(&rows).await;
    assert_eq!(ends.len(), rows.len());
    assert_eq!((&ends["a"], &ends["typed"]), (&ok("md5"), &ok("md5")));
    assert_eq!((&ends["old"], &ends["never-was"], &ends["d/_SUCCESS"]), (&Ok(None), &Ok(None), &Ok(None)));
    let failure = |key: &str| ends[key].clone().unwrap_err();
    assert_eq!(failure("lost").0, "not_found");
    assert!(failure("lost").1.contains(&gone) && failure("lost").1.contains("`lost`"), "{:?}", failure("lost"));
    assert_eq!((failure("short").0, failure("a//b").0), ("changed".to_owned(), "bad_key".to_owned()));
    assert_eq!(failure("nowhere").0, "other");
    assert_eq!((bed.read("a").await.as_deref(), bed.read("old").await, bed.read("short").await), (Some("one"), None, None));
    let get = bed.destination.get("typed", &GetOptions::default()).await.unwrap();
    assert_eq!(get.attributes.content_type.as_deref(), Some("text/x"));
    assert_eq!(get.attributes.metadata, [("owner".to_owned(), "crm".to_owned())]);
    let (data, _) = bed.registry.requests();
    assert!(data >= 11, "{data} data requests");
}

#[tokio::test]
async fn files_are_copied_without_passing_through() {
    let dir = tempfile::tempdir().unwrap();
    let url = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let mut bed = Bed::new(&url("lake"), &url("out")).await;
    let here = bed.put("data/1", b"one").await;
    bed.spec.lake_data = Some(bed.source.location().join("data"));
    let before = bed.registry.payload_bytes();
    let ends = bed.run(&[copy("x/y", &here, b"one"), copy("x", &here, b"one")]).await;
    assert_eq!(bed.registry.payload_bytes(), before);
    // One of the two is in the other's way, whichever comes first.
    let (first, second) = (&ends["x/y"], &ends["x"]);
    assert!(first.is_ok() != second.is_ok(), "{ends:?}");
    assert_eq!([first, second].iter().find_map(|end| end.as_ref().ok()), Some(&Some("size".to_owned())));
    assert_eq!([first, second].iter().find_map(|end| end.as_ref().err()).unwrap().0, "bad_key");
}

#[tokio::test]
async fn an_overwritten_source_fails_or_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = Bed::new(&dir.path().join("in").to_string_lossy(), "memory://exec-drift").await;
    let here = bed.put("1", b"what is there now").await;
    let rows = [copy("k", &here, b"committed")];
    assert_eq!(bed.run(&rows).await["k"].clone().unwrap_err().0, "changed");
    assert_eq!(bed.read("k").await, None);
    bed.spec.on_drift = OnDrift::Take;
    assert_eq!(bed.run(&rows).await["k"], ok("drifted"));
    assert_eq!(bed.read("k").await.as_deref(), Some("what is there now"));
    // In the lake's own data nothing drifts: what is not as committed is damaged.
    bed.spec.lake_data = Some(bed.source.location().clone());
    let (kind, message) = bed.run(&[copy("own", &here, b"committed")]).await["own"].clone().unwrap_err();
    assert_eq!(kind, "changed");
    assert!(message.contains("in the lake's own data/ nothing is taken"), "{message}");
    assert_eq!(bed.read("own").await, None);
}

#[tokio::test]
async fn a_cancelled_operator_takes_no_more_rows_and_ends() {
    let bed = Bed::new("memory://exec-cancel-a", "memory://exec-cancel-b").await;
    let here = bed.put("1", b"one").await;
    let rows: Vec<PlanRow> = (0..2000).map(|n| copy(&format!("k{n}"), &here, b"one")).collect();
    // All permits are held until the token has come: the driver waits for one then.
    let exec = bed.exec(&[vec![batch(&rows)]]);
    let held = Arc::clone(&exec.shared.permits).acquire_many_owned(4).await.unwrap();
    let stream = exec.execute(0, Arc::default()).unwrap();
    bed.cancel.cancel();
    drop(held);
    let batches: Vec<RecordBatch> = futures::TryStreamExt::try_collect(stream).await.unwrap();
    let done = outcomes(&batches);
    assert!(done.len() < rows.len(), "all rows were taken");
    assert!(done.values().all(|end| *end == ok("md5")));
    assert_eq!(exec.shared.permits.available_permits(), 4);
}

#[tokio::test]
async fn a_dropped_stream_gives_its_permits_back() {
    let bed = Bed::new("memory://exec-drop-a", "memory://exec-drop-b").await;
    let here = bed.put("1", b"one").await;
    let rows: Vec<PlanRow> = (0..500).map(|n| copy(&format!("k{n}"), &here, b"one")).collect();
    let exec = bed.exec(&[vec![batch(&rows)]]);
    let stream = exec.execute(0, Arc::default()).unwrap();
    tokio::task::yield_now().await;
    drop(stream);
    let all = Arc::clone(&exec.shared.permits).acquire_many_owned(4);
    drop(tokio::time::timeout(Duration::from_secs(10), all).await.expect("rows go on after the drop").unwrap());
}

#[tokio::test]
async fn outcomes_hold_the_plans_row_and_columns_may_be_views() {
    use datafusion::arrow::compute::cast;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    let bed = Bed::new("memory://exec-views-a", "memory://exec-views-b").await;
    let here = bed.put("1", b"one").await;
    let rows = batch(&[copy("a", &here, b"one"), delete("b")]);
    let views: Vec<ArrayRef> = rows
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8 => cast(column, &DataType::Utf8View).unwrap(),
            _ => Arc::clone(column),
        })
        .collect();
    let fields = rows
        .schema()
        .fields()
        .iter()
        .zip(&views)
        .map(|(f, c)| Field::new(f.name(), c.data_type().clone(), f.is_nullable()))
        .collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(fields));
    let viewed = RecordBatch::try_new(Arc::clone(&schema), views).unwrap();
    let input = MemorySourceConfig::try_new_exec(&[vec![viewed]], schema, None).unwrap();
    let exec = Arc::new(CopyExec::new(input, bed.spec.clone(), Arc::clone(&bed.registry), bed.cancel.clone()));
    let shown = displayable(exec.as_ref()).one_line().to_string();
    assert!(shown.contains("→ memory://exec-views-b/"), "{shown}");
    let batches = collect(Arc::clone(&exec) as _, Arc::default()).await.unwrap();
    assert_eq!(outcomes(&batches).len(), 2);
    let size: i64 =
        batches.iter().flat_map(|b| b.column_by_name("size").unwrap().as_primitive::<Int64Type>().iter().flatten()).sum();
    assert_eq!(size, 3);
    let counted = |name: &str| exec.metrics().unwrap().sum_by_name(name).unwrap().as_usize();
    assert_eq!((counted("objects_copied"), counted("objects_deleted"), counted("bytes_copied")), (1, 1, 3));
}
