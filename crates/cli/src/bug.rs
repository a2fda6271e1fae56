//! A panic is a bug: it is told as one, and the process ends with its own exit code.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use planner::Error;

use crate::exit::ExitStatus;
use crate::output::{self, Output, json, text};

const HELP: &str = "please report it, with the command, the version, and the output of a run under RUST_BACKTRACE=1";

/// Runs the program; a panic in it is told and becomes [`ExitStatus::Bug`].
pub(crate) fn caught(out: Output, program: impl FnOnce() -> ExitStatus) -> ExitStatus {
    panic::set_hook(Box::new(tell));
    panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|payload| {
        if out.is_json() {
            let error = Error::bug(said(payload.as_ref()));
            let _ = json::error(&mut output::stdout(), error.kind().name(), error.message(), Some(HELP));
        }
        ExitStatus::Bug
    })
}

/// The panic hook: one line, what to do, and where asked for the backtrace.
fn tell(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|l| format!(" (at {}:{})", l.file(), l.line())).unwrap_or_default();
    let message = format!("this is a bug in millrace: {}{place}", said(info.payload()));
    let mut stderr = output::stderr();
    let _ = text::error(&mut stderr, &message, Some(HELP));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        let _ = writeln!(stderr, "{trace}");
    }
}

fn said(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_what_it_was_told() {
        for payload in [Box::new("text") as Box<dyn Any + Send>, Box::new("text".to_owned())] {
            assert_eq!(said(payload.as_ref()), "text");
        }
        assert_eq!(said(&1), "a panic");
    }
}
