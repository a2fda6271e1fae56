//! Benchmarks of parts, on one thread, on a generated lake of 200,000 entries whose files are in memory.
//!
//! `scan` sets what is made of a commit's ranges beside what decompressing the same bytes takes: each scan is to stay within
//! three times that.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use graveler::sstable::LoadedTable;
use graveler::{Change, Metarange, Namespace, RangeReader, StoreFiles, StoreSink, TreeMerge, WriteOptions};
use millrace_benches::raw::decompress;
use millrace_benches::{Shape, Spread, generate};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path as StorePath};
use planner::entry::Columns;
use planner::plan::Expects;
use planner::source::{CommitSource, NamespaceSource};
use planner::table::{DiffOptions, Mode, diff_stream};
use planner::{Base, KeyRules, Location, MetadataStore, PlanRequest, RoundsSpec, SelectionSpec, Stores, View};
use tokio::runtime::Runtime;

const ENTRIES: u64 = 200_000;

#[derive(Debug)]
struct Lake {
    store: Arc<InMemory>,
    namespace: Namespace,
    before: Metarange,
    after: Metarange,
    files: Vec<bytes::Bytes>,
}

/// The lake is at `lake+memory://lake`, and so is everything else.
impl Stores for Lake {
    fn metadata(&self, _: &Location) -> planner::Result<MetadataStore> {
        Ok(MetadataStore { store: Arc::clone(&self.store) as _, prefix: StorePath::default() })
    }

    fn identity(&self, location: &Location) -> String {
        location.to_string()
    }

    fn key_rules(&self, _: &Location) -> KeyRules {
        KeyRules::default()
    }
}

async fn lake() -> Lake {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { entries: ENTRIES, changes: 100, spread: Spread::Random, empty: false };
    let made = generate(folder.path(), shape).await.expect("a lake");
    let store = Arc::new(InMemory::new());
    for file in std::fs::read_dir(folder.path().join("_lakefs")).expect("its metadata") {
        let file = file.expect("a file");
        let path = StorePath::from(format!("_lakefs/{}", file.file_name().display()));
        store.put(&path, read(&file.path()).into()).await.expect("a copy in memory");
    }
    let namespace = Namespace::new(Arc::new(StoreFiles::new(Arc::clone(&store) as _, StorePath::default())));
    let dump = graveler::RefsDump::open(namespace.clone()).await.expect("a refs dump");
    let mut trees = Vec::new();
    for commit in [&made.before, &made.after] {
        let id = dump.commit(commit).await.expect("a commit").meta_range_id;
        trees.push(namespace.metarange(&id).await.expect("a metarange"));
    }
    let files = trees[0].ranges().iter().map(|r| read(&folder.path().join("_lakefs").join(&r.id))).collect();
    let (after, before) = (trees.pop().expect("two"), trees.pop().expect("two"));
    Lake { store, namespace, before, after, files }
}

fn read(file: &Path) -> bytes::Bytes {
    std::fs::read(file).expect("a file").into()
}

fn tables(lake: &Lake) -> Vec<LoadedTable> {
    let parse = |(info, file): (&graveler::RangeInfo, &bytes::Bytes)| LoadedTable::parse(&info.id, file.clone());
    lake.before.ranges().iter().zip(&lake.files).map(|pair| parse(pair).expect("a table")).collect()
}

fn walk(lake: &Lake, tables: &[LoadedTable], mut each: impl FnMut(&RangeReader)) {
    for (info, table) in lake.before.ranges().iter().zip(tables) {
        let mut reader = RangeReader::new(info.clone(), table);
        while reader.advance().expect("a record") {
            each(&reader);
        }
    }
}

async fn diff(lake: &Lake, left: &Metarange, right: &Metarange, mode: Mode, columns: Columns) -> usize {
    let options = DiffOptions { mode, left: columns, right: columns, ..DiffOptions::default() };
    let storage = Location::parse("s3://lake/ns").expect("a location");
    let (_, stream) = diff_stream(&lake.namespace, &storage, left, right, options);
    stream.map_ok(|b| b.len()).try_fold(0, |a, n| async move { Ok(a + n) }).await.expect("a diff")
}

fn scans(c: &mut Criterion, runtime: &Runtime, lake: &Lake) {
    let tables = tables(lake);
    let blocks: Vec<_> = tables.iter().flat_map(|t| t.stored_blocks().expect("blocks")).collect();
    let mut buffer = vec![0; 1 << 20];
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("raw decompress", |b| b.iter(|| black_box(decompress(&blocks, &mut buffer).expect("blocks"))));
    group.bench_function("block decode", |b| b.iter(|| walk(lake, &tables, |r| _ = black_box((r.key(), r.identity())))));
    group
        .bench_function("entry decode", |b| b.iter(|| walk(lake, &tables, |r| _ = black_box(r.entry().expect("an entry").size))));
    let empty = Metarange::empty();
    for (name, columns) in [("keys to Arrow", Columns::KEYS), ("all columns to Arrow", Columns::ALL)] {
        group.bench_function(name, |b| {
            b.to_async(runtime).iter(|| async { black_box(diff(lake, &empty, &lake.before, Mode::All, columns).await) });
        });
    }
    group.finish();
}

fn merges(c: &mut Criterion, runtime: &Runtime, lake: &Lake) {
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(2 * ENTRIES));
    for (name, mode) in [("100 changes", Mode::Changes), ("all of both sides", Mode::All)] {
        group.bench_function(name, |b| {
            b.to_async(runtime).iter(|| async { black_box(diff(lake, &lake.before, &lake.after, mode, Columns::ALL).await) });
        });
    }
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("100 deletes into a new metarange", |b| {
        b.to_async(runtime).iter(|| async {
            let sink = Arc::new(StoreSink::new(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, StorePath::default()));
            let merge = TreeMerge { namespace: lake.namespace.clone(), sink, options: WriteOptions::default() };
            let keys = (0..100).map(|i| Ok((format!("tables/t00000/part={:05}/_SUCCESS", i * 2).into(), Change::Delete)));
            let applied = merge.apply(&lake.before, futures::stream::iter(keys), &graveler::Prefixes::default()).await;
            black_box(applied.expect("a metarange").changes.removed)
        });
    });
    group.finish();

    let keys: Vec<String> = (0..100).map(|i| format!("tables/t00000/part={:05}/_SUCCESS", i * 2)).collect();
    c.bench_function("100 look-ups", |b| {
        b.to_async(runtime).iter(|| async {
            for key in &keys {
                black_box(lake.namespace.lookup(&lake.before, key.as_bytes()).await.expect("a look-up"));
            }
        });
    });
}

/// A full plan into a folder: the scan, and writing what it yields as Parquet with digests.
fn plans(c: &mut Criterion, runtime: &Runtime, lake: &Lake) {
    let storage = Location::parse("memory://lake").expect("a location");
    let source = runtime.block_on(NamespaceSource::open(&storage, lake)).expect("a lake");
    let commit = runtime.block_on(source.resolve("main")).expect("a commit");
    let source: Arc<dyn CommitSource> = Arc::new(source);
    let view = View {
        lake: storage.to_string(),
        prefix: String::new(),
        selection: SelectionSpec::default(),
        rounds: RoundsSpec::default(),
    };
    let destination = Location::parse("memory://dest/x").expect("a location");
    let request = || PlanRequest {
        lake: Arc::clone(&source),
        commit: &commit,
        view: &view,
        base: Base::default(),
        destination: &destination,
        stores: lake,
        full: false,
        force: false,
        run: "benchmark".to_owned(),
        source: "benchmark".to_owned(),
        branch: false,
        expects: Expects::default(),
        claim: None,
        created: "2026-01-01T00:00:00Z".to_owned(),
        order: None,
        status: None,
        elsewhere: None,
        looks: None,
        hindrance: planner::planning::Hindrance::default(),
    };
    let mut group = c.benchmark_group("plan");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES));
    group.bench_function("full, written", |b| {
        b.to_async(runtime).iter(|| async {
            let folder = tempfile::tempdir().expect("a folder");
            let (plan, _) = planner::planning::plan(request(), folder.path(), &|_| {}).await.expect("a plan");
            black_box(plan.summary.copied)
        });
    });
    group.finish();
}

fn parts(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lake = runtime.block_on(lake());
    scans(c, &runtime, &lake);
    merges(c, &runtime, &lake);
    plans(c, &runtime, &lake);
}

criterion_group!(benches, parts);
criterion_main!(benches);
