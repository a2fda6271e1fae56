//! End-to-end tests: one binary, since each links much.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bad_input;
mod bed;
mod cluster;
mod copy;
mod cross;
mod export;
mod lake;
mod look;
mod made;
mod runs;
mod sdk;
mod verify;
