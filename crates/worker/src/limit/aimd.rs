//! How many requests an endpoint takes at once: a controller without I/O, driven by answers and a clock.
//!
//! The window grows while it is full: it doubles until more requests bring no more in two rounds (one may be spent on new
//! connections), then in steps that lead from nothing to the ceiling in `CLIMB`. It is looked at once a round, which is a
//! window of answers and no shorter than any of them took. It does not grow when more than a quarter of a round's answers ask
//! for fewer requests, and is halved when that is no chance: in rounds of few answers, a store that throttles one request in
//! five often seems to throttle more. It shrinks by a quarter when what is done a second falls to less than half in two
//! rounds, counted in requests and in bytes: another mix of objects changes the one or the other. Failures alone are not
//! punished; they are retried.

use std::time::Duration;

/// From nothing to the ceiling.
const CLIMB: Duration = Duration::from_secs(2);
/// A round ends after this even when a window of answers has not come.
const LONGEST_ROUND: Duration = Duration::from_secs(1);
/// Fewer answers say too little.
const FEWEST_ANSWERS: u32 = 16;
/// Throttled answers of small rounds are looked at together, up to so many answers.
const TALLIED: f64 = 64.0;
const FIRST_WINDOW: usize = 32;
const SMALLEST_WINDOW: usize = 4;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, with so many payload bytes.
    Done(u64),
    /// The store asks for fewer requests.
    Throttled,
    /// Anything else.
    Failed,
}

/// Why a window changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was full, and nothing spoke against more.
    Grown,
    /// Too many answers asked for fewer requests.
    Throttled,
    /// Less was done in a second than before.
    Slower,
}

/// The controller. Times are since its start.
#[derive(Debug)]
pub struct Aimd {
    window: f64,
    ceiling: f64,
    doubling: bool,
    /// The window was doubled and brought no more, once.
    in_vain: bool,
    /// The best rate of late.
    best: Rate,
    /// Rounds in a row in which far less was done.
    slow_rounds: u32,
    tally: Tally,
    round: Round,
}

#[derive(Debug, Default)]
struct Round {
    began: Duration,
    /// The longest time from a request to its answer.
    latency: Duration,
    answers: u32,
    throttled: u32,
    done: u32,
    bytes: u64,
    was_full: bool,
}

impl Round {
    /// More than a quarter of the answers asked for fewer requests.
    fn is_throttled(&self) -> bool {
        self.throttled * 4 > self.answers
    }
}

/// Answers of one or more rounds.
#[derive(Debug, Default)]
struct Tally {
    answers: f64,
    throttled: f64,
}

impl Tally {
    fn add(&mut self, round: &Round) {
        self.answers += f64::from(round.answers);
        self.throttled += f64::from(round.throttled);
    }

    /// More than a quarter asked for fewer requests, by more than two standard deviations.
    fn is_surely_throttled(&self) -> bool {
        self.throttled > self.answers / 4.0 + 2.0 * (self.answers * 3.0 / 16.0).sqrt()
    }
}

/// What is done in a second.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    requests: f64,
    bytes: f64,
}

impl Rate {
    fn is_far_below(self, other: Self) -> bool {
        self.requests < 0.5 * other.requests && self.bytes <= 0.5 * other.bytes
    }

    fn is_above(self, other: Self) -> bool {
        self.requests > 1.1 * other.requests || self.bytes > 1.1 * other.bytes
    }

    /// The better of both, forgetting slowly.
    fn best(self, other: Self) -> Self {
        let best = |now: f64, before: f64| now.max(0.9 * before + 0.1 * now);
        Self { requests: best(self.requests, other.requests), bytes: best(self.bytes, other.bytes) }
    }
}

impl Aimd {
    /// A window that grows to `ceiling` requests.
    #[must_use]
    pub fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self {
            window: as_float(ceiling.min(FIRST_WINDOW)),
            ceiling: as_float(ceiling),
            doubling: true,
            in_vain: false,
            best: Rate::default(),
            slow_rounds: 0,
            tally: Tally::default(),
            round: Round::default(),
        }
    }

    /// Requests that may be under way now.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a window is between 1 and the ceiling")]
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// An answer came `now`, `latency` after its request; `is_full` when no place was free.
    pub fn answered(&mut self, now: Duration, latency: Duration, answer: Answer, is_full: bool) -> Option<Change> {
        let round = &mut self.round;
        round.answers += 1;
        round.was_full |= is_full;
        match answer {
            Answer::Done(bytes) => {
                round.done += 1;
                round.bytes += bytes;
                round.latency = round.latency.max(latency);
            }
            Answer::Throttled => round.throttled += 1,
            Answer::Failed => {}
        }
        let lasted = now.saturating_sub(round.began);
        let has_enough = f64::from(round.answers) >= self.window.max(f64::from(FEWEST_ANSWERS));
        if lasted < round.latency || !(has_enough || lasted >= LONGEST_ROUND) {
            return None;
        }
        let round = std::mem::replace(&mut self.round, Round { began: now, ..Round::default() });
        let before = self.window();
        let change = self.judge(&round, lasted.as_secs_f64().max(1e-4));
        change.filter(|_| self.window() != before)
    }

    fn judge(&mut self, round: &Round, seconds: f64) -> Option<Change> {
        let rate = Rate { requests: f64::from(round.done) / seconds, bytes: as_rate(round.bytes, seconds) };
        self.tally.add(round);
        if self.tally.is_surely_throttled() {
            self.fall(0.5);
            self.best = Rate::default();
            return Some(Change::Throttled);
        }
        if self.tally.answers >= TALLIED {
            self.tally = Tally::default();
        }
        if round.is_throttled() {
            return None;
        }
        if !round.was_full {
            // Nobody wanted more: nothing is learned of what the endpoint can do.
            return None;
        }
        self.slow_rounds = if rate.is_far_below(self.best) { self.slow_rounds + 1 } else { 0 };
        if self.slow_rounds > 1 {
            self.fall(0.75);
            self.best = rate;
            return Some(Change::Slower);
        }
        let more = rate.is_above(self.best);
        self.best = rate.best(self.best);
        self.doubling &= more || !self.in_vain;
        self.in_vain = !more;
        let step = if self.doubling && self.in_vain {
            0.0
        } else if self.doubling {
            self.window
        } else {
            (self.ceiling * seconds / CLIMB.as_secs_f64()).max(1.0)
        };
        self.window = (self.window + step).min(self.ceiling);
        Some(Change::Grown)
    }

    fn fall(&mut self, to: f64) {
        self.doubling = false;
        self.slow_rounds = 0;
        self.tally = Tally::default();
        self.window = (self.window * to).max(as_float(SMALLEST_WINDOW).min(self.ceiling));
    }
}

#[expect(clippy::cast_precision_loss, reason = "no window is that large")]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
fn as_rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds
}

#[cfg(test)]
#[path = "aimd_tests.rs"]
mod tests;
