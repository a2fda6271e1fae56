//! What an executor answers to whoever asks how it does.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use ballista_executor::health::ExecutorHealth;
use planner::{Error, Result};

/// Answers `/healthz` (it runs) and `/readyz` (its last word with the scheduler was good) until it is dropped.
pub(super) async fn serve(at: SocketAddr, health: ExecutorHealth) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::unreachable(format!("the executor cannot listen at {at}: {e}")).with_help("choose other ports with --port")
    };
    let ready = move || async move {
        if health.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no scheduler\n") }
    };
    let router = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    let listener = tokio::net::TcpListener::bind(at).await.map_err(failed)?;
    axum::serve(listener, router).await.map_err(failed)
}
