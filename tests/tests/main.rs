//! End-to-end tests: one binary, since each links much.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;
mod export;
mod look;
mod sdk;
