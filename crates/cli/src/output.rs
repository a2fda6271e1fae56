//! Everything that is printed. Text goes to people, JSON to scripts; stdout is the result, stderr is progress and logs.
//!
//! Renderers write to any [`io::Write`]; this module alone opens stdout and stderr. Colours are written always and taken
//! out again where they are not wanted (`NO_COLOR`, `CLICOLOR`, no terminal).

pub(crate) mod json;
pub(crate) mod lake;
pub(crate) mod listing;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod verify;

use std::io::{self, BufWriter, Write};

use engine::{PlanOverview, RunReport};
use planner::error::explain;
use planner::{Error, ErrorKind};

use crate::args::{GlobalArgs, OutputFormat};
use crate::exit::ExitStatus;

/// How this command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Text or JSON.
    pub(crate) format: OutputFormat,
}

impl Output {
    /// As the options say.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        Self { format: global.output }
    }

    /// Is JSON wanted?
    pub(crate) fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }

    /// A run's report, or with an overview a plan's.
    pub(crate) fn report(self, report: &RunReport, overview: Option<&PlanOverview>) -> io::Result<()> {
        let mut out = stdout();
        match (self.format, overview) {
            (OutputFormat::Json, _) => json::line(&mut out, report)?,
            (OutputFormat::Text, Some(overview)) if report.error.is_none() => text::plan(&mut out, report, overview)?,
            (OutputFormat::Text, _) => text::summary(&mut out, report)?,
        }
        out.flush()?;
        match &report.error {
            _ if self.is_json() => Ok(()),
            Some(error) => text::error(&mut stderr(), &error.message, error.help.as_deref()),
            None if report.failed > 0 => {
                text::error(&mut stderr(), &format!("{} failed", size::counted(report.failed, "object")), None)
            }
            None => Ok(()),
        }
    }

    /// An error that no report holds. Nothing can be done when even that cannot be written.
    pub(crate) fn error(self, error: &Error) {
        let message = explain(error);
        let _ = match self.format {
            OutputFormat::Text => text::error(&mut stderr(), &message, error.help()),
            OutputFormat::Json => json::error(&mut stdout(), error.kind().name(), &message, error.help()),
        };
    }
}

/// Tells what is wrong with the words that were typed, or shows the help that was asked for.
pub(crate) fn usage(error: &clap::Error, format: OutputFormat) -> ExitStatus {
    if !error.use_stderr() || format == OutputFormat::Text {
        let _ = error.print();
    } else {
        let text = error.to_string();
        // The first paragraph: what is wrong, and with what.
        let message: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let message = message.join(" ");
        let message = message.trim_start_matches("error: ");
        let help = "see millrace --help";
        let _ = json::error(&mut stdout(), ErrorKind::Usage.name(), message, Some(help));
    }
    if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success }
}

/// Buffered stdout that drops colours where they are not wanted. Flush it: a drop forgets the error.
pub(crate) fn stdout() -> impl Write + Send {
    BufWriter::with_capacity(64 * 1024, anstream::AutoStream::auto(io::stdout()))
}

/// Raw stdout, for bytes.
pub(crate) fn raw_stdout() -> impl Write + Send {
    io::stdout()
}

/// Stderr that drops colours where they are not wanted.
pub(crate) fn stderr() -> impl Write + Send {
    anstream::AutoStream::auto(io::stderr())
}
