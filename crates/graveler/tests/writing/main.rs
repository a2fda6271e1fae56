//! Writing the lakeFS format, against files that real servers wrote.

#[path = "../reading/samples.rs"]
#[allow(dead_code, reason = "the samples serve the tests of reading as well")]
mod samples;

mod rebuild;
