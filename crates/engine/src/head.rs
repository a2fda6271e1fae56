//! `_millrace/HEAD.json`: which receipt counts, and which runs changed the destination since.
//!
//! # Consistency
//! HEAD changes by conditional put only. Its body has a nonce, so that equal states never give equal etags, and so that a
//! writer whose acknowledgement was lost recognises its own body. It carries its digest: one that was changed is refused.

use std::sync::Arc;

use planner::digest::sealed;
use planner::plan::Expects;
use planner::{Error, Location, Result, View};
use serde::{Deserialize, Serialize};
use worker::store::Condition;
use worker::{FailureKind, Registry, StoreError};

use crate::destination::Destination;
use crate::lease::{DoubtFile, LeaseFile};

/// Its key.
pub const HEAD_KEY: &str = "_millrace/HEAD.json";

/// The format version.
///
/// * 1: the first.
pub const HEAD_FORMAT: u32 = 1;

/// How far the current receipt's SUCCESS marker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkerState {
    /// The receipt counts; the marker may not be there yet.
    Pending,
    /// The marker is there.
    Written,
}

/// What the current receipt says, so that the receipt itself need not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Its folder, below the destination.
    pub receipt: String,
    /// The commit.
    pub commit: String,
    /// Its metarange.
    pub metarange: String,
    /// What the destination is an export of.
    pub view: View,
    /// Objects that are there by it.
    pub objects: u64,
    /// Its run.
    pub run: String,
    /// The name of its SUCCESS marker.
    pub success: String,
}

/// What a server makes of conditions on puts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Obedience {
    /// It obeys them.
    Obeyed,
    /// It writes, whatever they say.
    Ignored,
    /// It answers that it knows none.
    Refused,
}

/// What was found out about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionsFile {
    /// Which one, as [`worker::store::Access::endpoint`]: HEAD may have been copied to another.
    pub server: String,
    /// What becomes of conditions there.
    pub are: Obedience,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadFile {
    /// [`HEAD_FORMAT`].
    pub format: u32,
    /// The number of the current receipt.
    pub seq: u64,
    /// The destination that it serves, where that is another place than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<String>,
    /// What is proved to be there.
    pub current: Option<Current>,
    /// Runs that changed the destination since and did not finish, the oldest first.
    pub unfinished: Vec<String>,
    /// What the first of them was for, while there is no receipt that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished_view: Option<View>,
    /// Of the current receipt.
    pub marker: Option<MarkerState>,
    /// Raised whenever somebody takes the lease.
    #[serde(default)]
    pub generation: u64,
    /// Who may change the destination; `None` when nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseFile>,
    /// Requests of the last holder that had no answer when it let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<DoubtFile>,
    /// What the server of HEAD makes of conditions, where that had to be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<ConditionsFile>,
    /// Differs in every version.
    pub nonce: String,
    /// RFC 3339.
    pub update_time: String,
}

impl Default for HeadFile {
    fn default() -> Self {
        Self {
            format: HEAD_FORMAT,
            seq: 0,
            serves: None,
            current: None,
            unfinished: Vec::new(),
            unfinished_view: None,
            marker: None,
            generation: 0,
            lease: None,
            doubt: None,
            conditions: None,
            nonce: String::new(),
            update_time: String::new(),
        }
    }
}

impl HeadFile {
    /// The state that a plan is made for.
    #[must_use]
    pub fn expects(&self) -> Expects {
        Expects { receipt: self.current.as_ref().map(|c| c.receipt.clone()), unfinished: self.unfinished.clone() }
    }

    /// What is known of the server of `destination`: whether it obeys conditions.
    #[must_use]
    pub fn obedience(&self, destination: &Destination) -> Option<Obedience> {
        let can = destination.control().capabilities();
        let server = &destination.control().access().endpoint;
        match &self.conditions {
            _ if !can.conditional_put => Some(Obedience::Ignored),
            _ if !can.conditions_vary => Some(Obedience::Obeyed),
            found => found.as_ref().filter(|found| found.server == *server).map(|found| found.are),
        }
    }

    /// Remembers what the server of `destination` makes of conditions.
    pub fn found_out(&mut self, destination: &Destination, are: Obedience) {
        self.conditions = Some(ConditionsFile { server: destination.control().access().endpoint.clone(), are });
    }
}

/// HEAD as it was read or last written.
#[derive(Debug, Clone)]
pub struct Head {
    /// The document.
    pub file: HeadFile,
    etag: Option<String>,
}

impl Head {
    /// Reads it; a destination without one has the default.
    ///
    /// # Errors
    /// `Corrupt` for one that cannot be understood, `Usage` for another format, the store's.
    pub async fn read(destination: &Destination) -> Result<Self> {
        let head = Self::read_any(destination).await?;
        serves_it(destination, &head.file)?;
        Ok(head)
    }

    /// The destination whose HEAD is at `at`, and HEAD. `at` is the destination itself, or the status path of one.
    ///
    /// # Errors
    /// As [`Head::read`].
    pub async fn find(registry: &Arc<Registry>, at: &Location) -> Result<(Destination, Self)> {
        let destination = Destination::open(registry, at)?;
        let head = Self::read_any(&destination).await?;
        match &head.file.serves {
            Some(served) => Ok((Destination::open_at(registry, &Location::parse(served)?, Some(at))?, head)),
            None => Ok((destination, head)),
        }
    }

    async fn read_any(destination: &Destination) -> Result<Self> {
        destination.own_places()?;
        let Some(document) = destination.get_document(HEAD_KEY).await? else {
            return Ok(Self { file: HeadFile { serves: destination.served(), ..HeadFile::default() }, etag: None });
        };
        let format = document.format();
        if format.is_some_and(|f| f != u64::from(HEAD_FORMAT)) {
            let at = destination.status();
            return Err(Error::usage(format!(
                "{at}{HEAD_KEY} has format {}; this is millrace {}, which reads format {HEAD_FORMAT}",
                format.unwrap_or(0),
                env!("CARGO_PKG_VERSION")
            ))
            .with_help("use the version that exported here last, or a newer one"));
        }
        let etag = document.etag.clone();
        let file = document.read("somebody changed it: restore it, or move `_millrace/` aside and export with --full")?;
        Ok(Self { file, etag: Some(etag) })
    }

    /// The same, to be written over what was read.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut HeadFile)) -> HeadFile {
        let mut file = self.file.clone();
        change(&mut file);
        file.nonce = ulid::Ulid::new().to_string();
        file.update_time = crate::clock::now();
        file
    }

    /// Puts `file` where this one was read, if nobody else changed it since. One try: what became of it is in the answer.
    ///
    /// Where the server does not see to that, it is read before and after: another writer is noticed, unless it writes at the
    /// same moment.
    ///
    /// # Errors
    /// The store's, with the request surely or possibly not applied.
    pub async fn put(&self, destination: &Destination, file: &HeadFile) -> Result<Self, StoreError> {
        if matches!(file.obedience(destination), Some(Obedience::Ignored | Obedience::Refused)) {
            if nonce_there(destination).await?.unwrap_or_default() != self.file.nonce {
                return Err(changed());
            }
            let put = Self::put_if(destination, file, Condition::None).await?;
            return if nonce_there(destination).await?.as_ref() == Some(&file.nonce) { Ok(put) } else { Err(changed()) };
        }
        let condition = self.etag.as_ref().map_or(Condition::Absent, |etag| Condition::Match(etag.clone()));
        Self::put_if(destination, file, condition).await
    }

    /// Puts `file` on a condition.
    pub(crate) async fn put_if(destination: &Destination, file: &HeadFile, condition: Condition) -> Result<Self, StoreError> {
        let body = sealed(file).map_err(|e| StoreError::new(FailureKind::Other, format!("{HEAD_KEY}: {e}")))?;
        let etag = destination.put(HEAD_KEY, body, "application/json", condition).await?;
        Ok(Self { file: file.clone(), etag: Some(etag).filter(|etag| !etag.is_empty()) })
    }

    /// Whether it was read in the same version as `other`.
    #[must_use]
    pub fn is_version_of(&self, other: &Self) -> bool {
        self.etag == other.etag && self.file.nonce == other.file.nonce
    }

    /// Its version is known, so that it can be written over.
    #[must_use]
    pub fn has_version(&self) -> bool {
        self.etag.is_some()
    }
}

fn changed() -> StoreError {
    StoreError::new(FailureKind::Precondition, format!("somebody else changed {HEAD_KEY}"))
}

/// The nonce of what is there now.
async fn nonce_there(destination: &Destination) -> Result<Option<String>, StoreError> {
    let Some((body, _)) = destination.control().get_small(HEAD_KEY).await? else { return Ok(None) };
    let file = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
    Ok(Some(file["nonce"].as_str().unwrap_or_default().to_owned()))
}

/// Refuses a HEAD that speaks for another destination.
fn serves_it(destination: &Destination, file: &HeadFile) -> Result<()> {
    if file.serves == destination.served() {
        return Ok(());
    }
    let status = destination.status();
    let there = file.serves.as_ref().map_or_else(|| "is a destination of its own".to_owned(), |other| format!("serves {other}"));
    let refused = Error::guard(format!("{status}{HEAD_KEY} {there}, not {}", destination.location()));
    Err(refused.with_help(match &file.serves {
        Some(other) => format!("a status path serves one destination: export to {other}, or give another --status-path"),
        None => "give another --status-path, or none".to_owned(),
    }))
}
