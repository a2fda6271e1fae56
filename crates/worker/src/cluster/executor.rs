//! The role `millrace executor`: Ballista's, with our operator, stores that are opened once a process, and tasks that can be
//! cancelled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_core::utils::create_grpc_server;
use ballista_executor::ArrowFlightServerProvider;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::health::ExecutorHealth;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use planner::{Error, Result};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;

use super::codec::{LogicalCodec, PhysicalCodec};
use super::engine::Engine;
use super::shards::Folders;
use super::site::Site;
use super::tls::{Front, behind};
use super::token::Ask;
use super::{Address, DEFAULT_PORT, MESSAGE_BYTES, Tls, Token, endpoints, health, session_config};
use crate::Registry;

/// How an executor is run.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Its scheduler.
    pub scheduler: Address,
    /// The address to listen at.
    pub bind: IpAddr,
    /// The first of three ports: results, tasks, health.
    pub port: u16,
    /// The name that the scheduler and drivers reach it by.
    pub external_host: Option<String>,
    /// Where it keeps what tasks hand over; a folder of its own below it, removed at the end.
    pub work_dir: Option<PathBuf>,
    /// Tasks at once.
    pub tasks: usize,
    /// Memory for the query engine of all tasks, in bytes.
    pub memory: u64,
    /// What it says to the scheduler.
    pub token: Token,
    /// What it shows to the scheduler, and the scheduler to it.
    pub tls: Tls,
    /// How often it tells the scheduler that it is there.
    pub heartbeat: Duration,
}

impl ExecutorOptions {
    /// The defaults with a scheduler.
    #[must_use]
    pub fn new(scheduler: Address) -> Self {
        Self {
            scheduler,
            bind: Ipv4Addr::LOCALHOST.into(),
            port: DEFAULT_PORT + 1,
            external_host: None,
            work_dir: None,
            tasks: 4,
            memory: 512 << 20,
            token: Token::default(),
            tls: Tls::default(),
            heartbeat: Duration::from_secs(5),
        }
    }
}

/// Runs an executor until `stop`, or until its scheduler sends it away. What is under way is finished first.
///
/// # Errors
/// `Unreachable` where the scheduler cannot be reached or a port is taken.
pub async fn run_executor(options: ExecutorOptions, registry: Arc<Registry>, stop: CancellationToken) -> Result<()> {
    let folder = work_folder(options.work_dir.as_deref())?;
    let site = Site::new(registry, options.token.clone());
    let ready = ExecutorHealth::new();
    let at = SocketAddr::new(options.bind, options.port + 2);
    let leaving = {
        let site = Arc::clone(&site);
        async move {
            stop.cancelled().await;
            site.leave();
            std::future::pending::<()>().await;
        }
    };
    let mut config = config(&options, folder.path(), &site, &ready);
    let _fronts = if options.tls.is_set() { fronts(&options, &mut config).await? } else { Vec::new() };
    let config = Arc::new(config);
    tracing::info!("the executor listens at {}:{} and asks {} for work", options.bind, options.port, options.scheduler);
    tokio::select! {
        // Ballista listens for the signals itself: it says goodbye to the scheduler and waits for its tasks.
        ended = start_executor_process(config) => ended.map_err(|e| {
            Error::unreachable(format!("the executor of {} ended: {e}", options.scheduler))
                .with_help("check that the scheduler runs there, that the token is the same, and that the ports are free")
        }),
        served = health::serve(at, ready) => served,
        () = leaving => Ok(()),
    }
}

/// Lays TLS before the ports for results and tasks.
async fn fronts(options: &ExecutorOptions, config: &mut ExecutorProcessConfig) -> Result<Vec<Front>> {
    options.tls.try_out(&options.scheduler.host, options.scheduler.port).await?;
    let outer = if options.bind.is_unspecified() {
        let host = options.external_host.clone().unwrap_or_default();
        let found = tokio::net::lookup_host((host.as_str(), options.port)).await;
        let found = found.ok().and_then(|mut found| found.next()).map(|found| found.ip());
        found.ok_or_else(|| Error::usage(format!("--external-host {host} is no address of this machine")))?
    } else {
        options.bind
    };
    let inner = behind(outer);
    config.bind_host = inner.to_string();
    let mut fronts = Vec::new();
    for port in [config.port, config.grpc_port] {
        let listener = tokio::net::TcpListener::bind((outer, port)).await.map_err(|e| {
            Error::unreachable(format!("the executor cannot listen at {outer}:{port}: {e}")).with_help(
                "with TLS, --bind or --external-host must be an address of this machine; or choose other ports with --port",
            )
        })?;
        fronts.extend(options.tls.front(listener, SocketAddr::new(inner.into(), port)));
    }
    Ok(fronts)
}

fn config(options: &ExecutorOptions, folder: &Path, site: &Arc<Site>, ready: &ExecutorHealth) -> ExecutorProcessConfig {
    let runtime = {
        let folders = Arc::new(Folders(Arc::clone(site)));
        let folder = folder.to_owned();
        move |_: &_| -> datafusion::error::Result<Arc<RuntimeEnv>> {
            let builder = RuntimeEnvBuilder::new().with_temp_file_path(folder.clone());
            builder.with_object_store_registry(Arc::clone(&folders) as _).build_arc()
        }
    };
    let bind = match options.bind {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    ExecutorProcessConfig {
        external_host: Some(options.external_host.clone().unwrap_or_else(|| bind.clone())),
        bind_host: bind,
        port: options.port,
        grpc_port: options.port + 1,
        scheduler_host: options.scheduler.host.clone(),
        scheduler_port: options.scheduler.port,
        scheduler_connect_timeout_seconds: 30,
        vcores: options.tasks.max(1),
        task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
        work_dir: Some(folder.to_string_lossy().into_owned()),
        job_data_ttl_seconds: 600,
        job_data_clean_up_interval_seconds: 60,
        grpc_max_decoding_message_size: MESSAGE_BYTES,
        grpc_max_encoding_message_size: MESSAGE_BYTES,
        executor_heartbeat_interval_seconds: options.heartbeat.as_secs().max(1),
        memory_pool_size: Some(options.memory),
        override_execution_engine: Some(Arc::new(Engine::new(Arc::clone(site)))),
        override_runtime_producer: Some(Arc::new(runtime)),
        override_config_producer: Some(Arc::new(session_config)),
        override_logical_codec: Some(Arc::new(LogicalCodec::default())),
        override_physical_codec: Some(Arc::new(PhysicalCodec::of(Arc::clone(site)))),
        override_create_grpc_client_endpoint: endpoints(&options.token, &options.tls),
        override_arrow_flight_service: Some(results(options.token.clone())),
        health: ready.clone(),
        ..ExecutorProcessConfig::default()
    }
}

/// Ballista's server of results, which asks for the token.
fn results(token: Token) -> Arc<ArrowFlightServerProvider> {
    Arc::new(move |folder, at, mut shutdown, config| {
        let ask = Ask(token.clone());
        tokio::spawn(async move {
            let most = MESSAGE_BYTES as usize;
            let service = FlightServiceServer::new(BallistaFlightService::new(folder));
            let service = service.max_decoding_message_size(most).max_encoding_message_size(most);
            let server = create_grpc_server(&config).add_service(InterceptedService::new(service, ask));
            server.serve_with_shutdown(at, shutdown.recv()).await.map_err(BallistaError::TonicError)
        })
    })
}

/// What folders of executors begin with; the process id and a random end follow.
const FOLDER: &str = "millrace-executor-";

/// A folder of this process, which goes with it. Those of processes that are no more go now.
fn work_folder(parent: Option<&Path>) -> Result<tempfile::TempDir> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let failed = |e: std::io::Error| {
        Error::unreachable(format!("the executor's folder in {} cannot be made: {e}", parent.display()))
            .with_help("name a folder that can be written with --work-dir")
    };
    std::fs::create_dir_all(&parent).map_err(failed)?;
    for entry in std::fs::read_dir(&parent).map_err(failed)?.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|n| n.strip_prefix(FOLDER)).and_then(|n| n.split('-').next()?.parse().ok());
        if process.is_some_and(is_gone) {
            // One that stays is no harm.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new().prefix(&format!("{FOLDER}{}-", std::process::id())).tempdir_in(&parent).map_err(failed)
}

fn is_gone(process: i32) -> bool {
    let process = rustix::process::Pid::from_raw(process);
    process.is_some_and(|id| rustix::process::test_kill_process(id) == Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_processes_go_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let kept = [format!("{FOLDER}{}-x", std::process::id()), "something-else".to_owned()];
        let dead = format!("{FOLDER}{}-x", i32::MAX);
        kept.iter().chain([&dead]).for_each(|name| std::fs::create_dir(parent.path().join(name)).unwrap());
        let own = work_folder(Some(parent.path())).unwrap();
        assert!(kept.iter().all(|name| parent.path().join(name).exists()));
        assert!(own.path().exists() && !parent.path().join(dead).exists());
    }
}
