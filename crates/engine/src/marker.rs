//! Status markers: `EXPORT_<commit>_SUCCESS` and `_FAILURE` at the destination's root.
//!
//! One truth at rest: while a run changes anything no SUCCESS speaks for the destination; after the commit point every other
//! status marker goes, then SUCCESS comes.

use planner::guard::is_status_marker;
use planner::{Error, Result, SelectionSpec};

use crate::destination::Destination;
use crate::head::Current;
use crate::report::{Failure, RunReport};
use crate::request::MarkerOptions;
use worker::store::Condition;

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
    Ok(sizes(destination).await?.into_iter().map(|(key, _)| key).collect())
}

/// A status marker, and how many bytes it has.
type Found = (String, u64);

/// The status markers that are there.
async fn sizes(destination: &Destination) -> Result<Vec<Found>> {
    let found = destination.list(PREFIX).await?;
    Ok(found.into_iter().filter(|l| is_status_marker(&l.key)).map(|l| (l.key, l.size)).collect())
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
    let there = sizes(destination).await?;
    if written && is_right(&there, current, &body, keep) {
        return Ok(());
    }
    for (key, _) in stale(&there, &current.success, &current.commit, keep) {
        destination.delete(key).await?;
    }
    put(destination, &current.success, body).await
}

/// Whether [`finish`] would find nothing to do.
///
/// # Errors
/// The store's.
pub async fn is_finished(destination: &Destination, current: &Current, body: &str, keep: bool) -> Result<bool> {
    Ok(is_right(&sizes(destination).await?, current, body, keep))
}

/// Somebody's other text has another length, as a rule; to read it would be a request for every run.
fn is_right(there: &[Found], current: &Current, body: &str, keep: bool) -> bool {
    let success = there.iter().any(|(key, size)| *key == current.success && *size == body.len() as u64);
    success && stale(there, &current.success, &current.commit, keep).is_empty()
}

/// After a failure: FAILURE comes, then every other status marker goes.
///
/// # Errors
/// The store's.
pub async fn fail(destination: &Destination, name: &str, commit: &str, body: String, keep: bool) -> Result<()> {
    put(destination, name, body).await?;
    for (key, _) in stale(&sizes(destination).await?, name, commit, keep) {
        destination.delete(key).await?;
    }
    Ok(())
}

/// The markers that do not say how things are. `keep`: SUCCESS of other commits stays as history.
fn stale<'a>(there: &'a [Found], name: &str, commit: &str, keep: bool) -> Vec<&'a Found> {
    let history = |key: &str| keep && key.ends_with("_SUCCESS") && !key.contains(commit);
    there.iter().filter(|(key, _)| key != name && !history(key)).collect()
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
