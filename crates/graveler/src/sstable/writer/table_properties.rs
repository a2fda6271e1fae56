//! The block of properties, byte for byte as lakeFS's library writes it.

use std::collections::BTreeMap;

use super::super::block::Keys;
use super::block_builder::{BlockBuilder, ONE_RESTART};
use crate::varint::put_uvarint;

/// What the writer counts while it writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Bytes of all stored data blocks, with compression byte and checksum.
    pub(crate) data_size: u64,
    pub(crate) data_blocks: u64,
    pub(crate) entries: u64,
    /// Bytes of all keys with their trailers.
    pub(crate) raw_key_size: u64,
    pub(crate) raw_value_size: u64,
    /// Bytes of the index before compression, and one block trailer.
    pub(crate) index_size: u64,
    /// The partitions, and the length of the block above them.
    pub(crate) two_level: Option<(u64, u64)>,
}

const COMPRESSION_OPTIONS: &str =
    "window_bits=-14; level=32767; strategy=0; max_dict_bytes=0; zstd_max_train_bytes=0; enabled=0; ";

/// Properties that are texts and the same in every file.
const TEXTS: [(&str, &str); 8] = [
    ("rocksdb.block.based.table.prefix.filtering", "0"),
    ("rocksdb.block.based.table.whole.key.filtering", "0"),
    ("rocksdb.comparator", "leveldb.BytewiseComparator"),
    ("rocksdb.compression", "Snappy"),
    ("rocksdb.compression_options", COMPRESSION_OPTIONS),
    ("rocksdb.merge.operator", "pebble.concatenate"),
    ("rocksdb.prefix.extractor.name", "nullptr"),
    ("rocksdb.property.collectors", "[static]"),
];

/// Numbers that are always 0: there are no filters, no deletions, and no times.
const ZEROS: [&str; 10] = [
    "rocksdb.creation.time",
    "rocksdb.deleted.keys",
    "rocksdb.filter.size",
    "rocksdb.fixed.key.length",
    "rocksdb.format.version",
    "rocksdb.index.key.is.user.key",
    "rocksdb.index.value.is.delta.encoded",
    "rocksdb.merge.operands",
    "rocksdb.num.range-deletions",
    "rocksdb.oldest.key.time",
];

/// "No column family".
const COLUMN_FAMILY: u64 = 0x7fff_ffff;

/// The contents of the block: lakeFS's own properties and those of every table, by name.
pub(crate) fn encode(totals: &Totals, user: BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut all = user;
    let mut put = |name: &str, value: Vec<u8>| {
        all.insert(name.as_bytes().to_vec(), value);
    };
    for (name, text) in TEXTS {
        put(name, text.as_bytes().to_vec());
    }
    for name in ZEROS {
        put(name, number(0));
    }
    let index_type: u32 = if totals.two_level.is_some() { 2 } else { 0 };
    put("rocksdb.block.based.table.index.type", index_type.to_le_bytes().to_vec());
    put("rocksdb.column.family.id", number(COLUMN_FAMILY));
    put("rocksdb.data.size", number(totals.data_size));
    put("rocksdb.external_sst_file.global_seqno", 0_u64.to_le_bytes().to_vec());
    put("rocksdb.external_sst_file.version", 2_u32.to_le_bytes().to_vec());
    put("rocksdb.index.size", number(totals.index_size));
    put("rocksdb.num.data.blocks", number(totals.data_blocks));
    put("rocksdb.num.entries", number(totals.entries));
    put("rocksdb.raw.key.size", number(totals.raw_key_size));
    put("rocksdb.raw.value.size", number(totals.raw_value_size));
    if let Some((partitions, top_size)) = totals.two_level {
        put("rocksdb.index.partitions", number(partitions));
        put("rocksdb.top-level.index.size", number(top_size));
    }
    let mut block = BlockBuilder::new(ONE_RESTART, Keys::Plain);
    for (name, value) in &all {
        block.add(name, b"", value);
    }
    block.finish().to_vec()
}

fn number(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, value);
    out
}
