//! Writing the lakeFS format, against files that real servers wrote and against plain maps.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

#[path = "../reading/samples.rs"]
#[allow(dead_code, reason = "the samples serve the tests of reading as well")]
mod samples;

mod history;
mod lakes;
mod maps;
mod rebuild;
mod refs;
mod refusals;
mod three_way;
