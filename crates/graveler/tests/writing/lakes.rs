//! Lakes in memory to write to, and trees as plain maps to compare with.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use graveler::{
    Change, MetadataSink, Metarange, MetarangeWriter, Namespace, RangeBreaker, StoreFiles, StoreSink, TreeMerge, WriteOptions,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

/// A tree as a map: identity and data by key.
pub(crate) type Map = BTreeMap<Bytes, (Bytes, Bytes)>;
/// Changes as a map.
pub(crate) type Changes = BTreeMap<Bytes, Change>;

/// Ranges of so many records on average.
pub(crate) fn ragged(raggedness: u64) -> WriteOptions {
    WriteOptions { breaker: RangeBreaker { raggedness, ..RangeBreaker::default() }, ..WriteOptions::default() }
}

/// An empty lake: where to read it, and where to write it.
pub(crate) fn lake_on(store: Arc<dyn ObjectStore>) -> (Namespace, Arc<dyn MetadataSink>) {
    let prefix = Path::from("lakes/new");
    let namespace = Namespace::new(Arc::new(StoreFiles::new(Arc::clone(&store), prefix.clone())));
    (namespace, Arc::new(StoreSink::new(store, prefix)))
}

pub(crate) fn lake(raggedness: u64) -> TreeMerge {
    let (namespace, sink) = lake_on(Arc::new(InMemory::new()));
    TreeMerge { namespace, sink, options: ragged(raggedness) }
}

pub(crate) async fn write(lake: &TreeMerge, map: &Map) -> Metarange {
    let mut writer = MetarangeWriter::new(Arc::clone(&lake.sink), lake.options);
    for (key, (identity, data)) in map {
        writer.add(key, identity, data).await.unwrap();
    }
    writer.finish().await.unwrap().metarange
}

pub(crate) async fn read(namespace: &Namespace, tree: &Metarange) -> Map {
    let records: Vec<_> = namespace.records(tree).try_collect().await.unwrap();
    records.into_iter().map(|record| (record.key, (record.identity, record.data))).collect()
}

pub(crate) fn stream_of(changes: &Changes) -> impl Stream<Item = graveler::Result<(Bytes, Change)>> + Send + use<> {
    let changes: Vec<_> = changes.clone().into_iter().map(Ok).collect();
    stream::iter(changes)
}

/// The changes that make `right` of `left`, by identity.
pub(crate) fn diff(left: &Map, right: &Map) -> Changes {
    let mut changes = Changes::new();
    for key in left.keys().filter(|key| !right.contains_key(*key)) {
        changes.insert(key.clone(), Change::Delete);
    }
    for (key, (identity, data)) in right {
        if left.get(key).is_none_or(|(before, _)| before != identity) {
            changes.insert(key.clone(), Change::Put { identity: identity.clone(), data: data.clone() });
        }
    }
    changes
}

/// The records' identities by key: what makes trees equal.
pub(crate) fn identities(map: &Map) -> BTreeMap<&Bytes, &Bytes> {
    map.iter().map(|(key, (identity, _))| (key, identity)).collect()
}
