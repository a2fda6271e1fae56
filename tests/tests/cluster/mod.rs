//! Exports on a cluster of real processes: what is there afterwards is what a local export leaves, whoever is killed meanwhile.

mod cuts;
mod doors;
mod ends;
mod phases;
mod reads;
mod same;
