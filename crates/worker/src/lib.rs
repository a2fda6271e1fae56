//! Stores and the copy operator: action rows in, outcome rows out.
//!
//! ```text
//!   plan rows ─▶ CopyExec ─▶ object (route → copy | stream | delete) ─▶ Store ─▶ outcome rows
//!                                                                        ▲
//!                                              Registry: settings, clients, counters, memory
//! ```
//! A [`Store`] is one location. The [`Registry`] opens it with the settings and credentials that belong to it, and
//! [`CopyExec`] is the operator that does a plan's rows. A failed object is a row, never an error.

#[cfg(feature = "cluster")]
pub mod cluster;
#[doc(hidden)]
pub mod conformance;
pub mod copy;
pub mod fence;
pub mod journal;
pub mod limit;
pub mod outcome;
pub mod prove;
pub mod retry;
mod stop;
pub mod store;

pub use copy::{Concurrency, CopyExec, CopySpec, OnDrift};
pub use fence::Fence;
pub use outcome::OUTCOME_SCHEMA;
pub use store::registry::{Registry, RegistryOptions};
pub use store::settings::{StoreSettings, Variables};
pub use store::{FailureKind, RequestClass, Store, StoreError};
