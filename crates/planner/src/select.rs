//! What is selected of a lake: globs over paths, and a SQL predicate over entries.
//!
//! A glob without a slash matches the last segment at any depth (`*.csv`); one with a slash matches the whole path
//! (`tables/*/dt=2026-*/**`); one that ends in a slash matches everything below (`logs/`). `*` stays within a segment, `**`
//! does not.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{and, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::entry::{Columns, EntryBatch};
use crate::error::{Error, Result};
use crate::plan::{metadata_type, mtime_type};
use crate::view::SelectionSpec;

/// What a predicate is, for who wrote one that is none.
const CONDITION: &str = "it is a SQL condition over key, size, etag, mtime, content_type and metadata, such as \
                         \"size < 1000 AND metadata['owner'] = 'crm'\"";

/// The columns that a predicate may name.
fn predicate_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("size", DataType::Int64, true),
        Field::new("etag", DataType::Utf8, true),
        Field::new("mtime", mtime_type(), true),
        Field::new("content_type", DataType::Utf8, true),
        Field::new("metadata", metadata_type(), true),
    ]))
}

/// Globs of which one must match.
#[derive(Debug, Clone)]
pub(crate) struct Globs(GlobSet);

impl Globs {
    pub(crate) fn compile(patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            if pattern.is_empty() {
                return Err(Error::usage("an empty glob matches nothing").with_help("leave it out, or name what it is to match"));
            }
            let glob = GlobBuilder::new(&anchored(pattern)).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(|e| {
                Error::usage(format!("the glob `{pattern}` cannot be read: {}", e.kind()))
                    .with_help("`*` and `?` match within a segment, `**` across segments, `[ab]` one of them, `{a,b}` either")
            })?);
        }
        set.build().map(Self).map_err(|e| Error::usage(format!("the globs are too large together: {e}")))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// The pattern over whole paths that `pattern` stands for.
fn anchored(pattern: &str) -> String {
    let below = pattern.strip_suffix('/').map(|folder| format!("{folder}/**"));
    let pattern = below.as_deref().unwrap_or(pattern);
    match pattern.strip_prefix('/') {
        Some(rooted) => rooted.to_owned(),
        None if pattern.contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    }
}

/// A compiled SQL predicate over entries. Null is no match.
#[derive(Debug, Clone)]
pub(crate) struct Predicate {
    expr: Arc<dyn PhysicalExpr>,
    sql: String,
    schema: SchemaRef,
    columns: Columns,
}

impl Predicate {
    /// Compiles `sql`; `now` (RFC 3339) is what `now()` means in it.
    pub(crate) fn compile(sql: &str, now: Option<&str>) -> Result<Self> {
        let bad = |e: datafusion::error::DataFusionError| {
            Error::usage(format!("the predicate `{sql}` cannot be used: {}", e.strip_backtrace())).with_help(CONDITION)
        };
        let context = SessionContext::new();
        let schema = predicate_schema();
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(bad)?;
        let expr = context.parse_sql_expr(sql, &df_schema).map_err(bad)?;
        let expr = freeze_now(check(expr, sql)?, now).map_err(bad)?;
        let columns = Columns::of(expr.column_refs().iter().filter_map(|c| schema.index_of(&c.name).ok()));
        let expr = context.create_physical_expr(expr, &df_schema).map_err(bad)?;
        if expr.data_type(&schema).map_err(bad)? != DataType::Boolean {
            return Err(Error::usage(format!("the predicate `{sql}` is not a condition: it does not yield true or false"))
                .with_help(CONDITION));
        }
        Ok(Self { expr, sql: sql.to_owned(), schema, columns })
    }

    pub(crate) fn columns(&self) -> Columns {
        self.columns
    }

    pub(crate) fn evaluate(&self, paths: &StringArray, entries: &EntryBatch) -> Result<BooleanArray> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(paths.clone())];
        columns.extend(entries.batch().columns()[1..6].iter().map(Arc::clone));
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|e| Error::bug(format!("predicate batch: {e}")))?;
        let value = self.expr.evaluate(&batch).and_then(|v| v.into_array(batch.num_rows()));
        let value = value.map_err(|e| {
            Error::usage(format!("the predicate `{}` fails on an object: {}", self.sql, e.strip_backtrace())).with_help(CONDITION)
        })?;
        let flags = value.as_any().downcast_ref::<BooleanArray>().ok_or_else(|| Error::bug("a condition yielded no booleans"))?;
        Ok(if flags.null_count() > 0 { prep_null_mask_filter(flags) } else { flags.clone() })
    }
}

/// Refuses what is not of one entry alone, and what would make two evaluations differ.
fn check(expr: Expr, sql: &str) -> Result<Expr> {
    if let Some(what) = of_many(&expr)? {
        return Err(Error::usage(format!("the predicate `{sql}` has {what}, and it is asked of one object at a time"))
            .with_help(CONDITION));
    }
    let mut volatile = None;
    let walk = expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node
            && call.func.signature().volatility == Volatility::Volatile
        {
            volatile = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walk.map_err(Error::from)?;
    match volatile {
        Some(name) => Err(Error::usage(format!("the predicate `{sql}` calls {name}(), which answers anew each time"))
            .with_help("select by what the entries say, so that the same commit always gives the same objects")),
        None => Ok(expr),
    }
}

/// A part of an expression that needs more than one entry.
fn of_many(expr: &Expr) -> Result<Option<String>> {
    let mut found = None;
    expr.apply(|node| {
        found = match node {
            Expr::AggregateFunction(call) => Some(format!("{}()", call.func.name())),
            Expr::WindowFunction(call) => Some(format!("{}()", call.fun.name())),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => Some("a query inside".to_owned()),
            _ => None,
        };
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether a predicate asks for the time, so that the plan must say what time it is.
///
/// # Errors
/// A predicate that cannot be read.
pub fn uses_now(spec: &SelectionSpec) -> Result<bool> {
    let Some(sql) = &spec.predicate else { return Ok(false) };
    let schema = DFSchema::try_from(predicate_schema().as_ref().clone()).map_err(Error::from)?;
    let Ok(expr) = SessionContext::new().parse_sql_expr(sql, &schema) else {
        return Predicate::compile(sql, None).map(|_| false);
    };
    Ok(expr.exists(|e| Ok(clock_of(e).is_some()))?)
}

fn clock_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::ScalarFunction(call) => Some(call.func.name()).filter(|n| ["now", "current_date", "current_time"].contains(n)),
        _ => None,
    }
}

fn freeze_now(expr: Expr, now: Option<&str>) -> datafusion::error::Result<Expr> {
    let Some(now) = now.and_then(|t| chrono::DateTime::parse_from_rfc3339(t).ok()) else { return Ok(expr) };
    let instant = ScalarValue::TimestampNanosecond(now.timestamp_nanos_opt(), Some("+00:00".into()));
    expr.transform(|node| {
        let to = match clock_of(&node) {
            Some("now") => instant.clone(),
            Some("current_date") => instant.cast_to(&DataType::Date32)?,
            Some(_) => instant.cast_to(&DataType::Time64(datafusion::arrow::datatypes::TimeUnit::Nanosecond))?,
            None => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(Expr::Literal(to, None)))
    })
    .map(|t| t.data)
}

/// A compiled [`SelectionSpec`].
#[derive(Debug, Clone)]
pub struct Selection {
    include: Option<Globs>,
    exclude: Option<Globs>,
    predicate: Option<Predicate>,
}

impl Selection {
    /// Compiles a selection.
    ///
    /// # Errors
    /// `Usage` for a glob or predicate that cannot be read, or one that is not the same each time.
    pub fn compile(spec: &SelectionSpec) -> Result<Self> {
        let globs = |patterns: &[String]| if patterns.is_empty() { Ok(None) } else { Globs::compile(patterns).map(Some) };
        let predicate = spec.predicate.as_deref().map(|sql| Predicate::compile(sql, spec.now.as_deref()));
        Ok(Self { include: globs(&spec.include)?, exclude: globs(&spec.exclude)?, predicate: predicate.transpose()? })
    }

    /// Everything is selected.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none() && self.predicate.is_none()
    }

    /// The columns that must be decoded to decide.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.predicate.as_ref().map_or(Columns::KEYS, Predicate::columns)
    }

    /// Which rows have an entry that is selected.
    pub(crate) fn matches(&self, paths: &StringArray, entries: &EntryBatch, present: &BooleanArray) -> Result<BooleanArray> {
        if self.is_all() {
            return Ok(present.clone());
        }
        let by_path = |path: &str| {
            self.include.as_ref().is_none_or(|g| g.matches(path)) && !self.exclude.as_ref().is_some_and(|g| g.matches(path))
        };
        let mut selected: BooleanArray = (0..paths.len()).map(|i| Some(present.value(i) && by_path(paths.value(i)))).collect();
        if let Some(predicate) = &self.predicate {
            let flags = predicate.evaluate(paths, entries)?;
            selected = and(&selected, &flags).map_err(|e| Error::bug(format!("selection: {e}")))?;
        }
        Ok(selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn globs_match_as_users_of_rclone_expect() {
        let cases = [
            ("*.csv", "a/b/x.csv", true),
            ("*.csv", "x.csv", true),
            ("*.csv", "x.csv/part", false),
            ("tables/*.csv", "tables/x.csv", true),
            ("tables/*.csv", "tables/a/x.csv", false),
            ("tables/**", "tables/a/x.csv", true),
            ("logs/", "logs/a/b", true),
            ("logs/", "logs", false),
            ("/top", "top", true),
            ("/top", "a/top", false),
            ("dt=2026-01-0[12]/**", "dt=2026-01-02/x", true),
            ("{a,b}/*", "b/x", true),
        ];
        for (glob, path, expected) in cases {
            assert_eq!(Globs::compile(&[glob.to_owned()]).unwrap().matches(path), expected, "{glob} on {path}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_a_usage_error_that_quotes_it() {
        for sql in ["size <", "nope = 1", "random() < 0.5", "size + 1", "count(*) > 1", "size IN (SELECT 1)"] {
            let error = Predicate::compile(sql, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{sql}");
            assert!(error.message().contains(sql), "{error}");
        }
        assert_eq!(Globs::compile(&["a[".to_owned()]).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn now_is_what_the_plan_says() {
        let spec = |sql: &str| SelectionSpec { predicate: Some(sql.to_owned()), ..SelectionSpec::default() };
        assert!(uses_now(&spec("mtime > now() - interval '1 day'")).unwrap());
        assert!(!uses_now(&spec("size > 1")).unwrap());
        let frozen = Predicate::compile("now() < timestamp '2001-01-01T00:00:00Z'", Some("2000-01-01T00:00:00Z")).unwrap();
        assert!(format!("{:?}", frozen.expr).to_lowercase().contains("true") || !format!("{:?}", frozen.expr).contains("now"));
    }
}
