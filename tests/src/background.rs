//! A loopback HTTP server on a runtime of its own.
//!
//! Tests that wait for a child process block their thread; the servers which that child talks to must go on. Each server
//! therefore brings its own runtime, and lives until it is dropped.

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::body::Body;
use futures::future::BoxFuture;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// What a handler answers; `Err` drops the connection without an answer.
pub(crate) type Answer = Result<Response<Body>, DropConnection>;

/// A handler of requests.
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Ends a connection instead of answering.
#[derive(Debug)]
pub(crate) struct DropConnection;

impl fmt::Display for DropConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is dropped on purpose")
    }
}

impl std::error::Error for DropConnection {}

impl From<Infallible> for DropConnection {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A running server. Dropping it stops it.
pub(crate) struct Background {
    runtime: Option<Runtime>,
    address: SocketAddr,
    down: Arc<AtomicBool>,
}

impl Background {
    /// Listens on `127.0.0.1:port` (0: any free port) and serves with `handler`.
    pub(crate) fn start(port: u16, handler: Handler) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let down = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&down);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                if flag.load(Ordering::SeqCst) {
                    continue;
                }
                tokio::spawn(serve(stream, Arc::clone(&handler), Arc::clone(&flag)));
            }
        });
        Self { runtime: Some(runtime), address, down }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// While down, every connection is closed without an answer.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(stream: TcpStream, handler: Handler, down: Arc<AtomicBool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = handler(request);
        let down = Arc::clone(&down);
        async move { if down.load(Ordering::SeqCst) { Err(DropConnection) } else { answer.await } }
    });
    // An error here is a client that went away or a connection dropped on purpose.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
