//! Outcomes: what happened to each row of a plan. A failed object is a row, never an error.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use planner::plan::ROW_SCHEMA;

/// The `proof` of a delete that found another object than the last export had left, and deleted that.
pub const OVERWRITTEN: &str = "overwritten";

/// The plan row's own columns, then:
///
/// | column | type | is |
/// |---|---|---|
/// | `ok` | `Boolean` | done as planned |
/// | `bytes` | `Int64` | payload written (also when the store moved it) |
/// | `stored_etag` | `Utf8?` | the answer's, of a copy |
/// | `checksum` | `Utf8?` | `algorithm:hex` of the bytes, where one was computed or given |
/// | `proof` | `Utf8?` | how the copy was checked: `md5`, `parts-md5`, `crc64nvme`, `etag`, `size`; `drifted`: the source was overwritten since the commit, and what is there now was taken; of a delete: [`OVERWRITTEN`], or null |
/// | `error_kind` | `Utf8?` | [`crate::FailureKind`] in snake case |
/// | `error` | `Utf8?` | what went wrong |
pub static OUTCOME_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields: Vec<Field> = ROW_SCHEMA.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend([
        Field::new("ok", DataType::Boolean, false),
        Field::new("bytes", DataType::Int64, false),
        Field::new("stored_etag", DataType::Utf8, true),
        Field::new("checksum", DataType::Utf8, true),
        Field::new("proof", DataType::Utf8, true),
        Field::new("error_kind", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ]);
    Arc::new(Schema::new(fields))
});
