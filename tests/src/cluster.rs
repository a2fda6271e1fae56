//! A cluster of real processes: one scheduler, some executors, which talk to the same S3 server.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use crate::{
    data_dir,
    run::{Millrace, Running},
    s3::S3Server,
    wire::Wire,
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

/// The folder with the certificates of an authority: `cluster` or `other`.
pub fn certificates(authority: &str) -> PathBuf {
    data_dir().join("tls").join(authority)
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

/// The address of this machine at which an executor with [`Wires`] is reached.
const WIRED: &str = "127.0.0.2";

/// The wires of an executor.
#[derive(Debug)]
pub struct Wires {
    /// To the store.
    pub store: Wire,
    /// To and from the scheduler.
    pub scheduler: Vec<Wire>,
}

/// How a cluster is made.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The token of scheduler and executors.
    pub token: Option<String>,
    /// The folder with certificates of scheduler and executors.
    pub tls: Option<PathBuf>,
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
        // Behind TLS nobody is told; that executors are ready says it as well.
        if executors > 0 && cluster.options.tls.is_none() {
            wait_for(cluster.port);
        }
        cluster
    }

    fn command(&self, role: &str) -> Millrace<'static> {
        let command = Millrace::new().arg(role).args(&self.options.args).timeout(Duration::from_mins(10));
        let command = self.options.tls.iter().fold(command, |command, folder| command.arg("--tls").arg(folder));
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
        let is_there = || match self.options.tls {
            Some(_) => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
            None => get(self.port, "/healthz").is_some(),
        };
        while !is_there() {
            assert!(since.elapsed() < PATIENCE, "the scheduler does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts one more executor.
    pub fn add_executor(&mut self) {
        let (port, url) = (free_ports(3), self.url());
        let command = self.executor(port, &url, &self.env);
        self.executors.push(Role { process: command.spawn(), port });
    }

    /// Starts one more executor that is reached, and reaches others, over wires only, and waits until it is ready.
    pub fn add_wired_executor(&mut self) -> Wires {
        let port = free_ports(3);
        let here = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let anywhere = |to: SocketAddr| Wire::lay(("127.0.0.1", 0), to);
        let scheduler = anywhere(here(self.port));
        let mut env = self.env.clone();
        let mut store = None;
        for (_, url) in env.iter_mut().filter(|(name, _)| name == "AWS_ENDPOINT_URL") {
            let wire = anywhere(url.strip_prefix("http://").unwrap().parse().unwrap());
            *url = format!("http://{}", wire.address());
            store = Some(wire);
        }
        // The scheduler is told another address of this machine, where the wires are.
        let inwards = [port, port + 1].map(|port| Wire::lay((WIRED, port), here(port)));
        let url = format!("df://{}", scheduler.address());
        let command = self.executor(port, &url, &env).args(["--external-host", WIRED]);
        self.executors.push(Role { process: command.spawn(), port });
        wait_for(port + 2);
        Wires { store: store.unwrap(), scheduler: inwards.into_iter().chain([scheduler]).collect() }
    }

    fn executor(&self, port: u16, scheduler: &str, env: &[(String, String)]) -> Millrace<'static> {
        let command = self.command("executor").envs(env.to_vec()).envs(self.options.env.clone());
        command.args(["--scheduler", scheduler, "--port", &port.to_string(), "--heartbeat", "1s"])
    }

    /// Its address, as `--cluster` wants it.
    pub fn url(&self) -> String {
        format!("df://127.0.0.1:{}", self.port)
    }
}
