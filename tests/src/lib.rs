//! The test bed: what the end-to-end tests stand on.
//!
//! ```text
//!   tests ──run──▶ millrace (the real binary)
//!                    │            │
//!                    ▼            ▼
//!              s3::S3Server   lakefs::FakeLakefs      servers on 127.0.0.1, each on a runtime of its own,
//!                    ▲            ▲                   so that a test may block
//!                    └── lakes::Lake ──┘              recorded lakes: namespace, listings, REST exchanges
//! ```
//!
//! * [`s3`]: an S3 server over a map, with an operation log, watches and scripted faults.
//! * [`lakefs`]: a lakeFS server that answers from a lake's recorded exchanges.
//! * [`lakes`]: the recorded lakes below `data/lakes`, and [`inventory`] beside them.
//! * [`cluster`]: a scheduler and executors, as processes; [`wire`]s between them that can be cut.
//! * [`tls`]: TLS before a server; [`disk`]: file systems that are small or read-only, and processes without root's powers.
//! * [`run`]: runs the binary in a clean environment; [`tree`] reads what it wrote.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "the whole crate is test code: a panic is how a test fails, and a command is often run for its effects only"
)]

mod background;
pub mod cluster;
pub mod disk;
mod encoding;
pub mod inventory;
pub mod lakefs;
pub mod lakes;
pub mod run;
pub mod s3;
pub mod tls;
pub mod tree;
pub mod wire;

use std::path::{Path, PathBuf};

/// The folder `data` of this crate, with the recorded lakes and inventories.
pub fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}
