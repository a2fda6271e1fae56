//! The URL of a lake, or of a part of one, as it stands on a command line.
//!
//! ```text
//! lakefs://REPO                                  a repository of the lakeFS server: for `refs`, `log`
//! lakefs://REPO/REF                              a commit of it
//! lakefs://REPO/REF/PREFIX                       a part of it; PREFIX is raw
//! lake+s3://BUCKET/NS?ref=REF&prefix=PREFIX      the same of a storage namespace, without a server
//! lake+file:///DIR?ref=REF&dump=FILE             refs from a dump's JSON
//! lake+file:///DIR?metarange=ID                  a bare metarange
//! ```
//! Values behind `?` are percent-decoded; a `+` stays a plus. A prefix is kept as it was written: `foo/` is everything
//! below it, `foo` the object `foo` or everything below `foo/`. What that matches is the view's business.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};
use crate::location::{Location, Scheme};

/// What a value behind `?` must not hold raw: what ends it, what begins an escape, and what a shell or a log would break.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'&').add(b'?').add(b'#').add(b'"').add(b'\'');

const SHAPES: &str = "write lakefs://REPO/REF[/PREFIX], or lake+s3://BUCKET/NAMESPACE?ref=REF, or lake+file:///FOLDER?ref=REF";
const PARAMETERS: &str = "a lake+… URL knows ref=REF, prefix=PREFIX, dump=FILE and metarange=ID";

/// Where a lake is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LakePlace {
    /// A repository of the lakeFS server that the settings name.
    Repository(String),
    /// A storage namespace, read without a server.
    Namespace(Location),
}

/// A lake, and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LakeUrl {
    place: LakePlace,
    reference: Option<String>,
    prefix: String,
    dump: Option<String>,
    metarange: Option<String>,
}

impl LakeUrl {
    /// Whether `text` looks like a lake at all, and not like a destination or a file.
    #[must_use]
    pub fn is_lake(text: &str) -> bool {
        text.starts_with("lakefs://") || text.starts_with("lake+")
    }

    /// Reads a lake's URL.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage), with the shapes that are known.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("lakefs://") {
            return Self::parse_repository(text, rest);
        }
        if let Some(rest) = text.strip_prefix("lake+") {
            return Self::parse_namespace(text, rest);
        }
        let help = if text.contains("://") {
            format!("for a lake's storage namespace write lake+{text}?ref=REF; {SHAPES}")
        } else {
            SHAPES.to_owned()
        };
        Err(Error::usage(format!("`{text}` is no lake")).with_help(help))
    }

    fn parse_repository(text: &str, rest: &str) -> Result<Self> {
        let (repository, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let (reference, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if repository.is_empty() {
            return Err(Error::usage(format!("`{text}` names no repository")).with_help(SHAPES));
        }
        if repository.contains('?') || reference.contains('?') {
            return Err(Error::usage(format!("`{text}`: a lakefs:// URL has no parameters")).with_help(SHAPES));
        }
        if reference.is_empty() && !prefix.is_empty() {
            return Err(Error::usage(format!("`{text}` names a prefix, but no branch, tag or commit")).with_help(SHAPES));
        }
        let reference = (!reference.is_empty()).then(|| reference.to_owned());
        let place = LakePlace::Repository(repository.to_owned());
        Ok(Self { place, reference, prefix: prefix.to_owned(), dump: None, metarange: None })
    }

    fn parse_namespace(text: &str, rest: &str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !place.contains("://") {
            return Err(Error::usage(format!("`{text}` names no kind of store")).with_help(SHAPES));
        }
        let location = Location::parse(place).map_err(|e| e.context(format!("`{text}`")).with_help(SHAPES))?;
        if matches!(location.scheme(), Scheme::Http | Scheme::Https) {
            return Err(Error::usage(format!(
                "`{text}`: a storage namespace cannot be read over {}://",
                location.scheme().as_str()
            ))
            .with_help("name the lake by its server (lakefs://REPO/REF) or its store (lake+s3://…, lake+gs://…, lake+az://…)"));
        }
        let mut url = Self {
            place: LakePlace::Namespace(namespace(&location)),
            reference: None,
            prefix: String::new(),
            dump: None,
            metarange: None,
        };
        let mut prefix = None;
        for parameter in query.split('&').filter(|p| !p.is_empty()) {
            let Some((name, value)) = parameter.split_once('=') else {
                return Err(Error::usage(format!("`{text}`: `{parameter}` is no parameter")).with_help(PARAMETERS));
            };
            let slot = match name {
                "ref" => &mut url.reference,
                "prefix" => &mut prefix,
                "dump" => &mut url.dump,
                "metarange" => &mut url.metarange,
                _ => return Err(Error::usage(format!("`{text}`: the parameter `{name}` is not known")).with_help(PARAMETERS)),
            };
            if slot.replace(decode(text, name, value)?).is_some() {
                return Err(Error::usage(format!("`{text}` says `{name}` twice")).with_help("keep one of the two"));
            }
        }
        url.prefix = prefix.unwrap_or_default();
        url.check(text)?;
        Ok(url)
    }

    /// A bare metarange has no refs: a ref or a dump beside it would be ignored in silence.
    fn check(&self, text: &str) -> Result<()> {
        if self.metarange.is_some() && (self.reference.is_some() || self.dump.is_some()) {
            return Err(Error::usage(format!("`{text}` names a metarange and a way to look for one"))
                .with_help("keep metarange=ID, or ref=REF (with dump=FILE if need be), not both"));
        }
        Ok(())
    }

    /// Where the lake is.
    #[must_use]
    pub fn place(&self) -> &LakePlace {
        &self.place
    }

    /// The reference expression, where one is written.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// The reference expression; of a URL with a bare metarange it is empty, and nothing looks at it.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) where none is written.
    pub fn require_reference(&self) -> Result<&str> {
        match (&self.reference, &self.metarange) {
            (Some(reference), _) => Ok(reference),
            (None, Some(_)) => Ok(""),
            (None, None) => {
                let help = match &self.place {
                    LakePlace::Repository(repository) => {
                        format!("write lakefs://{repository}/REF, such as lakefs://{repository}/main")
                    }
                    LakePlace::Namespace(location) => format!("write lake+{location}?ref=REF, such as ?ref=main"),
                };
                Err(Error::usage(format!("`{self}` names no branch, tag or commit")).with_help(help))
            }
        }
    }

    /// The part of the lake that is meant, exactly as it was written; empty for all of it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The JSON of a refs dump that is to be used instead of the namespace's own manifest.
    #[must_use]
    pub fn dump(&self) -> Option<&str> {
        self.dump.as_deref()
    }

    /// The id of a bare metarange.
    #[must_use]
    pub fn metarange(&self) -> Option<&str> {
        self.metarange.as_deref()
    }

    /// The lake alone: no reference, metarange or prefix. A dump stays, since the refs come from it.
    #[must_use]
    pub fn without_ref(&self) -> Self {
        Self { reference: None, metarange: None, prefix: String::new(), ..self.clone() }
    }

    /// The same lake and prefix at another reference.
    #[must_use]
    pub fn with_ref(&self, reference: impl Into<String>) -> Self {
        Self { reference: Some(reference.into()), metarange: None, ..self.clone() }
    }
}

/// One slash at the end says nothing: both spellings are one lake.
pub(super) fn namespace(location: &Location) -> Location {
    let path = location.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    Location::new(location.scheme(), location.bucket(), path)
}

fn decode(text: &str, name: &str, value: &str) -> Result<String> {
    let decoded = percent_decode_str(value).decode_utf8();
    let decoded = decoded.map_err(|_| {
        Error::usage(format!("`{text}`: the value of `{name}` is not UTF-8 once it is percent-decoded"))
            .with_help("write a percent sign that is meant as itself as %25")
    })?;
    if decoded.is_empty() && name != "prefix" {
        return Err(Error::usage(format!("`{text}`: `{name}` is empty")).with_help(PARAMETERS));
    }
    Ok(decoded.into_owned())
}

impl FromStr for LakeUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for LakeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            LakePlace::Repository(repository) => {
                write!(f, "lakefs://{repository}")?;
                if let Some(reference) = &self.reference {
                    write!(f, "/{reference}")?;
                }
                if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
            }
            LakePlace::Namespace(location) => {
                write!(f, "lake+{location}")?;
                let prefix = (!self.prefix.is_empty()).then_some(&self.prefix);
                let values = [
                    ("ref", self.reference.as_ref()),
                    ("prefix", prefix),
                    ("dump", self.dump.as_ref()),
                    ("metarange", self.metarange.as_ref()),
                ];
                let said = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
                said.zip(std::iter::once('?').chain(std::iter::repeat('&')))
                    .try_for_each(|((name, value), sign)| write!(f, "{sign}{name}={}", utf8_percent_encode(value, VALUE)))
            }
        }
    }
}

#[cfg(test)]
#[path = "lake_url_tests.rs"]
mod tests;
