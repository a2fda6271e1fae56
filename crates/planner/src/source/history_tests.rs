use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::TryStreamExt;

use super::super::testing::{Lake, TestStores};
use super::super::{NamespaceSource, Reference};
use super::*;
use crate::location::Location;

async fn lake(name: &str) -> (Lake, Arc<dyn CommitSource>) {
    let lake = Lake::read(name);
    let source = NamespaceSource::open(&lake.namespace(), &TestStores).await.unwrap();
    (lake, Arc::new(source))
}

async fn ids(source: &Arc<dyn CommitSource>, from: &str, first_parent: bool) -> Vec<String> {
    let from = source.resolve(from).await.unwrap();
    log(Arc::clone(source), from, first_parent).map_ok(|commit| commit.id).try_collect().await.unwrap()
}

#[tokio::test]
async fn the_log_holds_every_ancestor_once_in_the_servers_order() {
    let (orders, source) = lake("orders").await;
    let labels = ["head", "reverted", "merged", "dev-site", "metadata-only", "day4", "load", "empty"];
    let expected: Vec<_> = labels.iter().map(|label| orders.id(label)).collect();
    assert_eq!(ids(&source, "main", false).await, expected);
    let recorded = std::fs::read_to_string(orders.folder.join("api.jsonl")).unwrap();
    let log = recorded.lines().find(|line| line.contains("/refs/main/commits")).unwrap();
    let log: serde_json::Value = serde_json::from_str(log).unwrap();
    for (nth, commit) in log["body"]["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(commit["id"], expected[nth]);
    }
    let first = ["head", "reverted", "merged", "metadata-only", "day4", "load", "empty"].map(|label| orders.id(label));
    assert_eq!(ids(&source, "main", true).await, first);

    let (churn, source) = lake("churn").await;
    let mut labels: Vec<_> = (0..12).rev().map(|n| churn.id(&format!("c{n:02}"))).collect();
    labels.push(churn.id("empty"));
    assert_eq!(ids(&source, "main", false).await, labels);
}

#[tokio::test]
async fn ancestors_are_told_from_descendants_and_from_the_other_side_of_a_merge() {
    let (orders, source) = lake("orders").await;
    let table = [
        ("head", "head", true),
        ("empty", "head", true),
        ("dev-site", "head", true),
        ("metadata-only", "head", true),
        ("metadata-only", "dev-site", false),
        ("dev-site", "metadata-only", false),
        ("head", "reverted", false),
        ("all-deleted", "head", false),
        ("head", "all-deleted", true),
        ("load", "dev-site", true),
    ];
    for (ancestor, of, expected) in table {
        let of_commit = source.commit(&orders.id(of)).await.unwrap();
        let got = is_ancestor(source.as_ref(), &orders.id(ancestor), &of_commit).await.unwrap();
        assert_eq!(got, expected, "{ancestor} of {of}");
    }
    let (churn, source) = lake("churn").await;
    let head = source.resolve("main").await.unwrap();
    for n in 0..12 {
        assert!(is_ancestor(source.as_ref(), &churn.id(&format!("c{n:02}")), &head).await.unwrap());
    }
}

/// A history that is written down in a test.
#[derive(Debug)]
struct Written {
    commits: HashMap<String, Commit>,
    asked: AtomicUsize,
}

impl Written {
    /// Of id, parents, creation date and generation.
    fn new(commits: &[(&str, &[&str], i64, i64)]) -> Arc<Self> {
        let commit = |(id, parents, created, generation): &(&str, &[&str], i64, i64)| Commit {
            id: (*id).to_owned(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            created: *created,
            generation: *generation,
            ..Commit::default()
        };
        let commits = commits.iter().map(commit).map(|commit| (commit.id.clone(), commit)).collect();
        Arc::new(Self { commits, asked: AtomicUsize::new(0) })
    }

    fn line(length: i64) -> Arc<Self> {
        let names: Vec<_> = (0..=length).map(|n| n.to_string()).collect();
        let commits = (1..=length).map(|n| {
            let at = usize::try_from(n).unwrap();
            let parents = if n > 1 { vec![names[at - 1].clone()] } else { Vec::new() };
            (names[at].clone(), Commit { id: names[at].clone(), parents, created: n, generation: n, ..Commit::default() })
        });
        Arc::new(Self { commits: commits.collect(), asked: AtomicUsize::new(0) })
    }

    async fn log(self: &Arc<Self>, from: &str) -> String {
        let from = self.commits[from].clone();
        let ids = log(Arc::clone(self) as _, from, false).map_ok(|commit| commit.id).try_collect::<Vec<_>>().await.unwrap();
        ids.join(" ")
    }
}

#[async_trait::async_trait]
impl CommitSource for Written {
    fn storage(&self) -> &Location {
        unimplemented!("not asked for by the history")
    }

    fn namespace(&self) -> &graveler::Namespace {
        unimplemented!("not asked for by the history")
    }

    async fn resolve(&self, expression: &str) -> Result<Commit> {
        self.commit(expression).await
    }

    async fn commit(&self, id: &str) -> Result<Commit> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.commits.get(id).cloned().ok_or_else(|| Error::usage(format!("no commit {id}")))
    }

    async fn refs(&self) -> Result<Vec<Reference>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn the_newest_reachable_commit_comes_next_and_none_comes_twice() {
    // Two branches from `a`: `b c` and `x y`, merged as `m`. Of equally new commits the greater id goes first.
    let merged: &[(&str, &[&str], i64, i64)] = &[
        ("a", &[], 1, 1),
        ("b", &["a"], 2, 2),
        ("c", &["b"], 5, 3),
        ("x", &["a"], 3, 2),
        ("y", &["x"], 5, 3),
        ("m", &["c", "y"], 9, 4),
    ];
    assert_eq!(Written::new(merged).log("m").await, "m y c x b a");
    // A clock that went backwards: `a` is newer than its children, and still comes once.
    let skewed: &[(&str, &[&str], i64, i64)] =
        &[("a", &[], 8, 1), ("b", &["a"], 7, 2), ("x", &["a"], 1, 2), ("m", &["b", "x"], 9, 3)];
    assert_eq!(Written::new(skewed).log("m").await, "m b a x");
    // Generations that are not known.
    let unknown: &[(&str, &[&str], i64, i64)] =
        &[("a", &[], 8, 0), ("b", &["a"], 7, 0), ("x", &["a"], 1, 0), ("m", &["b", "x"], 9, 5)];
    assert_eq!(Written::new(unknown).log("m").await, "m b a x");
}

#[tokio::test]
async fn what_is_kept_while_walking_does_not_grow_with_the_history() {
    let line = Written::line(500);
    let mut walk = Walk::new(Order::Newest, false);
    walk.push(line.commits["500"].clone());
    for _ in 0..400 {
        walk.next(line.as_ref(), |_| true).await.unwrap().unwrap();
        assert!(walk.met.values().map(HashSet::len).sum::<usize>() <= 2);
        assert_eq!((walk.queue.len(), walk.waiting.len()), (1, 1));
    }
}

#[tokio::test]
async fn generations_keep_the_walk_short() {
    let line = Written::line(500);
    assert!(is_ancestor(line.as_ref(), "495", &line.commits["500"]).await.unwrap());
    assert!(line.asked.load(Ordering::Relaxed) < 10);
    assert!(!is_ancestor(line.as_ref(), "500", &line.commits["3"]).await.unwrap());
    assert!(line.asked.load(Ordering::Relaxed) < 12);
}

#[tokio::test]
async fn without_generations_all_of_the_history_is_looked_at() {
    let unknown: &[(&str, &[&str], i64, i64)] = &[("a", &[], 1, 0), ("b", &["a"], 2, 0), ("c", &["b"], 3, 9), ("z", &[], 4, 0)];
    let history = Written::new(unknown);
    assert!(is_ancestor(history.as_ref(), "a", &history.commits["c"]).await.unwrap());
    assert!(!is_ancestor(history.as_ref(), "z", &history.commits["c"]).await.unwrap());
}

#[tokio::test]
async fn the_walk_ends_at_its_limit_with_an_error_that_says_so() {
    let line = Written::line(500);
    let error = is_ancestor_within(line.as_ref(), "1", &line.commits["500"], 100).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Guard);
    assert!(error.message().contains("100 commits back from 500"), "{error}");
    assert_eq!(is_ancestor(line.as_ref(), "absent", &line.commits["500"]).await.unwrap_err().kind(), crate::ErrorKind::Usage);
}
