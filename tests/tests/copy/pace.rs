//! How much is done at once, and that nothing waits for what is slow.

use std::time::{Duration, Instant};

use millrace_tests::s3::{Fault, Object, Rule, Target};
use worker::{Concurrency, CopySpec};

use super::{Place, PlanRow, Stage, pattern};

fn small(stage: &Stage, count: usize) -> Vec<PlanRow> {
    (0..count).map(|at| stage.put(Place::Src, &format!("data/{at:05}"), Object::new(pattern(100, at as u64)))).collect()
}

/// The most requests that were under way at once.
fn at_once(stage: &Stage) -> usize {
    let log = stage.here.log();
    let mut moments: Vec<(Instant, i32)> =
        log.iter().flat_map(|op| [(op.started, 1), (op.ended.unwrap_or(op.started), -1)]).collect();
    moments.sort_by_key(|(at, change)| (*at, *change));
    let under_way = moments.iter().scan(0, |count, (_, change)| {
        *count += change;
        Some(*count)
    });
    usize::try_from(under_way.max().unwrap_or(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_connection_is_noticed_and_slows_nobody() {
    let stage = Stage::new().await;
    let rows = small(&stage, 500);
    stage.here.fault(Rule::new(Target::on("CopyObject").key("data/00010"), Fault::Stall { applied: false }).nth(1));
    let spec = CopySpec { stall_ms: 3000, ..stage.spec(Place::Near) };
    let ends = stage.run(&spec, &rows).await;
    assert!(ends.values().all(|end| end.ok));
    let log = stage.here.log();
    let again = log.iter().filter(|op| op.key == "data/00010").map(|op| op.started).max().unwrap();
    assert_eq!(log.iter().filter(|op| op.key == "data/00010").count(), 2);
    let before = log.iter().filter(|op| op.key != "data/00010" && op.ended.is_some_and(|ended| ended < again)).count();
    assert!(before > 450, "only {before} others were done when the stall was noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_in_five_may_fail() {
    for fault in [Fault::error(503, "ServiceUnavailable"), Fault::slow_down(), Fault::error_in_200("InternalError")] {
        let stage = Stage::new().await;
        let rows = small(&stage, 600);
        let rule = stage.here.fault(Rule::new(Target::on("CopyObject"), fault.clone()).chance(200, 7));
        let ends = stage.run(&CopySpec::new(stage.location(Place::Near)), &rows).await;
        let failed: Vec<_> = ends.values().filter(|end| !end.ok).collect();
        assert!(failed.is_empty(), "{fault:?}: {failed:?}");
        assert!(stage.here.hits(rule) > 90);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_is_not_asked_ten_times_for_each_object() {
    let stage = Stage::new().await;
    let rows = small(&stage, 1000);
    stage.here.fault(Rule::new(Target::on("CopyObject"), Fault::error(503, "ServiceUnavailable")));
    let spec = CopySpec { run_retries: 100, ..stage.spec(Place::Near) };
    let ends = stage.run(&spec, &rows).await;
    assert!(ends.values().all(|end| end.kind == "unavailable"));
    assert_eq!(stage.here.log().len(), 1100);
    assert!(ends.values().any(|end| end.error.contains("the retries of the run are used up")));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_objects_at_once_as_is_said() {
    let stage = Stage::new().await;
    stage.here.latency(Duration::from_millis(20));
    let rows = small(&stage, 300);
    let spec = CopySpec { concurrency: Concurrency::Fixed(7), ..stage.spec(Place::Near) };
    assert!(stage.run(&spec, &rows).await.values().all(|end| end.ok));
    assert_eq!(at_once(&stage), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adaptive_number_grows_to_its_ceiling_and_gives_way() {
    let stage = Stage::new().await;
    stage.here.latency(Duration::from_millis(50));
    let rows = small(&stage, 1500);
    let spec = CopySpec { concurrency: Concurrency::Auto { max: 100 }, ..stage.spec(Place::Near) };
    assert!(stage.run(&spec, &rows).await.values().all(|end| end.ok));
    let grown = at_once(&stage);
    assert!((64..=100).contains(&grown), "{grown} at once");

    stage.here.clear_log();
    stage.here.fault(Rule::new(Target::on("CopyObject"), Fault::slow_down()).chance(600, 3));
    let spec = CopySpec { retry: worker::retry::Retry::of_objects(), ..spec };
    let ends = stage.run(&spec, &rows[..400]).await;
    assert!(ends.values().filter(|end| end.ok).count() > 380);
    let log = stage.here.log();
    let (first, last) = (log.first().unwrap().started, log.iter().filter_map(|op| op.ended).max().unwrap());
    let late: Vec<_> = log.iter().filter(|op| op.started > first + (last - first) / 2).collect();
    assert!(late.len() < log.len() / 2, "{} of {} requests in the second half", late.len(), log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_starts_early() {
    let stage = Stage::new().await;
    let mut rows = small(&stage, 1000);
    rows.push(stage.put(Place::Src, "zz/large", Object::new(millrace_tests::s3::Body::sparse(1 << 30, 1))));
    let spec = CopySpec { concurrency: Concurrency::Fixed(4), ..stage.spec(Place::Near) };
    assert!(stage.run(&spec, &rows).await.values().all(|end| end.ok));
    let place = stage.here.log().iter().position(|op| op.key == "zz/large").unwrap();
    assert!(place < 20, "it was request {place}");
}
