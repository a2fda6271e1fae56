//! What can go wrong while reading or writing a lake, as one type.
//!
//! An [`Error`] always names the file, where it can also the byte, and says what was expected and
//! what was found instead. Its [`ErrorKind`] decides what a caller can do about it; the text is for
//! people.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of trouble it is, and therefore what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file, branch, tag or manifest that is not there: check the name and the namespace.
    NotFound,
    /// The bytes contradict the format or themselves: the file is damaged, restore it.
    Corrupt,
    /// A valid file of a kind that is not read here (`LevelDB` footer, xxHash, …).
    Unsupported,
    /// The store refuses access: check the credentials and their rights.
    Denied,
    /// The store does not answer, or broke off: trying again may help.
    Unreachable,
    /// The commit is not in the refs dump: write a newer dump and try again.
    NotInDump,
    /// An id that is not 64 lowercase hexadecimal digits: it was never made by lakeFS.
    InvalidId,
    /// What was to be written breaks a rule of the format (order of keys, lengths): nothing was
    /// written of it, the caller must mend it.
    InvalidInput,
    /// The store has no room left: make room, then try again; what was there is unchanged.
    Full,
}

/// An error with the file, the byte and the expectation. One pointer wide, so that results on hot
/// paths stay in registers.
pub struct Error(Box<Details>);

struct Details {
    kind: ErrorKind,
    file: String,
    offset: Option<u64>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error about `file`; `message` says what was expected and what was found.
    #[must_use]
    pub fn new(kind: ErrorKind, file: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Details { kind, file: file.into(), offset: None, message: message.into(), source: None }))
    }

    /// The same error, at a byte of the file.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// The same error, about another file: for decoders that see bytes and not where they lie.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.file = file.into();
        self
    }

    /// The same error, with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of trouble it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file it is about.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// The byte of the file where it was noticed, if one can be named.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// What was expected, and what was found.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later without anybody mending anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unreachable | ErrorKind::NotInDump)
    }

    pub(crate) fn corrupt(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, file, message)
    }

    pub(crate) fn from_store(file: &str, error: object_store::Error) -> Self {
        Self::from_access(file, error, "read")
    }

    pub(crate) fn from_put(file: &str, error: object_store::Error) -> Self {
        if no_room(&error) {
            return Self::new(ErrorKind::Full, file, "expected room for the file, the store has none left").caused_by(error);
        }
        Self::from_access(file, error, "write")
    }

    fn from_access(file: &str, error: object_store::Error, verb: &str) -> Self {
        use object_store::Error as Store;
        let (kind, message) = match &error {
            Store::NotFound { .. } if verb == "write" => {
                (ErrorKind::NotFound, "expected a bucket or folder for it, found none".to_owned())
            }
            Store::NotFound { .. } => (ErrorKind::NotFound, "expected a file, found none in the store".to_owned()),
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
                (ErrorKind::Denied, format!("expected to be allowed to {verb} it, the store refuses"))
            }
            error if is_of_system(error, &[io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem]) => {
                (ErrorKind::Denied, format!("expected to be allowed to {verb} it, the file system refuses"))
            }
            Store::NotSupported { .. } | Store::NotImplemented { .. } => {
                (ErrorKind::Unsupported, format!("expected the store to support this {verb}, it does not"))
            }
            _ => (ErrorKind::Unreachable, "expected the store to answer, it failed".to_owned()),
        };
        Self::new(kind, file, message).caused_by(error)
    }
}

/// Whether a full disk or a used-up quota is at the bottom of it.
fn no_room(error: &object_store::Error) -> bool {
    is_of_system(error, &[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded])
}

/// Whether an error of the system of one of these kinds is at the bottom of it.
fn is_of_system(error: &object_store::Error, kinds: &[io::ErrorKind]) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| kinds.contains(&error.kind())) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { file, offset, .. } = &*self.0;
        match offset {
            Some(offset) => write!(f, "file `{file}` at byte {offset}: {}", self.0.message),
            None => write!(f, "file `{file}`: {}", self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_file_byte_and_expectation() {
        let error = Error::corrupt("_lakefs/ab", "expected 53 bytes, found 7").at(12);
        assert_eq!(error.to_string(), "file `_lakefs/ab` at byte 12: expected 53 bytes, found 7");
        assert_eq!(Error::corrupt("x", "expected y, found z").to_string(), "file `x`: expected y, found z");
    }

    #[test]
    fn a_refusal_of_the_store_is_told_apart_from_an_absence_and_from_silence() {
        let refuse = |error| Error::from_store("f", error).kind();
        let path = || "f".to_owned();
        assert_eq!(refuse(object_store::Error::NotFound { path: path(), source: "x".into() }), ErrorKind::NotFound);
        assert_eq!(refuse(object_store::Error::PermissionDenied { path: path(), source: "x".into() }), ErrorKind::Denied);
        let forbidden = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(refuse(object_store::Error::Generic { store: "s", source: forbidden.into() }), ErrorKind::Denied);
        let silent = Error::from_store("f", object_store::Error::Generic { store: "s", source: "reset".into() });
        assert_eq!(silent.kind(), ErrorKind::Unreachable);
        assert!(silent.is_retryable());
        assert!(silent.source().is_some());
    }

    #[test]
    fn a_full_disk_is_told_apart_from_a_store_that_fails() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = object_store::Error::Generic { store: "s", source: full.into() };
        let error = Error::from_put("f", error);
        assert_eq!(error.kind(), ErrorKind::Full);
        assert_eq!(error.to_string(), "file `f`: expected room for the file, the store has none left");
        let silent = Error::from_put("f", object_store::Error::Generic { store: "s", source: "reset".into() });
        assert_eq!(silent.kind(), ErrorKind::Unreachable);
    }

    #[test]
    fn a_result_on_the_hot_path_fits_two_registers() {
        assert!(size_of::<Result<bool>>() <= 16);
    }
}
