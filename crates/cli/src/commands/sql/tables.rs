//! Which tables a lake, a plan and a destination are.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{Expr, SessionContext, ident, lit};
use engine::RunReport;
use engine::head::{HEAD_KEY, Head};
use engine::receipt::{self, CHANGES_SCHEMA};
use engine::session::Kept;
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use planner::plan::{PLAN_FILE, ROW_SCHEMA, read_plan};
use planner::source::LakeUrl;
use planner::stores::unreadable;
use planner::{Error, Location, MetadataStore, Result, Stores as _, table};
use worker::Registry;

use super::Named;
use crate::commands::source::Lake;

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Lake(LakeUrl),
    Plan(Location),
    Destination(Location),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Lake(_) => "lake",
            Self::Plan(_) => "plan",
            Self::Destination(_) => "destination",
        }
    }

    async fn of(registry: &Registry, url: &str) -> Result<Self> {
        if LakeUrl::is_lake(url) {
            return Ok(Self::Lake(LakeUrl::parse(url)?));
        }
        let location = Location::parse(url)?;
        let at = registry.metadata(&location)?;
        if has(&at, PLAN_FILE, &location).await? {
            Ok(Self::Plan(location))
        } else if has(&at, HEAD_KEY, &location).await? {
            Ok(Self::Destination(location))
        } else {
            // A bucket that is not there says so only to a listing.
            at.store.list(Some(&at.prefix)).try_next().await.map_err(|e| unreadable(&location.to_string(), &e))?;
            Err(Error::usage(format!("{location} is neither a plan nor a destination: it has no {PLAN_FILE} and no {HEAD_KEY}"))
                .with_help("give a lake's URL, the folder that `millrace plan` wrote, or a destination that was exported to"))
        }
    }
}

/// Registers the tables of every source.
pub(super) async fn register(session: &SessionContext, registry: &Arc<Registry>, sources: &[Named<'_>]) -> Result<()> {
    let mut taken = Vec::new();
    for source in sources {
        let kind = Kind::of(registry, source.url).await?;
        if taken.contains(&(source.name, kind.name())) {
            let message =
                format!("`{}` is a second {}, and its tables would be called like the first's", source.url, kind.name());
            return Err(Error::usage(message).with_help("give each a name: NAME=URL; its tables are then called NAME_…"));
        }
        taken.push((source.name, kind.name()));
        Tables { session, registry, name: source.name }.register(&kind).await?;
    }
    Ok(())
}

/// The tables of one source.
struct Tables<'a> {
    session: &'a SessionContext,
    registry: &'a Arc<Registry>,
    name: Option<&'a str>,
}

impl Tables<'_> {
    async fn register(&self, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Lake(url) => {
                let lake = Lake::open(self.registry, url.clone()).await?;
                table::register(self.session, self.name, &lake.commits, url.prefix());
                Ok(())
            }
            Kind::Plan(location) => self.plan(&self.registry.metadata(location)?, location).await,
            Kind::Destination(location) => self.destination(location).await,
        }
    }

    async fn plan(&self, at: &MetadataStore, location: &Location) -> Result<()> {
        let plan = read_plan(at, &location.to_string()).await?;
        if plan.is_empty() {
            return self.add("plan", self.session.read_batch(RecordBatch::new_empty(Arc::clone(&ROW_SCHEMA)))?.into_view());
        }
        self.add("plan", Arc::new(Kept::plan(at, plan)))
    }

    async fn destination(&self, location: &Location) -> Result<()> {
        let runs = engine::history(self.registry, location).await?;
        self.add("runs", runs_table(&runs)?)?;
        let receipts = self.receipts(location).await?;
        self.add("receipts", receipts)
    }

    /// The changes of all receipts of the chain that HEAD names, each row with its receipt.
    async fn receipts(&self, at: &Location) -> Result<Arc<dyn TableProvider>> {
        let (destination, head) = Head::find(self.registry, at).await?;
        let chain = match &head.file.current {
            Some(current) => receipt::chain(&destination, &current.receipt).await?,
            None => Vec::new(),
        };
        let nothing = self.session.read_batch(RecordBatch::new_empty(Arc::clone(&CHANGES_SCHEMA)))?;
        let mut all = nothing.select(receipt_columns(0, "", ""))?;
        for (at, one) in &chain {
            if one.file().is_none() {
                continue;
            }
            let changes = self.session.read_table(Arc::new(Kept::receipt(&destination, at, one)))?;
            all = all.union(changes.select(receipt_columns(one.seq, &one.commit, &one.run))?)?;
        }
        Ok(all.into_view())
    }

    fn add(&self, kind: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        let name = self.name.map_or_else(|| kind.to_owned(), |name| format!("{name}_{kind}"));
        self.session.register_table(name.as_str(), table)?;
        Ok(())
    }
}

/// Which receipt a change belongs to, then the change.
fn receipt_columns(seq: u64, commit: &str, run: &str) -> Vec<Expr> {
    let receipt = [lit(seq).alias("seq"), lit(commit).alias("commit"), lit(run).alias("run")];
    receipt.into_iter().chain(CHANGES_SCHEMA.fields().iter().map(|field| ident(field.name()))).collect()
}

/// Is that file there?
async fn has(at: &MetadataStore, file: &str, location: &Location) -> Result<bool> {
    let path: Path = at.prefix.parts().chain(Path::from(file).parts()).collect();
    match at.store.head(&path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(unreadable(&location.to_string(), &error)),
    }
}

/// Runs as rows: the fields of the report that are single values.
fn runs_schema() -> SchemaRef {
    let texts = |names: &'static [&str]| names.iter().map(|name| Field::new(*name, DataType::Utf8, true));
    let counts = |names: &'static [&str]| names.iter().map(|name| Field::new(*name, DataType::Int64, true));
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let fields: Vec<Field> = texts(&["run", "state"])
        .chain([Field::new("update_time", time, true)])
        .chain(texts(&["source", "destination", "commit", "base"]))
        .chain(counts(&["copied", "deleted", "retracted", "unchanged", "failed", "skipped", "bytes", "elapsed_ms", "plan_ms"]))
        .chain(texts(&["receipt", "marker"]))
        .collect();
    Arc::new(Schema::new(fields))
}

fn runs_table(runs: &[RunReport]) -> Result<Arc<MemTable>> {
    let schema = runs_schema();
    let failed = |e| Error::from(DataFusionError::from(e));
    let mut decoder =
        ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(runs.len().max(1)).build_decoder().map_err(failed)?;
    decoder.serialize(runs).map_err(failed)?;
    let batches = decoder.flush().map_err(failed)?.into_iter().collect();
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

#[cfg(test)]
mod tests {
    use engine::{RunReport, State};

    use super::*;
    use crate::commands::sql::answer;
    use crate::output::samples;

    #[tokio::test]
    async fn runs_are_a_table() {
        let session = SessionContext::new();
        let first = RunReport { base: None, ..samples::report(State::Failed) };
        let second = RunReport { base: Some("ba5e".to_owned()), ..samples::report(State::Succeeded) };
        let runs = [second, first];
        session.register_table("runs", runs_table(&runs).unwrap()).unwrap();
        let query = "SELECT state, update_time, copied, base FROM runs ORDER BY state";
        let rows = || async { session.sql(query).await.unwrap().execute_stream().await.unwrap() };
        let mut out = Vec::new();
        answer::lines(&mut out, rows().await).await.unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"state\":\"failed\",\"update_time\":\"2026-11-20T10:00:00Z\",\"copied\":40,\"base\":null}\n\
             {\"state\":\"succeeded\",\"update_time\":\"2026-11-20T10:00:00Z\",\"copied\":40,\"base\":\"ba5e\"}\n"
        );
        let mut out = Vec::new();
        answer::table(&mut out, rows().await).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 6);
        assert_eq!(runs_table(&[]).unwrap().schema(), runs_schema());
    }
}
