//! When two URLs mean one place: endpoints made comparable, symbolic links resolved.

use std::path::{Path, PathBuf};

/// An S3 endpoint as it is compared: `aws` for Amazon's own, else host and port. `localhost` is `127.0.0.1`, because taking
/// one server for two could let an export delete its own source.
#[must_use]
pub fn endpoint_identity(endpoint: Option<&str>) -> String {
    let Some(endpoint) = endpoint else { return "aws".to_owned() };
    let Ok(url) = url::Url::parse(endpoint) else { return endpoint.to_owned() };
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    if host == "amazonaws.com" || host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn") {
        return "aws".to_owned();
    }
    let host = if is_local(&url) { "127.0.0.1" } else { host };
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The endpoint is named by an IP address or `localhost`: no name can be put before it, so the bucket goes into the path.
#[must_use]
pub fn wants_path_style(endpoint: &str) -> bool {
    let Ok(url) = url::Url::parse(endpoint) else { return false };
    is_local(&url) || matches!(url.host(), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)))
}

fn is_local(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `path` with the symbolic links of its longest existing part resolved. A trailing slash stays.
#[must_use]
pub fn real_path(path: &Path) -> String {
    let folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    let mut rest: Vec<PathBuf> = Vec::new();
    let mut at = path.to_path_buf();
    let real = loop {
        if let Ok(real) = at.canonicalize() {
            break real;
        }
        match (at.file_name().map(PathBuf::from), at.parent().map(Path::to_path_buf)) {
            (Some(name), Some(parent)) => {
                rest.push(name);
                at = parent;
            }
            _ => break at,
        }
    };
    let whole = rest.into_iter().rev().fold(real, |path, name| path.join(name));
    let text = whole.to_string_lossy().into_owned();
    if folder && !text.ends_with('/') { format!("{text}/") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_are_one_server_are_equal() {
        assert_eq!(endpoint_identity(None), "aws");
        assert_eq!(endpoint_identity(Some("https://s3.eu-west-1.amazonaws.com")), "aws");
        assert_eq!(endpoint_identity(Some("http://localhost:9000/")), "127.0.0.1:9000");
        assert_eq!(endpoint_identity(Some("http://127.0.0.1:9000")), "127.0.0.1:9000");
        assert_eq!(endpoint_identity(Some("https://S3.Example")), "s3.example:443");
        assert_ne!(endpoint_identity(Some("https://s3.example:8443")), endpoint_identity(Some("https://s3.example")));
    }

    #[test]
    fn path_style_is_for_addresses() {
        assert!(
            wants_path_style("http://127.0.0.1:9000")
                && wants_path_style("http://localhost:1")
                && wants_path_style("http://[::1]:1")
        );
        assert!(wants_path_style("http://10.0.0.1") && !wants_path_style("https://s3.example"));
    }

    #[test]
    fn links_are_resolved_up_to_what_exists() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink(real.join("a"), real.join("link")).unwrap();
        let got = real_path(&real.join("link/new/deep"));
        assert_eq!(got, real.join("a/new/deep").to_string_lossy());
        assert!(real_path(&PathBuf::from(format!("{}/", real.join("link").display()))).ends_with("/a/"));
    }
}
