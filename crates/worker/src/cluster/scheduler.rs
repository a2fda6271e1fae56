//! The role `millrace scheduler`: Ballista's, with our plans, a token at the door, and health answers on the same port.
//!
//! It opens no store and needs no credentials. Its state is in memory: when it is started again it knows no job, executors
//! register again by themselves, and whoever drives a run submits what is left.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::execution::SessionStateBuilder;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use planner::{Error, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use super::codec::{LogicalCodec, PhysicalCodec};
use super::node::Planner;
use super::placement::Placement;
use super::token::{Ask, Token};
use super::{DEFAULT_PORT, MESSAGE_BYTES, Tls, endpoints, session_config};

/// How a scheduler is run.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// The address to listen at.
    pub bind: IpAddr,
    /// The port to listen at.
    pub port: u16,
    /// The name that executors know it by.
    pub external_host: Option<String>,
    /// What drivers and executors must say.
    pub token: Token,
    /// What drivers and executors must show.
    pub tls: Tls,
    /// An executor that was silent for this long is lost, and its tasks run elsewhere.
    pub executor_timeout: Duration,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: DEFAULT_PORT,
            external_host: None,
            token: Token::default(),
            tls: Tls::default(),
            executor_timeout: Duration::from_secs(30),
        }
    }
}

/// Runs a scheduler until `stop`.
///
/// # Errors
/// `Unreachable` where it cannot listen.
pub async fn run_scheduler(options: SchedulerOptions, stop: CancellationToken) -> Result<()> {
    let at = SocketAddr::new(options.bind, options.port);
    let taken =
        |e| Error::unreachable(format!("the scheduler cannot listen at {at}: {e}")).with_help("choose another port with --port");
    let mut listener = TcpListener::bind(at).await.map_err(taken)?;
    let mut _front = None;
    if options.tls.is_set() {
        let inner = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(taken)?;
        let outer = std::mem::replace(&mut listener, inner);
        _front = options.tls.front(outer, listener.local_addr().map_err(taken)?);
    }
    let config = config(&options);
    let failed = |e: ballista_core::error::BallistaError| Error::unreachable(format!("the scheduler cannot start: {e}"));
    config.validate().map_err(failed)?;
    let cluster = BallistaCluster::new_from_config(&config).await.map_err(failed)?;
    let scheduler = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config)).await.map_err(failed)?;
    let service = SchedulerGrpcServer::new(scheduler.clone())
        .max_decoding_message_size(MESSAGE_BYTES as usize)
        .max_encoding_message_size(MESSAGE_BYTES as usize);
    let service = InterceptedService::new(service, Ask(options.token));
    let router = Routes::new(service).into_axum_router().merge(health(scheduler));
    tracing::info!("the scheduler listens at {at}");
    tokio::select! {
        // Jobs that run are not lost with the scheduler: their drivers see it go.
        () = stop.cancelled() => Ok(()),
        served = async { axum::serve(listener, router).await } => {
            served.map_err(|e| Error::unreachable(format!("the scheduler stopped listening: {e}")))
        }
    }
}

fn config(options: &SchedulerOptions) -> SchedulerConfig {
    let seconds = options.executor_timeout.as_secs().max(2);
    let session = |config| {
        Ok(SessionStateBuilder::new().with_default_features().with_config(config).with_query_planner(Arc::new(Planner)).build())
    };
    SchedulerConfig {
        bind_host: options.bind.to_string(),
        bind_port: options.port,
        external_host: options.external_host.clone().unwrap_or_else(|| options.bind.to_string()),
        scheduling_policy: TaskSchedulingPolicy::PushStaged,
        task_distribution: TaskDistributionPolicy::Custom(Arc::new(Placement::default())),
        // The rows of merges are fetched within this time.
        finished_job_data_clean_up_interval_seconds: 600,
        finished_job_state_clean_up_interval_seconds: 600,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES,
        grpc_client_max_message_size: MESSAGE_BYTES,
        executor_timeout_seconds: seconds,
        expire_dead_executor_interval_seconds: (seconds / 3).clamp(1, 5),
        no_executors_grace_period_seconds: seconds,
        override_create_grpc_client_endpoint: endpoints(&Token::default(), &options.tls),
        override_config_producer: Some(Arc::new(session_config)),
        override_session_builder: Some(Arc::new(session)),
        override_logical_codec: Some(Arc::new(LogicalCodec::default())),
        override_physical_codec: Some(Arc::new(PhysicalCodec::default())),
        ..SchedulerConfig::default()
    }
}

/// `/healthz`: it runs. `/readyz`: it has executors.
fn health(scheduler: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>) -> Router {
    let ready = move || async move {
        if scheduler.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no executors\n") }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}
