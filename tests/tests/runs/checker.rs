//! What holds after each and every operation at a destination, whoever made it and however it ended.
//!
//! * SUCCESS stands only over what HEAD's view of HEAD's commit is, and never beside FAILURE.
//! * A completion marker stands only over a directory that is wholly that of one commit.
//! * Only the holder of HEAD's lease changes anything but Millrace's own objects. Who is who is told by access keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use millrace_tests::{
    s3::{Buckets, Op, S3Server},
    tree::{is_reserved, md5_hex},
};
use serde_json::Value;

use super::want::{Want, is_below, is_marker};
use crate::{
    export::{BUCKET, PREFIX},
    made::Objects,
};

/// Keys and what a reader sees of their objects.
pub(crate) type Seen = BTreeMap<String, String>;

/// What a reader sees of objects that were copied from a lake.
pub(crate) fn seen_of(objects: &Objects) -> Seen {
    let seen = |body: &[u8]| format!("{} {:?} {:?}", md5_hex(body), Some("text/plain"), BTreeMap::<String, String>::new());
    objects.iter().map(|(key, body)| (key.clone(), seen(body))).collect()
}

/// What a reader sees at the destination.
pub(crate) fn seen_at(buckets: &Buckets) -> Seen {
    let look = |key: &str| {
        let object = buckets.get(BUCKET, key).unwrap();
        format!("{} {:?} {:?}", object.etag, object.content_type, object.metadata)
    };
    buckets.keys(BUCKET, PREFIX).map(|key| (key[PREFIX.len()..].to_owned(), look(key))).collect()
}

/// A commit as the checker knows it.
#[derive(Debug)]
struct Known {
    id: String,
    /// What it is by each view that was asked for so far.
    views: Vec<(Want, Seen)>,
    objects: Objects,
}

/// What the checker knows and has learned.
#[derive(Debug, Default)]
struct Checking {
    commits: Vec<Known>,
    /// Keys that are nobody's business.
    foreign: BTreeSet<String>,
    /// Are markers looked at? Not once they were data.
    markers: bool,
    /// The access key of the lease's holder.
    holder: Option<String>,
    /// The access key of one that let go with requests that may still be applied.
    doubtful: Option<String>,
    /// Status markers of other tools, which go with the first run's first change.
    others: BTreeSet<String>,
    /// The commit that somebody put there by hand, and its SUCCESS.
    claim: Option<(&'static str, String)>,
    /// The generations of leases that were taken.
    generations: BTreeSet<u64>,
}

/// Judges the destination after every operation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checker(Arc<Mutex<Checking>>);

impl Checker {
    /// Of the destination in that server's bucket, where commits with these labels, ids and objects are exported to.
    pub(crate) fn start(server: &S3Server, commits: &[(&'static str, String, Objects)]) -> Self {
        let known = |(label, id, objects): &(&'static str, String, Objects)| Known {
            id: id.clone(),
            views: vec![(Want::all(label), seen_of(objects))],
            objects: objects.clone(),
        };
        let checking = Checking { commits: commits.iter().map(known).collect(), markers: true, ..Checking::default() };
        let checker = Self(Arc::new(Mutex::new(checking)));
        let judge = Arc::clone(&checker.0);
        server.watch(move |op: &Op, buckets: &Buckets| {
            let at_destination = op.key.starts_with(PREFIX) || op.keys.iter().any(|key| key.starts_with(PREFIX));
            if op.bucket == BUCKET && at_destination { judge.lock().unwrap().judge(op, buckets) } else { Ok(()) }
        });
        checker
    }

    /// From now on such a view may be asked for.
    pub(crate) fn expect(&self, want: Want) {
        let mut checking = self.0.lock().unwrap();
        checking.markers &= want.markers;
        for known in &mut checking.commits {
            // The whole part as well: markers stand only over whole directories.
            for filter in [0, want.filter] {
                let want = Want { label: known.views[0].0.label, filter, ..want };
                if known.views.iter().all(|(have, _)| *have != want) {
                    let seen = seen_of(&want.of(&known.objects));
                    known.views.push((want, seen));
                }
            }
        }
    }

    /// Markers are looked at again: all of them were published by the rules.
    pub(crate) fn markers_hold(&self) {
        self.0.lock().unwrap().markers = true;
    }

    /// That key is nobody's business.
    pub(crate) fn ignore(&self, key: &str) {
        self.0.lock().unwrap().foreign.insert(key.to_owned());
    }

    /// The destination was put back to an earlier state.
    pub(crate) fn forget_leases(&self) {
        let mut checking = self.0.lock().unwrap();
        checking.generations.clear();
        (checking.holder, checking.doubtful) = (None, None);
    }

    /// That key is looked at again.
    pub(crate) fn heed(&self, key: &str) {
        self.0.lock().unwrap().foreign.remove(key);
    }

    /// That status marker is another tool's.
    pub(crate) fn other_tool(&self, name: &str) {
        self.0.lock().unwrap().others.insert(name.to_owned());
    }

    /// Somebody put a commit there by hand, with that SUCCESS.
    pub(crate) fn claim(&self, label: &'static str, success: &str) {
        self.0.lock().unwrap().claim = Some((label, success.to_owned()));
    }

    /// How many runs held the lease so far.
    pub(crate) fn leases(&self) -> usize {
        self.0.lock().unwrap().generations.len()
    }
}

impl Checking {
    fn judge(&mut self, op: &Op, buckets: &Buckets) -> Result<(), String> {
        let head = buckets.get(BUCKET, &format!("{PREFIX}_millrace/HEAD.json"));
        let head: Value = head.map_or(Value::Null, |head| serde_json::from_slice(&head.bytes()).unwrap_or_default());
        self.writer(op, &head)?;
        let mut now = seen_at(buckets);
        now.retain(|key, _| !self.foreign.contains(key));
        self.status(&now, &head)?;
        if self.markers { self.no_mixture(&now) } else { Ok(()) }
    }

    /// Who may write.
    fn writer(&mut self, op: &Op, head: &Value) -> Result<(), String> {
        if op.key == format!("{PREFIX}_millrace/HEAD.json") {
            // A generation is its first writer's: others may ask it to stop.
            let taken = head["generation"].as_u64().filter(|_| !head["lease"].is_null());
            if taken.is_none_or(|generation| self.generations.insert(generation)) {
                // Who lets go with requests that have no answer says so; the next one waits before its first change.
                if taken.is_none() && !head["doubt"].is_null() {
                    self.doubtful = self.holder.take();
                }
                self.holder = taken.and_then(|_| op.access_key.clone());
            }
            return Ok(());
        }
        let names = |key: &str| key.strip_prefix(PREFIX).is_some_and(|key| !key.starts_with("_millrace/"));
        let is_data = names(&op.key) || op.keys.iter().any(|key| names(key));
        if is_data && self.doubtful.is_some() && self.holder != op.access_key && self.doubtful == op.access_key {
            return Ok(());
        }
        if is_data {
            self.doubtful = None;
        }
        if is_data && self.holder != op.access_key {
            return Err(format!("{:?} writes, and {:?} holds the lease", op.access_key, self.holder));
        }
        Ok(())
    }

    /// SUCCESS is the truth.
    fn status(&self, now: &Seen, head: &Value) -> Result<(), String> {
        let all: Vec<_> = now.keys().filter(|key| is_reserved(key) && key.starts_with("EXPORT_")).collect();
        let Some(success) = all.iter().find(|key| key.ends_with("_SUCCESS")) else { return Ok(()) };
        if all.len() > 1 {
            return Err(format!("{all:?} at once"));
        }
        let current = &head["current"];
        if current.is_null() {
            return self.before_the_first_receipt(now, success);
        }
        if current["success"] != success.as_str() {
            return Err(format!("{success} is there, and HEAD says {}", current["success"]));
        }
        let known = self.commits.iter().find(|known| current["commit"] == known.id.as_str());
        let known = known.ok_or_else(|| format!("HEAD names an unknown commit: {current}"))?;
        let view = known.views.iter().find(|(want, _)| want.is_named_by(&current["view"]));
        let (want, view) = view.ok_or_else(|| format!("HEAD names an unknown view: {}", current["view"]))?;
        self.is_over(now, success, view).map_err(|wrong| format!("{wrong} ({want:?})"))
    }

    /// What was there before Millrace came.
    fn before_the_first_receipt(&self, now: &Seen, success: &String) -> Result<(), String> {
        if self.others.contains(success) {
            return Ok(());
        }
        let claimed = self.claim.as_ref().filter(|(_, name)| name == success);
        let (label, _) = claimed.ok_or_else(|| format!("{success} is there before anything was exported"))?;
        let known = self.commits.iter().find(|known| known.views[0].0.label == *label).unwrap();
        self.is_over(now, success, &known.views[0].1)
    }

    fn is_over(&self, now: &Seen, success: &str, view: &Seen) -> Result<(), String> {
        let data = now.iter().filter(|(key, _)| !is_reserved(key));
        let wanted = view.iter().filter(|(key, _)| !self.foreign.contains(*key));
        let wrong = difference(data, wanted);
        if wrong.is_empty() { Ok(()) } else { Err(format!("{success} stands over something else: {wrong:?}")) }
    }

    /// A completion marker is the truth.
    fn no_mixture(&self, now: &Seen) -> Result<(), String> {
        for marker in now.keys().filter(|key| is_marker(key)) {
            let below = |seen: &Seen| -> Seen {
                let inside =
                    seen.iter().filter(|(key, _)| is_below(key, marker) && !is_reserved(key) && !self.foreign.contains(*key));
                inside.map(|(key, look)| (key.clone(), look.clone())).collect()
            };
            let here = below(now);
            let whole = |(want, view): &(Want, Seen)| want.filter == 0 && view.contains_key(marker) && below(view) == here;
            if !self.commits.iter().any(|known| known.views.iter().any(whole)) {
                return Err(format!("{marker} stands over a mixture"));
            }
        }
        Ok(())
    }
}

/// The keys at which two states differ.
fn difference<'a>(
    left: impl Iterator<Item = (&'a String, &'a String)>,
    right: impl Iterator<Item = (&'a String, &'a String)>,
) -> BTreeSet<&'a String> {
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (left.collect(), right.collect());
    left.symmetric_difference(&right).map(|(key, _)| *key).collect()
}
