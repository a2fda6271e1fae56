//! What an error of the lake's files means to the one who started the command.

use graveler::ErrorKind as Kind;

use crate::error::{Error, ErrorKind, explain};
use crate::trouble;

impl From<graveler::Error> for Error {
    /// A file that a commit names must be there: its absence is damage, not a wrong name.
    fn from(error: graveler::Error) -> Self {
        let (kind, help) = match error.kind() {
            Kind::Denied => (
                ErrorKind::Unreachable,
                "check the store's credentials, and that they may read this file; in a folder, the permissions of the file and of the \
                 folders above it",
            ),
            Kind::Unreachable => {
                (ErrorKind::Unreachable, "check the store's endpoint and credentials; the same command may succeed later")
            }
            Kind::NotInDump => (ErrorKind::Unreachable, super::namespace::NEW_DUMP),
            Kind::InvalidId => (ErrorKind::Usage, "ids have 64 digits, 0 to 9 and a to f"),
            Kind::NotFound => (
                ErrorKind::Corrupt,
                "check that the namespace is complete; files of commits that lakeFS garbage-collected are gone for good",
            ),
            Kind::InvalidInput => (ErrorKind::Usage, "nothing was written: mend what is named, then try again"),
            Kind::Full => (ErrorKind::Unreachable, "make room at the store, then run the same command again"),
            _ => (ErrorKind::Corrupt, "restore the file from a copy of the namespace"),
        };
        let words = explain(&error);
        let help = trouble::of_connection(&words).unwrap_or_else(|| help.to_owned());
        Self::new(kind, words).with_help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_has_its_exit_code_and_a_remedy() {
        let table = [
            (Kind::NotFound, ErrorKind::Corrupt),
            (Kind::Corrupt, ErrorKind::Corrupt),
            (Kind::Unsupported, ErrorKind::Corrupt),
            (Kind::Denied, ErrorKind::Unreachable),
            (Kind::Unreachable, ErrorKind::Unreachable),
            (Kind::NotInDump, ErrorKind::Unreachable),
            (Kind::InvalidId, ErrorKind::Usage),
            (Kind::InvalidInput, ErrorKind::Usage),
            (Kind::Full, ErrorKind::Unreachable),
        ];
        for (kind, expected) in table {
            let error = Error::from(graveler::Error::new(kind, "_lakefs/ab", "expected x, found y").caused_by("the reason"));
            assert_eq!(error.kind(), expected, "{kind:?}");
            assert_eq!(error.message(), "file `_lakefs/ab`: expected x, found y: the reason");
            assert!(error.help().is_some());
        }
    }
}
