//! The error of planner, worker and engine: a kind that decides the exit code, what happened, and what to do about it.

use std::fmt;

/// What an error means for the one who started the command. The exit codes are those of `docs/reference.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Arguments, settings, an unknown repository, ref or prefix, a bad expression, a file of another format: exit 2.
    Usage,
    /// A guard refused, and nothing was written: exit 3.
    Guard,
    /// Credentials, an endpoint, a bucket or a namespace is out of reach: exit 4. The same command may succeed later.
    Unreachable,
    /// What was read is damaged or missing where it must be: exit 4, because the store does not hold what it should.
    Corrupt,
    /// The run was stopped from outside (a signal, `cancel`): exit 130.
    Interrupted,
    /// The time that was allowed is over: exit 124.
    TimedOut,
    /// Something that cannot be, happened: a bug, exit 70.
    Bug,
}

impl ErrorKind {
    /// The name used in `--output json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Guard => "guard",
            Self::Unreachable => "unreachable",
            Self::Corrupt => "corrupt",
            Self::Interrupted => "interrupted",
            Self::TimedOut => "timeout",
            Self::Bug => "bug",
        }
    }
}

/// What happened, why, and what to do. The text never holds a secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything above the format crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, source: None }
    }

    /// [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// [`ErrorKind::Guard`].
    pub fn guard(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Guard, message)
    }

    /// [`ErrorKind::Unreachable`].
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, message)
    }

    /// [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// [`ErrorKind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Adds what the reader can do about it; an earlier remedy stays, it is nearer to the cause.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what was being done: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl Error {
    /// A Parquet file of ours that cannot be read. Of a store that does not answer the engine keeps the text only.
    fn damaged(what: &str) -> Self {
        if what.contains("Object Store error: Generic ") {
            return Self::unreachable(format!("a file of a plan or of a receipt cannot be read: {what}"))
                .with_help("check the store's endpoint, region and credentials; the same command may succeed later");
        }
        Self::corrupt(format!("a file of a plan or of a receipt is damaged: {what}"))
            .with_help("restore it; or move `_millrace/` at the destination aside and export with --full")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

/// The text with its causes on one line, each said once. Stores put the reason there: who refused, and after how many tries.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}

impl From<datafusion::error::DataFusionError> for Error {
    /// An error of ours that travelled through the query engine comes back as it was.
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        match error {
            D::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) if other.is::<datafusion::parquet::errors::ParquetError>() => Self::damaged(&other.to_string()),
                Err(other) => Self::bug(format!("the query engine failed: {other}")),
            },
            D::Context(_, inner) => Self::from(*inner),
            D::SQL(..) | D::Plan(_) | D::SchemaError(..) | D::NotImplemented(_) | D::Diagnostic(..) | D::Configuration(_) => {
                Self::usage(error.strip_backtrace())
            }
            D::Execution(_) | D::ArrowError(..) => Self::usage(error.strip_backtrace()),
            D::ParquetError(_) => Self::damaged(&error.strip_backtrace()),
            D::ObjectStore(inner) => crate::stores::unreadable("a file that the query needs", &inner),
            D::IoError(inner) => Self::unreachable(format!("a file cannot be read or written: {inner}"))
                .with_help("check that the disk and the temporary folder (TMPDIR) have room, and may be read and written"),
            D::ResourcesExhausted(why) => Self::usage(format!("this takes more memory than there is: {why}"))
                .with_help("ask for less: fewer columns, a LIMIT, a smaller prefix"),
            other => Self::bug(format!("the query engine failed: {}", other.strip_backtrace())),
        }
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_each_cause_once() {
        let inner = std::io::Error::other("connection refused");
        let error = Error::unreachable("s3://b: no answer: connection refused").with_source(inner);
        assert_eq!(explain(&error), "s3://b: no answer: connection refused");
        let error = Error::usage("cannot read x").with_source(std::io::Error::other("denied"));
        assert_eq!(explain(&error), "cannot read x: denied");
    }
}
