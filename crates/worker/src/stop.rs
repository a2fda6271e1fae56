//! The stop of a run, as its rows see it: what was sent is waited for, nothing else is sent.
//!
//! Many rows are under way at once, and most of them wait for their place among the requests of an endpoint, or to be tried
//! again. A stop that waited for all of them would take as long as the endpoint is slow. So a row whose run is to stop sends no
//! first request, none that moves bytes, and nothing twice; what ends or takes back an upload is still sent. Such a row fails
//! with [`FailureKind::Undone`] or with what it was to be tried again for. Neither is an outcome: whoever goes on does it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::store::{FailureKind, StoreError, StoreResult};

tokio::task_local! {
    static ROW: Arc<Row>;
}

/// The row that the running task does.
#[derive(Debug, Default)]
struct Row {
    asked: CancellationToken,
    /// Something was sent.
    begun: AtomicBool,
}

/// Does the work of one row, which ends early when `asked` is cancelled.
pub(crate) async fn scope<F: Future>(asked: CancellationToken, work: F) -> F::Output {
    ROW.scope(Arc::new(Row { asked, begun: AtomicBool::new(false) }), work).await
}

/// Does work that is not the row's alone, to its end.
pub(crate) async fn regardless<F: Future>(work: F) -> F::Output {
    ROW.scope(Arc::default(), work).await
}

fn row() -> Option<Arc<Row>> {
    ROW.try_with(Arc::clone).ok()
}

/// Waits for `place`, from which a request is sent at once. `moves`: it moves bytes.
///
/// # Errors
/// [`FailureKind::Undone`] where the row is to send it no more.
pub(crate) async fn sending<T>(moves: bool, place: impl Future<Output = T>) -> StoreResult<T> {
    let Some(row) = row().filter(|row| moves || !row.begun.load(Ordering::Relaxed)) else { return Ok(place.await) };
    tokio::select! {
        biased;
        () = row.asked.cancelled() => Err(StoreError::new(FailureKind::Undone, "it was not done: the run was stopped")),
        place = place => {
            row.begun.store(true, Ordering::Relaxed);
            Ok(place)
        }
    }
}

/// Waits so long before something is sent again; false where it is not to be any more.
pub(crate) async fn pause(time: std::time::Duration) -> bool {
    let sleep = tokio::time::sleep(time);
    let Some(row) = row() else {
        sleep.await;
        return true;
    };
    tokio::select! {
        biased;
        () = row.asked.cancelled() => false,
        () = sleep => true,
    }
}

/// Whether what a row ended with is none of its outcomes when its run was stopped.
pub(crate) fn is_left(kind: FailureKind) -> bool {
    kind == FailureKind::Undone || kind.is_retryable()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_stopped_row_begins_nothing_and_ends_what_it_began() {
        let asked = CancellationToken::new();
        let row = scope(asked.clone(), async {
            sending(false, async {}).await.unwrap();
            asked.cancel();
            assert!(sending(false, async {}).await.is_ok(), "what it has begun is ended or taken back");
            assert_eq!(sending(true, async {}).await.unwrap_err().kind, FailureKind::Undone);
            assert!(!pause(Duration::from_hours(1)).await);
            regardless(async { sending(true, async {}).await.is_ok() && pause(Duration::ZERO).await }).await
        });
        assert!(row.await, "what is not the row's alone goes on");
        let fresh = scope(asked, async { sending(false, std::future::pending::<()>()).await });
        assert_eq!(fresh.await.unwrap_err().kind, FailureKind::Undone);
        assert!(sending(true, async {}).await.is_ok() && pause(Duration::ZERO).await, "outside of a row nothing is held back");
    }
}
