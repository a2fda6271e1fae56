//! Plans and runs as they are read, without colours.

use engine::report::ErrorReport;
use engine::{DirectoryCounts, State};

use super::super::samples;
use super::*;

fn shown(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
}

fn overview() -> PlanOverview {
    let row = |action, key: &str, size, reason: &str| PlannedRow {
        action,
        round: 1,
        key: key.to_owned(),
        size,
        reason: reason.to_owned(),
    };
    let counts = |directory: &str, round, copied, deleted, retracted, bytes| DirectoryCounts {
        directory: directory.to_owned(),
        round,
        copied,
        deleted,
        retracted,
        bytes,
    };
    PlanOverview {
        directories: vec![
            counts("", 0, 0, 0, 1, 0),
            counts("tables/", 0, 0, 0, 1, 0),
            counts("tables/", 1, 1200, 3, 0, 1_258_291),
        ],
        sample: vec![
            row(Action::Retract, "_SUCCESS", None, "covers changes"),
            row(Action::Retract, "tables/dt=2/_SUCCESS", None, "covers changes"),
            row(Action::Copy, "tables/dt=2/part-0.parquet", Some(4143), "changed"),
            row(Action::Copy, "tables/dt=2/part-1.parquet", Some(10), "added"),
            row(Action::Delete, "tables/dt=1/part-0.parquet", Some(4143), "removed"),
            row(Action::Copy, "tables/dt=2/x\ny", Some(0), "unknown state"),
        ],
        more: 1199,
        more_directories: 0,
    }
}

#[test]
fn a_plan_is_read_like_a_plan() {
    let mut report = samples::report(State::Planned);
    report.base = Some("bdb71903a2e53061ca34ec06ad93626ae5711a4ca240ebd3e9857ba86e0efe5b".to_owned());
    report.plan = Some("file:///home/u/.cache/millrace/plans/01J".to_owned());
    report.notes = vec!["the selection changed".to_owned()];
    insta::assert_snapshot!(shown(|out| plan(out, &report, &overview())), @r#"
    Plan of lakefs://orders/main for s3://mirror/orders/
      commit  c0ff4cf3370d6816ac5f3db6fb8f812ebab3a778ea1a4ea9cac8b12c481d1b07
      base    bdb71903a2e53061ca34ec06ad93626ae5711a4ca240ebd3e9857ba86e0efe5b

      + copy   ~ changed   - delete   ! retract

      ./
        ! _SUCCESS                    covers changes

      tables/dt=1/
        - part-0.parquet

      tables/dt=2/
        ! _SUCCESS                    covers changes
        ~ part-0.parquet     4.0 KiB
        + part-1.parquet        10 B
        + x\ny                   0 B  unknown state

      … and 1,199 more

      DIRECTORY  ROUND   COPY  DELETE  RETRACT    BYTES
      ./             0      0       0        1      0 B
      tables/        0      0       0        1      0 B
      tables/        1  1,200       3        0  1.2 MiB

    note: the selection changed
    Plan: 40 to copy (1.2 MiB), 3 to delete, 2 markers to retract; 900 unchanged.
    Ranges: 2 of 31 opened; 3 markers looked up. Planned in 12 ms.

    The plan is in file:///home/u/.cache/millrace/plans/01J
    To do exactly this: millrace apply file:///home/u/.cache/millrace/plans/01J
    "#);
}

#[test]
fn a_plan_without_changes_says_so() {
    let mut report = samples::report(State::Planned);
    (report.copied, report.deleted, report.retracted, report.bytes) = (0, 0, 0, 0);
    let text = shown(|out| plan(out, &report, &PlanOverview::default()));
    assert!(text.contains("Plan: nothing to do; 900 unchanged.\n"), "{text}");
    assert!(!text.contains("retract"), "{text}");
}

#[test]
fn a_run_that_succeeded_is_summed_up() {
    insta::assert_snapshot!(shown(|out| summary(out, &samples::report(State::Succeeded))), @r#"
    Exported lakefs://orders/main to s3://mirror/orders/
      commit  c0ff4cf3370d6816ac5f3db6fb8f812ebab3a778ea1a4ea9cac8b12c481d1b07
      base    ba5e4cf3370d6816ac5f3db6fb8f812ebab3a778ea1a4ea9cac8b12c481d1b07

      ROUND  NAME     COPIED  DELETED  FAILED  SKIPPED    BYTES
          0  retract       0        2       0        0      0 B
          1  data         38        3       0        0  1.2 MiB
          2  markers       2        0       0        0      0 B

      time      1.2 s (planning 12 ms), 32 objects/s, 1005.6 KiB/s
      requests  43 for data, 21 for control
      marker    EXPORT_c0ff_SUCCESS
      receipt   _millrace/receipts/1-c0ff

    Done: 40 copied (1.2 MiB), 3 deleted, 2 markers retracted; 900 unchanged.
    "#);
}

#[test]
fn without_a_base_markers_are_cleared_and_not_found() {
    let report = RunReport { base: None, ..samples::report(State::Succeeded) };
    let text = shown(|out| summary(out, &report));
    assert!(text.contains("  base    none: everything is copied\n"), "{text}");
    assert!(text.ends_with("Done: 40 copied (1.2 MiB), 3 deleted, 2 markers cleared first; 900 unchanged.\n"), "{text}");
}

#[test]
fn a_run_that_failed_says_what_failed_and_what_to_do() {
    let mut report = samples::report(State::Failed);
    (report.copied, report.failed, report.skipped, report.unchanged) = (17, 23, 2, None);
    (report.marker, report.receipt) = (Some("EXPORT_c0ff_FAILURE".to_owned()), None);
    let failure = |i| Failure {
        key: format!("tables/part-{i}"),
        action: "copy".to_owned(),
        source: Some(format!("s3://lake/orders/data/{i}")),
        error: "not found".to_owned(),
    };
    report.failures = (0..22).map(failure).collect();
    let text = shown(|out| summary(out, &report));
    assert!(text.starts_with("Failed: lakefs://orders/main to s3://mirror/orders/\n"), "{text}");
    assert_eq!(text.matches("  failed copy tables/part-").count(), 20);
    assert!(text.contains("  failed copy tables/part-0 (from s3://lake/orders/data/0): not found\n"), "{text}");
    assert!(text.contains("  … and 3 more; they are listed in EXPORT_c0ff_FAILURE\n"), "{text}");
    assert!(text.contains("Failed: 17 copied (1.2 MiB), 3 deleted, 2 markers retracted, 23 failed, 2 not tried.\n"), "{text}");
    assert!(text.ends_with("Run the same command again: it does what is missing.\n"), "{text}");
}

#[test]
fn of_a_refused_run_only_the_error_is_left_to_say() {
    let mut report = samples::report(State::Refused);
    report.error = Some(ErrorReport { kind: "guard".into(), message: "no".into(), help: None });
    assert_eq!(shown(|out| summary(out, &report)), "");
}

#[test]
fn the_history_is_a_table() {
    let mut reports = [samples::report(State::Succeeded), samples::report(State::Cancelled)];
    reports[1].fail(&planner::Error::new(planner::ErrorKind::TimedOut, "the 1h that --timeout allows are over"));
    insta::assert_snapshot!(shown(|out| runs(out, &reports)), @r#"
    RUN                         STATE      UPDATED               COMMIT        COPIED  DELETED  FAILED    BYTES   TIME  WHY
    01JD0000000000000000000000  succeeded  2026-11-20T10:00:00Z  c0ff4cf3370d      40        3       0  1.2 MiB  1.2 s
    01JD0000000000000000000000  cancelled  2026-11-20T10:00:00Z  c0ff4cf3370d      40        3       0  1.2 MiB  1.2 s  the 1h that --timeout allows are over
    "#);
}

#[test]
fn an_error_and_what_to_do_about_it_have_a_line_each() {
    let text = shown(|out| error(out, "cannot read x: denied", Some("do y")));
    assert_eq!(text, "error: cannot read x: denied\nhelp: do y\n");
}
