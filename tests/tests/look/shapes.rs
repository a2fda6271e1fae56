//! What people see: the text forms of the listings, and the completion scripts.

use millrace_tests::run::Millrace;

use super::{Door, Way};

#[test]
fn ls_prints_time_size_and_path_in_columns() {
    let door = Door::open("orders", Way::Folder);
    let outcome = door.run(&["ls", &door.part("main", "site/")]);
    assert_eq!(
        outcome.stdout,
        "2026-11-20T18:20:32Z            3 site/app.js\n\
         2026-11-20T18:20:32Z           12 site/index.html\n\
         2026-11-20T18:20:32Z            3 site/new.css\n"
    );
    let outcome = door.run(&["ls", "--human-readable", &door.part("main", "tables/orders/dt=2026-01-02/part-00000.parquet")]);
    assert_eq!(outcome.stdout, "2026-11-20T18:20:26Z      4.1 KiB tables/orders/dt=2026-01-02/part-00000.parquet\n");
    assert_eq!(door.run(&["ls", &door.url("emptied")]).stdout, "");
}

#[test]
fn keys_that_would_break_a_line_are_escaped_for_people_and_raw_for_scripts() {
    let door = Door::open("odd-keys", Way::Folder);
    let text = door.run(&["ls", &door.at("all")]).stdout;
    let keys: Vec<_> = text.lines().map(|line| &line[34..]).collect();
    let listed: Vec<_> = door.lake.objects("all").into_iter().map(|object| object.path).collect();
    let shown: Vec<_> = listed.iter().map(|path| path.replace('\t', "\\t")).collect();
    assert_eq!(keys, shown);
    assert_eq!(door.field("path", &["ls", &door.at("all")]), listed);
}

#[test]
fn diff_prints_a_sign_a_word_and_a_path() {
    let door = Door::open("orders", Way::Folder);
    let text = door.run(&["diff", &door.url("v1"), &door.url("v2")]).stdout;
    let sign = |kind: &str| match kind {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    let recorded = door.lake.diff("load", "day4");
    let expected: Vec<_> = recorded.iter().map(|line| format!("{} {} {}", sign(&line.kind), line.kind, line.path)).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(door.run(&["diff", &door.url("v1"), &door.url("v1")]).stdout, "");
}

#[test]
fn diff_refuses_two_lakes_and_two_parts() {
    let (orders, delta) = (Door::open("orders", Way::Folder), Door::open("delta", Way::Folder));
    let outcome = orders.command(&["diff", &orders.url("v1"), &delta.url("main")]).run().expect_code(2);
    assert!(outcome.stderr.contains("are two lakes\nhelp: only commits of one lake can be compared"), "{outcome}");
    let parts = (orders.part("v1", "site/"), orders.part("v2", "tables/"));
    let outcome = orders.command(&["diff", &parts.0, &parts.1]).run().expect_code(2);
    assert!(outcome.stderr.contains("are two parts of a lake\nhelp: give both the same prefix"), "{outcome}");
}

#[test]
fn log_looks_as_lakectls_does() {
    let door = Door::open("orders", Way::Folder);
    let commit = |label: &str| door.lake.commit(label).id.clone();
    let text = door.run(&["log", &door.url("v2")]).stdout;
    let expected = format!(
        "ID:            {}\nAuthor:        admin\nDate:          2026-11-20T18:20:32Z\n\n    day4\n\n    pipeline = nightly\n\n\
         ID:            {}\nAuthor:        admin\nDate:          2026-11-20T18:20:32Z\n\n    load\n\n\
         ID:            {}\nDate:          2026-11-20T18:20:26Z\n\n    Repository created\n\n",
        commit("day4"),
        commit("load"),
        commit("empty"),
    );
    assert_eq!(text, expected);
    let merge = door.run(&["log", &door.url("main~2"), "-n", "1"]).stdout;
    let parents = format!("Merge:         {} {}\n", &commit("metadata-only")[..12], &commit("dev-site")[..12]);
    assert!(merge.contains(&parents), "{merge}");
}

#[test]
fn refs_are_a_table() {
    let door = Door::open("orders", Way::Folder);
    let commit = |label: &str| door.lake.commit(label).id.clone();
    let text = door.run(&["refs", &door.url("main")]).stdout;
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    assert_eq!(rows[0], row(["TYPE", "NAME", "COMMIT"]));
    assert_eq!(rows[1], row(["branch", "dev", &commit("dev-site")]));
    assert_eq!(rows[6], row(["tag", "v2", &commit("day4")]));
    assert_eq!(rows.len(), 7);
}

#[test]
fn sql_answers_people_in_a_table() {
    let door = Door::open("orders", Way::Folder);
    let lake = format!("lake+file://{}", door.lake.namespace().display());
    let outcome = door.run(&["sql", &lake, "SELECT count(*) AS objects FROM objects('v1')"]);
    assert_eq!(outcome.stdout, "+---------+\n| objects |\n+---------+\n| 343     |\n+---------+\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_listing_quietly() {
    let door = Door::open("churn", Way::Folder);
    let binary = millrace_tests::run::binary();
    let script = "\"$BIN\" ls \"$LAKE\" | head -n 1; exit ${PIPESTATUS[0]}";
    let shell = Millrace::program("/bin/bash".as_ref()).args(["-c", script]);
    let outcome = shell.env("BIN", binary).env("LAKE", door.url("main")).run().expect_code(0);
    assert_eq!((outcome.stdout.lines().count(), outcome.stderr.as_str()), (1, ""));
}

#[test]
fn colours_are_for_terminals_only() {
    let door = Door::open("orders", Way::Folder);
    for words in [vec!["log", "main"], vec!["diff", "v1", "v2"], vec!["ls", "nothing"]] {
        let urls: Vec<_> = words[1..].iter().map(|reference| door.url(reference)).collect();
        let words: Vec<_> = std::iter::once(words[0]).chain(urls.iter().map(String::as_str)).collect();
        let outcome = door.command(&words).run();
        assert!(!format!("{outcome}").contains('\u{1b}'), "{outcome}");
    }
}

#[test]
fn every_shell_gets_a_completion_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = Millrace::new().args(["completions", shell]).run().expect_code(0);
        for word in ["export", "apply", "completions", "--no-progress", "millrace"] {
            let bare = word.trim_start_matches("--");
            assert!(outcome.stdout.contains(bare), "{shell} does not know {word}");
        }
        assert_eq!(outcome.stderr, "", "{shell}");
    }
    let script = Millrace::new().args(["completions", "bash"]).run().expect_code(0).stdout;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("millrace.bash");
    std::fs::write(&file, script).unwrap();
    let ask = ". \"$FILE\"; COMP_WORDS=(millrace exp); COMP_CWORD=1; _millrace millrace exp millrace; echo \"${COMPREPLY[@]}\"";
    let outcome = Millrace::program("/bin/bash".as_ref()).args(["-c", ask]).env("FILE", &file).run().expect_code(0);
    assert_eq!(outcome.stdout, "export\n", "{outcome}");
    let outcome = Millrace::new().args(["completions", "nosh"]).run().expect_code(2);
    assert!(outcome.stderr.contains("possible values: bash, elvish, fish, powershell, zsh"), "{outcome}");
}
