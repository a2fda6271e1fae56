//! `--detach`: the same command goes on in a process of its own; this one tells the run's id and ends.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use planner::{Error, Result};

use super::Context;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, json};

/// Set for the process that goes on, so that it does not detach once more.
const DETACHED: &str = "MILLRACE_DETACHED";
/// The line that names the run in the log.
pub(crate) const RUN_LINE: &str = "run ";
/// The line that names a run which left nothing to be done.
const DONE_LINE: &str = "done by run ";
/// How often the log is looked at.
const LOOKED_AT: Duration = Duration::from_millis(50);

/// This is the process that goes on.
pub(crate) fn is_detached() -> bool {
    std::env::var_os(DETACHED).is_some()
}

/// Leaves the terminal: its end does not end the run.
pub(crate) fn leave_terminal() {
    // It fails for a leader of a process group, which one that was started for this is not.
    let _ = rustix::process::setsid();
}

/// Starts the same command in the background and waits until its run has an id, or until it ended.
pub(crate) async fn run(context: &Context) -> Outcome {
    let log = log_file()?;
    let failed = |e: std::io::Error| Error::unreachable(format!("the run cannot be started in the background: {e}"));
    let file = File::create(&log).map_err(failed)?;
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach" && word != "-q" && word != "--quiet");
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .args(words)
        .arg("--no-progress")
        .env(DETACHED, "1")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(failed)?)
        .stderr(file)
        .spawn()
        .map_err(failed)?;
    loop {
        let ended = child.try_wait().map_err(failed)?;
        if let Some(run) = run_of(&log) {
            return told(context, &run, &log);
        }
        if let Some(status) = ended {
            let text = std::fs::read_to_string(&log).map_err(failed)?;
            over(context, &text)?;
            return Ok(ExitStatus::of_code(status.code()));
        }
        tokio::time::sleep(LOOKED_AT).await;
    }
}

/// It refused, or had nothing to do: what it had to say is said here, and the id of the run that did it before.
fn over(context: &Context, text: &str) -> std::io::Result<()> {
    let mut out = output::stdout();
    if context.out.is_json() {
        out.write_all(text.as_bytes())?;
        return out.flush();
    }
    for line in text.lines() {
        match line.strip_prefix(DONE_LINE) {
            Some(run) => writeln!(out, "{run}")?,
            None => writeln!(output::stderr(), "{line}")?,
        }
    }
    out.flush()
}

/// Tells whoever detached this run that nothing was to be done, because `run` has done it.
pub(crate) fn was_done(run: &str) {
    let _ = writeln!(output::stderr(), "{DONE_LINE}{run}");
}

fn told(context: &Context, run: &str, log: &Path) -> Outcome {
    let mut out = output::stdout();
    if context.out.is_json() {
        json::line(&mut out, &serde_json::json!({ "run": run, "state": "running", "log": log.display().to_string() }))?;
    } else {
        writeln!(out, "{run}")?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}

/// The run that a log names.
fn run_of(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(RUN_LINE))?;
    let id = line.split_whitespace().next()?;
    (id.len() == 26).then(|| id.to_owned())
}

/// Where the background run writes what it says.
fn log_file() -> Result<PathBuf> {
    let folder = crate::settings::cache_folder("runs")?;
    Ok(folder.join(format!("{}.log", ulid::Ulid::new())))
}
