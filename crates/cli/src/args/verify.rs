//! `verify DEST`.

use clap::Args;
use engine::MaxDelete;

use super::values::{self, Concurrency};

/// `verify DEST`.
#[derive(Debug, Args)]
#[command(
    after_help = "A listing finds what is missing, what has another size or another etag, and what was removed and is there. --deep reads
all bytes as well. Nothing is written without --repair.

Examples:
  millrace verify s3://mirror/orders
  millrace verify /srv/orders --deep
  millrace verify s3://mirror/orders --against lakefs://orders/main
  millrace verify s3://mirror/orders --repair"
)]
pub(crate) struct VerifyArgs {
    /// The destination
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,

    /// Compare with this commit as well: `lakefs://REPO/REF[/PREFIX/]` or `lake+…?ref=REF[&prefix=PREFIX/]`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) against: Option<String>,

    /// Read the bytes and compare their checksums
    #[arg(long)]
    pub(crate) deep: bool,

    /// Copy what is missing or changed again, and delete what was left over
    #[arg(long)]
    pub(crate) repair: bool,

    /// With --repair: refuse more deletes than this: objects, or a share of what is there [default: what was left over]
    #[arg(long, value_name = "N|P%", value_parser = values::max_delete, requires = "repair")]
    pub(crate) max_delete: Option<MaxDelete>,

    /// With --repair: go on where a guard that can be overridden says no
    #[arg(long, requires = "repair")]
    pub(crate) force: bool,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub(crate) cluster: super::cluster::OnClusterArgs,

    /// Objects in flight
    #[arg(long, value_name = "N|auto", value_parser = values::concurrency)]
    pub(crate) concurrency: Option<Concurrency>,
}
