//! Makes table files for tests, good and bad: every part can be replaced, checksums stay right.

use bytes::Bytes;

use super::block::masked_crc;
use super::compression::{NONE, SNAPPY, ZSTD};
use super::footer::{CHECKSUM_CRC32C, FOOTER_LEN, Handle, MAGIC, VERSION};
use crate::varint::put_uvarint;

pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// The trailer of data keys and of shortened index keys.
pub(crate) const SET: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

pub(crate) fn pairs(items: &[(&str, &str)]) -> Vec<Pair> {
    let own = |text: &str| text.as_bytes().to_vec();
    items.iter().map(|(k, v)| (own(k), own(v))).collect()
}

/// The contents of a block, with `trailer` after each key.
pub(crate) fn contents(pairs: &[Pair], interval: usize, trailer: &[u8]) -> Vec<u8> {
    let (mut out, mut restarts, mut previous) = (Vec::new(), vec![], Vec::new());
    for (i, (key, value)) in pairs.iter().enumerate() {
        let mut shared = 0;
        if i % interval == 0 {
            restarts.push(u32::try_from(out.len()).unwrap());
        } else {
            shared = std::iter::zip(&previous, key).take_while(|(a, b)| a == b).count();
        }
        put_uvarint(&mut out, shared as u64);
        put_uvarint(&mut out, (key.len() - shared + trailer.len()) as u64);
        put_uvarint(&mut out, value.len() as u64);
        out.extend([&key[shared..], trailer, value].concat());
        previous.clone_from(key);
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    for restart in &restarts {
        out.extend(restart.to_le_bytes());
    }
    out.extend(u32::try_from(restarts.len()).unwrap().to_le_bytes());
    out
}

pub(crate) fn compress(contents: &[u8], kind: u8) -> Vec<u8> {
    match kind {
        SNAPPY => snap::raw::Encoder::new().compress_vec(contents).unwrap(),
        ZSTD => {
            let mut out = Vec::new();
            put_uvarint(&mut out, contents.len() as u64);
            out.extend(zstd::bulk::compress(contents, 3).unwrap());
            out
        }
        _ => contents.to_vec(),
    }
}

pub(crate) fn handle_bytes(handle: Handle) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, handle.offset);
    put_uvarint(&mut out, handle.length);
    out
}

/// A file in the making.
#[derive(Default)]
pub(crate) struct Maker {
    pub(crate) bytes: Vec<u8>,
}

impl Maker {
    /// Appends a stored block: payload as given, then kind and checksum.
    pub(crate) fn stored(&mut self, payload: &[u8], kind: u8) -> Handle {
        let handle = Handle { offset: self.bytes.len() as u64, length: payload.len() as u64 };
        let checked = [payload, &[kind]].concat();
        self.bytes.extend(&checked);
        self.bytes.extend(masked_crc(&checked).to_le_bytes());
        handle
    }

    pub(crate) fn block(&mut self, contents: &[u8], kind: u8) -> Handle {
        self.stored(&compress(contents, kind), kind)
    }

    /// Appends an index over blocks, each under its last key.
    pub(crate) fn index(&mut self, entries: &[(Vec<u8>, Handle)]) -> Handle {
        let entries: Vec<Pair> = entries.iter().map(|(key, handle)| (key.clone(), handle_bytes(*handle))).collect();
        self.block(&contents(&entries, 1, &SET), NONE)
    }

    /// Appends properties, metaindex and footer.
    pub(crate) fn finish(mut self, index: Handle, properties: &[Pair]) -> Bytes {
        let properties = self.block(&contents(properties, 1000, &[]), NONE);
        let entry = (b"rocksdb.properties".to_vec(), handle_bytes(properties));
        let metaindex = self.block(&contents(&[entry], 1, &[]), NONE);
        self.bytes.extend(footer(metaindex, index));
        Bytes::from(self.bytes)
    }
}

pub(crate) fn footer(metaindex: Handle, index: Handle) -> Vec<u8> {
    let mut out = vec![CHECKSUM_CRC32C];
    out.extend(handle_bytes(metaindex));
    out.extend(handle_bytes(index));
    out.resize(FOOTER_LEN - 12, 0);
    out.extend(VERSION.to_le_bytes());
    out.extend(MAGIC);
    out
}

pub(crate) fn index_type(levels: u8) -> Vec<Pair> {
    let name = b"rocksdb.block.based.table.index.type".to_vec();
    vec![(name, vec![if levels == 2 { 2 } else { 0 }, 0, 0, 0])]
}

/// A whole table: `per_block` records a block, `per_partition` blocks a partition (0: one level).
pub(crate) fn table(pairs: &[Pair], per_block: usize, per_partition: usize, kind: u8) -> Bytes {
    let mut maker = Maker::default();
    let mut entries = Vec::new();
    for chunk in pairs.chunks(per_block) {
        let handle = maker.block(&contents(chunk, 3, &SET), kind);
        entries.push((chunk[chunk.len() - 1].0.clone(), handle));
    }
    if per_partition == 0 {
        let index = maker.index(&entries);
        return maker.finish(index, &index_type(1));
    }
    let top: Vec<_> = entries.chunks(per_partition).map(|chunk| (chunk[chunk.len() - 1].0.clone(), maker.index(chunk))).collect();
    let index = maker.index(&top);
    maker.finish(index, &index_type(2))
}
