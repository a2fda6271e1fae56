//! Plans, runs and errors as people read them.

use std::io::{self, Write};
use std::time::Duration;

use engine::report::{CopyPath, Failure, RoundReport};
use engine::{PlanOverview, PlannedRow, RunReport, State};
use owo_colors::OwoColorize;
use planner::plan::Action;

use super::{size, table};

/// So many failures are shown; the FAILURE marker and the report hold more.
const SHOWN_FAILURES: usize = 20;

/// `error: what happened: why`, and what to do about it.
pub(crate) fn error(out: &mut impl Write, message: &str, help: Option<&str>) -> io::Result<()> {
    writeln!(out, "{} {message}", "error:".red().bold())?;
    if let Some(help) = help {
        writeln!(out, "{} {help}", "help:".cyan().bold())?;
    }
    out.flush()
}

/// `note: …`.
pub(crate) fn note(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{} {text}", "note:".yellow().bold())?;
    out.flush()
}

/// A plan: what would be done by directory, the totals, what it was compared with, and how to apply it.
pub(crate) fn plan(out: &mut impl Write, report: &RunReport, overview: &PlanOverview) -> io::Result<()> {
    writeln!(out, "Plan of {} for {}", report.source.bold(), report.destination.bold())?;
    commits(out, report)?;
    let copies = report.copies.filter(|_| report.copied > 0).map(|path| match path {
        CopyPath::ServerSide => "by the store itself: no byte passes through here",
        CopyPath::Streamed => "streamed through this machine",
    });
    copies.map_or(Ok(()), |how| writeln!(out, "  copies  {how}"))?;
    if !overview.sample.is_empty() {
        writeln!(out, "\n  {} copy   {} changed   {} delete   {} retract", "+".green(), "~".yellow(), "-".red(), "!".magenta())?;
        actions(out, overview)?;
        directories(out, overview)?;
    }
    writeln!(out)?;
    notes(out, report)?;
    writeln!(out, "{}", plan_totals(report).bold())?;
    writeln!(
        out,
        "Ranges: {} of {} opened; {} looked up. Planned in {}.",
        size::count(report.ranges.opened),
        size::count(report.ranges.total),
        size::counted(report.ranges.looked_up, "marker"),
        size::duration(Duration::from_millis(report.plan_ms))
    )?;
    if let Some(plan) = &report.plan {
        writeln!(out, "\nThe plan is in {plan}")?;
        writeln!(out, "To do exactly this: {}", format!("millrace apply {}", size::shell_word(plan)).bold())?;
    }
    Ok(())
}

fn commits(out: &mut impl Write, report: &RunReport) -> io::Result<()> {
    if let Some(commit) = &report.commit {
        writeln!(out, "  commit  {commit}")?;
        writeln!(out, "  base    {}", report.base.as_deref().unwrap_or("none: everything is copied"))?;
    }
    Ok(())
}

/// The sampled rows, grouped by the directory of their keys.
fn actions(out: &mut impl Write, overview: &PlanOverview) -> io::Result<()> {
    let mut rows: Vec<_> = overview.sample.iter().map(|row| (split(&row.key), row)).collect();
    rows.sort_by_key(|(parts, row)| (*parts, row.action));
    let width = rows.iter().map(|((_, name), _)| size::key(name).chars().count()).max().unwrap_or(0).min(60);
    let mut last = None;
    for ((directory, name), PlannedRow { action, size: bytes, reason, .. }) in rows {
        if last != Some(directory) {
            writeln!(out, "\n  {}", if directory.is_empty() { "./".into() } else { size::key(directory) })?;
            last = Some(directory);
        }
        // The marks already say that a key is new, changed or gone; only other reasons are worth their room.
        let why = if matches!(reason.as_str(), "added" | "changed" | "removed") { "" } else { reason };
        let bytes = bytes.filter(|_| *action == Action::Copy).map(|n| size::bytes(n.unsigned_abs())).unwrap_or_default();
        let line = format!("{:<width$}  {bytes:>10}  {why}", size::key(name));
        writeln!(out, "    {} {}", mark(*action, reason), line.trim_end())?;
    }
    if overview.more > 0 {
        writeln!(out, "\n  … and {} more", size::count(overview.more))?;
    }
    Ok(())
}

fn mark(action: Action, reason: &str) -> String {
    match action {
        Action::Copy if reason == "changed" => "~".yellow().to_string(),
        Action::Copy => "+".green().to_string(),
        Action::Delete => "-".red().to_string(),
        Action::Retract => "!".magenta().to_string(),
    }
}

/// A key's directory with its slash, and the rest.
fn split(key: &str) -> (&str, &str) {
    key.split_at(key.trim_end_matches('/').rfind('/').map_or(0, |i| i + 1))
}

fn directories(out: &mut impl Write, overview: &PlanOverview) -> io::Result<()> {
    writeln!(out)?;
    let rows = overview.directories.iter().map(|d| {
        let directory = if d.directory.is_empty() { "./".to_owned() } else { size::key(&d.directory).into_owned() };
        let counts = [d.copied, d.deleted, d.retracted].map(size::count);
        [directory, d.round.to_string()].into_iter().chain(counts).chain([size::bytes(d.bytes)]).collect()
    });
    table::columns(out, "  ", &["DIRECTORY", ">ROUND", ">COPY", ">DELETE", ">RETRACT", ">BYTES"], rows)?;
    match overview.more_directories {
        0 => Ok(()),
        more => writeln!(out, "  … and {} more", size::count(more)),
    }
}

/// `Plan: 12 to copy (1.2 MiB), 3 to delete, 2 markers to retract; 900 unchanged.`
pub(crate) fn plan_totals(report: &RunReport) -> String {
    let unchanged = unchanged(report);
    if report.copied + report.deleted + report.retracted == 0 {
        return format!("Plan: nothing to do{unchanged}.");
    }
    let amounts = Amounts { copied: report.copied, bytes: report.bytes, deleted: report.deleted, retracted: report.retracted };
    format!("Plan: {}{unchanged}.", amounts.planned(report.base.is_some()))
}

/// What a plan or a run comes to, as a sentence says it.
pub(crate) struct Amounts {
    pub(crate) copied: u64,
    pub(crate) bytes: u64,
    pub(crate) deleted: u64,
    pub(crate) retracted: u64,
}

impl Amounts {
    /// `12 to copy (1.2 MiB), 3 to delete, 2 markers to retract`. Without a base nobody knows whether they are there: they are
    /// cleared in any case.
    pub(crate) fn planned(&self, on_a_base: bool) -> String {
        let (copied, bytes, deleted, retracted) = self.texts();
        let what = if on_a_base || self.retracted == 0 { "to retract" } else { "to clear first" };
        format!("{copied} to copy ({bytes}), {deleted} to delete, {retracted} {what}")
    }

    fn done(&self, on_a_base: bool) -> String {
        let (copied, bytes, deleted, retracted) = self.texts();
        let what = if on_a_base || self.retracted == 0 { "retracted" } else { "cleared first" };
        format!("{copied} copied ({bytes}), {deleted} deleted, {retracted} {what}")
    }

    fn texts(&self) -> (String, String, String, String) {
        let (copied, deleted) = (size::count(self.copied), size::count(self.deleted));
        (copied, size::bytes(self.bytes), deleted, size::counted(self.retracted, "marker"))
    }
}

fn unchanged(report: &RunReport) -> String {
    report.unchanged.map(|n| format!("; {} unchanged", size::count(n))).unwrap_or_default()
}

fn notes(out: &mut impl Write, report: &RunReport) -> io::Result<()> {
    report.notes.iter().try_for_each(|text| note(out, text))
}

/// How a run ended, and what to do if it did not succeed. Of one that did not begin nothing is left to say but the error.
pub(crate) fn summary(out: &mut impl Write, report: &RunReport) -> io::Result<()> {
    if !began(report) {
        return Ok(());
    }
    writeln!(out, "{} {} to {}", headline(report.state), report.source.bold(), report.destination.bold())?;
    commits(out, report)?;
    rounds(out, &report.rounds)?;
    details(out, report)?;
    writeln!(out)?;
    notes(out, report)?;
    failures(out, report)?;
    writeln!(out, "{}", ending(report).bold())
}

/// Whether anything was done at the destination. What it holds, its SUCCESS marker included, is as it was before otherwise.
fn began(report: &RunReport) -> bool {
    match report.state {
        State::Refused => false,
        State::Failed | State::Cancelled => !report.rounds.is_empty() || report.marker.is_some(),
        State::Running | State::Planned | State::Succeeded => true,
    }
}

fn headline(state: State) -> String {
    match state {
        State::Succeeded => "Exported".green().bold().to_string(),
        State::Planned => "Planned".bold().to_string(),
        State::Running => "Running:".yellow().bold().to_string(),
        State::Cancelled => "Stopped:".yellow().bold().to_string(),
        State::Failed | State::Refused => "Failed:".red().bold().to_string(),
    }
}

fn rounds(out: &mut impl Write, rounds: &[RoundReport]) -> io::Result<()> {
    let busy: Vec<_> = rounds.iter().filter(|r| r.copied + r.deleted + r.failed + r.skipped > 0).collect();
    if busy.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let rows = busy.iter().map(|r| {
        let counts = [r.copied, r.deleted, r.failed, r.skipped].map(size::count);
        [r.round.to_string(), r.name.clone()].into_iter().chain(counts).chain([size::bytes(r.bytes)]).collect()
    });
    table::columns(out, "  ", &[">ROUND", "NAME", ">COPIED", ">DELETED", ">FAILED", ">SKIPPED", ">BYTES"], rows)
}

fn details(out: &mut impl Write, report: &RunReport) -> io::Result<()> {
    let elapsed = Duration::from_millis(report.elapsed_ms);
    let working = Duration::from_millis(report.elapsed_ms.saturating_sub(report.plan_ms));
    writeln!(out)?;
    write!(out, "  time      {} (planning {})", size::duration(elapsed), size::duration(Duration::from_millis(report.plan_ms)))?;
    let rates = (size::rate(report.copied, working), size::rate(report.bytes, working));
    if let (Some(objects @ 1..), Some(bytes)) = rates {
        write!(out, ", {}/s, {}/s", size::counted(objects, "object"), size::bytes(bytes))?;
    }
    writeln!(out)?;
    let requests = report.requests;
    writeln!(out, "  requests  {} for data, {} for control", size::count(requests.data), size::count(requests.control))?;
    if let Some(marker) = &report.marker {
        writeln!(out, "  marker    {marker}")?;
    }
    if let Some(receipt) = &report.receipt {
        writeln!(out, "  receipt   {receipt}")?;
    }
    Ok(())
}

fn failures(out: &mut impl Write, report: &RunReport) -> io::Result<()> {
    for Failure { key, action, source, error } in report.failures.iter().take(SHOWN_FAILURES) {
        let from = source.as_deref().map(|s| format!(" (from {})", size::key(s))).unwrap_or_default();
        writeln!(out, "  {} {action} {}{from}: {}", "failed".red(), size::key(key), size::key(error))?;
    }
    let shown = report.failures.len().min(SHOWN_FAILURES) as u64;
    if report.failed > shown && shown > 0 {
        let more = size::count(report.failed - shown);
        match &report.marker {
            Some(marker) => writeln!(out, "  … and {more} more; they are listed in {marker}")?,
            None => writeln!(out, "  … and {more} more")?,
        }
    }
    Ok(())
}

/// One line that says it all, and then what to do.
fn ending(report: &RunReport) -> String {
    let mut text = match report.state {
        State::Succeeded if report.copied + report.deleted + report.retracted == 0 => "Done: nothing to do".to_owned(),
        State::Succeeded => format!("Done: {}", done(report)),
        State::Cancelled => format!("Stopped after {}", done(report)),
        State::Planned => return plan_totals(report),
        State::Running => format!("So far {}", done(report)),
        State::Failed | State::Refused => format!("Failed: {}", done(report)),
    };
    for (count, what) in [(report.failed, "failed"), (report.skipped, "not tried")] {
        if count > 0 {
            text = format!("{text}, {} {what}", size::count(count));
        }
    }
    text.push_str(&unchanged(report));
    text.push('.');
    if matches!(report.state, State::Failed | State::Cancelled) {
        text.push_str("\nThe destination has no SUCCESS marker. Run the same command again: it does what is missing.");
    }
    text
}

fn done(report: &RunReport) -> String {
    let amounts = Amounts { copied: report.copied, bytes: report.bytes, deleted: report.deleted, retracted: report.retracted };
    amounts.done(report.base.is_some())
}

/// The history of a destination.
pub(crate) fn runs(out: &mut impl Write, reports: &[RunReport]) -> io::Result<()> {
    let rows = reports.iter().map(|r| {
        let state = serde_json::to_value(r.state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        vec![
            r.run.clone(),
            state,
            r.update_time.clone(),
            r.commit.as_deref().map(size::short).unwrap_or_default().to_owned(),
            size::count(r.copied),
            size::count(r.deleted),
            size::count(r.failed),
            size::bytes(r.bytes),
            size::duration(Duration::from_millis(r.elapsed_ms)),
            r.error.as_ref().map(|error| why(&error.message)).unwrap_or_default(),
        ]
    });
    let header = ["RUN", "STATE", "UPDATED", "COMMIT", ">COPIED", ">DELETED", ">FAILED", ">BYTES", ">TIME", "WHY"];
    table::columns(out, "", &header, rows)
}

/// The beginning of a reason, on one line.
fn why(message: &str) -> String {
    const SHOWN: usize = 60;
    let line = message.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN { line.to_owned() } else { line.chars().take(SHOWN - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests;
