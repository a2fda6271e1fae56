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
/// `NAME_objects` and `NAME_diff`, so that several lakes fit in one query.
pub fn register(context: &SessionContext, name: Option<&str>, lake: &Arc<dyn CommitSource>) {
    let prefix = name.map(|n| format!("{n}_")).unwrap_or_default();
    context.register_udtf(&format!("{prefix}objects"), Arc::new(ObjectsFunction(Arc::clone(lake))));
    context.register_udtf(&format!("{prefix}diff"), Arc::new(DiffFunction(Arc::clone(lake))));
}

#[derive(Debug)]
struct ObjectsFunction(Arc<dyn CommitSource>);

impl TableFunctionImpl for ObjectsFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DFResult<Arc<dyn TableProvider>> {
        let [reference, prefix] = texts(args.exprs(), 1, "objects('REF' [, 'PREFIX'])")?;
        Ok(Arc::new(Objects { at: CommitRef::named(&self.0, reference), part: Part::new(&prefix) }))
    }
}

#[derive(Debug)]
struct DiffFunction(Arc<dyn CommitSource>);

impl TableFunctionImpl for DiffFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DFResult<Arc<dyn TableProvider>> {
        let [left, right, prefix] = texts(args.exprs(), 2, "diff('A', 'B' [, 'PREFIX'])")?;
        let (left, right) = (CommitRef::named(&self.0, left), CommitRef::named(&self.0, right));
        Ok(Arc::new(Diff { left, right, part: Part::new(&prefix) }))
    }
}

/// `N` text arguments of which the first `required` must be there.
fn texts<const N: usize>(args: &[Expr], required: usize, form: &str) -> Result<[String; N]> {
    let given: Option<Vec<String>> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(ScalarValue::Utf8(Some(v)) | ScalarValue::Utf8View(Some(v)), _) => Some(v.clone()),
            _ => None,
        })
        .collect();
    match given {
        Some(given) if (required..=N).contains(&given.len()) => {
            let mut given = given.into_iter();
            Ok(std::array::from_fn(|_| given.next().unwrap_or_default()))
        }
        _ => Err(Error::usage(format!("the function is called as {form}, with texts in single quotes"))),
    }
}
