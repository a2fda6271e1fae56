//! The SQL functions `objects('REF')` and `diff('A', 'B')`. References are resolved when a query is planned.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as DFResult, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;
use graveler::Metarange;

use super::diff::Diff;
use super::objects::Objects;
use crate::error::{Error, Result};
use crate::part::Part;
use crate::source::{Commit, CommitSource};

/// A commit, or a reference that is still to be resolved.
#[derive(Debug, Clone)]
pub(crate) struct CommitRef {
    lake: Arc<dyn CommitSource>,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    Known(Box<Commit>),
    Named(String),
}

impl CommitRef {
    pub(crate) fn known(lake: Arc<dyn CommitSource>, commit: Commit) -> Self {
        Self { lake, at: At::Known(Box::new(commit)) }
    }

    fn named(lake: &Arc<dyn CommitSource>, reference: String) -> Self {
        Self { lake: Arc::clone(lake), at: At::Named(reference) }
    }

    pub(crate) fn lake(&self) -> &Arc<dyn CommitSource> {
        &self.lake
    }

    pub(crate) async fn load(&self) -> Result<(Commit, Metarange)> {
        let commit = match &self.at {
            At::Known(commit) => commit.as_ref().clone(),
            At::Named(reference) => self.lake.resolve(reference).await?,
        };
        let metarange = self.lake.namespace().metarange(&commit.metarange).await?;
        Ok((commit, metarange))
    }
}

/// Registers `objects('REF' [, 'PREFIX'])` and `diff('A', 'B' [, 'PREFIX'])` of `lake`. With a `name`, as
/// `NAME_objects` and `NAME_diff`, so that several lakes fit in one query. Without `PREFIX` they show what lies below `prefix`.
pub fn register(context: &SessionContext, name: Option<&str>, lake: &Arc<dyn CommitSource>, prefix: &str) {
    let at = |function: &str| name.map_or_else(|| function.to_owned(), |n| format!("{n}_{function}"));
    let of = || LakeOf { lake: Arc::clone(lake), prefix: prefix.into() };
    context.register_udtf(&at("objects"), Arc::new(ObjectsFunction(of())));
    context.register_udtf(&at("diff"), Arc::new(DiffFunction(of())));
}

/// A lake, and the part of it that is meant where none is named.
#[derive(Debug)]
struct LakeOf {
    lake: Arc<dyn CommitSource>,
    prefix: Arc<str>,
}

impl LakeOf {
    fn at(&self, reference: &str) -> CommitRef {
        CommitRef::named(&self.lake, reference.to_owned())
    }

    fn part(&self, named: Option<&String>) -> Part {
        Part::new(named.map_or(&*self.prefix, String::as_str))
    }
}

#[derive(Debug)]
struct ObjectsFunction(LakeOf);

impl TableFunctionImpl for ObjectsFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DFResult<Arc<dyn TableProvider>> {
        let given = texts(args.exprs(), [1, 2], "objects('REF' [, 'PREFIX'])")?;
        Ok(Arc::new(Objects { at: self.0.at(&given[0]), part: self.0.part(given.get(1)) }))
    }
}

#[derive(Debug)]
struct DiffFunction(LakeOf);

impl TableFunctionImpl for DiffFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DFResult<Arc<dyn TableProvider>> {
        let given = texts(args.exprs(), [2, 3], "diff('A', 'B' [, 'PREFIX'])")?;
        Ok(Arc::new(Diff { left: self.0.at(&given[0]), right: self.0.at(&given[1]), part: self.0.part(given.get(2)) }))
    }
}

/// Text arguments, as many as `allowed` says (from, to).
fn texts(args: &[Expr], allowed: [usize; 2], form: &str) -> Result<Vec<String>> {
    let given: Option<Vec<String>> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(ScalarValue::Utf8(Some(v)) | ScalarValue::Utf8View(Some(v)), _) => Some(v.clone()),
            _ => None,
        })
        .collect();
    match given {
        Some(given) if (allowed[0]..=allowed[1]).contains(&given.len()) => Ok(given),
        _ => Err(Error::usage(format!("the function is called as {form}, with texts in single quotes"))
            .with_help("such as SELECT * FROM objects('main') LIMIT 10")),
    }
}
