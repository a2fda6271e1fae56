//! Values that need more than clap's own parsers.

use std::time::Duration;

use engine::MaxDelete;

/// `N` or `P%`.
pub(crate) fn max_delete(text: &str) -> Result<MaxDelete, String> {
    if let Some(percent) = text.strip_suffix('%') {
        let value: f64 = percent.trim_end().parse().map_err(|_| format!("`{percent}` is no percentage"))?;
        return if (0.0..=100.0).contains(&value) { Ok(MaxDelete::Percent(value)) } else { Err("use 0% to 100%".to_owned()) };
    }
    text.parse().map(MaxDelete::Count).map_err(|_| "use a number of objects (1000) or a share (25%)".to_owned())
}

/// `--concurrency`: objects in flight, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concurrency(pub(crate) Option<usize>);

/// More objects in flight than this only fill memory and sockets.
const MAX_CONCURRENCY: usize = 10_000;

/// `N` or `auto`.
pub(crate) fn concurrency(text: &str) -> Result<Concurrency, String> {
    match text {
        "auto" => Ok(Concurrency(None)),
        number => match number.parse() {
            Ok(n) if (1..=MAX_CONCURRENCY).contains(&n) => Ok(Concurrency(Some(n))),
            _ => Err(format!("use a number from 1 to {MAX_CONCURRENCY}, or auto")),
        },
    }
}

/// `90s`, `30m`, `1h 15m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".to_owned()),
        Ok(time) => Ok(time),
        Err(e) => Err(format!("{e}; write 30s, 10m or 1h")),
    }
}

/// The shortest lease: it is renewed three times in its time, each time with a request.
const MIN_LEASE: Duration = Duration::from_secs(1);

/// `--lease-ttl`.
pub(crate) fn lease_ttl(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < MIN_LEASE => Err("a lease of less than a second is over before it can be renewed; write 60s".to_owned()),
        time => Ok(time),
    }
}

/// `df://HOST[:PORT]`.
#[cfg(feature = "cluster")]
pub(crate) fn scheduler(text: &str) -> Result<worker::cluster::Address, String> {
    worker::cluster::Address::parse(text).map_err(|e| format!("{e}; {}", e.help().unwrap_or_default()))
}

/// `512MiB`, `2GB`.
#[cfg(feature = "cluster")]
pub(crate) fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.0).map_err(|_| format!("`{text}` is no size; write 512MiB or 2GB"))
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
