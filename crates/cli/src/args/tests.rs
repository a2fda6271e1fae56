//! Every option of the contract, as it is typed.

use std::time::Duration;

use clap::CommandFactory as _;
use engine::{Adopt, MaxDelete};
use planner::Preset;

use super::*;

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("millrace").chain(words.iter().copied()))
}

fn export(words: &[&str]) -> ExportArgs {
    match parse(&[&["export", "lakefs://orders/main", "s3://mirror/orders"], words].concat()).map(|c| c.command) {
        Ok(Command::Export(args)) => *args,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_that_is_built_is_understood() {
    let table: &[&[&str]] = &[
        &["export", "lakefs://r/main", "out"],
        &["plan", "lakefs://r/main", "out", "-o", "s3://plans/1"],
        &["apply", "s3://plans/1"],
        &["runs", "out"],
        &["status", "out"],
        &["wait", "out", "01J"],
        &["cancel", "out", "01J"],
        &["verify", "out"],
        &["verify", "s3://m/o", "--against", "lakefs://r/main", "--deep", "--repair", "--concurrency", "4"],
        &["ls", "lakefs://r/main"],
        &["ls", "-r", "lakefs://r/main", "--human-readable"],
        &["diff", "lakefs://r/a", "lakefs://r/b"],
        &["log", "lakefs://r/a", "-n", "3", "--first-parent"],
        &["log", "lakefs://r/a", "--amount=3"],
        &["refs", "lakefs://r"],
        &["cat", "lakefs://r/a", "-o", "file", "--", "-dash/key"],
        &["sql", "SELECT 1"],
        &["sql", "a=lakefs://r/a", "b=./plan", "SELECT 1"],
        &["lake", "init", "lake+file:///srv/lake"],
        &[
            "lake",
            "commit",
            "lake+file:///l?ref=main",
            "./out",
            "-m",
            "load",
            "--meta",
            "a=b=c",
            "--prefix",
            "x/",
            "--allow-empty",
        ],
        &["lake", "branch", "lake+file:///l?ref=main", "dev"],
        &["lake", "tag", "lake+file:///l", "v1", "--delete"],
        &["lake", "merge", "lake+file:///l?ref=dev", "main", "--strategy", "source-wins"],
        &["completions", "bash"],
        &["scheduler", "--port", "21050", "--bind", "0.0.0.0", "--external-host", "s"],
        &["executor", "--scheduler", "df://s:21050", "--tasks", "8", "--memory", "1GiB", "--work-dir", "/var/tmp"],
    ];
    for words in table {
        assert!(parse(words).is_ok(), "{words:?}: {}", parse(words).unwrap_err());
    }
}

#[test]
fn verbs_that_are_not_built_are_not_known() {
    let help = Cli::command().render_long_help().to_string();
    for verb in ["import", "watch"] {
        assert!(parse(&[verb, "x"]).is_err(), "{verb}");
        assert!(!help.lines().any(|l| l.trim_start().starts_with(&format!("{verb} "))), "{verb} is in the help");
    }
}

#[test]
fn selection_is_read() {
    let args = export(&[
        "--include",
        "tables/**",
        "--include=site/*",
        "--exclude",
        "*.tmp",
        "--where",
        "size < 10",
        "--from",
        "v1",
        "--dry-run",
    ]);
    let spec = args.selection.spec();
    assert_eq!(spec.include, ["tables/**", "site/*"]);
    assert_eq!(spec.exclude, ["*.tmp"]);
    assert_eq!(spec.predicate.as_deref(), Some("size < 10"));
    assert_eq!((args.selection.from.as_deref(), args.selection.dry_run), (Some("v1"), true));
    assert!(export(&["--full"]).selection.full);
    assert!(export(&["--where", "-1 < size"]).selection.predicate.is_some());
    assert!(export(&[]).selection.spec().is_all());
}

#[test]
fn rounds_are_read_in_their_order() {
    let spec = export(&["--preset", "none", "--round", "b/*", "--round", "sql:size > 3", "--keep-markers"]).rounds.spec();
    assert_eq!((spec.preset, spec.keep_markers), (Preset::None, true));
    assert_eq!(spec.rounds, ["b/*", "sql:size > 3"]);
    assert_eq!(export(&[]).rounds.spec(), planner::RoundsSpec::default());
}

#[test]
fn markers_are_read() {
    let options = export(&["--keep-success", "--marker-template", "DONE_{commit}_{time}_{state}"]).markers.options();
    assert_eq!((options.keep_success, options.template.as_str()), (true, "DONE_{commit}_{time}_{state}"));
    assert_eq!(export(&[]).markers.options().template, "EXPORT_{commit}_{state}");
}

#[test]
fn guards_are_read() {
    let table = [
        (&["--max-delete", "1000"][..], Some(MaxDelete::Count(1000))),
        (&["--max-delete=12.5%"], Some(MaxDelete::Percent(12.5))),
        (&["--max-delete", "0"], Some(MaxDelete::Count(0))),
        (&[], None),
    ];
    for (words, expected) in table {
        assert_eq!(export(words).guards.guards().max_delete, expected, "{words:?}");
    }
    let table = [(&["--adopt"][..], Adopt::Foreign), (&["--adopt=own"], Adopt::Own), (&[], Adopt::No)];
    for (words, expected) in table {
        assert_eq!(export(words).guards.guards().adopt, expected, "{words:?}");
    }
    let guards = export(&["--force", "--assume-empty"]).guards.guards();
    assert!(guards.force && guards.assume_empty);
}

#[test]
fn a_flag_with_an_optional_value_does_not_eat_the_next_word() {
    let Ok(Cli { command: Command::Export(args), .. }) = parse(&["export", "--adopt", "lakefs://r/main", "out"]) else {
        panic!("not an export");
    };
    assert_eq!((args.source.as_str(), args.guards.guards().adopt), ("lakefs://r/main", Adopt::Foreign));
}

#[test]
fn the_run_is_read() {
    let options = export(&["--concurrency", "64", "--timeout", "1h", "--request-timeout", "45s", "--on-drift", "take"])
        .run
        .options()
        .unwrap();
    assert_eq!((options.concurrency, options.take_drifted), (Some(64), true));
    assert_eq!(options.timeout, Some(Duration::from_hours(1)));
    assert_eq!(options.request_timeout, Some(Duration::from_secs(45)));
    let options = export(&["--concurrency=auto", "--on-drift=fail"]).run.options().unwrap();
    assert_eq!((options.concurrency, options.take_drifted, options.timeout), (None, false, None));
}

#[test]
fn global_options_stand_anywhere() {
    let words = ["--output", "json", "ls", "lakefs://r/a", "-vv", "--log-format=json", "--no-progress", "--config", "m.toml"];
    let global = parse(&words).unwrap().global;
    assert_eq!((global.output, global.verbose, global.log_format), (OutputFormat::Json, 2, LogFormat::Json));
    assert!(global.no_progress && global.config.is_some());
    let words = ["ls", "lakefs://r/a", "--output=text", "-q", "--store", "prefix=s3://a", "--store", "prefix=s3://b"];
    let global = parse(&words).unwrap().global;
    assert_eq!((global.quiet, global.stores.len()), (true, 2));
}

#[test]
fn the_spark_exporters_words_are_understood_in_both_spellings() {
    for (commit, previous) in [("--commit-id", "--prev-commit-id"), ("--commit_id", "--prev_commit_id")] {
        assert_eq!(export(&[commit, "abc"]).spark.commit_id.as_deref(), Some("abc"));
        let spark = export(&["--branch", "main", previous, "abc"]).spark;
        assert_eq!((spark.branch.as_deref(), spark.prev_commit_id.as_deref()), (Some("main"), Some("abc")));
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let table: &[&[&str]] = &[
        &[],
        &["export", "lakefs://r/main"],
        &["export", "a", "b", "--from", "x", "--full"],
        &["export", "a", "b", "--max-delete", "101%"],
        &["export", "a", "b", "--max-delete", "many"],
        &["export", "a", "b", "--concurrency", "0"],
        &["export", "a", "b", "--timeout", "0s"],
        &["export", "a", "b", "--timeout", "soon"],
        &["export", "a", "b", "--adopt=all"],
        &["export", "a", "b", "--from", "x", "--adopt"],
        &["apply", "a", "--adopt"],
        &["apply", "a", "--assume-empty"],
        &["export", "a", "b", "--preset", "parquet"],
        &["export", "a", "b", "--on-drift", "maybe"],
        &["export", "a", "b", "--done-file", "_DONE"],
        &["export", "a", "b", "--done-prefix", "t/[^/]+"],
        &["export", "a", "b", "--branch", "m", "--commit-id", "c"],
        &["export", "a", "b", "--commit-id", "c", "--prev-commit-id", "p"],
        &["export", "a", "b", "--prev-commit-id", "p"],
        &["export", "a", "b", "--branch", "m", "--full"],
        &["ls", "a", "-q", "-v"],
        &["ls", "a", "--output", "xml"],
        &["sql"],
        &["nonsense"],
    ];
    for words in table {
        let error = parse(words).expect_err(&format!("{words:?}"));
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
}

#[test]
fn options_that_nothing_implements_are_not_known() {
    for option in ["--watch", "--interval=1m", "--merge"] {
        assert!(parse(&["export", "a", "b", option]).is_err(), "{option}");
    }
}

#[test]
fn json_is_found_in_words_that_cannot_be_parsed() {
    let words = |w: &[&str]| w.iter().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(format_of_raw(&words(&["millrace", "x", "--output", "json"])), OutputFormat::Json);
    assert_eq!(format_of_raw(&words(&["millrace", "--output=json"])), OutputFormat::Json);
    assert_eq!(format_of_raw(&words(&["millrace", "x", "--", "--output=json"])), OutputFormat::Text);
    assert_eq!(format_of_raw(&words(&["millrace", "json"])), OutputFormat::Text);
}
