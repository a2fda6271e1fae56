//! Errors on their way through the cluster: Ballista carries text, so kind and remedy travel in it.

use datafusion::error::DataFusionError;
use planner::{Error, ErrorKind};

const OPEN: &str = "[[millrace:";
const HELP: &str = "]][[help:";
const CLOSE: &str = "]]";

/// `error` as text that [`heard`] finds again inside of whatever is put around it.
pub(super) fn told(error: &Error) -> String {
    format!("{OPEN}{}:{}{HELP}{}{CLOSE}", error.kind().name(), error.message(), error.help().unwrap_or_default())
}

/// [`told`] for the query engine. What may succeed elsewhere is an I/O error, which Ballista tries again.
pub(super) fn told_to_engine(error: &Error) -> DataFusionError {
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::Guard | ErrorKind::Interrupted => {
            DataFusionError::IoError(std::io::Error::other(told(error)))
        }
        _ => DataFusionError::Execution(told(error)),
    }
}

/// The error that a text of Ballista's tells of; its own failures are the cluster's.
pub(super) fn heard(text: &str) -> Error {
    ours(text).unwrap_or_else(|| Error::unreachable(format!("the cluster failed: {}", short(text))))
}

fn ours(text: &str) -> Option<Error> {
    let (_, rest) = text.split_once(OPEN)?;
    let (kind, rest) = rest.split_once(':')?;
    let (message, rest) = rest.split_once(HELP)?;
    let (help, _) = rest.split_once(CLOSE)?;
    let kinds = [
        ErrorKind::Usage,
        ErrorKind::Guard,
        ErrorKind::Unreachable,
        ErrorKind::Corrupt,
        ErrorKind::Interrupted,
        ErrorKind::TimedOut,
        ErrorKind::Bug,
    ];
    let error = Error::new(kinds.into_iter().find(|k| k.name() == kind)?, plain(message));
    Some(if help.is_empty() { error } else { error.with_help(plain(help)) })
}

/// Undoes what `{:?}` did to quotes.
fn plain(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\'", "'")
}

/// The beginning of a text that may hold a whole plan.
fn short(text: &str) -> String {
    const MOST: usize = 400;
    let line = text.replace('\n', " ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_survives_the_trip() {
        let error = Error::usage("the file \"a\" is none").with_help("give `b`");
        for text in [told(&error), format!("Job x failed: {:?}", DataFusionError::Execution(told(&error)))] {
            let heard = heard(&text);
            assert_eq!(heard.kind(), ErrorKind::Usage);
            assert_eq!((heard.message(), heard.help()), ("the file \"a\" is none", Some("give `b`")), "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_is_the_clusters_and_short() {
        let heard = heard(&"x".repeat(10_000));
        assert_eq!(heard.kind(), ErrorKind::Unreachable);
        assert!(heard.message().len() < 500);
    }

    #[test]
    fn what_may_succeed_elsewhere_is_tried_again() {
        assert!(matches!(told_to_engine(&Error::unreachable("no route")), DataFusionError::IoError(_)));
        assert!(matches!(told_to_engine(&Error::bug("impossible")), DataFusionError::Execution(_)));
    }
}
