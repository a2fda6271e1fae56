//! `[[store]]`: the settings of one part of the stores' world, and which of them belong to a location.
//!
//! Only names of variables and profiles stand here, never a secret, so that settings may be printed and sent along.

use std::fmt;
use std::sync::Arc;

use planner::{Error, Location, Result, Scheme};
use serde::{Deserialize, Serialize};

/// One `[[store]]` table of `millrace.toml`, or one `--store`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a table of independent settings, read by name")]
pub struct StoreSettings {
    /// Which locations: `s3://bucket`, `s3://bucket/part`, or all of a kind (`s3://`, `local://`). The longest one wins.
    pub prefix: String,
    /// The server's URL, where it is not the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A profile of the shared AWS files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The variable that holds the access key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id_env: Option<String>,
    /// The variable that holds the secret access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_env: Option<String>,
    /// The variable that holds the session token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_env: Option<String>,
    /// The bucket stands in the path of the URL; by itself only where the endpoint is an IP address or `localhost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Requests are not signed.
    #[serde(default)]
    pub anonymous: bool,
    /// Where the folder of a `local://` store lies on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Cache-Control and its kin are carried over (one more request an object).
    #[serde(default)]
    pub keep_headers: bool,
    /// Tags are carried over; reading them needs a permission of its own.
    #[serde(default)]
    pub keep_tags: bool,
    /// Etags are no MD5s although they look like it: copies are then checked by checksums only.
    #[serde(default)]
    pub opaque_etags: bool,
    /// The storage class of what is written, as S3 spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The canned access control list of what is written, as S3 spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// Server-side encryption of what is written: `AES256` or `aws:kms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<String>,
    /// The key for `aws:kms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_kms_key_id: Option<String>,
}

impl StoreSettings {
    /// Reads `prefix=s3://b,endpoint=http://…,path_style=true`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](planner::ErrorKind::Usage) for unknown names, missing values and contradictions.
    pub fn parse_spec(spec: &str) -> Result<Self> {
        let mut table = serde_json::Map::new();
        for pair in spec.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            // A pair without `=` may be half of a secret that holds a comma: it is not repeated.
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::usage("--store: a part of it is not NAME=VALUE").with_help(SPEC_HELP));
            };
            let value = match value.trim() {
                "true" => true.into(),
                "false" => false.into(),
                text => text.into(),
            };
            if table.insert(name.trim().to_owned(), value).is_some() {
                return Err(Error::usage(format!("--store: `{}` is given twice", name.trim())).with_help(SPEC_HELP));
            }
        }
        let settings: Self = serde_json::from_value(table.into())
            .map_err(|error| Error::usage(format!("--store: {}", spec_error(&error))).with_help(SPEC_HELP))?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses what cannot be meant. The same for a table of a file and for `--store`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](planner::ErrorKind::Usage).
    pub fn check(&self) -> Result<()> {
        let scope = Scope::parse(&self.prefix)?;
        let at = format!("[[store]] with prefix `{}`", self.prefix);
        if self.access_key_id_env.is_some() != self.secret_access_key_env.is_some() {
            return Err(Error::usage(format!("{at}: access_key_id_env and secret_access_key_env belong together"))
                .with_help("give the names of two variables, or neither"));
        }
        let ways = [self.anonymous, self.profile.is_some(), self.access_key_id_env.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err(Error::usage(format!("{at}: profile, access_key_id_env and anonymous exclude each other"))
                .with_help("keep the one that is meant"));
        }
        if let Some(endpoint) = &self.endpoint {
            let fits = url::Url::parse(endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !fits {
                return Err(Error::usage(format!("{at}: the endpoint is no http or https URL"))
                    .with_help("write endpoint = \"https://HOST\""));
            }
            check_endpoint(endpoint).map_err(|e| e.context(&at))?;
        }
        if self.path.is_some() && scope.scheme != Scheme::Local {
            return Err(Error::usage(format!("{at}: `path` belongs to local:// only")).with_help("remove it"));
        }
        Ok(())
    }

    /// Where the credentials come from, in words.
    #[must_use]
    pub(crate) fn credentials(&self) -> String {
        match (&self.profile, &self.access_key_id_env) {
            _ if self.anonymous => "anonymous".to_owned(),
            (Some(profile), _) => format!("profile {profile}"),
            (None, Some(variable)) => format!("variable {variable}"),
            (None, None) => "chain".to_owned(),
        }
    }
}

/// Refuses an endpoint with a secret in it: endpoints are shown in errors and logs.
///
/// # Errors
/// [`ErrorKind::Usage`](planner::ErrorKind::Usage), without the endpoint.
pub(crate) fn check_endpoint(endpoint: &str) -> Result<()> {
    let holds_more = |url: url::Url| !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if url::Url::parse(endpoint).is_ok_and(holds_more) {
        return Err(Error::usage("the endpoint of a store holds a name, a password or a query")
            .with_help("write it as https://HOST; credentials come from the environment, a profile or the variables that a [[store]] table names"));
    }
    Ok(())
}

const SPEC_HELP: &str = "write --store 'prefix=s3://BUCKET,endpoint=https://HOST,path_style=true'; secrets are given by the names of \
                         variables: access_key_id_env, secret_access_key_env";

/// The error of serde without values: a value may be a secret in the wrong place.
fn spec_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("unknown field") || text.starts_with("missing field") {
        return text;
    }
    "a value is of the wrong kind (true and false are for path_style, anonymous, keep_headers, keep_tags and opaque_etags)"
        .to_owned()
}

/// Where the variables that settings name are looked up: the environment, or whatever a program puts in its place.
#[derive(Clone)]
pub struct Variables(Arc<Find>);

/// Finds the value of a variable.
type Find = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Variables {
    /// Looked up by `find`.
    pub fn new(find: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl Default for Variables {
    fn default() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

/// What a prefix covers.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    scheme: Scheme,
    /// `None` is every bucket.
    bucket: Option<String>,
    path: String,
}

impl Scope {
    fn parse(prefix: &str) -> Result<Self> {
        if prefix.ends_with("://") {
            let scheme = Location::parse(&format!("{prefix}any"))?.scheme();
            return Ok(Self { scheme, bucket: None, path: String::new() });
        }
        let location = Location::parse(prefix).map_err(|error| error.context("[[store]] prefix"))?;
        let path = location.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme: location.scheme(), bucket: Some(location.bucket().to_owned()), path })
    }

    /// How much of `location` the scope names, or `None` when it does not cover it. Whole segments only.
    fn covers(&self, location: &Location) -> Option<usize> {
        if self.scheme != location.scheme() {
            return None;
        }
        let Some(bucket) = &self.bucket else { return Some(0) };
        if bucket != location.bucket() {
            return None;
        }
        let rest = location.path().strip_prefix(self.path.as_str())?;
        let whole = self.path.is_empty() || rest.is_empty() || rest.starts_with('/');
        whole.then_some(1 + self.path.len())
    }
}

/// The settings of the longest prefix that covers `location`; of equal ones the last, so that `--store` wins over files.
#[must_use]
pub fn settings_for<'a>(settings: &'a [StoreSettings], location: &Location) -> Option<&'a StoreSettings> {
    settings
        .iter()
        .filter_map(|one| Some((Scope::parse(&one.prefix).ok()?.covers(location)?, one)))
        .max_by_key(|(length, _)| *length)
        .map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let all: Vec<StoreSettings> = ["s3://", "s3://b", "s3://b/x", "s3://b/x/y/", "local://"]
            .into_iter()
            .map(|prefix| StoreSettings { prefix: prefix.to_owned(), ..Default::default() })
            .collect();
        let found = |text: &str| settings_for(&all, &at(text)).map(|one| one.prefix.as_str());
        assert_eq!(found("s3://b/x/y/z"), Some("s3://b/x/y/"));
        assert_eq!(found("s3://b/x/y"), Some("s3://b/x/y/"));
        assert_eq!(found("s3://b/x/yy"), Some("s3://b/x"));
        assert_eq!(found("s3://b/xx"), Some("s3://b"));
        assert_eq!(found("s3://bb/x"), Some("s3://"));
        assert_eq!(found("s3a://b"), Some("s3://b"));
        assert_eq!(found("local://repo/data"), Some("local://"));
        assert_eq!(found("gs://b/x"), None);
    }

    #[test]
    fn of_equal_prefixes_the_last_wins() {
        let one = |region: &str| StoreSettings { prefix: "s3://b".into(), region: Some(region.into()), ..Default::default() };
        let all = [one("file"), one("flag")];
        assert_eq!(settings_for(&all, &at("s3://b/k")).unwrap().region.as_deref(), Some("flag"));
    }

    #[test]
    fn a_spec_is_a_table() {
        let read = StoreSettings::parse_spec("prefix=s3://b,endpoint=http://127.0.0.1:9000,path_style=true").unwrap();
        assert_eq!((read.prefix.as_str(), read.path_style), ("s3://b", Some(true)));
        assert_eq!(read.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    }

    #[test]
    fn bad_specs_are_usage_errors_that_repeat_no_value() {
        for bad in [
            "",
            "endpoint=http://x",
            "prefix=s3://b,secret_access_key=hunter2",
            "prefix=s3://b,path_style=hunter2",
            "prefix=s3://b,hunter2",
            "prefix=s3://b,endpoint=hunter2",
            "prefix=s3://b,endpoint=http://user:hunter2@host",
            "prefix=s3://b,endpoint=http://host?token=hunter2",
            "prefix=s3://b,access_key_id_env=A",
            "prefix=s3://b,anonymous=true,profile=p",
            "prefix=s3://b,path=/x",
            "prefix=s3://b,region=a,region=b",
            "prefix=ftp://b",
        ] {
            let error = StoreSettings::parse_spec(bad).unwrap_err();
            assert_eq!(error.kind(), planner::ErrorKind::Usage, "{bad}");
            assert!(error.help().is_some(), "{bad}: no remedy");
            assert!(!error.to_string().contains("hunter2"), "{bad}: {error}");
        }
    }
}
