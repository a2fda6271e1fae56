//! An entry decoded in place: the strings point into the record, nothing is allocated.
//!
//! [`EntryRef::decode`] accepts exactly what a protobuf decoder accepts, unknown fields included,
//! and fails on everything else.

use std::str;

use crate::error::{Error, Result};
use crate::proto::{AddressType, Entry, Timestamp};
use crate::varint::read_uvarint;

/// An object of the lake, borrowed from the record that holds it.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryRef<'a> {
    /// Where the bytes are; see [`EntryRef::kind`].
    pub address: &'a str,
    /// The etag, without quotes; not a reliable checksum.
    pub etag: &'a str,
    /// The MIME type; empty for imported objects.
    pub content_type: &'a str,
    /// Bytes.
    pub size: i64,
    /// When the object was written, in seconds since 1970, UTC.
    pub mtime_secs: i64,
    /// Nanoseconds of that second.
    pub mtime_nanos: i32,
    /// The number of the address type, as stored.
    pub address_type: i32,
    has_mtime: bool,
    metadata: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// Decodes the data of a record of a range.
    ///
    /// The error names no file: add it with [`Error::in_file`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut entry = Self::default();
        let mut fields = Fields { all: bytes, at: 0 };
        while let Some((start, field)) = fields.next_field()? {
            entry.take(bytes, start, field)?;
        }
        Ok(entry)
    }

    /// How [`EntryRef::address`] is to be read; `None` for a type that is not known here.
    #[must_use]
    pub fn kind(&self) -> Option<AddressType> {
        AddressType::try_from(self.address_type).ok()
    }

    /// The user metadata, as stored: of a key that comes twice the last counts.
    #[must_use]
    pub fn metadata(&self) -> MetadataIter<'a> {
        MetadataIter(Fields { all: self.metadata, at: 0 })
    }

    /// The same entry with its own strings.
    #[must_use]
    pub fn to_entry(&self) -> Entry {
        Entry {
            address: self.address.to_owned(),
            last_modified: self.has_mtime.then_some(Timestamp { seconds: self.mtime_secs, nanos: self.mtime_nanos }),
            size: self.size,
            e_tag: self.etag.to_owned(),
            metadata: self.metadata().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            address_type: self.address_type,
            content_type: self.content_type.to_owned(),
        }
    }

    #[inline]
    fn take(&mut self, all: &'a [u8], start: usize, field: Field<'a>) -> Result<()> {
        match field.number {
            1 => self.address = field.text()?,
            2 => self.take_mtime(field)?,
            3 => self.size = field.number_value()?.cast_signed(),
            4 => self.etag = field.text()?,
            5 => {
                pair(field)?;
                // The iterator walks from the first pair to the end of the last.
                let first = if self.metadata.is_empty() { start } else { self.metadata.as_ptr().addr() - all.as_ptr().addr() };
                self.metadata = &all[first..field.end];
            }
            6 => self.address_type = truncate(field.number_value()?),
            7 => self.content_type = field.text()?,
            _ => {}
        }
        Ok(())
    }

    /// A timestamp that comes in several pieces is merged, as protobuf demands.
    fn take_mtime(&mut self, field: Field<'a>) -> Result<()> {
        self.has_mtime = true;
        let mut fields = Fields { all: field.slice()?, at: 0 };
        while let Some((_, field)) = fields.next_field()? {
            match field.number {
                1 => self.mtime_secs = field.number_value()?.cast_signed(),
                2 => self.mtime_nanos = truncate(field.number_value()?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The pairs of an entry's user metadata.
#[derive(Clone, Debug)]
pub struct MetadataIter<'a>(Fields<'a>);

impl<'a> Iterator for MetadataIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        // `decode` has been through these bytes: errors cannot come up again.
        while let Ok(Some((_, field))) = self.0.next_field() {
            if field.number == 5 {
                return pair(field).ok();
            }
        }
        None
    }
}

fn pair(field: Field<'_>) -> Result<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    let mut fields = Fields { all: field.slice()?, at: 0 };
    while let Some((_, field)) = fields.next_field()? {
        match field.number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[expect(clippy::cast_possible_truncation, reason = "protobuf cuts int32 and enums to their low 32 bits")]
fn truncate(value: u64) -> i32 {
    value as i32
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Slice(&'a [u8]),
    Other,
}

#[derive(Clone, Copy)]
struct Field<'a> {
    number: u32,
    content: Content<'a>,
    end: usize,
}

impl<'a> Field<'a> {
    #[inline]
    fn slice(self) -> Result<&'a [u8]> {
        match self.content {
            Content::Slice(slice) => Ok(slice),
            _ => Err(malformed(self.end, "a field of the wrong wire type")),
        }
    }

    #[inline]
    fn text(self) -> Result<&'a str> {
        str::from_utf8(self.slice()?).map_err(|_| malformed(self.end, "text that is not UTF-8"))
    }

    #[inline]
    fn number_value(self) -> Result<u64> {
        match self.content {
            Content::Number(number) => Ok(number),
            _ => Err(malformed(self.end, "a field of the wrong wire type")),
        }
    }
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const GROUP_START: u64 = 3;
const GROUP_END: u64 = 4;
const FIXED32: u64 = 5;
/// How deep groups of unknown fields may nest.
const GROUP_DEPTH: usize = 100;

#[derive(Clone, Debug)]
struct Fields<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// The next field and where its tag starts; groups are passed over whole.
    #[expect(clippy::inline_always, reason = "a field that goes through memory stalls its reader: half the time of a scan")]
    #[inline(always)]
    fn next_field(&mut self) -> Result<Option<(usize, Field<'a>)>> {
        if self.at == self.all.len() {
            return Ok(None);
        }
        let start = self.at;
        let (number, wire) = self.tag()?;
        let content = match wire {
            VARINT => Content::Number(self.varint()?),
            LENGTH => {
                let len = self.varint()?;
                Content::Slice(self.skip(len)?)
            }
            _ => self.rare(number, wire)?,
        };
        let field = Field { number, content, end: self.at };
        Ok(Some((start, field)))
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u64)> {
        let key = self.varint()?;
        let number = u32::try_from(key).unwrap_or(0) >> 3;
        if number == 0 {
            return Err(malformed(self.at, "a tag without a field number"));
        }
        Ok((number, key & 7))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64> {
        match read_uvarint(&self.all[self.at..]) {
            Some((value, used)) => {
                self.at += used;
                Ok(value)
            }
            None => Err(malformed(self.at, "a number that is cut off or too large")),
        }
    }

    #[inline]
    fn skip(&mut self, len: u64) -> Result<&'a [u8]> {
        let rest = &self.all[self.at..];
        match usize::try_from(len) {
            Ok(len) if len <= rest.len() => {
                self.at += len;
                Ok(&rest[..len])
            }
            _ => Err(malformed(self.at, "a field that is cut off")),
        }
    }

    #[cold]
    fn rare(&mut self, number: u32, wire: u64) -> Result<Content<'a>> {
        match wire {
            FIXED64 => self.skip(8)?,
            FIXED32 => self.skip(4)?,
            GROUP_START => {
                self.skip_group(number)?;
                &[]
            }
            _ => return Err(malformed(self.at, "an unknown wire type")),
        };
        Ok(Content::Other)
    }

    fn skip_group(&mut self, number: u32) -> Result<()> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let (number, wire) = self.tag()?;
            match wire {
                GROUP_START if open.len() < GROUP_DEPTH => open.push(number),
                GROUP_END if number == innermost => {
                    open.pop();
                }
                VARINT => {
                    self.varint()?;
                }
                LENGTH => {
                    let len = self.varint()?;
                    self.skip(len)?;
                }
                FIXED64 => {
                    self.skip(8)?;
                }
                FIXED32 => {
                    self.skip(4)?;
                }
                _ => return Err(malformed(self.at, "a group that does not close")),
            }
        }
        Ok(())
    }
}

#[cold]
fn malformed(at: usize, found: &str) -> Error {
    Error::corrupt("(entry)", format!("expected a protobuf entry, found {found} at byte {at} of it"))
}

#[cfg(test)]
#[path = "entry_ref/tests.rs"]
mod tests;
