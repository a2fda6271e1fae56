//! What stops a command: an error to tell, or a reader of stdout that went away.

use std::io;

use planner::{Error, ErrorKind};

use crate::exit::ExitStatus;

/// What a query may ask.
const TABLES: &str = "a lake has the tables objects('REF') and diff('A', 'B'), a plan has `plan`, a destination `receipts` and \
     `runs`; `SELECT * FROM … LIMIT 1` shows the columns of one";

/// Why a command did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell.
    Error(Error),
    /// Nobody reads stdout any more, as in `millrace ls … | head`: a quiet end.
    Pipe,
}

/// The result of a command.
pub(crate) type Outcome = Result<ExitStatus, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<datafusion::error::DataFusionError> for Failure {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        let error = Error::from(error);
        Self::Error(if error.kind() == ErrorKind::Usage { error.with_help(TABLES) } else { error })
    }
}

impl From<io::Error> for Failure {
    /// Only output is written with `?` on an [`io::Error`].
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Error(Error::new(ErrorKind::Unreachable, "cannot write the output").with_source(error)),
        }
    }
}
