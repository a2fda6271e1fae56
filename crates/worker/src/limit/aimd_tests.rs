use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A store that answers at a steady rate, and throttles or fails a share of requests.
struct Simulated {
    aimd: Aimd,
    now: Duration,
    latency: Duration,
    /// The store works at so many at once; more wait.
    capacity: usize,
    /// Of a hundred answers.
    throttled: usize,
    failed: usize,
    changes: Vec<Change>,
}

impl Simulated {
    fn new(ceiling: usize) -> Self {
        let latency = Duration::from_millis(20);
        let capacity = 10_000;
        Self { aimd: Aimd::new(ceiling), now: Duration::ZERO, latency, capacity, throttled: 0, failed: 0, changes: Vec::new() }
    }

    /// A window of requests, all sent at once.
    fn round(&mut self) {
        let window = self.aimd.window();
        let took = self.latency.mul_f64((as_float(window) / as_float(self.capacity)).max(1.0));
        self.now += took;
        for at in 0..window {
            // Spread over the round, as a store would.
            let answer = match (at * 61) % 100 {
                share if share < self.throttled => Answer::Throttled,
                share if share < self.throttled + self.failed => Answer::Failed,
                _ => Answer::Done(4096),
            };
            self.changes.extend(self.aimd.answered(self.now, took, answer, true));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.round();
        }
    }
}

#[test]
fn it_grows_to_its_ceiling_within_few_rounds() {
    let mut store = Simulated::new(256);
    assert_eq!(store.aimd.window(), 32);
    store.run(Duration::from_millis(200));
    assert_eq!(store.aimd.window(), 256);
    store.run(Duration::from_secs(10));
    assert_eq!(store.aimd.window(), 256);
}

#[test]
fn one_slow_round_does_not_end_the_doubling_and_two_do() {
    for (slow, window) in [(1, 256), (2, 64)] {
        let mut store = Simulated::new(256);
        store.round();
        assert_eq!(store.aimd.window(), 64);
        // New connections are made: twice the requests take twice the time.
        store.latency *= 2;
        (0..slow).for_each(|_| store.round());
        store.latency /= 2;
        store.run(Duration::from_millis(100));
        assert!(store.aimd.window() >= window && (slow == 1 || store.aimd.window() < 256), "{slow}: {}", store.aimd.window());
    }
}

#[test]
fn a_small_ceiling_holds_from_the_start() {
    let mut store = Simulated::new(2);
    store.run(Duration::from_secs(2));
    assert_eq!(store.aimd.window(), 2);
    store.throttled = 100;
    store.run(Duration::from_secs(5));
    assert_eq!(store.aimd.window(), 2);
}

#[test]
fn failures_alone_are_not_punished() {
    let mut store = Simulated::new(256);
    store.run(Duration::from_secs(1));
    store.failed = 30;
    store.run(Duration::from_secs(5));
    assert_eq!(store.aimd.window(), 256);
    assert!(store.changes.iter().all(|change| *change == Change::Grown), "{:?}", store.changes);
}

#[test]
fn a_quarter_of_throttled_answers_is_borne_and_more_is_not() {
    let mut store = Simulated::new(256);
    store.run(Duration::from_secs(1));
    store.throttled = 25;
    store.run(Duration::from_secs(5));
    assert_eq!(store.aimd.window(), 256);
    store.throttled = 40;
    // A round of these answers and one that began before.
    let before = store.changes.len();
    store.round();
    store.round();
    assert!(store.changes.len() - before <= 2);
    assert!(store.aimd.window() <= 128);
    store.run(Duration::from_secs(5));
    assert_eq!(store.aimd.window(), SMALLEST_WINDOW);
}

#[test]
fn one_in_five_at_random_is_borne_by_small_windows_as_well() {
    let mut random = StdRng::seed_from_u64(1);
    let (mut aimd, mut now) = (Aimd::new(256), Duration::ZERO);
    let mut falls = 0;
    for _ in 0..1000 {
        now += Duration::from_millis(20);
        for _ in 0..aimd.window() {
            let answer = if random.random_ratio(1, 5) { Answer::Throttled } else { Answer::Done(1) };
            let change = aimd.answered(now, Duration::from_millis(20), answer, true);
            falls += u32::from(change == Some(Change::Throttled));
        }
    }
    assert_eq!((falls, aimd.window()), (0, 256));
}

#[test]
fn it_falls_at_most_once_a_round_trip() {
    let mut store = Simulated::new(256);
    store.run(Duration::from_secs(1));
    store.throttled = 100;
    let begun = store.now;
    store.changes.clear();
    store.run(Duration::from_millis(60));
    let falls = store.changes.iter().filter(|change| **change == Change::Throttled).count();
    assert!(falls as u128 <= store.now.saturating_sub(begun).as_millis() / 20, "{falls} falls");
}

#[test]
fn it_is_back_at_its_ceiling_within_ten_seconds() {
    for latency in [1, 20, 200, 1000] {
        let mut store = Simulated::new(256);
        store.latency = Duration::from_millis(latency);
        store.run(Duration::from_secs(5));
        store.throttled = 60;
        store.run(Duration::from_secs(30));
        assert!(store.aimd.window() <= 8, "{latency} ms: {}", store.aimd.window());
        store.throttled = 0;
        store.run(Duration::from_secs(10));
        assert_eq!(store.aimd.window(), 256, "{latency} ms");
    }
}

#[test]
fn it_shrinks_when_the_store_does_less() {
    let mut store = Simulated::new(256);
    store.run(Duration::from_secs(2));
    store.changes.clear();
    store.capacity = 16;
    store.run(Duration::from_secs(2));
    assert!(store.changes.contains(&Change::Slower), "{:?}", store.changes);
    // What it does now is the measure from then on.
    store.capacity = 10_000;
    store.run(Duration::from_secs(10));
    assert_eq!(store.aimd.window(), 256);
}

#[test]
fn another_mix_of_objects_is_no_trouble() {
    let mut aimd = Aimd::new(64);
    let (mut now, mut slower) = (Duration::ZERO, 0);
    for round in 0..200_u64 {
        // Ten rounds of many small objects, ten of few large ones.
        let (latency, bytes) = if (round / 10) % 2 == 0 { (10, 1000) } else { (500, 64 << 20) };
        now += Duration::from_millis(latency);
        for _ in 0..aimd.window() {
            let change = aimd.answered(now, Duration::from_millis(latency), Answer::Done(bytes), true);
            slower += u32::from(change == Some(Change::Slower));
        }
    }
    assert_eq!((slower, aimd.window()), (0, 64));
}

#[test]
fn a_window_that_nobody_fills_does_not_grow() {
    let mut aimd = Aimd::new(256);
    for round in 1..1000_u32 {
        let now = Duration::from_millis(20) * round;
        assert_eq!(aimd.answered(now, Duration::from_millis(20), Answer::Done(1), false), None);
    }
    assert_eq!(aimd.window(), FIRST_WINDOW);
}
