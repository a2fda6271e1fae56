//! Progress on stderr: bars on a terminal, lines elsewhere, and notes only where progress is not wanted.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::progress::{Progress, RoundProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use planner::plan::{PlanSummary, Round};

use super::text::Amounts;
use super::{size, text};
use crate::args::GlobalArgs;

/// Without a terminal a round says so often how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Stderr, shared by bars, notes and log lines so that they do not write over each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Screen(MultiProgress);

impl Screen {
    /// Writes something above the bars.
    pub(crate) fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.0.suspend(|| write(&mut super::stderr()))
    }
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Notes,
    Nothing,
}

/// Shows a run as it goes on.
#[derive(Debug)]
pub(crate) struct Reporter {
    screen: Screen,
    mode: Mode,
    current: Mutex<Current>,
}

/// The bar or the clock of what is under way.
#[derive(Debug)]
struct Current {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
}

impl Reporter {
    /// As the options and the terminal say.
    pub(crate) fn new(global: &GlobalArgs, screen: Screen) -> Self {
        let mode = match global {
            GlobalArgs { quiet: true, .. } => Mode::Nothing,
            GlobalArgs { no_progress: true, .. } => Mode::Notes,
            _ if io::stderr().is_terminal() => Mode::Bars,
            _ => Mode::Lines,
        };
        let now = Instant::now();
        Self { screen, mode, current: Mutex::new(Current { bar: None, started: now, last_line: now }) }
    }

    /// Takes the bars away: the result is about to be printed.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.current().bar.take() {
            bar.finish_and_clear();
        }
        let _ = self.screen.0.clear();
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let _ = self.screen.write(|out| writeln!(out, "{text}"));
    }

    /// Replaces what is under way by a bar of `length` rows, or by a spinner.
    fn start(&self, length: Option<u64>, prefix: String) {
        let now = Instant::now();
        let mut current = self.current();
        let old = current.bar.take();
        if let Some(old) = old {
            old.finish();
        }
        let bar = (self.mode == Mode::Bars).then(|| {
            let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = if length.is_some() { BAR } else { SPINNER };
            let bar = self.screen.0.add(bar.with_style(style(template)).with_prefix(prefix));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        *current = Current { bar, started: now, last_line: now };
    }
}

const BAR: &str = "{prefix:20!} {bar:24.green} {human_pos:>9}/{human_len} {msg}  eta {eta}";
const SPINNER: &str = "{spinner} {prefix} {msg}";

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; one that indicatif does not take is shown by the tests.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

impl Progress for Reporter {
    fn started(&self, run: &str) {
        // Whoever detached the run looks for this line.
        if self.mode != Mode::Nothing {
            let _ = self.screen.write(|out| writeln!(out, "{}{run}", crate::commands::RUN_LINE));
        }
    }

    fn note(&self, note: &str) {
        if self.mode != Mode::Nothing {
            let _ = self.screen.write(|out| text::note(&mut &mut *out, note));
        }
    }

    fn copying(&self, done: u64, total: u64, bytes: u64) {
        if self.mode == Mode::Bars && self.current().bar.is_none() {
            self.start(Some(total), "copying".to_owned());
        }
        let mut current = self.current();
        if let Some(bar) = &current.bar {
            bar.set_position(done);
            bar.set_message(size::bytes(bytes));
        } else if self.mode == Mode::Lines && current.last_line.elapsed() >= LINE_EVERY {
            current.last_line = Instant::now();
            drop(current);
            self.line(&format!("copying: {} of {}, {}", size::count(done), size::counted(total, "file"), size::bytes(bytes)));
        }
    }

    fn planning(&self, rows: u64) {
        if self.mode != Mode::Bars {
            return;
        }
        if self.current().bar.is_none() {
            self.start(None, "planning".to_owned());
        }
        if let Some(bar) = &self.current().bar {
            bar.set_message(size::counted(rows, "action"));
        }
    }

    fn planned(&self, summary: &PlanSummary) {
        if let Some(spinner) = self.current().bar.take() {
            spinner.finish_and_clear();
        }
        if matches!(self.mode, Mode::Bars | Mode::Lines) {
            self.line(&planned_line(summary));
        }
    }

    fn round_started(&self, round: &Round) {
        if round.rows() == 0 {
            return;
        }
        self.start(Some(round.rows()), round_name(round));
        if self.mode == Mode::Lines {
            self.line(&started_line(round));
        }
    }

    fn round_progress(&self, round: &Round, now: RoundProgress) {
        let mut current = self.current();
        let elapsed = current.started.elapsed();
        if let Some(bar) = &current.bar {
            bar.set_position(now.done + now.failed);
            bar.set_message(moved(round, now, elapsed));
        } else if self.mode == Mode::Lines && round.rows() > 0 && current.last_line.elapsed() >= LINE_EVERY {
            current.last_line = Instant::now();
            drop(current);
            self.line(&progress_line(round, now, elapsed));
        }
    }

    fn round_ended(&self, round: &Round, end: RoundProgress) {
        if round.rows() == 0 {
            return;
        }
        let current = self.current();
        let elapsed = current.started.elapsed();
        if let Some(bar) = &current.bar {
            bar.set_position(end.done + end.failed);
            bar.set_message(moved(round, end, elapsed));
            bar.disable_steady_tick();
            bar.abandon();
        } else if self.mode == Mode::Lines {
            drop(current);
            self.line(&ended_line(round, end, elapsed));
        }
    }
}

fn round_name(round: &Round) -> String {
    format!("round {} {}", round.round, size::key(&round.name))
}

fn planned_line(summary: &PlanSummary) -> String {
    let unchanged = summary.unchanged.map(|n| format!("; {} unchanged", size::count(n))).unwrap_or_default();
    let amounts =
        Amounts { copied: summary.copied, bytes: summary.bytes, deleted: summary.deleted, retracted: summary.retracted };
    format!("planned: {}{unchanged}", amounts.planned(summary.base_objects > 0))
}

/// `1.2 MiB (400.0 KiB/s), 3 failed`; rounds that move no bytes do not speak of them.
fn moved(round: &Round, now: RoundProgress, elapsed: Duration) -> String {
    let mut parts = Vec::new();
    if round.bytes > 0 {
        let rate = size::rate(now.bytes, elapsed).map(|r| format!(" ({}/s)", size::bytes(r))).unwrap_or_default();
        parts.push(format!("{}{rate}", size::bytes(now.bytes)));
    }
    if now.failed > 0 {
        parts.push(format!("{} failed", size::count(now.failed)));
    }
    parts.join(", ")
}

/// Parts that have something to say, with commas between them.
fn sentence(parts: &[String]) -> String {
    parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn started_line(round: &Round) -> String {
    let bytes = if round.bytes > 0 { size::bytes(round.bytes) } else { String::new() };
    format!("{}: {}", round_name(round), sentence(&[size::counted(round.rows(), "object"), bytes]))
}

fn progress_line(round: &Round, now: RoundProgress, elapsed: Duration) -> String {
    let ended = now.done + now.failed;
    let percent = ended * 100 / round.rows().max(1);
    let far = format!("{} of {} ({percent} %)", size::count(ended), size::counted(round.rows(), "object"));
    let left = left(round.rows().saturating_sub(ended), ended, elapsed);
    let left = left.map(|time| format!("about {} left", size::duration(time))).unwrap_or_default();
    format!("{}: {}", round_name(round), sentence(&[far, moved(round, now, elapsed), left]))
}

/// What is left takes as long as what is done did.
fn left(rows_left: u64, rows_done: u64, elapsed: Duration) -> Option<Duration> {
    let millis = u128::from(rows_left) * elapsed.as_millis() / u128::from((rows_done > 0).then_some(rows_done)?);
    Some(Duration::from_secs(u64::try_from(millis.div_ceil(1000)).ok()?))
}

fn ended_line(round: &Round, end: RoundProgress, elapsed: Duration) -> String {
    let done = format!("{} done", size::count(end.done));
    format!("{}: {} in {}", round_name(round), sentence(&[done, moved(round, end, elapsed)]), size::duration(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> Round {
        Round { round: 1, name: "data".to_owned(), steps: Vec::new(), copied: 900, deleted: 100, retracted: 0, bytes: 4 << 20 }
    }

    #[test]
    fn lines_say_how_far_and_how_long() {
        let now = RoundProgress { done: 240, failed: 10, bytes: 1 << 20 };
        let text = progress_line(&round(), now, Duration::from_secs(4));
        assert_eq!(text, "round 1 data: 250 of 1,000 objects (25 %), 1.0 MiB (256.0 KiB/s), 10 failed, about 12.0 s left");
        let none = progress_line(&round(), RoundProgress::default(), Duration::ZERO);
        assert_eq!(none, "round 1 data: 0 of 1,000 objects (0 %), 0 B");
        let end = RoundProgress { done: 1000, failed: 0, bytes: 4 << 20 };
        assert_eq!(ended_line(&round(), end, Duration::from_secs(8)), "round 1 data: 1,000 done, 4.0 MiB (512.0 KiB/s) in 8.0 s");
    }

    #[test]
    fn rounds_that_move_no_bytes_do_not_speak_of_them() {
        let round = Round { bytes: 0, copied: 0, deleted: 4, name: "retract".to_owned(), round: 0, ..round() };
        assert_eq!(started_line(&round), "round 0 retract: 4 objects");
        let end = RoundProgress { done: 3, failed: 1, bytes: 0 };
        assert_eq!(ended_line(&round, end, Duration::from_millis(12)), "round 0 retract: 3 done, 1 failed in 12 ms");
    }

    #[test]
    fn the_templates_are_good() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn quiet_says_nothing_and_no_progress_only_notes() {
        let reporter = |global: &GlobalArgs| Reporter::new(global, Screen::default()).mode;
        assert_eq!(reporter(&GlobalArgs { quiet: true, no_progress: true, ..GlobalArgs::default() }), Mode::Nothing);
        assert_eq!(reporter(&GlobalArgs { no_progress: true, ..GlobalArgs::default() }), Mode::Notes);
    }
}
