//! Deletes: by the thousand, each with its own end.

use millrace_tests::s3::{Fault, Rule, Target};

use super::{Place, PlanRow, Stage};

fn delete(key: &str) -> PlanRow {
    PlanRow { action: "delete", key: key.to_owned(), ..PlanRow::default() }
}

fn many(stage: &Stage, count: usize) -> Vec<PlanRow> {
    let keys = (0..count).map(|at| format!("old/{at:05}"));
    keys.map(|key| {
        stage.here.put("near", &key, "x", None, &[]);
        delete(&key)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_a_request() {
    let stage = Stage::new().await;
    let mut rows = many(&stage, 2500);
    rows.push(PlanRow { action: "retract", ..delete("never/was/_SUCCESS") });
    let ends = stage.run(&stage.spec(Place::Near), &rows).await;
    assert!(ends.values().all(|end| end.ok && end.proof.is_none()), "{ends:?}");
    let log = stage.here.log();
    assert_eq!((log.len(), log.of("DeleteObjects").len()), (3, 3), "{log}");
    assert!(stage.here.keys("near", "").is_empty());
    assert_eq!(stage.registry.requests(), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_is_a_row_and_no_other_meets_it() {
    let stage = Stage::new().await;
    let rows = many(&stage, 1200);
    stage.here.deny(Target::on("DeleteObject").key("old/00007"));
    let once = Rule::new(Target::on("DeleteObjects").key("old/00100"), Fault::error(500, "InternalError")).nth(1);
    let always = Rule::new(Target::on("DeleteObjects").key("old/01100"), Fault::error(500, "InternalError"));
    let (once, always) = (stage.here.fault(once), stage.here.fault(always));
    let ends = stage.run(&stage.spec(Place::Near), &rows).await;
    let failed: Vec<(&str, &str)> =
        ends.iter().filter(|(_, end)| !end.ok).map(|(key, end)| (key.as_str(), end.kind.as_str())).collect();
    assert_eq!(failed, [("old/00007", "denied"), ("old/01100", "unavailable")]);
    assert_eq!(stage.here.keys("near", ""), ["old/00007", "old/01100"]);
    assert_eq!((stage.here.hits(once), stage.here.hits(always)), (1, 5));
    // What is done is not asked for again.
    let log = stage.here.log();
    assert!(log.of("DeleteObjects").iter().filter(|op| op.keys.len() > 1).count() <= 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_or_whose_answer_is_lost_is_sent_again() {
    let stage = Stage::new().await;
    for fault in [
        Fault::slow_down(),
        Fault::Reset { applied: false },
        Fault::Reset { applied: true },
        Fault::error_in_200("InternalError"),
    ] {
        stage.here.clear_faults();
        let rows = many(&stage, 1001);
        let rule = stage.here.fault(Rule::new(Target::on("DeleteObjects"), fault.clone()).nth(1));
        let ends = stage.run(&stage.spec(Place::Near), &rows).await;
        assert!(ends.values().all(|end| end.ok), "{fault:?}");
        assert_eq!(stage.here.hits(rule), 1);
        assert!(stage.here.keys("near", "").is_empty(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_always_fails_fails_each_of_its_rows() {
    let stage = Stage::new().await;
    let rows = many(&stage, 20);
    stage.here.fault(Rule::new(Target::on("DeleteObjects"), Fault::error(404, "NoSuchBucket")));
    let ends = stage.run(&stage.spec(Place::Near), &rows).await;
    assert!(ends.values().all(|end| end.kind == "no_bucket"), "{ends:?}");
    assert_eq!(stage.here.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_batch_can_carry_go_one_by_one() {
    let stage = Stage::new().await;
    let odd = ["c\u{1}l", "new\r\nline", "a//b", "tab\t&<>", "dir/", "ünï"];
    let rows: Vec<PlanRow> = odd
        .iter()
        .map(|key| {
            stage.here.put("near", key, "x", None, &[]);
            delete(key)
        })
        .collect();
    let ends = stage.run(&stage.spec(Place::Near), &rows).await;
    assert!(ends.values().all(|end| end.ok), "{ends:?}");
    assert!(stage.here.keys("near", "").is_empty());
    let counts = stage.here.log().counts();
    assert_eq!((counts["DeleteObjects"], counts["DeleteObject"]), (1, 2), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_batches_is_asked_one_by_one() {
    let stage = Stage::new().await;
    let rows = many(&stage, 2200);
    stage.here.fault(Rule::new(Target::on("DeleteObjects"), Fault::error(501, "NotImplemented")));
    let ends = stage.run(&stage.spec(Place::Near), &rows).await;
    assert!(ends.values().all(|end| end.ok));
    assert!(stage.here.keys("near", "").is_empty());
    let counts = stage.here.log().counts();
    assert!(counts["DeleteObjects"] <= 3 && counts["DeleteObject"] == 2200, "{counts:?}");
}
