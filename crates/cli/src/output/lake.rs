//! What a command on a lake came to, as people read it.

use std::io::{self, Write};
use std::time::Duration;

use engine::lake::{CommitReport, InitReport, LakeState, MergeReport, RefReport};
use engine::report::ErrorReport;
use owo_colors::OwoColorize;

use super::{Output, size, text};
use crate::exit::ExitStatus;
use crate::failure::Outcome;

/// A lake that was made.
pub(crate) fn made(out: &mut impl Write, report: &InitReport) -> io::Result<()> {
    writeln!(out, "{} {}", "Made an empty lake at".green().bold(), report.lake.bold())?;
    writeln!(out, "  branch  {}", report.branch)?;
    writeln!(out, "  commit  {}", report.commit)
}

/// A branch or tag that was made or deleted.
pub(crate) fn reference(out: &mut impl Write, report: &RefReport) -> io::Result<()> {
    let done = if report.deleted { "Deleted" } else { "Made" };
    writeln!(out, "{} {} {}", done.green().bold(), report.r#type, size::key(&report.id).bold())?;
    writeln!(out, "  commit  {}", report.commit_id)
}

/// A commit of a folder.
pub(crate) fn committed(out: &mut impl Write, report: &CommitReport) -> io::Result<()> {
    match report.state {
        LakeState::Committed => {
            writeln!(out, "{} {} of {}", "Committed to".green().bold(), report.branch.bold(), report.lake.bold())?;
            writeln!(out, "  commit  {}", report.commit)?;
            writeln!(out, "  parent  {}", report.parent.as_deref().unwrap_or("none"))?;
        }
        LakeState::Unchanged => {
            writeln!(out, "No changes: {} of {} is equal to the folder", report.branch.bold(), report.lake.bold())?;
            writeln!(out, "  commit  {}", report.commit)?;
        }
        LakeState::Conflict | LakeState::Failed => {
            for failure in &report.failures {
                writeln!(out, "  {} {}: {}", "failed".red(), size::key(&failure.key), size::key(&failure.error))?;
            }
            return Ok(());
        }
    }
    writeln!(
        out,
        "{}; {} unchanged. {} copied in {}.",
        changes(report.added, report.changed, report.removed),
        size::count(report.unchanged),
        size::bytes(report.bytes),
        size::duration(Duration::from_millis(report.elapsed_ms))
    )
}

/// A merge.
pub(crate) fn merged(out: &mut impl Write, report: &MergeReport) -> io::Result<()> {
    let (source, branch) = (size::key(&report.source), report.branch.as_str());
    match report.state {
        LakeState::Committed => {
            writeln!(out, "{} {} into {} of {}", "Merged".green().bold(), source.bold(), branch.bold(), report.lake.bold())?;
            writeln!(out, "  commit  {}", report.commit)?;
            writeln!(out, "  base    {}", report.base)?;
            write!(out, "{}", changes(report.added, report.changed, report.removed))?;
            if report.resolved > 0 {
                write!(out, "; {} decided", size::counted(report.resolved, "conflict"))?;
            }
            writeln!(out, ".")
        }
        LakeState::Unchanged => {
            writeln!(out, "Nothing to merge: {} has changed nothing that {} does not have", source.bold(), branch.bold())?;
            writeln!(out, "  commit  {}", report.commit)
        }
        LakeState::Conflict | LakeState::Failed => {
            report.conflicts.iter().try_for_each(|key| writeln!(out, "  {} {}", "conflict".red(), size::key(key)))
        }
    }
}

/// How the command ends; an error is told beside the report.
pub(crate) fn told(out: Output, state: LakeState, error: Option<&ErrorReport>) -> Outcome {
    if let Some(error) = error.filter(|_| !out.is_json()) {
        text::error(&mut super::stderr(), &error.message, error.help.as_deref())?;
    }
    Ok(match state {
        LakeState::Committed | LakeState::Unchanged => ExitStatus::Success,
        LakeState::Conflict => ExitStatus::Guard,
        LakeState::Failed => ExitStatus::Failed,
    })
}

fn changes(added: u64, changed: u64, removed: u64) -> String {
    format!("{} added, {} changed, {} removed", size::count(added), size::count(changed), size::count(removed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    }

    fn report(state: LakeState) -> CommitReport {
        CommitReport {
            state,
            lake: "lake+file:///srv/lake".to_owned(),
            branch: "main".to_owned(),
            commit: "c0ff".to_owned(),
            parent: (state == LakeState::Committed).then(|| "beef".to_owned()),
            added: 1200,
            changed: 3,
            removed: 0,
            unchanged: 7,
            failed: 0,
            bytes: 2048,
            failures: Vec::new(),
            elapsed_ms: 350,
            error: None,
        }
    }

    #[test]
    fn a_commit_says_what_differs() {
        insta::assert_snapshot!(plain(|out| committed(out, &report(LakeState::Committed))), @r"
        Committed to main of lake+file:///srv/lake
          commit  c0ff
          parent  beef
        1,200 added, 3 changed, 0 removed; 7 unchanged. 2.0 KiB copied in 350 ms.
        ");
    }

    #[test]
    fn no_changes_are_said() {
        let report = CommitReport { added: 0, changed: 0, bytes: 0, ..report(LakeState::Unchanged) };
        insta::assert_snapshot!(plain(|out| committed(out, &report)), @r"
        No changes: main of lake+file:///srv/lake is equal to the folder
          commit  c0ff
        0 added, 0 changed, 0 removed; 7 unchanged. 0 B copied in 350 ms.
        ");
    }
}
