//! Status markers: `EXPORT_<commit>_SUCCESS` and `_FAILURE` at the destination's root.
//!
//! One truth at rest: while a run changes anything no SUCCESS speaks for the destination; after the commit point every other
//! status marker goes, then SUCCESS comes.

use md5::{Digest, Md5};
use planner::guard::is_status_marker;
use planner::{Error, Result, SelectionSpec};

use crate::destination::Destination;
use crate::head::Current;
use crate::report::{Failure, RunReport};
use crate::request::MarkerOptions;
use worker::store::{Condition, Listed};

/// Failed rows that a FAILURE marker lists.
pub const MAX_LOGGED_FAILURES: usize = 10_000;

/// What all status markers begin with.
const PREFIX: &str = "EXPORT_";

/// The names of one commit's markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerNames {
    /// When all is there.
    pub success: String,
    /// When something is not.
    pub failure: String,
}

impl MarkerNames {
    /// The names by a template with `{commit}`, `{state}` and `{time}`.
    ///
    /// # Errors
    /// `Usage` for a template whose names could not be told from other keys.
    pub fn new(options: &MarkerOptions, commit: &str) -> Result<Self> {
        let time = crate::clock::now();
        let name = |state: &str| options.template.replace("{commit}", commit).replace("{time}", &time).replace("{state}", state);
        let names = Self { success: name("SUCCESS"), failure: name("FAILURE") };
        let known = options.template.contains("{commit}") && options.template.contains("{state}");
        let filled = !names.success.contains(['{', '}']);
        if known && filled && is_status_marker(&names.success) && is_status_marker(&names.failure) {
            return Ok(names);
        }
        Err(Error::usage(format!("the marker template `{}` does not name status markers", options.template))
            .with_help("it begins with EXPORT_, ends in _{state}, holds {commit}, may hold {time}, and no slash"))
    }
}

/// The status markers that are there.
///
/// # Errors
/// The store's.
pub async fn list(destination: &Destination) -> Result<Vec<String>> {
    Ok(listed(destination).await?.into_iter().map(|one| one.key).collect())
}

/// The status markers that are there, as a listing shows them.
///
/// # Errors
/// The store's.
pub(crate) async fn listed(destination: &Destination) -> Result<Vec<Listed>> {
    let found = destination.list(PREFIX).await?;
    Ok(found.into_iter().filter(|one| is_status_marker(&one.key)).collect())
}

/// Before the first change: no SUCCESS speaks for the destination any more. `keep` leaves those of other commits as history.
///
/// # Errors
/// The store's.
pub async fn success_off(destination: &Destination, commit: &str, keep: bool) -> Result<()> {
    for key in list(destination).await? {
        if key.ends_with("_SUCCESS") && (!keep || key.contains(commit)) {
            destination.delete(&key).await?;
        }
    }
    Ok(())
}

/// After the commit point: every other status marker goes, then SUCCESS comes. Does nothing where that is so already and
/// `written` says that it was done before.
///
/// # Errors
/// The store's.
pub async fn finish(destination: &Destination, current: &Current, body: String, keep: bool, written: bool) -> Result<()> {
    let there = listed(destination).await?;
    if written && is_right(destination, &there, current, &body, keep).await? {
        return Ok(());
    }
    for one in stale(&there, &current.success, &current.commit, keep) {
        destination.delete(&one.key).await?;
    }
    put(destination, &current.success, body).await
}

/// Whether [`finish`] would find nothing to do.
///
/// # Errors
/// The store's.
pub async fn is_finished(destination: &Destination, current: &Current, body: &str, keep: bool) -> Result<bool> {
    is_right(destination, &listed(destination).await?, current, body, keep).await
}

async fn is_right(destination: &Destination, there: &[Listed], current: &Current, body: &str, keep: bool) -> Result<bool> {
    let Some(success) = there.iter().find(|one| one.key == current.success) else { return Ok(false) };
    Ok(stale(there, &current.success, &current.commit, keep).is_empty() && says(destination, success, body).await?)
}

/// Whether a marker has just these bytes. The listing tells, where its etags are MD5s; else the marker is read. Another run's is
/// as long.
///
/// # Errors
/// The store's.
pub(crate) async fn says(destination: &Destination, marker: &Listed, body: &str) -> Result<bool> {
    if marker.size != body.len() as u64 {
        return Ok(false);
    }
    let md5 = hex::encode(Md5::digest(body));
    if destination.control().capabilities().etag_is_md5 && marker.etag.as_ref() == Some(&md5) {
        return Ok(true);
    }
    Ok(destination.get(&marker.key).await?.is_some_and(|(bytes, _)| bytes == body.as_bytes()))
}

/// After a failure: FAILURE comes, then every other status marker goes.
///
/// # Errors
/// The store's.
pub async fn fail(destination: &Destination, name: &str, commit: &str, body: String, keep: bool) -> Result<()> {
    put(destination, name, body).await?;
    for one in stale(&listed(destination).await?, name, commit, keep) {
        destination.delete(&one.key).await?;
    }
    Ok(())
}

/// The markers that do not say how things are. `keep`: SUCCESS of other commits stays as history.
fn stale<'a>(there: &'a [Listed], name: &str, commit: &str, keep: bool) -> Vec<&'a Listed> {
    let history = |key: &str| keep && key.ends_with("_SUCCESS") && !key.contains(commit);
    there.iter().filter(|one| one.key != name && !history(&one.key)).collect()
}

/// Writes a status marker.
///
/// # Errors
/// The store's.
pub async fn put(destination: &Destination, name: &str, body: String) -> Result<()> {
    destination
        .put(name, body.into_bytes(), "text/plain; charset=utf-8", Condition::None)
        .await
        .map(|_| ())
        .map_err(|e| destination.failed(e, format!("{name} cannot be written")))
}

/// What a SUCCESS marker says.
#[must_use]
pub fn success_text(run: &str, commit: &str, objects: u64, selection: &SelectionSpec) -> String {
    let selection = if selection.is_all() { String::new() } else { format!("selection: {selection}\n") };
    format!("Export completed successfully!\ncommit: {commit}\nrun: {run}\nobjects: {objects}\n{selection}")
}

/// What a FAILURE marker says: the true total, then one line per failed operation.
#[must_use]
pub fn failure_text(report: &RunReport, failures: &[Failure]) -> String {
    let line = |f: &Failure| {
        let source = f.source.as_deref().map(|s| format!(" from {s}")).unwrap_or_default();
        format!("{} {}{source}: {}", f.action, f.key.escape_debug(), f.error.replace('\n', " "))
    };
    let cut = (report.failed > failures.len() as u64).then(|| format!("the first {} of them:", failures.len()));
    let operations = if report.failed == 1 { "operation" } else { "operations" };
    let lines: Vec<String> = std::iter::once(format!("{} failed {operations}", report.failed))
        .chain(cut)
        .chain(failures.iter().map(line))
        .chain(report.error.iter().map(|e| e.message.clone()))
        .chain([format!("commit: {}", report.commit.as_deref().unwrap_or_default()), format!("run: {}\n", report.run)])
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_must_name_status_markers() {
        let names =
            |template: &str| MarkerNames::new(&MarkerOptions { template: template.to_owned(), keep_success: false }, "abc");
        assert_eq!(names("EXPORT_{commit}_{state}").unwrap().success, "EXPORT_abc_SUCCESS");
        assert!(names("EXPORT_{commit}_{time}_{state}").unwrap().failure.ends_with("Z_FAILURE"));
        for bad in ["EXPORT_{state}", "{commit}_{state}", "EXPORT_{commit}", "EXPORT_a/{commit}_{state}"] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }
}
