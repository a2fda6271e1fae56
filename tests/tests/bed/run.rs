//! Commands run in a clean environment and never hang a test.

use std::{path::Path, time::Duration};

use millrace_tests::{run::Millrace, s3::S3Server};

fn shell(script: &str) -> Millrace<'static> {
    Millrace::program(Path::new("/bin/sh")).args(["-c", script])
}

#[test]
fn the_environment_holds_what_was_given_and_nothing_of_the_caller() {
    let server = S3Server::start();
    let outcome = shell("env; echo oops >&2; exit 3").s3(&server).env("EXTRA", "1").run().expect_code(3);
    assert_eq!(outcome.stderr, "oops\n");
    let names: Vec<_> = outcome.stdout.lines().filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
    assert!(names.contains(&"EXTRA") && names.contains(&"AWS_ENDPOINT_URL"));
    let foreign = |name: &&str| name.starts_with("CARGO") || name.to_lowercase().ends_with("_proxy");
    assert_eq!(names.iter().filter(|name| foreign(name)).count(), 0, "{names:?}");
    assert_eq!(shell("echo '{\"a\": 1}'").run().json()["a"], 1);
}

#[test]
#[should_panic(expected = "did not end within")]
fn a_command_that_hangs_is_killed_and_fails_the_test() {
    let _ = shell("echo started; exec sleep 60").timeout(Duration::from_millis(300)).run();
}

#[test]
fn a_running_command_can_be_signalled() {
    let folder = tempfile::tempdir().unwrap();
    let up = folder.path().join("up");
    let running = shell("trap 'exit 130' INT; : > \"$UP\"; while :; do sleep 0.05; done").env("UP", &up).spawn();
    while !up.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.interrupt();
    assert_eq!(running.wait().code, 130);
    let running = shell("exec sleep 60").spawn();
    assert_eq!(running.kill().code, -1);
}
