//! How the process ends: a type, so that nobody writes a number.

use std::process::ExitCode;

use engine::verify::report::{VerifyReport, VerifyState};
use engine::{RunReport, State};
use planner::ErrorKind;

/// The ends of a command. The numbers are a contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Done; nothing to do is done.
    Success,
    /// Some objects failed.
    Failed,
    /// Usage, settings, unknown names.
    Usage,
    /// A guard refused.
    Guard,
    /// Out of reach.
    Unreachable,
    /// A bug.
    Bug,
    /// The time that was allowed is over.
    TimedOut,
    /// Interrupted or cancelled; the same command goes on.
    Interrupted,
}

impl ExitStatus {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Guard => 3,
            Self::Unreachable => 4,
            Self::Bug => 70,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
        }
    }

    /// What another process of this program ended with.
    pub(crate) fn of_code(code: Option<i32>) -> Self {
        let all = [Self::Success, Self::Failed, Self::Usage, Self::Guard, Self::Unreachable, Self::TimedOut, Self::Interrupted];
        all.into_iter().find(|status| code == Some(status.code().into())).unwrap_or(Self::Bug)
    }

    /// How a run ended. The error's kind decides where there is one: a run that failed because nothing could be reached is
    /// something else than one with failed objects.
    pub(crate) fn of_report(report: &RunReport) -> Self {
        let by_kind = report.error.as_ref().and_then(|e| kind_named(&e.kind)).map(Self::from);
        match report.state {
            // With an error the export stands, but its marker could not be written: who waits for the marker must know.
            State::Planned | State::Succeeded => by_kind.unwrap_or(Self::Success),
            State::Refused => by_kind.unwrap_or(Self::Guard),
            State::Cancelled => by_kind.unwrap_or(Self::Interrupted),
            State::Failed => by_kind.unwrap_or(Self::Failed),
            // A report of a finished command that still says so is wrong, whoever wrote it.
            State::Running => Self::Bug,
        }
    }
}

impl ExitStatus {
    /// How a comparison ended.
    pub(crate) fn of_verify(report: &VerifyReport) -> Self {
        if let Some(kind) = report.error.as_ref().and_then(|e| kind_named(&e.kind)) {
            return kind.into();
        }
        match (report.state, &report.repair) {
            (VerifyState::Equal | VerifyState::Repaired, _) => Self::Success,
            (VerifyState::Different | VerifyState::Failed, Some(run)) if Self::of_report(run) != Self::Success => {
                Self::of_report(run)
            }
            (VerifyState::Different | VerifyState::Failed, _) => Self::Failed,
        }
    }
}

/// The kind that `--output json` calls by that name.
fn kind_named(name: &str) -> Option<ErrorKind> {
    use ErrorKind::{Bug, Corrupt, Guard, Interrupted, TimedOut, Unreachable, Usage};
    [Usage, Guard, Unreachable, Corrupt, Interrupted, TimedOut, Bug].into_iter().find(|k| k.name() == name)
}

impl From<ErrorKind> for ExitStatus {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Guard => Self::Guard,
            ErrorKind::Unreachable | ErrorKind::Corrupt => Self::Unreachable,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Bug,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use engine::report::ErrorReport;

    use super::*;
    use crate::output::samples;

    #[test]
    fn every_kind_has_the_code_of_the_contract() {
        let table = [
            (ErrorKind::Usage, 2),
            (ErrorKind::Guard, 3),
            (ErrorKind::Unreachable, 4),
            (ErrorKind::Corrupt, 4),
            (ErrorKind::Interrupted, 130),
            (ErrorKind::TimedOut, 124),
            (ErrorKind::Bug, 70),
        ];
        for (kind, code) in table {
            assert_eq!(ExitStatus::from(kind).code(), code, "{kind:?}");
            assert_eq!(kind_named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn a_report_ends_as_its_state_and_error_say() {
        let table = [
            (State::Planned, None, 0),
            (State::Succeeded, None, 0),
            (State::Succeeded, Some("unreachable"), 4),
            (State::Failed, None, 1),
            (State::Failed, Some("objects"), 1),
            (State::Failed, Some("unreachable"), 4),
            (State::Failed, Some("corrupt"), 4),
            (State::Failed, Some("bug"), 70),
            (State::Refused, Some("usage"), 2),
            (State::Refused, Some("guard"), 3),
            (State::Refused, Some("unreachable"), 4),
            (State::Cancelled, None, 130),
            (State::Cancelled, Some("interrupted"), 130),
            (State::Cancelled, Some("timeout"), 124),
            (State::Running, None, 70),
        ];
        for (state, kind, code) in table {
            let mut report = samples::report(state);
            report.error = kind.map(|kind| ErrorReport { kind: kind.to_owned(), message: "m".to_owned(), help: None });
            assert_eq!(ExitStatus::of_report(&report).code(), code, "{state:?} {kind:?}");
        }
    }
}
