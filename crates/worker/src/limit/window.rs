//! The adaptive number of requests at one endpoint: places that are taken and given back, and the controller behind them.
//!
//! A place is held from sending a request to its answer's head, never while another one is waited for, so that requests
//! cannot wait for each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::aimd::{Aimd, Answer, Change};
use crate::store::FailureKind;

/// Growth is told no more often.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The requests of one endpoint.
#[derive(Debug)]
pub struct Window {
    endpoint: String,
    free: Semaphore,
    state: Mutex<State>,
    began: Instant,
}

#[derive(Debug)]
struct State {
    aimd: Aimd,
    /// Places there are; more may be held for a while after a fall.
    places: usize,
    /// Places to take away as they are given back.
    surplus: usize,
    told: Option<Duration>,
}

impl Window {
    /// A window of at most `ceiling` requests.
    #[must_use]
    pub fn new(endpoint: &str, ceiling: usize) -> Arc<Self> {
        let aimd = Aimd::new(ceiling.min(Semaphore::MAX_PERMITS));
        let places = aimd.window();
        let state = Mutex::new(State { aimd, places, surplus: 0, told: None });
        Arc::new(Self { endpoint: endpoint.to_owned(), free: Semaphore::new(places), state, began: Instant::now() })
    }

    /// Waits for a place.
    pub async fn enter(self: &Arc<Self>) -> Place {
        // The semaphore is never closed.
        if let Ok(permit) = self.free.acquire().await {
            permit.forget();
        }
        Place { held: Some((Arc::clone(self), Instant::now())) }
    }

    /// Requests that may be under way now.
    #[must_use]
    pub fn size(&self) -> usize {
        self.state().places
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, sent: Instant, answer: Answer) {
        let (now, is_full) = (self.began.elapsed(), self.free.available_permits() == 0);
        let mut state = self.state();
        let Some(change) = state.aimd.answered(now, sent.elapsed(), answer, is_full) else { return };
        let (before, window) = (state.places, state.aimd.window());
        self.resize(&mut state, window);
        let is_news = change != Change::Grown || state.told.is_none_or(|told| now >= told + TOLD_EVERY);
        if is_news {
            state.told = Some(now);
            tracing::info!(endpoint = self.endpoint, window, before, "the window has {}", word(change));
        }
    }

    fn resize(&self, state: &mut State, window: usize) {
        if window >= state.places {
            let more = window - state.places;
            let kept = more.min(state.surplus);
            state.surplus -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = state.places - window;
            state.surplus += fewer - self.free.forget_permits(fewer);
        }
        state.places = window;
    }

    fn leave(&self) {
        let mut state = self.state();
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.free.add_permits(1);
        }
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Grown => "grown",
        Change::Throttled => "shrunk: the store asks for fewer requests",
        Change::Slower => "shrunk: less was done in a second",
    }
}

/// A place among the requests of an endpoint, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    held: Option<(Arc<Window>, Instant)>,
}

impl Place {
    /// A place where there is no window.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { held: None }
    }

    /// Gives it back and tells how the request ended, and how many bytes it moved.
    pub fn answered(self, bytes: u64, failure: Option<FailureKind>) {
        if let Some((window, sent)) = &self.held {
            let answer = match failure {
                None => Answer::Done(bytes),
                Some(FailureKind::Throttled) => Answer::Throttled,
                // Denied, missing, conflicting: the store did its work.
                Some(kind) if !kind.is_retryable() => Answer::Done(0),
                Some(_) => Answer::Failed,
            };
            window.answered(*sent, answer);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((window, _)) = self.held.take() {
            window.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn held(window: &Arc<Window>, count: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for _ in 0..count {
            places.push(window.enter().await);
        }
        places
    }

    fn waits(window: &Arc<Window>) -> bool {
        window.free.available_permits() == 0
    }

    #[tokio::test]
    async fn a_smaller_window_takes_places_away_as_they_are_given_back() {
        let window = Window::new("test", 8);
        let mut places = held(&window, 8).await;
        assert!(waits(&window));
        window.resize(&mut window.state(), 4);
        places.truncate(4);
        assert!(waits(&window));
        places.truncate(3);
        assert!(!waits(&window));
        window.resize(&mut window.state(), 8);
        places.extend(held(&window, 5).await);
        assert!(waits(&window));
        // Shrunk and grown again while all are held.
        window.resize(&mut window.state(), 2);
        window.resize(&mut window.state(), 8);
        drop(places);
        assert_eq!((window.free.available_permits(), window.size()), (8, 8));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_gives_its_place_back() {
        let window = Window::new("test", 1);
        drop(window.enter().await);
        window.enter().await.answered(1, None);
        Place::unbounded().answered(1, None);
        assert_eq!(window.free.available_permits(), 1);
    }
}
