//! Marks of attempts, at the destination: `<shard>-<attempt>-begun` before the first request, `…-ended` after the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use planner::Result;

use super::CopyTask;
use crate::store::{FailureKind, Listed, PutOptions, StoreResult};
use crate::{Fence, Registry, RequestClass, Store, StoreError};

const BEGUN: &str = "-begun";
/// The milliseconds follow for which requests of the attempt are in doubt.
const ENDED: &str = "-ended-";

/// An attempt that has begun.
pub(super) struct Mark {
    store: Arc<dyn Store>,
    name: String,
    fence: Arc<Fence>,
}

impl Mark {
    pub(super) async fn begin(registry: &Registry, task: &CopyTask, shard: i32, id: &str, fence: &Arc<Fence>) -> Result<Self> {
        let store = registry.open(&task.attempts(), RequestClass::Control)?;
        let mark = Self { store, name: format!("{shard}-{id}"), fence: Arc::clone(fence) };
        mark.put(BEGUN).await?;
        Ok(mark)
    }

    /// No request of the attempt is under way any more; some may be applied for as long as `doubt`.
    pub(super) async fn end(self, doubt: Duration) -> Result<()> {
        self.put(&format!("{ENDED}{}", doubt.as_millis())).await
    }

    async fn put(&self, what: &str) -> Result<()> {
        let name = format!("{}{what}", self.name);
        let options = PutOptions::default();
        let put = Arc::clone(&self.fence).scope(self.store.put(&name, Bytes::new(), &options)).await;
        let at = self.store.location();
        put.map(drop).map_err(|error: StoreError| error.into_error(at, format!("{at}{name} cannot be written")))
    }
}

/// How the attempts of a run stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Those that began and did not end.
    pub open: BTreeSet<String>,
    /// Those that ended, and for how long from then requests of theirs may still be applied.
    pub ended: BTreeMap<String, Duration>,
}

impl Attempts {
    /// Of the run of `task`.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(registry: &Registry, task: &CopyTask) -> Result<Self> {
        let store = registry.open(&task.attempts(), RequestClass::Control)?;
        let listed: StoreResult<Vec<Listed>> = store.list("").try_collect().await;
        let at = store.location();
        match listed {
            Ok(listed) => Ok(Self::of(listed.iter().map(|one| one.key.as_str()))),
            Err(error) if error.kind == FailureKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into_error(at, format!("{at} cannot be listed"))),
        }
    }

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut attempts = Self::default();
        for name in names {
            if let Some(attempt) = name.strip_suffix(BEGUN) {
                attempts.open.insert(attempt.to_owned());
            } else if let Some((attempt, doubt)) = name.split_once(ENDED) {
                let doubt = Duration::from_millis(doubt.parse().unwrap_or(u64::MAX));
                attempts.ended.insert(attempt.to_owned(), doubt);
            }
        }
        let ended = &attempts.ended;
        attempts.open.retain(|attempt| !ended.contains_key(attempt));
        attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_open_until_it_ended() {
        let of = |names: &[&str]| Attempts::of(names.iter().copied());
        assert_eq!(of(&[]), Attempts::default());
        let attempts = of(&["0-aa-begun", "0-aa-ended-0", "1-bb-begun", "0-cc-begun", "0-cc-ended-1500"]);
        assert_eq!(attempts.open, BTreeSet::from(["1-bb".to_owned()]));
        assert_eq!(attempts.ended["0-cc"], Duration::from_millis(1500));
        assert!(of(&["3-dd-ended-0"]).open.is_empty());
    }
}
