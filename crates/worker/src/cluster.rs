//! The cluster: the same plan on Ballista.
//!
//! ```text
//!  driver ──CopyNode over ShardsTable──▶ scheduler ──one task a shard──▶ executor: TaskExec ─▶ CopyExec
//!    ▲                                   no stores, no secrets           its own stores, credentials, watch over the lease
//!    └───────────────────────── journal and marks at the destination ◀──────────┘
//! ```
//! # What Ballista gives, and what it does not
//! It places tasks, notices lost executors and runs their tasks again, so a task runs *at least* once. Whatever a task does can
//! therefore be done twice, also at the same time; results and the state of jobs live in memory only.
//!
//! # What a plan holds
//! Locations, options and the version that made it. Credentials are each executor's own: from its environment and its own
//! settings. A plan of another version is refused with both named.

mod attempt;
mod client;
mod codec;
mod engine;
mod executor;
mod health;
mod marks;
mod merge;
mod node;
mod placement;
mod read;
mod scheduler;
mod shards;
mod site;
mod task;
mod tls;
mod token;
mod told;
mod watch;

pub use client::{Address, Cluster, JobState, Results};
pub use executor::{ExecutorOptions, run_executor};
pub use marks::Attempts;
pub use read::{Found, FoundOne, sought_batch};
pub use scheduler::{SchedulerOptions, run_scheduler};
pub use shards::{ShardRows, ShardsTable};
pub use task::{CopyTask, LeaseSpec, MergeJob, ReadTask, Task};
pub use tls::Tls;
pub use token::Token;

use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::{EndpointOverrideFn, SessionConfigExt};
use datafusion::prelude::SessionConfig;
use tonic::transport::Endpoint;

/// The port of a scheduler; an executor's are the three after it. Below the range that systems hand out by themselves.
pub const DEFAULT_PORT: u16 = 21_050;

/// The largest message between the parts of a cluster, in bytes.
const MESSAGE_BYTES: u32 = 64 << 20;

/// What clients, the scheduler and executors set alike.
fn session_config() -> SessionConfig {
    SessionConfig::new_with_ballista()
        .with_target_partitions(1)
        .with_collect_statistics(false)
        .with_ballista_grpc_client_max_message_size(MESSAGE_BYTES as usize)
        .set_bool("datafusion.optimizer.repartition_file_scans", false)
        .set_bool("ballista.planner.adaptive.enabled", true)
        .set_usize("ballista.scheduler.max_partitions_per_task", 1)
}

/// How Ballista's own connections are made: what they say, and over which end of TLS.
fn endpoints(token: &Token, tls: &Tls) -> Option<EndpointOverrideFn> {
    let (agent, tls) = (token.agent(), tls.clone());
    if agent.is_none() && !tls.is_set() {
        return None;
    }
    Some(Arc::new(move |endpoint: Endpoint| {
        let mut endpoint = endpoint;
        if tls.is_set() {
            let host = endpoint.uri().host().unwrap_or_default().to_owned();
            let way = tls.way_to(&host, endpoint.uri().port_u16().unwrap_or(DEFAULT_PORT)).map_err(|e| e.to_string())?;
            endpoint = kept_alive(Endpoint::from_shared(format!("http://{way}"))?);
        }
        match &agent {
            Some(agent) => Ok(endpoint.user_agent(agent.clone())?),
            None => Ok(endpoint),
        }
    }))
}

/// Connections on which a peer that is gone is noticed.
fn kept_alive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(20))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_while_idle(true)
}
