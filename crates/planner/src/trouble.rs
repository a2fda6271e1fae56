//! What helps against troubles of the machine and of the network, by whatever client they are told: a store's, a lakeFS
//! server's, this machine's own.
//!
//! Clients tell most of it in words only, so words are looked for; where none is known, the caller's own remedy stands.

use std::error::Error as StdError;
use std::io;

use object_store::Error as StoreError;

/// How an answer without words is told that names a region in its head.
pub const IN_REGION: &str = "(the bucket is in ";

/// What to do about a connection that failed, by the words of its error; `None` where they tell nothing special.
#[must_use]
pub fn of_connection(words: &str) -> Option<String> {
    let any = |known: &[&str]| known.iter().any(|one| words.contains(one));
    if let Some(region) = region(words) {
        return Some(wrong_region(region));
    }
    let help = if any(&["UnknownIssuer", "self-signed", "CaUsedAsEndEntity"]) {
        "the authority that signed the server's certificate is not known here: add it to the system's certificates, or name a PEM file that holds \
         it, beside all others that are needed, by SSL_CERT_FILE"
    } else if any(&["NotValidForName", "certificate not valid for name"]) {
        "the server's certificate is for another name: write the endpoint with the name that it is for"
    } else if any(&["certificate expired", "certificate not valid yet", "invalid peer certificate: Expired", "NotValidYet"]) {
        "the server's certificate is not valid today: renew it, or set this machine's clock right"
    } else if any(&["InvalidContentType", "WRONG_VERSION_NUMBER", "packet length too long"]) {
        "what answers there speaks no TLS: write the endpoint with http://"
    } else if any(&["unsuccessful tunnel", "proxy authorization", "Proxy Authentication", "proxy connect", "tunnel error"]) {
        "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names lets nothing through: check it, or name this host in NO_PROXY"
    } else if any(&["dns error", "failed to lookup address"]) {
        "there is no host of that name: check the endpoint's spelling and this machine's DNS; behind a proxy set HTTPS_PROXY"
    } else if any(&["without LOCATION", "BareRedirect"]) {
        "the bucket is in another region: name it by AWS_REGION, or by region in the [[store]] table"
    } else if any(&["Connection refused", "tcp connect error", "connection closed", "error sending request"]) {
        let proxy = proxy()?;
        return Some(format!(
            "check the endpoint; {proxy} is set: check that its proxy runs and lets this through, or name the host in NO_PROXY"
        ));
    } else {
        return None;
    };
    Some(help.to_owned())
}

/// The variable that names a proxy, where one is set.
#[must_use]
pub fn proxy() -> Option<&'static str> {
    const NAMES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    NAMES.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The region that an answer of S3 says is the right one.
#[must_use]
pub fn region(answer: &str) -> Option<&str> {
    let between =
        |from: &str, to: &str| answer.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(found, _)| found);
    let found = between("expecting '", "'").or_else(|| between("<Region>", "</Region>"));
    let found = found.or_else(|| between(IN_REGION, ")"));
    found.filter(|region| !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// What to do about a bucket that is in `region`.
#[must_use]
pub fn wrong_region(region: &str) -> String {
    format!("the bucket is in {region}: set AWS_REGION={region}, or region = \"{region}\" in its [[store]] table")
}

/// The system's own error at the bottom of `error`, where there is one.
fn of_system<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let (mut at, mut found) = (Some(error), None);
    while let Some(error) = at {
        found = error.downcast_ref::<io::Error>().or(found);
        at = error.source();
    }
    found
}

/// Why a file of this machine could not be read or written, and what to do about it. `None` for any other store.
#[must_use]
pub fn of_file(error: &StoreError) -> Option<(&'static str, &'static str)> {
    if !matches!(error, StoreError::Generic { store: "LocalFileSystem", .. }) {
        return None;
    }
    of_kind(of_system(error)?.kind())
}

/// The same by the kind of a system's error.
#[must_use]
pub fn of_kind(kind: io::ErrorKind) -> Option<(&'static str, &'static str)> {
    match kind {
        io::ErrorKind::PermissionDenied => {
            Some(("may not be used by this user", "change its permissions, or run the command as a user who may"))
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some(("is on a file system that is mounted read-only", "choose another place, or mount it for writing"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some(("has no room left", "make room there, then run the same command again"))
        }
        io::ErrorKind::NotADirectory => Some(("is no folder, or lies below a file", "check the path")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_failed_connections_name_the_setting() {
        for (words, named) in [
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("invalid peer certificate: certificate not valid for name \"x\"", "another name"),
            ("received corrupt message of type InvalidContentType", "http://"),
            ("dns error: failed to lookup address information", "spelling"),
            ("unsuccessful tunnel", "NO_PROXY"),
            ("AuthorizationHeaderMalformed: the region 'us-east-1' is wrong; expecting 'eu-west-1'", "AWS_REGION=eu-west-1"),
            ("<Code>PermanentRedirect</Code><Region>eu-west-2</Region>", "region = \"eu-west-2\""),
        ] {
            assert!(of_connection(words).is_some_and(|help| help.contains(named)), "{words}");
        }
        assert_eq!(of_connection("connection refused"), None);
        assert_eq!(region("expecting '; rm -rf /'"), None);
    }

    #[test]
    fn a_file_tells_by_its_systems_error() {
        let of = |kind: io::ErrorKind| {
            let error = StoreError::Generic { store: "LocalFileSystem", source: Box::new(io::Error::from(kind)) };
            of_file(&error).map(|(why, _)| why)
        };
        assert_eq!(of(io::ErrorKind::PermissionDenied), Some("may not be used by this user"));
        assert_eq!(of(io::ErrorKind::StorageFull), Some("has no room left"));
        assert_eq!(of(io::ErrorKind::Other), None);
        let other = StoreError::Generic { store: "S3", source: Box::new(io::Error::from(io::ErrorKind::StorageFull)) };
        assert_eq!(of_file(&other), None);
    }
}
