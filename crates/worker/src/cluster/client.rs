//! The driver's side: submitting a step, asking how it does, cancelling it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::BALLISTA_VERSION;
use ballista_core::client::BallistaClient;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair, PartitionLocation, execute_query_result, job_status,
};
use ballista_core::version;
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion_proto::logical_plan::AsLogicalPlan;
use datafusion_proto::protobuf::LogicalPlanNode;
use futures::TryStreamExt;
use planner::table::MergePart;
use planner::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::codec::LogicalCodec;
use super::merge::PartsTable;
use super::node::CopyNode;
use super::task::Sealed;
use super::token::{Say, Token};
use super::told::heard;
use super::{DEFAULT_PORT, MESSAGE_BYTES, MergeJob, ShardsTable, Task, Tls, endpoints, kept_alive, session_config};

/// How long a call to the scheduler may take.
const CALL: Duration = Duration::from_secs(20);

/// A scheduler's address: `df://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or address; an IPv6 address in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Address {
    /// Reads `df://HOST:PORT`; without a port it is [`DEFAULT_PORT`].
    ///
    /// # Errors
    /// `Usage` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(format!("`{text}` is no address of a scheduler")).with_help(format!("write df://HOST:{DEFAULT_PORT}"))
        };
        let rest = text.strip_prefix("df://").ok_or_else(wrong)?.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, DEFAULT_PORT),
        };
        let plain = !host.is_empty() && !host.contains(['/', '@', '?', '#']) && (!host.contains(':') || host.starts_with('['));
        if plain { Ok(Self { host: host.to_owned(), port }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "df://{}:{}", self.host, self.port)
    }
}

/// How a job does.
#[derive(Debug)]
pub enum JobState {
    /// It waits, or its tasks run.
    Running,
    /// All its tasks have run to their end.
    Done(Results),
    /// It ended, and why.
    Failed(Error),
}

/// Where the rows of a job's partitions are. Those of copies and reads are empty.
#[derive(Debug, Clone, Default)]
pub struct Results(Vec<PartitionLocation>);

/// A connection to a scheduler.
#[derive(Clone)]
pub struct Cluster {
    address: Address,
    /// Where connections to it are made.
    way: String,
    token: Token,
    tls: Tls,
    scheduler: SchedulerGrpcClient<InterceptedService<Channel, Say>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.address).finish()
    }
}

impl Cluster {
    /// Connects to the scheduler at `address`.
    ///
    /// # Errors
    /// `Unreachable` where nobody listens, something else than a scheduler does, or the token is not the scheduler's.
    pub async fn connect(address: &Address, token: &Token, tls: &Tls) -> Result<Self> {
        tls.try_out(&address.host, address.port).await?;
        let way = tls.way_to(&address.host, address.port)?;
        let endpoint = Endpoint::from_shared(format!("http://{way}"));
        let endpoint = endpoint.map_err(|e| Error::usage(format!("{address}: {e}")))?;
        let channel = kept_alive(endpoint).connect().await.map_err(|e| gone(address, &e))?;
        let scheduler = SchedulerGrpcClient::with_interceptor(channel, Say(token.clone()))
            .max_decoding_message_size(MESSAGE_BYTES as usize)
            .max_encoding_message_size(MESSAGE_BYTES as usize);
        let cluster = Self { address: address.clone(), way, token: token.clone(), tls: tls.clone(), scheduler };
        cluster.greet().await?;
        Ok(cluster)
    }

    /// Asks something that only a scheduler answers, and only who says its token: of a job that nobody has.
    async fn greet(&self) -> Result<()> {
        self.has_executors().await?;
        let params = GetJobStatusParams { job_id: "none".to_owned() };
        match self.scheduler.clone().get_job_status(params).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::Unauthenticated => Err(self.failed(&status)),
            Err(status) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Err(self.failed(&status)),
            Err(status) => {
                tracing::debug!("{}: {status}", self.address);
                Err(no_scheduler(&self.address))
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the scheduler has executors.
    ///
    /// # Errors
    /// `Unreachable` where the scheduler does not answer.
    pub async fn has_executors(&self) -> Result<bool> {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(&self.way).await?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\nhost: scheduler\r\n\r\n").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        match tokio::time::timeout(CALL, ask).await {
            Ok(Ok(answer)) if answer.starts_with(b"HTTP/") => Ok(answer.get(9..12) == Some(b"200")),
            Ok(Ok(_)) => Err(no_scheduler(&self.address)),
            Ok(Err(e)) => Err(gone(&self.address, &e)),
            Err(_) => Err(gone(&self.address, &"no answer")),
        }
    }

    /// Submits the rows of `shards`, to be done as `task` says; the job's id. `name` is for people.
    ///
    /// # Errors
    /// `Unreachable` where the scheduler is, `Usage` where it is of another version.
    pub async fn submit(&self, name: &str, task: impl Into<Task>, shards: &ShardsTable) -> Result<String> {
        self.submit_table(name, task.into(), Arc::new(shards.clone())).await
    }

    /// Submits a merge of `parts`, a partition each; the job's id.
    ///
    /// # Errors
    /// As [`Cluster::submit`].
    pub async fn submit_merge(&self, job: &MergeJob, parts: &[MergePart]) -> Result<String> {
        self.submit_table(&format!("{} merge", job.id), job.into(), Arc::new(PartsTable::new(parts)?)).await
    }

    /// All rows of one partition of a job that is done, batch by batch as they were made.
    ///
    /// # Errors
    /// `Unreachable` where the executor that has them is.
    pub async fn fetch(&self, results: &Results, partition: usize) -> Result<Vec<RecordBatch>> {
        let of = |location: &&PartitionLocation| {
            location.partition_id.as_ref().is_some_and(|id| id.partition_id as usize == partition)
        };
        let location =
            results.0.iter().find(of).ok_or_else(|| Error::unreachable(format!("partition {partition} has no rows")))?;
        let (Some(executor), Some(id)) = (location.executor_meta.clone(), location.partition_id.clone()) else {
            return Err(Error::unreachable(format!("nobody has partition {partition}")));
        };
        let port = u16::try_from(executor.port).unwrap_or_default();
        let failed = |e: &dyn fmt::Display| {
            Error::unreachable(format!("the executor at {}:{port} does not hand over rows: {e}", executor.host))
        };
        let endpoints = endpoints(&self.token, &self.tls).map(|endpoints| Arc::new(BallistaConfigGrpcEndpoint::new(endpoints)));
        let client = BallistaClient::try_new(&executor.host, port, MESSAGE_BYTES as usize, false, endpoints, 2, 500, 0, 0);
        let mut client = client.await.map_err(|e| failed(&e))?;
        // As the blocks of its file: batches stay as they are.
        let id = id.into();
        let rows = client.fetch_partition(&executor.id, &id, location.file_id, location.layout(), false);
        rows.await.map_err(|e| failed(&e))?.try_collect().await.map_err(|e| failed(&e))
    }

    async fn submit_table(&self, name: &str, task: Task, table: Arc<dyn TableProvider>) -> Result<String> {
        let config = session_config();
        let scan = LogicalPlanBuilder::scan("shards", provider_as_source(table), None)?.build()?;
        let plan = CopyNode::new(scan, Sealed::new(task.clone(), &self.token)?)?.plan();
        let mut bytes = Vec::new();
        LogicalPlanNode::try_from_logical_plan(&plan, &LogicalCodec::default())?.try_encode(&mut bytes)?;
        let settings = config.options().entries().into_iter().map(|entry| KeyValuePair { key: entry.key, value: entry.value });
        let named = KeyValuePair { key: "ballista.job.name".to_owned(), value: Some(name.to_owned()) };
        let query = ExecuteQueryParams {
            session_id: task.id().to_owned(),
            settings: settings.filter(|s| s.key != named.key).chain([named.clone()]).collect(),
            operation_id: name.to_owned(),
            query: Some(Query::LogicalPlan(bytes)),
        };
        let mut request = Request::new(query);
        version::insert_version_header(request.metadata_mut());
        let answer = self.scheduler.clone().execute_query(request).await.map_err(|e| self.failed(&e))?;
        let theirs = version::version_from_metadata(answer.metadata());
        version::check_compatibility(Some(BALLISTA_VERSION), theirs).map_err(Error::usage)?;
        match answer.into_inner().result {
            Some(execute_query_result::Result::Success(job)) => Ok(job.job_id),
            Some(execute_query_result::Result::Failure(failure)) => Err(heard(&format!("{failure:?}"))),
            None => Err(Error::unreachable(format!("{}: an empty answer", self.address))),
        }
    }

    /// How a job does. A scheduler that was started again does not know it.
    ///
    /// # Errors
    /// `Unreachable` where the scheduler is.
    pub async fn state(&self, job: &str) -> Result<JobState> {
        let params = GetJobStatusParams { job_id: job.to_owned() };
        let status = self.scheduler.clone().get_job_status(params).await.map_err(|e| self.failed(&e))?.into_inner().status;
        Ok(match status.map(|s| s.status) {
            Some(Some(job_status::Status::Successful(done))) => JobState::Done(Results(done.partition_location)),
            Some(Some(job_status::Status::Failed(failed))) => JobState::Failed(heard(&failed.error)),
            Some(_) => JobState::Running,
            None => JobState::Failed(Error::unreachable(format!("{} does not know the job: it was started again", self.address))),
        })
    }

    /// Cancels a job: its tasks stop within seconds.
    ///
    /// # Errors
    /// `Unreachable` where the scheduler is.
    pub async fn cancel(&self, job: &str) -> Result<()> {
        let params = CancelJobParams { job_id: job.to_owned() };
        self.scheduler.clone().cancel_job(params).await.map(|_| ()).map_err(|e| self.failed(&e))
    }

    fn failed(&self, status: &Status) -> Error {
        match status.code() {
            Code::Unauthenticated => Error::unreachable(format!("{}: {}", self.address, status.message()))
                .with_help("set MILLRACE_CLUSTER_TOKEN to the token that the scheduler was started with"),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                gone(&self.address, &status.message())
            }
            _ => heard(status.message()),
        }
    }
}

fn no_scheduler(address: &Address) -> Error {
    Error::unreachable(format!("the scheduler at {address} cannot be reached: what answers there is none"))
        .with_help("check host and port; where the cluster has TLS, add --cluster-tls with its certificates")
}

fn gone(address: &Address, why: &dyn fmt::Display) -> Error {
    Error::unreachable(format!("the scheduler at {address} cannot be reached: {why}"))
        .with_help("start it (millrace scheduler), or run the same command again without --cluster; what is done is kept")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("df://h", "df://h:21050"),
            ("df://h:7/", "df://h:7"),
            ("df://10.0.0.1:80", "df://10.0.0.1:80"),
            ("df://[::1]", "df://[::1]:21050"),
            ("df://[::1]:9", "df://[::1]:9"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for text in ["h:1", "http://h:1", "df://", "df://:1", "df://h:x", "df://u@h:1", "df://h/x:1", "df://::1"] {
            assert_eq!(Address::parse(text).unwrap_err().kind(), planner::ErrorKind::Usage, "{text}");
        }
    }
}
