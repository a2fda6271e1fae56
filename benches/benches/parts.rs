//! Benchmarks of parts, on a generated lake of 200,000 entries: decompressing, scanning, looking up, merging.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use graveler::sstable::LoadedTable;
use graveler::{Metarange, Namespace, RangeReader, StoreFiles};
use millrace_benches::{Shape, Spread, generate};
use object_store::local::LocalFileSystem;
use planner::Location;
use planner::table::{DiffOptions, Mode, diff_stream};
use tokio::runtime::Runtime;

const ENTRIES: u64 = 200_000;

struct Lake {
    _folder: tempfile::TempDir,
    namespace: Namespace,
    before: Metarange,
    after: Metarange,
    files: Vec<bytes::Bytes>,
}

fn lake(runtime: &Runtime) -> Lake {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { entries: ENTRIES, changes: 100, spread: Spread::Random, empty: false };
    runtime.block_on(async {
        let made = generate(folder.path(), shape).await.expect("a lake");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("the lake's folder");
        let namespace = Namespace::new(Arc::new(StoreFiles::new(Arc::new(store), object_store::path::Path::default())));
        let dump = graveler::RefsDump::open(namespace.clone()).await.expect("a refs dump");
        let mut trees = Vec::new();
        for commit in [&made.before, &made.after] {
            let id = dump.commit(commit).await.expect("a commit").meta_range_id;
            trees.push(namespace.metarange(&id).await.expect("a metarange"));
        }
        let files = trees[0].ranges().iter().map(|r| read(folder.path(), &r.id)).collect();
        let (after, before) = (trees.pop().expect("two"), trees.pop().expect("two"));
        Lake { _folder: folder, namespace, before, after, files }
    })
}

fn read(folder: &Path, id: &str) -> bytes::Bytes {
    std::fs::read(folder.join("_lakefs").join(id)).expect("a range").into()
}

fn scan(lake: &Lake, mut each: impl FnMut(&RangeReader)) {
    for (info, file) in lake.before.ranges().iter().zip(&lake.files) {
        let table = LoadedTable::parse(&info.id, file.clone()).expect("a table");
        let mut reader = RangeReader::new(info.clone(), &table);
        while reader.advance().expect("a record") {
            each(&reader);
        }
    }
}

fn parts(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let lake = lake(&runtime);
    let mut group = c.benchmark_group("range scan");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("keys and identities", |b| b.iter(|| scan(&lake, |r| _ = black_box((r.key(), r.identity())))));
    group.bench_function("all of the entry", |b| b.iter(|| scan(&lake, |r| _ = black_box(r.entry().expect("an entry").size))));
    group.finish();

    let mut group = c.benchmark_group("diff");
    group.throughput(Throughput::Elements(ENTRIES));
    for (name, mode) in [("100 changes", Mode::Changes), ("everything", Mode::All)] {
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| async {
                let options = DiffOptions { mode, ..DiffOptions::default() };
                let storage = Location::parse("s3://lake/ns").expect("a location");
                let (_, stream) = diff_stream(&lake.namespace, &storage, &lake.before, &lake.after, options);
                let rows: usize = stream.map_ok(|b| b.len()).try_fold(0, |a, n| async move { Ok(a + n) }).await.expect("a diff");
                black_box(rows)
            });
        });
    }
    group.finish();

    let keys: Vec<String> = (0..100).map(|i| format!("tables/t00000/part={:05}/_SUCCESS", i * 2)).collect();
    c.bench_function("100 look-ups", |b| {
        b.to_async(&runtime).iter(|| async {
            for key in &keys {
                black_box(lake.namespace.lookup(&lake.before, key.as_bytes()).await.expect("a look-up"));
            }
        });
    });
}

criterion_group!(benches, parts);
criterion_main!(benches);
