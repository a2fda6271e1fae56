//! Reading real files: what other programs wrote must read as they meant it, and what is damaged
//! must be refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod damage;
mod lakes;
mod namespaces;
mod samples;
mod sstables;
