//! Where commits come from, what differs between them, and the plan of an export.
//!
//! ```text
//! source     a lakeFS server or a storage namespace: references → commits
//! table      commits as tables: objects, diff
//! select     what is selected; round: in which order it is published
//! planning   two views → a plan
//! plan       the plan's files
//! ```
//! Nothing here moves an object's bytes.

mod address;
mod blocking;
pub mod digest;
mod directories;
pub mod entry;
pub mod error;
pub mod folding;
pub mod guard;
pub mod location;
mod logs;
mod named;
pub mod overview;
pub mod part;
pub mod plan;
pub mod planning;
pub mod round;
pub mod select;
pub mod source;
pub mod stores;
pub mod table;
pub mod trouble;
pub mod view;

pub use error::{Error, ErrorKind, Result};
pub use folding::Folding;
pub use location::{Location, Scheme};
pub use named::Named;
pub use part::Part;
pub use planning::{Base, PlanRequest};
pub use stores::{KeyRules, Looks, MetadataStore, Stores};
pub use view::{DoneSpec, Preset, RoundsSpec, SelectionSpec, View};
