//! Killed at any point, the lake is readable, at the old or the new commit, and the same command succeeds.

use std::time::Duration;

use millrace_tests::s3::{Fault, Rule, Target};

use super::{BOTH, Bed, Place, listed};

const OLD: &[(&str, &str)] = &[("a", "1"), ("b/c", "old"), ("gone", "x")];
const NEW: &[(&str, &str)] = &[("a", "1"), ("b/c", "new"), ("d", "4"), ("e", "5")];

/// Looks at a lake after a kill, and finishes what was begun.
#[track_caller]
fn survives(bed: &Bed, folder: &str, when: &str) {
    let seen = bed.ls("main");
    assert!(seen == listed(OLD) || seen == listed(NEW), "{when}: {seen:?}");
    assert!((2..=3).contains(&bed.log("main").len()), "{when}");
    bed.commit_of("main", folder, "new").run().expect_code(0);
    assert_eq!(bed.ls("main"), listed(NEW), "{when}");
    assert_eq!(bed.log("main").len(), 3, "{when}: once, however often it was begun");
}

#[test]
fn a_commit_can_be_killed_at_any_time() {
    for place in BOTH {
        let probe = Bed::with_lake(place);
        probe.commit("main", OLD);
        let folder = probe.files("new", NEW);
        let whole = probe.commit_of("main", &folder, "new").run().expect_code(0).elapsed;
        let mut seed: u64 = 0x5eed;
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let instant = whole.mul_f64(f64::from(u32::try_from(seed >> 40).unwrap()) / f64::from(1_u32 << 24) * 1.1);
            let bed = Bed::with_lake(place);
            bed.commit("main", OLD);
            let folder = bed.files("new", NEW);
            let running = bed.commit_of("main", &folder, "new").spawn();
            std::thread::sleep(instant);
            running.kill();
            survives(&bed, &folder, &format!("{place:?} after {instant:?} of {whole:?}"));
        }
    }
}

#[test]
fn a_commit_can_be_killed_at_each_of_its_writes() {
    for applied in [false, true] {
        for n in 1.. {
            let bed = Bed::with_lake(Place::Bucket);
            bed.commit("main", OLD);
            let folder = bed.files("new", NEW);
            let rule = bed.server.fault(Rule::new(Target::on("write"), Fault::Stall { applied }).nth(n));
            let mut running = bed.commit_of("main", &folder, "new").spawn();
            while bed.server.hits(rule) == 0 && !running.has_ended() {
                std::thread::sleep(Duration::from_millis(2));
            }
            if bed.server.hits(rule) == 0 {
                running.wait().expect_code(0);
                assert!(n > 8, "a commit of three objects makes more than {n} writes");
                break;
            }
            running.kill();
            bed.server.clear_faults();
            survives(&bed, &folder, &format!("write {n}, applied: {applied}"));
        }
    }
}

#[test]
fn the_making_of_a_lake_can_be_killed_at_each_of_its_writes() {
    for applied in [false, true] {
        for n in 1.. {
            let bed = Bed::new(Place::Bucket);
            let rule = bed.server.fault(Rule::new(Target::on("write"), Fault::Stall { applied }).nth(n));
            let mut running = bed.lake("init", &bed.url("")).spawn();
            while bed.server.hits(rule) == 0 && !running.has_ended() {
                std::thread::sleep(Duration::from_millis(2));
            }
            if bed.server.hits(rule) == 0 {
                running.wait().expect_code(0);
                assert!(n > 4);
                break;
            }
            running.kill();
            bed.server.clear_faults();
            let made = bed.stored().contains_key("_lakefs/refs_manifest.json");
            let again = bed.lake("init", &bed.url("")).run();
            assert_eq!(again.code, if made { 3 } else { 0 }, "write {n}, applied: {applied}: {again}");
            bed.commit("main", OLD);
            assert_eq!(bed.ls("main"), listed(OLD));
        }
    }
}
