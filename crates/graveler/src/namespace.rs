//! A storage namespace: metaranges, ranges and look-ups over wherever its metadata files are.
//!
//! Files are immutable, so nothing here can go stale. A file is refused when its properties say
//! that it is something else than was asked for: ranges and metaranges lie side by side under names
//! that do not tell them apart, and those of refs dumps beside those of commits.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::content_id;
use crate::counters::Counters;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{FileKind, MetadataFiles};
use crate::lookup::{Counted, OpenTables};
use crate::metarange::{Metarange, is_id};
use crate::range::{RangeInfo, RangeReader, Record};
use crate::refs::Entity;
use crate::sstable::properties::{ENTITY, TYPE};
use crate::sstable::{LoadedTable, Properties, Table};

/// A storage namespace. Clones are cheap and share counters and open tables.
#[derive(Clone, Debug)]
pub struct Namespace {
    files: Arc<dyn MetadataFiles>,
    counters: Arc<Counters>,
    tables: Arc<OpenTables>,
}

impl Namespace {
    /// The namespace whose metadata `files` hands out.
    #[must_use]
    pub fn new(files: Arc<dyn MetadataFiles>) -> Self {
        Self { files, counters: Arc::default(), tables: Arc::default() }
    }

    /// Where the metadata files come from.
    #[must_use]
    pub fn files(&self) -> &Arc<dyn MetadataFiles> {
        &self.files
    }

    /// What reading has cost so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The metarange of a commit; the empty id is that of the first commit and reads no file.
    pub async fn metarange(&self, id: &str) -> Result<Metarange> {
        if id.is_empty() {
            return Ok(Metarange::empty());
        }
        self.metarange_of(id, None).await
    }

    pub(crate) async fn metarange_of(&self, id: &str, entity: Option<Entity>) -> Result<Metarange> {
        let table = self.load(id, FileKind::Metarange).await?;
        check_properties(&table, FileKind::Metarange, entity)?;
        self.counters.opened_metarange();
        let mut metarange = Metarange::read(id, &table)?;
        metarange.entity = entity;
        Ok(metarange)
    }

    /// A reader of a range's records: one read of the whole file.
    pub async fn range(&self, info: &RangeInfo) -> Result<RangeReader> {
        self.range_of(info, None).await
    }

    async fn range_of(&self, info: &RangeInfo, entity: Option<Entity>) -> Result<RangeReader> {
        let table = self.load(&info.id, FileKind::Range).await?;
        check_properties(&table, FileKind::Range, entity)?;
        self.counters.opened_range();
        Ok(RangeReader::new(info.clone(), &table))
    }

    /// The record with this key, if there is one: the index of its range, which is kept for the
    /// next look-up, and one block.
    pub async fn lookup(&self, metarange: &Metarange, key: &[u8]) -> Result<Option<Record>> {
        let Some(range) = metarange.find(key) else {
            return Ok(None);
        };
        self.counters.looked_up();
        let table = self.table(&range.id, metarange.entity).await?;
        let Some(value) = table.get(key).await? else {
            return Ok(None);
        };
        record(Bytes::copy_from_slice(key), &value, &table).map(Some)
    }

    /// The first records whose keys start with `prefix`, `limit` at most: as a look-up, and the
    /// blocks that hold them.
    pub async fn with_prefix(&self, metarange: &Metarange, prefix: &[u8], limit: usize) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for range in metarange.ranges_from(prefix) {
            if *range.min_key > *prefix && !range.min_key.starts_with(prefix) {
                break;
            }
            let table = self.table(&range.id, metarange.entity).await?;
            let mut scan = table.scan(Some(prefix));
            while let Some(block) = scan.next_block().await? {
                let mut cursor = block.cursor();
                while cursor.advance()? {
                    if records.len() == limit || !cursor.key().starts_with(prefix) {
                        return Ok(records);
                    }
                    let key = Bytes::copy_from_slice(cursor.key());
                    records.push(record(key, &cursor.value_bytes(), &table)?);
                }
            }
        }
        Ok(records)
    }

    /// All records of a metarange in key order, one range in memory at a time. The stream ends at
    /// the first error.
    #[must_use]
    pub fn records(&self, metarange: &Metarange) -> BoxStream<'static, Result<Record>> {
        let walk = RecordWalk {
            namespace: self.clone(),
            entity: metarange.entity,
            ranges: metarange.ranges().to_vec().into_iter(),
            reader: None,
        };
        stream::try_unfold(walk, RecordWalk::next).boxed()
    }

    /// Recomputes the id of a range from its records; gives their number.
    pub async fn verify_range(&self, id: &str) -> Result<u64> {
        self.verify(id, FileKind::Range).await
    }

    /// Recomputes the id of a metarange from its records; gives the number of ranges.
    pub async fn verify_metarange(&self, id: &str) -> Result<u64> {
        self.verify(id, FileKind::Metarange).await
    }

    async fn verify(&self, id: &str, kind: FileKind) -> Result<u64> {
        let table = self.load(id, kind).await?;
        check_type(table.properties(), table.name(), kind)?;
        content_id::verify(&table, id)
    }

    async fn load(&self, id: &str, kind: FileKind) -> Result<LoadedTable> {
        check_id(id, kind)?;
        let bytes = self.files.read(id, kind).await?;
        self.counters.read(bytes.len());
        LoadedTable::parse(&self.files.file_name(id), bytes)
    }

    async fn table(&self, id: &str, entity: Option<Entity>) -> Result<Table> {
        let slot = self.tables.slot(id);
        slot.get_or_try_init(|| self.open_table(id, entity)).await.cloned()
    }

    async fn open_table(&self, id: &str, entity: Option<Entity>) -> Result<Table> {
        check_id(id, FileKind::Range)?;
        let file = self.files.open(id, FileKind::Range).await?;
        let counters = Arc::clone(&self.counters);
        let table = Table::open(Arc::new(Counted { file, counters })).await?;
        check_type(table.properties(), table.name(), FileKind::Range)?;
        check_entity(table.properties(), table.name(), entity)?;
        Ok(table)
    }
}

struct RecordWalk {
    namespace: Namespace,
    entity: Option<Entity>,
    ranges: std::vec::IntoIter<RangeInfo>,
    reader: Option<RangeReader>,
}

impl RecordWalk {
    async fn next(mut self) -> Result<Option<(Record, Self)>> {
        loop {
            if let Some(reader) = &mut self.reader
                && reader.advance()?
            {
                return Ok(Some((reader.record(), self)));
            }
            let Some(range) = self.ranges.next() else {
                return Ok(None);
            };
            self.reader = Some(self.namespace.range_of(&range, self.entity).await?);
        }
    }
}

fn record(key: Bytes, value: &Bytes, table: &Table) -> Result<Record> {
    Record::split(key, value).map_err(|error| error.in_file(table.name()))
}

fn check_id(id: &str, kind: FileKind) -> Result<()> {
    if is_id(id) {
        return Ok(());
    }
    let what = match kind {
        FileKind::Range => "range",
        FileKind::Metarange => "metarange",
    };
    Err(Error::new(ErrorKind::InvalidId, id, format!("expected the id of a {what}, 64 hexadecimal digits, found another text")))
}

fn check_properties(table: &LoadedTable, kind: FileKind, entity: Option<Entity>) -> Result<()> {
    check_type(table.properties(), table.name(), kind)?;
    check_entity(table.properties(), table.name(), entity)
}

fn check_type(properties: &Properties, file: &str, kind: FileKind) -> Result<()> {
    let found = properties.text(TYPE);
    if found.as_deref() == Some(kind.property()) {
        return Ok(());
    }
    Err(Error::corrupt(
        file,
        format!("expected a file of type `{}`, found `{}`", kind.property(), found.as_deref().unwrap_or("none")),
    ))
}

fn check_entity(properties: &Properties, file: &str, entity: Option<Entity>) -> Result<()> {
    let found = properties.text(ENTITY);
    let expected = entity.map(Entity::property);
    if found.as_deref() == expected {
        return Ok(());
    }
    let name = |entity: Option<&str>| match entity {
        Some(entity) => format!("a refs dump of entity `{entity}`"),
        None => "objects".to_owned(),
    };
    Err(Error::corrupt(file, format!("expected {}, found {}", name(expected), name(found.as_deref()))))
}
