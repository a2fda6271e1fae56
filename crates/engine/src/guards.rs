//! Guards on what a plan would delete. Pure: numbers in, a refusal out.

use planner::plan::PlanFile;
use planner::{Error, Result};

use crate::request::{Guards, MaxDelete};

/// From how many objects on the default share counts.
const SMALL: u64 = 100;

/// The share of what is there that may be deleted when nothing else is said, in percent.
const DEFAULT_SHARE: f64 = 50.0;

/// Refuses more deletes than are allowed at a destination that holds the base's objects, and an empty commit onto a full one.
///
/// # Errors
/// `Guard` with the numbers.
pub fn check_deletes(plan: &PlanFile, guards: &Guards) -> Result<()> {
    let deletes = plan.summary.deleted;
    // Of a destination that is taken over, and after runs that did not finish, more may be there than the base has.
    let there = plan.summary.base_objects.max(deletes);
    if guards.force || deletes == 0 {
        return Ok(());
    }
    let at = &plan.destination;
    if plan.summary.objects == 0 && there > 0 && guards.max_delete.is_none() {
        let nothing = if plan.view.selection.is_all() { "is empty" } else { "has nothing that is selected" };
        return Err(Error::guard(format!(
            "commit {} {nothing}, and {at} holds {there} objects: all would be deleted",
            plan.commit
        ))
        .with_help("use --max-delete 100% or --force if that is meant"));
    }
    let allowed = match guards.max_delete {
        Some(MaxDelete::Count(n)) => n,
        Some(MaxDelete::Percent(p)) => share(there, p),
        None if there <= SMALL => return Ok(()),
        None => share(there, DEFAULT_SHARE),
    };
    if deletes <= allowed {
        return Ok(());
    }
    Err(Error::guard(format!("{deletes} of {there} objects at {at} would be deleted; {allowed} are allowed"))
        .with_help(format!("look at the plan; use --max-delete {deletes} or --force if that is meant")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a count of objects, never negative, rounded down"
)]
fn share(of: u64, percent: f64) -> u64 {
    (of as f64 * (percent.clamp(0.0, 100.0) / 100.0)).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use planner::plan::PlanSummary;

    fn refused(deleted: u64, objects: u64, there: u64, guards: &Guards) -> bool {
        let text = include_str!("../tests/golden/plan-1.json");
        let mut plan: PlanFile = serde_json::from_str(text).unwrap();
        plan.summary = PlanSummary { deleted, objects, base_objects: there, ..PlanSummary::default() };
        check_deletes(&plan, guards).is_err()
    }

    #[test]
    fn half_of_what_is_there_may_go_by_default() {
        let guards = Guards::default();
        assert!(!refused(500, 500, 1000, &guards) && refused(501, 499, 1000, &guards));
        assert!(!refused(99, 1, 100, &guards), "small destinations are not guarded");
        assert!(refused(1, 0, 1, &guards), "an empty commit onto a full destination");
        assert!(!refused(501, 0, 1000, &Guards { force: true, ..Guards::default() }));
    }

    #[test]
    fn limits_can_be_said() {
        let with = |limit| Guards { max_delete: Some(limit), ..Guards::default() };
        assert!(refused(3, 9, 12, &with(MaxDelete::Count(2))) && !refused(3, 9, 12, &with(MaxDelete::Count(3))));
        assert!(refused(11, 89, 1000, &with(MaxDelete::Percent(1.0))));
        assert!(refused(1, 5, 6, &with(MaxDelete::Percent(0.0))), "a limit that was said holds for small destinations too");
        assert!(!refused(1000, 0, 1000, &with(MaxDelete::Percent(100.0))));
    }
}
