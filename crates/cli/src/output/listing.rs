//! Listings: rows as they stream by, one line each. Nothing is collected.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};
use datafusion::arrow::array::{Array, AsArray, Int64Array, MapArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use owo_colors::OwoColorize;
use planner::entry::metadata_pairs;
use planner::plan::mtime_type;
use planner::source::{Commit, RefKind, Reference};
use planner::{Error, Result};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::json;
use super::size;
use crate::args::OutputFormat;
use crate::failure::Failure;

/// What the server's listings show where the entry has no content type, as with imported objects.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// How objects are listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectStyle {
    /// Text or JSON.
    pub(crate) format: OutputFormat,
    /// Sizes as `1.2 MiB`.
    pub(crate) human_readable: bool,
}

/// An object as lakeFS names its parts.
#[derive(Serialize)]
struct ObjectLine<'a> {
    path: &'a str,
    size: Option<i64>,
    etag: Option<&'a str>,
    /// Seconds since 1970, as in the server's listings.
    mtime: Option<i64>,
    content_type: &'a str,
    metadata: Metadata<'a>,
    address: Option<&'a str>,
}

/// The pairs of one row, as a JSON object.
struct Metadata<'a>(&'a MapArray, usize);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in metadata_pairs(self.0, self.1) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Columns of `objects(ref)` that a listing needs: text shows less than JSON.
pub(crate) fn object_columns(format: OutputFormat) -> &'static [&'static str] {
    match format {
        OutputFormat::Text => &["path", "size", "mtime"],
        OutputFormat::Json => &["path", "size", "etag", "mtime", "content_type", "metadata", "address"],
    }
}

/// Writes the objects of a batch with the columns of [`object_columns`].
pub(crate) fn objects(out: &mut impl Write, batch: &RecordBatch, style: ObjectStyle) -> std::result::Result<(), Failure> {
    match style.format {
        OutputFormat::Text => objects_text(out, batch, style.human_readable),
        OutputFormat::Json => objects_json(out, batch),
    }
}

fn objects_json(out: &mut impl Write, batch: &RecordBatch) -> std::result::Result<(), Failure> {
    let (path, size, etag) = (text(batch, "path")?, number(batch, "size")?, text(batch, "etag")?);
    let (content_type, address) = (text(batch, "content_type")?, text(batch, "address")?);
    let mtime = time(batch, "mtime")?;
    let metadata = column(batch, "metadata")?;
    let metadata = metadata.as_map_opt().ok_or_else(|| wrong("metadata"))?;
    for i in 0..batch.num_rows() {
        let object = ObjectLine {
            path: path.value(i),
            size: size.is_valid(i).then(|| size.value(i)),
            etag: valid(&etag, i),
            mtime: seconds(&mtime, i),
            content_type: valid(&content_type, i).unwrap_or(DEFAULT_CONTENT_TYPE),
            metadata: Metadata(metadata, i),
            address: valid(&address, i),
        };
        json::line(out, &object)?;
    }
    Ok(())
}

fn objects_text(out: &mut impl Write, batch: &RecordBatch, human_readable: bool) -> std::result::Result<(), Failure> {
    let (path, size, mtime) = (text(batch, "path")?, number(batch, "size")?, time(batch, "mtime")?);
    for i in 0..batch.num_rows() {
        let bytes = size.value(i).unsigned_abs();
        let bytes = if human_readable { size::bytes(bytes) } else { bytes.to_string() };
        let time = seconds(&mtime, i).map(date).unwrap_or_default();
        writeln!(out, "{time:<20} {bytes:>12} {}", size::key(path.value(i)))?;
    }
    Ok(())
}

fn seconds(mtime: &TimestampMicrosecondArray, i: usize) -> Option<i64> {
    mtime.is_valid(i).then(|| mtime.value(i).div_euclid(1_000_000))
}

/// Writes the rows of a batch of `diff(a, b)`.
pub(crate) fn differences(out: &mut impl Write, batch: &RecordBatch, format: OutputFormat) -> std::result::Result<(), Failure> {
    let (kind, path, size) = (text(batch, "type")?, text(batch, "path")?, number(batch, "size")?);
    for i in 0..batch.num_rows() {
        let (kind, path) = (kind.value(i), path.value(i));
        match format {
            OutputFormat::Json => {
                #[derive(Serialize)]
                struct Line<'a> {
                    r#type: &'a str,
                    path: &'a str,
                    size: Option<i64>,
                }
                json::line(out, &Line { r#type: kind, path, size: size.is_valid(i).then(|| size.value(i)) })?;
            }
            OutputFormat::Text => difference_text(out, kind, path)?,
        }
    }
    Ok(())
}

fn difference_text(out: &mut impl Write, kind: &str, path: &str) -> io::Result<()> {
    let path = size::key(path);
    match kind {
        "added" => writeln!(out, "{}", format_args!("+ added {path}").green()),
        "removed" => writeln!(out, "{}", format_args!("- removed {path}").red()),
        _ => writeln!(out, "{}", format_args!("~ {kind} {path}").yellow()),
    }
}

/// Writes one commit of a log.
pub(crate) fn commit(out: &mut impl Write, commit: &Commit, format: OutputFormat) -> io::Result<()> {
    if format == OutputFormat::Json {
        // The names of lakeFS's own API.
        return json::line(
            out,
            &json!({
                "id": commit.id,
                "parents": commit.parents,
                "committer": commit.committer,
                "message": commit.message,
                "creation_date": commit.created,
                "meta_range_id": commit.metarange,
                "metadata": commit.metadata,
                "generation": commit.generation,
            }),
        );
    }
    writeln!(out, "{}", format_args!("ID:            {}", commit.id).yellow())?;
    if !commit.committer.is_empty() {
        writeln!(out, "Author:        {}", size::key(&commit.committer))?;
    }
    writeln!(out, "Date:          {}", date(commit.created))?;
    if commit.parents.len() > 1 {
        let parents: Vec<_> = commit.parents.iter().map(|p| size::short(p)).collect();
        writeln!(out, "Merge:         {}", parents.join(" "))?;
    }
    writeln!(out)?;
    commit.message.lines().try_for_each(|line| writeln!(out, "    {}", size::key(line)))?;
    if !commit.metadata.is_empty() {
        writeln!(out)?;
    }
    for (key, value) in &commit.metadata {
        writeln!(out, "    {} = {}", size::key(key), size::key(value))?;
    }
    writeln!(out)
}

/// Writes branches and tags.
pub(crate) fn refs(out: &mut impl Write, refs: &[Reference], format: OutputFormat) -> io::Result<()> {
    let kind = |r: &Reference| match r.kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
    };
    match format {
        OutputFormat::Json => {
            refs.iter().try_for_each(|r| json::line(out, &json!({ "type": kind(r), "id": r.name, "commit_id": r.commit })))
        }
        OutputFormat::Text => {
            let rows = refs.iter().map(|r| vec![kind(r).to_owned(), size::key(&r.name).into_owned(), r.commit.clone()]);
            super::table::columns(out, "", &["TYPE", "NAME", "COMMIT"], rows)
        }
    }
}

/// Seconds since 1970 as RFC 3339, UTC; a number that is no date stays one.
pub(crate) fn date(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).map_or_else(|| seconds.to_string(), |t| t.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn valid(array: &StringArray, i: usize) -> Option<&str> {
    array.is_valid(i).then(|| array.value(i))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    batch.column_by_name(name).map(|c| c.as_ref() as _).ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> Error {
    Error::bug(format!("a listing has no usable column `{name}`"))
}

/// A column of text, whatever way of holding text the query engine chose.
fn text(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let array = cast(column(batch, name)?, &DataType::Utf8).map_err(|_| wrong(name))?;
    array.as_string_opt::<i32>().cloned().ok_or_else(|| wrong(name))
}

fn number(batch: &RecordBatch, name: &str) -> Result<Int64Array> {
    let array = cast(column(batch, name)?, &DataType::Int64).map_err(|_| wrong(name))?;
    array.as_primitive_opt().cloned().ok_or_else(|| wrong(name))
}

fn time(batch: &RecordBatch, name: &str) -> Result<TimestampMicrosecondArray> {
    let array = cast(column(batch, name)?, &mtime_type()).map_err(|_| wrong(name))?;
    array.as_primitive_opt::<TimestampMicrosecondType>().cloned().ok_or_else(|| wrong(name))
}

#[cfg(test)]
mod tests;
