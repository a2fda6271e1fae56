//! What a key or an object must not be: refusals of single rows.

use datafusion::arrow::array::Array;

use super::obstacles::There;
use super::{Assembly, Judged};
use crate::guard;
use crate::round::is_marker;

impl Assembly<'_> {
    /// Sees what must not be done with a changed row. `base`: the destination has an object under the key, as far as is known.
    pub(super) fn check(&mut self, judged: &Judged<'_>, i: usize, key: &str, (base, target): (bool, bool)) {
        if target {
            self.check_key(key, base);
        } else if let Some(why) = self.behind_a_link(key) {
            self.refusals.add(key, &why);
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

    /// Sees whether an object may be written under the key. `base` as in [`Assembly::check`].
    pub(super) fn check_key(&mut self, key: &str, base: bool) {
        if self.is_reserved(key) {
            self.refusals.add(key, "is a name that Millrace keeps for itself at every destination");
        } else if guard::is_of_another(key) && !self.force {
            self.refusals.add(key, "belongs to a destination below this one (--force writes it all the same)");
        } else if key.starts_with('/') && !self.part.is_all() {
            self.refusals.add(key, "begins with a slash without the prefix");
        } else if let Some(why) = guard::unfit(key, self.rules, self.prefix_bytes) {
            self.refusals.add(key, why);
        } else if let Some(why) = self.blocked(key).or_else(|| self.hindered(key, base)) {
            self.refusals.add(key, &why);
        }
    }

    /// What stands at a destination in a folder where the folders of `key`, which is written, must be: a link is told at once,
    /// files at the end, and so is what stands in its own place ([`Assembly::in_the_way_for_good`]).
    fn hindered(&mut self, key: &str, base: bool) -> Option<String> {
        if let Some(why) = self.behind_a_link(key) {
            return Some(why);
        }
        self.makes_way(key);
        let obstacles = self.obstacles.as_mut()?;
        obstacles.written(key, base);
        None
    }

    /// Sees whether the file that stands where a folder of `key` must be goes before anything is written, or is put away by other
    /// rows. Asked when the stream is at `key`: what it has left is forgotten.
    pub(super) fn makes_way(&mut self, key: &str) {
        let Some(obstacles) = &mut self.obstacles else { return };
        let Some((folder, There::File)) = obstacles.above(key) else { return };
        if self.paths.goes(folder) || is_marker(folder) || self.rounds.own(folder).is_some() {
            let folder = folder.to_owned();
            obstacles.makes_way(folder);
        }
    }

    /// Why a key cannot be deleted at a destination in a folder.
    fn behind_a_link(&mut self, key: &str) -> Option<String> {
        let (folder, there) = self.obstacles.as_mut()?.above(key)?;
        (there == There::Link).then(|| linked(folder))
    }

    /// A key goes before anything is written where it is in the way.
    pub(super) fn goes(&mut self, key: &str) {
        if let Some(obstacles) = &mut self.obstacles {
            obstacles.goes(key);
        }
    }

    /// Refuses objects in whose place folders are that hold something else, and objects whose folders are files. What is there
    /// because of what was refused already is not told again.
    pub(super) fn in_the_way_for_good(&mut self) {
        let Some(obstacles) = self.obstacles.as_ref().filter(|_| self.refusals.is_empty()) else { return };
        for (folder, key) in obstacles.files_that_stay() {
            let why = format!("needs the folder `{}`, which is a file at the destination", folder.escape_debug());
            self.refusals.add(key, &why);
        }
        let is_own = |key: &str| is_marker(key) || self.rounds.own(key).is_some();
        for (key, inside) in obstacles.folders_that_stay(is_own) {
            let why = format!("is a folder at the destination, which holds `{}`", inside.escape_debug());
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

fn linked(folder: &str) -> String {
    let folder = folder.escape_debug();
    format!("lies below `{folder}`, which is a symbolic link at the destination, and links are not followed there")
}
