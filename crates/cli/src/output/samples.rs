//! Values for the tests of rendering.

use engine::report::{RangeCounts, RequestCounts, RoundReport};
use engine::{RunReport, State};

/// The report of a small run that ended in `state`.
pub(crate) fn report(state: State) -> RunReport {
    let destination = planner::Location::parse("s3://mirror/orders/").unwrap();
    let run = "01JD0000000000000000000000".to_owned();
    RunReport {
        state,
        update_time: "2026-11-20T10:00:00Z".to_owned(),
        commit: Some("c0ff4cf3370d6816ac5f3db6fb8f812ebab3a778ea1a4ea9cac8b12c481d1b07".to_owned()),
        base: Some("ba5e4cf3370d6816ac5f3db6fb8f812ebab3a778ea1a4ea9cac8b12c481d1b07".to_owned()),
        rounds: vec![
            RoundReport { round: 0, name: "retract".to_owned(), deleted: 2, ..RoundReport::default() },
            RoundReport { round: 1, name: "data".to_owned(), copied: 38, deleted: 3, bytes: 1_258_291, ..RoundReport::default() },
            RoundReport { round: 2, name: "markers".to_owned(), copied: 2, ..RoundReport::default() },
        ],
        copied: 40,
        deleted: 3,
        retracted: 2,
        unchanged: Some(900),
        bytes: 1_258_291,
        ranges: RangeCounts { total: 31, opened: 2, looked_up: 3, bytes: 81_920 },
        requests: RequestCounts { data: 43, control: 21 },
        elapsed_ms: 1234,
        plan_ms: 12,
        receipt: Some("_millrace/receipts/1-c0ff".to_owned()),
        marker: Some("EXPORT_c0ff_SUCCESS".to_owned()),
        ..RunReport::new(run, "lakefs://orders/main".to_owned(), &destination)
    }
}
