//! An executor's own look at the lease: it works only while it sees for itself that the run goes on.
//!
//! # Consistency
//! The driver renews the lease in HEAD every few seconds. Whoever takes the lease over waits until HEAD stood still for the
//! lease's time. An executor cannot know when the driver renewed; it knows that a counter which it sees for the first time
//! was written after it had *asked* for the one before. So it may work until that moment plus the lease's time, and in any
//! case no longer than [`LeaseSpec::window`] after it asked last: one that was frozen does nothing before it has looked again.

use std::sync::Arc;
use std::time::Duration;

use planner::{Error, Result};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::CopyTask;
use crate::fence::since_boot;
use crate::{FailureKind, Fence, Registry, RequestClass, Store, StoreError};

/// HEAD's key.
const HEAD: &str = "_millrace/HEAD.json";
/// How often it is looked at until it was seen to move, and then.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// What a look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The lease holds, at this count.
    Holds(u64),
    /// It is another's, or nobody's.
    Over,
    /// There is no HEAD.
    Nothing,
}

/// Looks at a lease, and what follows from them; times in milliseconds since boot.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    /// The last count, and when it was asked for.
    last: Option<(u64, u64)>,
    /// When a count was asked for that was older than the last one.
    older: Option<u64>,
}

impl Looks {
    /// A count that was asked for at `asked`; until when one may work, if that is known.
    fn saw(&mut self, count: u64, asked: u64, ttl_ms: u64, window_ms: u64) -> Option<u64> {
        if let Some((last, then)) = self.last
            && last != count
        {
            self.older = Some(then);
        }
        self.last = Some((count, asked));
        self.older.map(|older| older.saturating_add(ttl_ms).min(asked.saturating_add(window_ms)))
    }
}

/// How a watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// HEAD was not seen to move yet.
    Looking,
    /// It moves.
    Holds,
    /// The run is over.
    Over,
    /// There never was a HEAD to be seen from here.
    Blind,
}

/// A lease that is watched while a run has tasks here.
#[derive(Debug)]
pub(super) struct Watch {
    /// What the run's requests here ask.
    pub(super) fence: Arc<Fence>,
    /// Cancelled when the run is over.
    pub(super) over: CancellationToken,
    phase: watch::Receiver<Phase>,
}

impl Watch {
    /// Starts to watch the lease of `task`, until its run is over.
    pub(super) fn start(registry: &Registry, task: &CopyTask) -> Result<Arc<Self>> {
        let store = registry.open(&task.lease.control, RequestClass::Control)?;
        let fence = Arc::new(Fence::default());
        fence.extend(0);
        let (tell, phase) = watch::channel(Phase::Looking);
        let watch = Arc::new(Self { fence, over: CancellationToken::new(), phase });
        let (fence, over, task) = (Arc::clone(&watch.fence), watch.over.clone(), task.clone());
        tokio::spawn(async move {
            let end = follow(&store, &task, &fence, &tell).await;
            fence.close("the run is over, or another holds the destination");
            let _ = tell.send(end);
            over.cancel();
        });
        Ok(watch)
    }

    /// Waits until the lease is seen to hold.
    ///
    /// # Errors
    /// `Guard` when it does not, `Unreachable` when that cannot be seen for longer than the lease holds.
    pub(super) async fn holds(&self, task: &CopyTask) -> Result<()> {
        let mut phase = self.phase.clone();
        let patience = Duration::from_millis(task.lease.ttl_ms).max(Duration::from_secs(10));
        let seen = tokio::time::timeout(patience, async {
            loop {
                let now = *phase.wait_for(|phase| *phase != Phase::Looking).await.ok()?;
                // What was seen long ago holds no more.
                if now != Phase::Holds || self.fence.check().is_ok() {
                    return Some(now);
                }
                tokio::time::sleep(LOOKS.0).await;
            }
        });
        let seen = seen.await;
        match seen {
            Ok(Some(Phase::Holds)) => Ok(()),
            Ok(Some(Phase::Blind)) => {
                let message = format!("an executor finds no {}{HEAD}: it does not see the destination", task.lease.control);
                Err(Error::unreachable(message).with_help(
                    "a folder must be mounted on the machines of all executors; endpoint and credentials of a store are each executor's own",
                ))
            }
            Ok(_) => Err(Error::guard(format!("the run {} is over, or another holds the destination", task.run))),
            Err(_) => Err(Error::unreachable(format!(
                "the executor does not see the run {} hold {}{HEAD}",
                task.run, task.lease.control
            ))),
        }
    }
}

/// Looks until the run is over; how it ended.
async fn follow(store: &Arc<dyn Store>, task: &CopyTask, fence: &Fence, tell: &watch::Sender<Phase>) -> Phase {
    let window = u64::try_from(task.lease.window().as_millis()).unwrap_or(u64::MAX);
    let mut looks = Looks::default();
    loop {
        let asked = since_boot();
        match look(store, task).await {
            Ok(Seen::Over) => return Phase::Over,
            Ok(Seen::Nothing) => return if looks.last.is_some() { Phase::Over } else { Phase::Blind },
            Ok(Seen::Holds(count)) => {
                if let Some(until) = looks.saw(count, asked, task.lease.ttl_ms, window) {
                    fence.extend(until);
                    tell.send_if_modified(|phase| std::mem::replace(phase, Phase::Holds) != Phase::Holds);
                }
            }
            // What cannot be seen is not extended.
            Err(error) => tracing::debug!("{}{HEAD}: {error}", task.lease.control),
        }
        let often = task.lease.window() / 4;
        tokio::time::sleep(if looks.older.is_none() { LOOKS.0 } else { LOOKS.1.min(often) }).await;
    }
}

async fn look(store: &Arc<dyn Store>, task: &CopyTask) -> crate::store::StoreResult<Seen> {
    let Some((bytes, _)) = store.get_small(HEAD).await? else { return Ok(Seen::Nothing) };
    if !planner::digest::is_whole(&bytes) {
        return Err(StoreError::new(FailureKind::Other, "it is not what was written"));
    }
    Ok(seen(&bytes, task))
}

fn seen(bytes: &[u8], task: &CopyTask) -> Seen {
    #[derive(Deserialize)]
    struct Head {
        generation: u64,
        lease: Option<Lease>,
    }
    #[derive(Deserialize)]
    struct Lease {
        counter: u64,
    }
    match serde_json::from_slice::<Head>(bytes) {
        // The holder may go on with a run that another one began; no two holders have one generation.
        Ok(Head { generation, lease: Some(lease) }) if generation == task.lease.generation => Seen::Holds(lease.counter),
        _ => Seen::Over,
    }
}

#[cfg(test)]
mod tests {
    use planner::Location;

    use super::*;
    use crate::CopySpec;
    use crate::cluster::LeaseSpec;

    const TTL: u64 = 60_000;
    const WINDOW: u64 = 10_000;

    #[test]
    fn a_lease_is_trusted_only_after_it_was_seen_to_move() {
        let mut looks = Looks::default();
        assert_eq!(looks.saw(7, 1000, TTL, WINDOW), None, "it may be as old as can be");
        assert_eq!(looks.saw(7, 1500, TTL, WINDOW), None);
        assert_eq!(looks.saw(8, 2000, TTL, WINDOW), Some(12_000), "the window");
    }

    #[test]
    fn a_driver_that_stands_still_ends_the_work_in_the_leases_time() {
        let mut looks = Looks::default();
        looks.saw(7, 1000, TTL, WINDOW);
        looks.saw(8, 2000, TTL, WINDOW);
        let deadlines: Vec<_> = (3..80).map(|second| looks.saw(8, second * 1000, TTL, WINDOW).unwrap()).collect();
        assert_eq!(deadlines.iter().max(), Some(&61_000), "from the question whose answer was older");
    }

    proptest::proptest! {
        /// Whenever the driver renewed, and however the looks fell: the work ends before the one who takes over begins.
        #[test]
        fn no_work_after_a_takeover(gaps in proptest::collection::vec((1_u64..3000, 0_u64..500, proptest::bool::ANY), 1..60)) {
            let (mut looks, mut now, mut renewed, mut count) = (Looks::default(), 0, 0, 0);
            for (gap, answer, renews) in gaps {
                now += gap;
                if renews {
                    (renewed, count) = (now, count + 1);
                }
                // The answer comes later, and holds what was there when it was made.
                if let Some(until) = looks.saw(count, now, TTL, WINDOW) {
                    proptest::prop_assert!(until <= renewed + TTL);
                }
                now += answer;
            }
        }
    }

    #[test]
    fn only_the_own_generation_holds() {
        let control = Location::parse("s3://out/").unwrap();
        let lease = LeaseSpec { control: control.clone(), generation: 3, ttl_ms: TTL };
        let task = CopyTask { millrace: String::new(), run: "R".to_owned(), copy: CopySpec::new(control), lease };
        let head = |text: &str| seen(text.as_bytes(), &task);
        assert_eq!(head(r#"{"generation":3,"lease":{"run":"R","counter":9,"x":1},"seq":1}"#), Seen::Holds(9));
        for over in [r#"{"generation":4,"lease":{"run":"R","counter":9}}"#, r#"{"generation":3}"#, "nonsense"] {
            assert_eq!(head(over), Seen::Over, "{over}");
        }
    }
}
