//! Where the lakeFS server is and who we are there: the environment, else `lakectl`'s own configuration file.
//!
//! Each value is taken from the first place that has it, as `lakectl` does, so that a secret may stand in the environment
//! while the rest stands in the file.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_yaml_ng::Value;
use url::Url;

use crate::error::{Error, Result};

/// How a setting is looked up in the environment; injected, so that tests need not change the process.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The lakeFS server and the credentials for it. `Debug` hides the secret.
#[derive(Debug, Clone)]
pub struct LakefsSettings {
    /// The server's URL as it was given, with or without `/api/v1`.
    pub endpoint: String,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret: SecretString,
    /// Where the access key id was found, for messages.
    pub origin: String,
}

/// One setting: its variables in their order, and its path in the file.
struct Setting {
    variables: [&'static str; 2],
    path: [&'static str; 2],
}

const ENDPOINT: Setting =
    Setting { variables: ["LAKECTL_SERVER_ENDPOINT_URL", "LAKEFS_ENDPOINT"], path: ["server", "endpoint_url"] };
const ACCESS_KEY_ID: Setting =
    Setting { variables: ["LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKEFS_ACCESS_KEY_ID"], path: ["credentials", "access_key_id"] };
const SECRET: Setting = Setting {
    variables: ["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "LAKEFS_SECRET_ACCESS_KEY"],
    path: ["credentials", "secret_access_key"],
};

/// What a lakeFS source cannot start without.
const WAYS: &str = "set LAKECTL_SERVER_ENDPOINT_URL, LAKECTL_CREDENTIALS_ACCESS_KEY_ID and LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY; \
     or LAKEFS_ENDPOINT, LAKEFS_ACCESS_KEY_ID and LAKEFS_SECRET_ACCESS_KEY; \
     or run `lakectl config`, which writes ~/.lakectl.yaml (LAKECTL_CONFIG_FILE names another one)";

impl LakefsSettings {
    /// Finds the settings: `LAKECTL_…`, else `LAKEFS_…`, else the file that `LAKECTL_CONFIG_FILE` names, else
    /// `~/.lakectl.yaml`. Empty values count as absent.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) that names what is missing, or the file that cannot be read.
    pub fn find(env: Lookup<'_>) -> Result<Self> {
        let mut file = LazyFile { env, loaded: None };
        let endpoint = file.find(&ENDPOINT)?;
        let key = file.find(&ACCESS_KEY_ID)?;
        let secret = file.find(&SECRET)?;
        match (endpoint, key, secret) {
            (Some((endpoint, _)), Some((access_key_id, origin)), Some((secret, _))) => {
                check_endpoint(&endpoint)?;
                Ok(Self { endpoint, access_key_id, secret: secret.into(), origin })
            }
            (endpoint, key, secret) => {
                let names =
                    [("endpoint", endpoint.is_none()), ("access key id", key.is_none()), ("secret access key", secret.is_none())];
                let missing: Vec<_> = names.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect();
                let are = if missing.len() == 1 { "is" } else { "are" };
                Err(Error::usage(format!("the lakeFS server's {} {are} not set", missing.join(" and "))).with_help(WAYS))
            }
        }
    }
}

/// The URL must be one, and must hold no secret: it is shown in messages.
fn check_endpoint(endpoint: &str) -> Result<()> {
    let help = "write it like https://lakefs.example.com";
    let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else { return Err(Error::usage("the lakeFS server's endpoint is no http(s) URL").with_help(help)) };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(Error::usage("the lakeFS server's endpoint holds credentials or parameters").with_help(help));
    }
    Ok(())
}

/// The configuration file, read only when the environment lacks something.
struct LazyFile<'a> {
    env: Lookup<'a>,
    loaded: Option<(String, Value)>,
}

impl LazyFile<'_> {
    /// The value, and where it was found.
    fn find(&mut self, setting: &Setting) -> Result<Option<(String, String)>> {
        for variable in setting.variables {
            if let Some(value) = lookup(self.env, variable) {
                return Ok(Some((value, variable.to_owned())));
            }
        }
        let (name, value) = match &self.loaded {
            Some(loaded) => loaded,
            None => self.loaded.insert(load(self.env)?),
        };
        let found = setting.path.iter().try_fold(value, |value, key| value.get(*key));
        Ok(found.and_then(text).map(|found| (found, name.clone())))
    }
}

fn lookup(env: Lookup<'_>, variable: &str) -> Option<String> {
    env(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Keys that look like numbers are not quoted by everyone who writes the file by hand.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn load(env: Lookup<'_>) -> Result<(String, Value)> {
    if let Some(named) = lookup(env, "LAKECTL_CONFIG_FILE") {
        return read(Path::new(&named), true);
    }
    match lookup(env, "HOME").or_else(|| lookup(env, "USERPROFILE")) {
        Some(home) => read(&PathBuf::from(home).join(".lakectl.yaml"), false),
        None => Ok((String::new(), Value::Null)),
    }
}

/// The parser's own message may quote what stands in the file, a secret perhaps: only the place is told.
fn read(path: &Path, must_exist: bool) -> Result<(String, Value)> {
    let name = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok((name, Value::Null)),
        Err(e) => {
            return Err(Error::usage(format!("lakectl's configuration `{name}` cannot be read: {e}"))
                .with_help("mend LAKECTL_CONFIG_FILE or the file's rights, or set the LAKECTL_… variables"));
        }
    };
    let parsed = serde_yaml_ng::from_slice(&bytes).map_err(|e| {
        let place = e.location().map_or_else(String::new, |at| format!(" at line {}, column {}", at.line(), at.column()));
        Error::usage(format!("lakectl's configuration `{name}` is no YAML{place}"))
            .with_help("run `lakectl config` to write it anew")
    })?;
    Ok((name, parsed))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use secrecy::ExposeSecret;

    use super::*;

    fn find(pairs: &[(&str, &str)]) -> Result<LakefsSettings> {
        let map: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LakefsSettings::find(&move |name: &str| map.get(name).cloned())
    }

    fn triple(settings: &LakefsSettings) -> (&str, &str, &str) {
        (&settings.endpoint, &settings.access_key_id, settings.secret.expose_secret())
    }

    const LAKECTL: [(&str, &str); 3] = [
        ("LAKECTL_SERVER_ENDPOINT_URL", "http://one:8000"),
        ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key1"),
        ("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret1"),
    ];
    const LAKEFS: [(&str, &str); 3] =
        [("LAKEFS_ENDPOINT", "https://two/api/v1/"), ("LAKEFS_ACCESS_KEY_ID", "key2"), ("LAKEFS_SECRET_ACCESS_KEY", "secret2")];

    fn home(yaml: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".lakectl.yaml"), yaml).unwrap();
        let path = dir.path().display().to_string();
        (dir, path)
    }

    const YAML: &str =
        "credentials:\n  access_key_id: key3\n  secret_access_key: 12345\nserver:\n  endpoint_url: http://three:8000/\n";

    #[test]
    fn lakectls_variables_win_over_lakefs_ones_and_both_over_the_file() {
        let (_dir, home) = home(YAML);
        let home = ("HOME", home.as_str());
        let all: Vec<_> = LAKECTL.into_iter().chain(LAKEFS).chain([home]).collect();
        assert_eq!(triple(&find(&all).unwrap()), ("http://one:8000", "key1", "secret1"));
        let two: Vec<_> = LAKEFS.into_iter().chain([home]).collect();
        assert_eq!(triple(&find(&two).unwrap()), ("https://two/api/v1/", "key2", "secret2"));
        let file = find(&[home]).unwrap();
        assert_eq!(triple(&file), ("http://three:8000/", "key3", "12345"));
        assert!(file.origin.ends_with(".lakectl.yaml"));
    }

    #[test]
    fn a_value_that_the_environment_lacks_comes_from_the_file() {
        let (_dir, home) = home(YAML);
        let some = find(&[("LAKECTL_SERVER_ENDPOINT_URL", "http://one"), ("LAKEFS_ACCESS_KEY_ID", ""), ("HOME", &home)]).unwrap();
        assert_eq!(triple(&some), ("http://one", "key3", "12345"));
    }

    #[test]
    fn another_file_can_be_named_and_must_then_exist() {
        let (dir, _) = home(YAML);
        let named = dir.path().join(".lakectl.yaml").display().to_string();
        assert_eq!(find(&[("LAKECTL_CONFIG_FILE", &named), ("HOME", "/nowhere")]).unwrap().access_key_id, "key3");
        let error = find(&[("LAKECTL_CONFIG_FILE", "/nowhere/lakectl.yaml")]).unwrap_err();
        assert!(error.message().contains("/nowhere/lakectl.yaml"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_with_the_three_ways_to_set_it() {
        let error = find(&[]).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
        assert!(error.message().contains("endpoint and access key id and secret access key"), "{error}");
        let help = error.help().unwrap();
        for way in ["LAKECTL_SERVER_ENDPOINT_URL", "LAKEFS_ENDPOINT", "~/.lakectl.yaml"] {
            assert!(help.contains(way), "{help}");
        }
        let error = find(&LAKECTL[..2]).unwrap_err();
        assert!(error.message().contains("server's secret access key is not set"), "{error}");
    }

    #[test]
    fn no_secret_is_in_debug_or_in_an_error() {
        let settings = find(&LAKECTL).unwrap();
        assert!(!format!("{settings:?}").contains("secret1"));
        let (_dir, home) = home("credentials:\n  secret_access_key: [hush\n");
        let error = find(&[("HOME", &home)]).unwrap_err();
        assert!(error.message().contains("is no YAML") && !format!("{error:?}").contains("hush"), "{error:?}");
    }

    #[test]
    fn an_endpoint_that_is_no_url_or_holds_a_secret_is_refused() {
        for bad in ["lakefs.example.com", "ftp://x", "http://user:hush@x", "http://x?token=hush", "http://"] {
            let error = find(&[("LAKECTL_SERVER_ENDPOINT_URL", bad), LAKECTL[1], LAKECTL[2]]).unwrap_err();
            assert!(error.help().unwrap().contains("https://lakefs.example.com"), "{bad}");
            assert!(!error.to_string().contains("hush"), "{bad}: {error}");
        }
    }
}
