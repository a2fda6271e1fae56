//! Runs the real binary in a clean environment.
//!
//! ```no_run
//! # use millrace_tests::{run::Millrace, s3::S3Server, lakes::Lake};
//! let server = S3Server::start();
//! let lake = Lake::named("orders");
//! lake.load(&server);
//! let outcome = Millrace::new().s3(&server).args(["export", &lake.file_url("main"), "s3://dest"]).run();
//! assert_eq!(outcome.code, 0, "{outcome}");
//! ```

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{lakefs::FakeLakefs, s3::S3Server};

/// Names the binary, where it is not the one beside the tests.
pub const BINARY_VARIABLE: &str = "MILLRACE_BIN";

/// The binary under test.
pub fn binary() -> PathBuf {
    let path = std::env::var_os(BINARY_VARIABLE).map_or_else(beside_the_tests, PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}: build it with `cargo build -p cli`, or name it by {BINARY_VARIABLE}",
        path.display()
    );
    path
}

fn beside_the_tests() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let profile = if deps.ends_with("deps") { deps.parent().unwrap() } else { deps };
    profile.join("millrace").with_extension(std::env::consts::EXE_EXTENSION)
}

/// A folder that stands for a user: home, caches, settings, working directory. Keep one to run several commands as the
/// same user.
#[derive(Debug)]
pub struct User {
    folder: TempDir,
}

impl Default for User {
    fn default() -> Self {
        let folder = TempDir::with_prefix("millrace-user-").unwrap();
        for name in ["home", "work", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }
}

impl User {
    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The working directory, where `millrace.toml` is looked for.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn env(&self) -> Vec<(&'static str, OsString)> {
        let home = self.home();
        vec![
            ("HOME", home.clone().into()),
            ("XDG_CONFIG_HOME", home.join(".config").into()),
            ("XDG_CACHE_HOME", home.join(".cache").into()),
            ("XDG_DATA_HOME", home.join(".local/share").into()),
            ("XDG_STATE_HOME", home.join(".local/state").into()),
            ("XDG_RUNTIME_DIR", home.join(".run").into()),
            ("TMPDIR", self.folder.path().join("tmp").into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("AWS_CONFIG_FILE", home.join(".aws/config").into()),
            ("AWS_SHARED_CREDENTIALS_FILE", home.join(".aws/credentials").into()),
        ]
    }
}

/// A command of the binary, being built.
#[derive(Debug)]
pub struct Millrace<'a> {
    command: Command,
    timeout: Duration,
    user: UserRef<'a>,
}

#[derive(Debug)]
enum UserRef<'a> {
    Own(User),
    Given(&'a User),
}

impl UserRef<'_> {
    fn get(&self) -> &User {
        match self {
            Self::Own(user) => user,
            Self::Given(user) => user,
        }
    }
}

impl Default for Millrace<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Millrace<'a> {
    /// A command as a user of its own.
    pub fn new() -> Self {
        Self::build(&binary(), UserRef::Own(User::default()))
    }

    /// Another program in the same clean environment.
    pub fn program(path: &Path) -> Self {
        Self::build(path, UserRef::Own(User::default()))
    }

    /// A command as that user.
    pub fn of(user: &'a User) -> Self {
        Self::build(&binary(), UserRef::Given(user))
    }

    fn build(program: &Path, user: UserRef<'a>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(user.get().env()).current_dir(user.get().work()).stdin(Stdio::null());
        for name in ["PATH", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self { command, timeout: Duration::from_mins(2), user }
    }

    /// Talks to that S3 server.
    pub fn s3(self, server: &S3Server) -> Self {
        self.envs(server.env())
    }

    /// Talks to that lakeFS server.
    pub fn lakefs(self, server: &FakeLakefs) -> Self {
        self.envs(server.env())
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets environment variables.
    pub fn envs<S: AsRef<OsStr>>(mut self, env: impl IntoIterator<Item = (String, S)>) -> Self {
        self.command.envs(env);
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in that folder instead of the user's.
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// After that long the process is killed and the test fails; two minutes when nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it did not end in time, with what it had written.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running<'a> {
        let line = format!("{:?}", self.command);
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running {
            stdout: Some(collect(child.stdout.take().unwrap())),
            stderr: Some(collect(child.stderr.take().unwrap())),
            started: Instant::now(),
            timeout: self.timeout,
            child,
            line,
            _user: self.user,
        }
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// A process that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running<'a> {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    started: Instant,
    timeout: Duration,
    line: String,
    _user: UserRef<'a>,
}

impl Running<'_> {
    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it at once, as `kill -9` does, and gives what it had written.
    pub fn kill(mut self) -> Outcome {
        let _ = self.child.kill();
        self.wait()
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Asks it to end, as service managers do.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it: it keeps its connections and its lease, and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        // It may have ended meanwhile.
        let _ = kill_process(id, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it did not end in time.
    pub fn wait(mut self) -> Outcome {
        let status = self.wait_for_status();
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let bytes = |stream: &mut Option<JoinHandle<Vec<u8>>>| stream.take().unwrap().join().unwrap();
        let raw = bytes(&mut self.stdout);
        let outcome = Outcome {
            code: status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: String::from_utf8_lossy(&raw).into_owned(),
            raw,
            stderr: String::from_utf8_lossy(&bytes(&mut self.stderr)).into_owned(),
            elapsed: self.started.elapsed(),
        };
        assert!(status.is_some(), "{} did not end within {:?}\n{outcome}", self.line, self.timeout);
        outcome
    }

    fn wait_for_status(&mut self) -> Option<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        while self.started.elapsed() < self.timeout {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.child.try_wait().unwrap()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// The result.
    pub stdout: String,
    /// The result byte for byte.
    pub raw: Vec<u8>,
    /// Progress, logs, errors.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl Outcome {
    /// Stdout as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not one JSON value: {error}\n{self}"))
    }

    /// Stdout as one JSON value a line.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {} after {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.elapsed, self.stdout, self.stderr)
    }
}
