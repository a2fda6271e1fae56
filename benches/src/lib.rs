//! Large lakes for benchmarks: as many entries as one likes, shaped like partitioned tables, and a second commit with a few
//! changes. The objects themselves do not exist; planning never looks at them.

pub mod lake;
pub mod raw;

pub use lake::{Generated, Shape, Spread, generate};
