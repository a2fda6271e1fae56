//! Reading objects on a cluster: a shard of what is known of them in, an object with what was found out.
//!
//! Nothing is changed, so nothing is fenced: a shard that is read twice has two results that say the same.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use planner::{Error, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::ReadTask;
use super::attempt::{shard_of, stopped};
use super::site::{Site, Stops};
use crate::RequestClass;
use crate::prove::{Read, Sought, Wrong, read};
use crate::store::PutOptions;

/// Objects to be read: `shard`, and the fields of [`Sought`].
pub(super) static SOUGHT_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("shard", DataType::Int32, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("size", DataType::Int64, true),
        Field::new("checksum", DataType::Utf8, true),
        Field::new("etag", DataType::Utf8, true),
    ]))
});

/// A shard's rows.
///
/// # Errors
/// `Bug` where they are no batch.
pub fn sought_batch(shard: i32, sought: &[Sought]) -> Result<RecordBatch> {
    let sizes = sought.iter().map(|one| one.size.and_then(|size| i64::try_from(size).ok()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![shard; sought.len()])),
        Arc::new(StringArray::from_iter_values(sought.iter().map(|one| &one.key))),
        Arc::new(sizes.collect::<Int64Array>()),
        Arc::new(sought.iter().map(|one| one.checksum.as_deref()).collect::<StringArray>()),
        Arc::new(sought.iter().map(|one| one.etag.as_deref()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Arc::clone(&SOUGHT_SCHEMA), columns).map_err(|e| Error::bug(format!("a shard to read: {e}")))
}

fn sought_of(batch: &RecordBatch) -> Result<Vec<Sought>> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::bug(format!("a shard to read has no `{name}`")));
    let (key, size) = (column("key")?.as_string::<i32>(), column("size")?.as_primitive::<Int64Type>());
    let (checksum, etag) = (column("checksum")?.as_string::<i32>(), column("etag")?.as_string::<i32>());
    let text = |column: &StringArray, i: usize| column.is_valid(i).then(|| column.value(i).to_owned());
    let row = |i: usize| Sought {
        key: key.value(i).to_owned(),
        size: size.is_valid(i).then(|| size.value(i).unsigned_abs()),
        checksum: text(checksum, i),
        etag: text(etag, i),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// An object that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundOne {
    /// Its key.
    pub key: String,
    /// In which way.
    pub wrong: Wrong,
    /// What should be there, for people.
    pub expected: String,
    /// What is there, for people.
    pub found: String,
}

/// What reading a shard showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The shard.
    pub shard: i32,
    /// Objects that were read.
    pub objects: u64,
    /// Of those that are right, their bytes.
    pub bytes: u64,
    /// Of those, objects of which only the size is proved.
    pub unproved: u64,
    /// Those that are not.
    pub different: Vec<FoundOne>,
}

impl Found {
    fn add(&mut self, (key, read): (String, Read)) {
        self.objects += 1;
        match read {
            Read::Proved(bytes) => self.bytes += bytes,
            Read::Unproved(bytes) => {
                self.bytes += bytes;
                self.unproved += 1;
            }
            Read::Different { wrong, expected, found } => self.different.push(FoundOne { key, wrong, expected, found }),
        }
    }
}

/// A task that reads.
pub(super) struct Reading {
    pub(super) site: Arc<Site>,
    pub(super) task: ReadTask,
    pub(super) stops: Stops,
    pub(super) context: Arc<TaskContext>,
}

impl Reading {
    /// Reads the objects that `input`'s partition names, and leaves what was found.
    pub(super) async fn run(self, input: Arc<dyn ExecutionPlan>, partition: usize) -> Result<()> {
        let begin = self.stops.begin.clone();
        tokio::select! {
            ended = self.read(input, partition) => ended,
            () = begin.cancelled() => Err(stopped()),
        }
    }

    async fn read(&self, input: Arc<dyn ExecutionPlan>, partition: usize) -> Result<()> {
        let registry = self.site.registry();
        let store = registry.open(&self.task.destination, RequestClass::Data)?;
        let permits = self.site.reading(&self.task);
        let mut rows = input.execute(partition, Arc::clone(&self.context))?;
        let (mut found, mut reading) = (Found { shard: -1, ..Found::default() }, JoinSet::new());
        let broken = |e: tokio::task::JoinError| Error::bug(format!("a task that reads an object ended: {e}"));
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                found.shard = shard_of(&batch)?;
            }
            for sought in sought_of(&batch)? {
                let permit = Arc::clone(&permits).acquire_owned().await.map_err(|e| Error::bug(e.to_string()))?;
                let store = Arc::clone(&store);
                reading.spawn(async move {
                    let _permit = permit;
                    read(store, sought).await
                });
                while let Some(ended) = reading.try_join_next() {
                    found.add(ended.map_err(broken)?);
                }
            }
        }
        while let Some(ended) = reading.join_next().await {
            found.add(ended.map_err(broken)?);
        }
        if found.shard < 0 {
            return Ok(());
        }
        let results = registry.open(&self.task.results, RequestClass::Control)?;
        let name = format!("{}-{:016x}.json", found.shard, rand::rng().random::<u64>());
        let body = serde_json::to_vec(&found).map_err(|e| Error::bug(format!("{name}: {e}")))?;
        let put = results.put(&name, body.into(), &PutOptions::default()).await;
        let at = &self.task.results;
        put.map(drop).map_err(|e| e.into_error(at, format!("{at}{name} cannot be written")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sought_survives_its_way_through_a_shard() {
        let one = Sought { key: "a b".to_owned(), size: Some(3), checksum: Some("md5:00".to_owned()), etag: None };
        let sought = [one, Sought { key: "c".to_owned(), ..Sought::default() }];
        let batch = sought_batch(7, &sought).unwrap();
        assert_eq!(sought_of(&batch).unwrap(), sought);
        assert_eq!(shard_of(&batch).unwrap(), 7);
    }

    #[test]
    fn what_differs_is_kept_and_the_rest_is_counted() {
        let mut found = Found::default();
        found.add(("a".to_owned(), Read::Proved(5)));
        found.add(("b".to_owned(), Read::Unproved(2)));
        let different = Read::Different { wrong: Wrong::Missing, expected: "1 byte".to_owned(), found: "nothing".to_owned() };
        found.add(("c".to_owned(), different));
        assert_eq!((found.objects, found.bytes, found.unproved), (3, 7, 1));
        assert_eq!(found.different[0].key, "c");
        assert_eq!(serde_json::from_slice::<Found>(&serde_json::to_vec(&found).unwrap()).unwrap(), found);
    }
}
