//! A cluster of real processes: one scheduler, some executors, which talk to the same S3 server.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use crate::{
    run::{Millrace, Running},
    s3::S3Server,
};

/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// Ports of a process: below the range that the system hands out, and each given once.
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 97).unwrap() * 120;
    loop {
        let from = first + NEXT.fetch_add(count, Ordering::SeqCst) % 4000;
        if (from..from + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return from;
        }
    }
}

/// What a GET of `path` at a port of this machine answers: status and body.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: here\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    Some((status, answer))
}

fn wait_for(port: u16) {
    let since = Instant::now();
    while get(port, "/readyz").is_none_or(|(status, _)| status != 200) {
        assert!(since.elapsed() < PATIENCE, "nothing is ready at port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process of a cluster.
#[derive(Debug)]
pub struct Role {
    /// The process.
    pub process: Running<'static>,
    /// Its first port.
    pub port: u16,
}

/// How a cluster is made.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The token of scheduler and executors.
    pub token: Option<String>,
    /// More variables of the executors.
    pub env: Vec<(String, String)>,
    /// More arguments of all of them.
    pub args: Vec<String>,
}

/// A running cluster. Dropping it kills it.
#[derive(Debug)]
pub struct Cluster {
    /// The scheduler; `None` once it was taken away.
    pub scheduler: Option<Role>,
    /// The executors.
    pub executors: Vec<Role>,
    port: u16,
    env: Vec<(String, String)>,
    options: ClusterOptions,
}

impl Cluster {
    /// A scheduler and so many executors.
    pub fn start(server: &S3Server, executors: usize) -> Self {
        Self::start_with(server.env(), executors, ClusterOptions::default())
    }

    /// The same with the executors' variables said by hand.
    pub fn start_with(env: Vec<(String, String)>, executors: usize, options: ClusterOptions) -> Self {
        let mut cluster = Self { scheduler: None, executors: Vec::new(), port: free_ports(1), env, options };
        cluster.start_scheduler();
        for _ in 0..executors {
            cluster.add_executor();
        }
        cluster.executors.iter().for_each(|one| wait_for(one.port + 2));
        if executors > 0 {
            wait_for(cluster.port);
        }
        cluster
    }

    fn command(&self, role: &str) -> Millrace<'static> {
        let command = Millrace::new().arg(role).args(&self.options.args).timeout(Duration::from_mins(10));
        match &self.options.token {
            Some(token) => command.env("MILLRACE_CLUSTER_TOKEN", token),
            None => command,
        }
    }

    /// Starts the scheduler, again after it was taken away.
    pub fn start_scheduler(&mut self) {
        let command = self.command("scheduler").args(["--port", &self.port.to_string(), "--executor-timeout", "4s"]);
        self.scheduler = Some(Role { process: command.spawn(), port: self.port });
        let since = Instant::now();
        while get(self.port, "/healthz").is_none() {
            assert!(since.elapsed() < PATIENCE, "the scheduler does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts one more executor.
    pub fn add_executor(&mut self) {
        let port = free_ports(3);
        let command = self.command("executor").envs(self.env.clone()).envs(self.options.env.clone());
        let command = command.args(["--scheduler", &self.url(), "--port", &port.to_string(), "--heartbeat", "1s"]);
        self.executors.push(Role { process: command.spawn(), port });
    }

    /// Its address, as `--cluster` wants it.
    pub fn url(&self) -> String {
        format!("df://127.0.0.1:{}", self.port)
    }
}
