//! Copying: every fault on every path, what it costs, and what the stores say.
//!
//! [`Stage`] drives the copy operator in process: two servers and a folder. The bucket `src` and the bucket `near` are on one
//! server, so that copies from the one to the other stay inside; the bucket `far` is on the other one, so that they do not.

mod binary;
mod clean;
mod conformance;
mod damage;
mod deletes;
mod disk;
mod faults;
mod http;
mod late;
mod matrix;
mod midway;
mod pace;
mod said;
mod sources;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use datafusion::{
    arrow::array::{
        Array, ArrayRef, AsArray, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
        new_null_array,
    },
    arrow::datatypes::Int64Type,
    datasource::memory::MemorySourceConfig,
    physical_plan::collect,
};
use millrace_tests::s3::{ACCESS_KEY, Object, S3Server, SECRET_KEY};
use planner::{Location, plan::ROW_SCHEMA};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use worker::{CopyExec, CopySpec, Registry, RegistryOptions, StoreSettings, Variables, retry::Retry};

/// Where an object is read from, or where it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The bucket of sources.
    Src,
    /// A bucket of the same server.
    Near,
    /// A bucket of another server.
    Far,
    /// A folder.
    Folder,
}

/// One row of a plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanRow {
    pub(crate) action: &'static str,
    pub(crate) key: String,
    pub(crate) source: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) etag: Option<String>,
    pub(crate) content_type: Option<&'static str>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) ok: bool,
    pub(crate) bytes: i64,
    pub(crate) etag: Option<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) proof: Option<String>,
    /// Empty for what was done.
    pub(crate) kind: String,
    pub(crate) error: String,
}

/// Two servers, a folder, and the operator's surroundings.
pub(crate) struct Stage {
    pub(crate) here: S3Server,
    pub(crate) there: S3Server,
    pub(crate) registry: Arc<Registry>,
    folder: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With more settings for the bucket of that name.
    pub(crate) async fn with(more: &[(&str, &str)]) -> Self {
        let (here, there) = (S3Server::with_buckets(&["src", "near"]), S3Server::with_buckets(&["far"]));
        let settings = [("src", &here), ("near", &here), ("far", &there)].map(|(bucket, server)| {
            let more: Vec<&str> = more.iter().filter(|(name, _)| *name == bucket).map(|(_, more)| *more).collect();
            let common = "access_key_id_env=ID,secret_access_key_env=SECRET";
            let spec = format!("prefix=s3://{bucket},endpoint={},{common},{}", server.endpoint(), more.join(","));
            StoreSettings::parse_spec(spec.trim_end_matches(',')).unwrap()
        });
        let variables = Variables::new(|name| match name {
            "ID" => Some(ACCESS_KEY.to_owned()),
            "SECRET" => Some(SECRET_KEY.to_owned()),
            _ => None,
        });
        let options = RegistryOptions { settings: settings.to_vec(), variables, ..RegistryOptions::default() };
        let registry = Registry::load(options).await.unwrap();
        Self { here, there, registry, folder: TempDir::with_prefix("millrace-copy-").unwrap() }
    }

    pub(crate) fn server(&self, place: Place) -> &S3Server {
        if place == Place::Far { &self.there } else { &self.here }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(key)
    }

    /// Where keys of a place lie.
    pub(crate) fn location(&self, place: Place) -> Location {
        let url = match place {
            Place::Folder => format!("{}/", self.folder.path().display()),
            place => format!("s3://{}/", bucket(place)),
        };
        Location::parse(&url).unwrap()
    }

    /// Puts an object and gives the row that copies it to the same key.
    pub(crate) fn put(&self, place: Place, key: &str, object: Object) -> PlanRow {
        let (size, etag) = (object.body.len(), object.etag.clone());
        if place == Place::Folder {
            let path = self.path(&format!("from/{key}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, object.bytes()).unwrap();
        } else {
            self.server(place).put_object(bucket(place), key, object);
        }
        let at = if place == Place::Folder { format!("from/{key}") } else { key.to_owned() };
        PlanRow {
            action: "copy",
            key: key.to_owned(),
            source: Some(self.location(place).join(&at).to_string()),
            size: Some(size),
            etag: Some(etag),
            content_type: None,
        }
    }

    /// The bytes at a key.
    pub(crate) fn bytes(&self, place: Place, key: &str) -> Option<bytes::Bytes> {
        match place {
            Place::Folder => std::fs::read(self.path(key)).ok().map(Into::into),
            place => self.server(place).get(bucket(place), key).map(|object| object.bytes()),
        }
    }

    /// Small bounds, so that nothing takes long.
    pub(crate) fn spec(&self, to: Place) -> CopySpec {
        let retry = Retry { tries: 5, first_wait: Duration::from_millis(5), longest_wait: Duration::from_millis(20) };
        CopySpec { retry, stall_ms: 1500, request_timeout_ms: 4000, complete_ms: 4000, ..CopySpec::new(self.location(to)) }
    }

    /// Does the rows and gives their ends by key.
    pub(crate) async fn run(&self, spec: &CopySpec, rows: &[PlanRow]) -> BTreeMap<String, End> {
        run_rows(&self.registry, spec, rows).await
    }

    /// Does one row.
    pub(crate) async fn run_one(&self, spec: &CopySpec, row: &PlanRow) -> End {
        self.run(spec, std::slice::from_ref(row)).await.remove(&row.key).unwrap()
    }
}

/// Does the rows and gives their ends by key.
pub(crate) async fn run_rows(registry: &Arc<Registry>, spec: &CopySpec, rows: &[PlanRow]) -> BTreeMap<String, End> {
    let input = MemorySourceConfig::try_new_exec(&[vec![batch(rows)]], Arc::clone(&ROW_SCHEMA), None).unwrap();
    let exec = CopyExec::new(input, spec.clone(), Arc::clone(registry), CancellationToken::new());
    let batches = collect(Arc::new(exec), Arc::default()).await.unwrap();
    let ends: BTreeMap<String, End> = batches.iter().flat_map(ends).collect();
    assert_eq!(ends.len(), rows.len(), "each row has one outcome");
    ends
}

pub(crate) fn bucket(place: Place) -> &'static str {
    match place {
        Place::Src => "src",
        Place::Near => "near",
        Place::Far => "far",
        Place::Folder => panic!("a folder is no bucket"),
    }
}

/// Bytes that repeat late.
pub(crate) fn pattern(size: usize, seed: u64) -> Vec<u8> {
    millrace_tests::s3::Body::sparse(size as u64, seed).to_bytes().to_vec()
}

pub(crate) fn batch(rows: &[PlanRow]) -> RecordBatch {
    let text = |of: &dyn Fn(&PlanRow) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut metadata = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for _ in rows {
        metadata.append(false).unwrap();
    }
    let columns = ROW_SCHEMA.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "round" => Arc::new(Int32Array::from(vec![1; rows.len()])),
            "action" => text(&|row| Some(row.action.to_owned())),
            "key" | "path" => text(&|row| Some(row.key.clone())),
            "source" => text(&|row| row.source.clone()),
            "size" => Arc::new(rows.iter().map(|row| row.size.map(|size| i64::try_from(size).unwrap())).collect::<Int64Array>()),
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

fn ends(batch: &RecordBatch) -> Vec<(String, End)> {
    let text = |name: &str, at: usize| {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.is_valid(at).then(|| column.value(at).to_owned())
    };
    let bytes = batch.column_by_name("bytes").unwrap().as_primitive::<Int64Type>();
    let end = |at: usize| End {
        ok: batch.column_by_name("ok").unwrap().as_boolean().value(at),
        bytes: bytes.value(at),
        etag: text("stored_etag", at),
        checksum: text("checksum", at),
        proof: text("proof", at),
        kind: text("error_kind", at).unwrap_or_default(),
        error: text("error", at).unwrap_or_default(),
    };
    (0..batch.num_rows()).map(|at| (text("key", at).unwrap(), end(at))).collect()
}
