//! Tests of the test bed itself.

mod faults;
mod lakefs;
mod lakes;
mod listing;
mod run;
mod store;
