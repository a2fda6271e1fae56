//! `scheduler` and `executor`: the roles of a cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use engine::ClusterOptions;
use planner::{Error, Result};
use worker::cluster::{Address, DEFAULT_PORT, ExecutorOptions, SchedulerOptions, Tls, Token};

use super::values;

/// The variable that holds the token.
const TOKEN_VARIABLE: &str = "MILLRACE_CLUSTER_TOKEN";

/// The variable that names the folder with certificates.
const TLS_VARIABLE: &str = "MILLRACE_CLUSTER_TLS";

/// The cluster's token: from `file`, else from the environment, else none.
///
/// # Errors
/// `Usage` for a file or a variable with nothing in it: a secret that did not arrive must not open the cluster.
pub(crate) fn token(file: Option<&Path>) -> Result<Token> {
    let (text, place) = match file {
        Some(file) => {
            let place = file.display().to_string();
            let text = std::fs::read_to_string(file);
            (text.map_err(|e| Error::usage(format!("the token in {place} cannot be read: {e}")))?, place)
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => (text, TOKEN_VARIABLE.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(Token::default()),
            Err(_) => return Err(Error::usage(format!("{TOKEN_VARIABLE} is no text"))),
        },
    };
    if text.trim().is_empty() {
        return Err(Error::usage(format!("{place} holds no token: it is empty")).with_help(
            "put the cluster's token there, such as `openssl rand -hex 32` prints; or leave it out for a cluster without one",
        ));
    }
    Token::parse(&text)
}

/// What a part of the cluster shows: from `folder`, else from the one that the environment names, else nothing.
fn tls(folder: Option<&Path>) -> Result<Tls> {
    let named = std::env::var_os(TLS_VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    folder.map(Path::to_owned).or(named).map_or_else(|| Ok(Tls::default()), |folder| Tls::load(&folder))
}

/// A cluster to run on.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OnClusterArgs {
    /// Run on this cluster: its scheduler, `df://HOST[:PORT]`
    #[arg(long, value_name = "URL", value_parser = values::scheduler)]
    pub(crate) cluster: Option<Address>,

    /// A file with the cluster's token [env: `MILLRACE_CLUSTER_TOKEN` holds the token itself]
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub(crate) cluster_token_file: Option<PathBuf>,

    /// A folder with `tls.crt`, `tls.key` and `ca.crt`: what is shown to the scheduler, and asked of it
    /// [env: `MILLRACE_CLUSTER_TLS`]
    #[arg(long, value_name = "DIR", requires = "cluster")]
    pub(crate) cluster_tls: Option<PathBuf>,
}

impl OnClusterArgs {
    /// As the engine wants it.
    pub(crate) fn options(&self) -> Result<Option<ClusterOptions>> {
        let Some(scheduler) = self.cluster.clone() else { return Ok(None) };
        let (token, tls) = (token(self.cluster_token_file.as_deref())?, tls(self.cluster_tls.as_deref())?);
        Ok(Some(ClusterOptions { scheduler, token, tls }))
    }
}

/// What both roles have.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoleArgs {
    /// The address to listen at; nobody is asked for a password there, see docs/cluster.md
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) bind: IpAddr,

    /// The name or address that others reach it by [default: the one of --bind]
    #[arg(long, value_name = "HOST")]
    pub(crate) external_host: Option<String>,

    /// A file with the cluster's token [env: `MILLRACE_CLUSTER_TOKEN` holds the token itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// A folder with `tls.crt`, `tls.key` and `ca.crt`: what is shown to the other parts, and asked of them
    /// [env: `MILLRACE_CLUSTER_TLS`]
    #[arg(long, value_name = "DIR")]
    pub(crate) tls: Option<PathBuf>,
}

impl RoleArgs {
    /// Who listens everywhere is reached at no such address.
    fn external_host(&self) -> Result<Option<String>> {
        if self.external_host.is_none() && self.bind.is_unspecified() {
            return Err(Error::usage(format!("--bind {} listens everywhere, which is no address to be reached by", self.bind))
                .with_help("add --external-host with the name that others reach this machine by"));
        }
        Ok(self.external_host.clone())
    }
}

/// `scheduler`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "It answers /healthz and /readyz on the same port. It needs no credentials.

Example:
  millrace scheduler --bind 0.0.0.0 --external-host scheduler.internal")]
pub(crate) struct SchedulerArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,

    /// The port to listen at
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,

    /// An executor that is silent for this long is lost, and its tasks run elsewhere
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    pub(crate) executor_timeout: Duration,
}

impl SchedulerArgs {
    /// As the role wants it.
    pub(crate) fn options(&self) -> Result<SchedulerOptions> {
        Ok(SchedulerOptions {
            bind: self.role.bind,
            port: self.port,
            external_host: self.role.external_host()?,
            token: token(self.role.token_file.as_deref())?,
            tls: tls(self.role.tls.as_deref())?,
            executor_timeout: self.executor_timeout,
        })
    }
}

/// `executor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Stores are opened with the executor's own environment and settings, as those of every other command.
It answers /healthz and /readyz on the third of its ports. SIGTERM: what is under way is finished, others do the rest.

Example:
  millrace executor --scheduler df://scheduler.internal --bind 0.0.0.0 --external-host \"$(hostname -f)\"")]
pub(crate) struct ExecutorArgs {
    /// The scheduler: `df://HOST[:PORT]`
    #[arg(long, value_name = "URL", value_parser = values::scheduler)]
    pub(crate) scheduler: Address,

    #[command(flatten)]
    pub(crate) role: RoleArgs,

    /// The first of three ports: results, tasks, health
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT + 1, value_parser = clap::value_parser!(u16).range(1..=65_533))]
    pub(crate) port: u16,

    /// Shards at once; how many objects are in flight does not depend on it
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) tasks: u16,

    /// Memory for the query engine; upload buffers are apart
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "512MiB")]
    pub(crate) memory: u64,

    /// Where it keeps what tasks hand over; removed at the end [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,

    /// How often it tells the scheduler that it is there
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "5s")]
    pub(crate) heartbeat: Duration,
}

impl ExecutorArgs {
    /// As the role wants it.
    pub(crate) fn options(&self) -> Result<ExecutorOptions> {
        Ok(ExecutorOptions {
            bind: self.role.bind,
            port: self.port,
            external_host: self.role.external_host()?,
            work_dir: self.work_dir.clone(),
            tasks: self.tasks.into(),
            memory: self.memory,
            token: token(self.role.token_file.as_deref())?,
            tls: tls(self.role.tls.as_deref())?,
            heartbeat: self.heartbeat,
            ..ExecutorOptions::new(self.scheduler.clone())
        })
    }
}
