//! What a key or an object must not be: refusals of single rows.

use datafusion::arrow::array::Array;

use super::{Assembly, Judged};
use crate::guard;

impl Assembly<'_> {
    /// Sees what must not be done with a changed row.
    pub(super) fn check(&mut self, judged: &Judged<'_>, i: usize, key: &str, target: bool) {
        if target {
            self.check_key(key);
        }
        for side in [&judged.batch.left, &judged.batch.right] {
            let address = side.address();
            if address.is_valid(i) && self.destruction.hits(address.value(i)) {
                self.refusals.add_destruction(key, address.value(i));
                return;
            }
        }
    }

    /// A name of Millrace's own.
    pub(super) fn is_reserved(&self, key: &str) -> bool {
        let below = self.status.as_deref().and_then(|status| key.strip_prefix(status));
        guard::is_reserved(key) || below.is_some_and(guard::is_reserved)
    }

    pub(super) fn check_key(&mut self, key: &str) {
        if self.is_reserved(key) {
            self.refusals.add(key, "is a name that Millrace keeps for itself at every destination");
        } else if guard::is_of_another(key) && !self.force {
            self.refusals.add(key, "belongs to a destination below this one (--force writes it all the same)");
        } else if key.starts_with('/') && !self.part.is_all() {
            self.refusals.add(key, "begins with a slash without the prefix");
        } else if let Some(why) = guard::unfit(key, self.rules, self.prefix_bytes) {
            self.refusals.add(key, why);
        } else if let Some(why) = self.blocked(key) {
            self.refusals.add(key, &why);
        }
    }

    /// What lies at the destination where `key`'s folders must be, or below `key` itself.
    fn blocked(&self, key: &str) -> Option<String> {
        if self.in_the_way.is_empty() {
            return None;
        }
        let folders = key.match_indices('/').map(|(at, _)| &key[..at]);
        if let Some(file) = folders.into_iter().find(|f| self.in_the_way.contains(*f)) {
            return Some(format!("needs the folder `{file}`, which is a file at the destination"));
        }
        let below = format!("{key}/");
        let first = self.in_the_way.range(below.clone()..).next()?;
        first.starts_with(&below).then(|| "is a folder at the destination".to_owned())
    }
}
