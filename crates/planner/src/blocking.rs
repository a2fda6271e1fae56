//! File systems cannot hold `a` beside `a/b`: which deletes must come before the copies, and which keys collide.
//!
//! Rows arrive in byte order. Between `a` and `a/…` only keys can stand that begin with `a` and go on with a byte below `/`,
//! so a short stack of file names is enough to see every pair.

/// What a row does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It will be written.
    Copied,
    /// It will be deleted.
    Deleted,
    /// It is there and stays.
    Stays,
    /// Something else needs a folder of its name. Said once.
    Collides,
}

/// A relation between a key and one below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Both will be there.
    Collision { file: String, below: String },
    /// `key` is deleted, and something else is written where it is in the way.
    Blocking { key: String },
}

/// The file names that may still turn out to be folders.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    open: Vec<(String, Fate)>,
}

impl Paths {
    /// A row; what it shows is appended to `found`. A `Blocking` names this key or an earlier one.
    pub(crate) fn row(&mut self, key: &str, fate: Fate, found: &mut Vec<Found>) {
        self.open.retain(|(name, _)| {
            let rest = key.strip_prefix(name.as_str());
            rest.and_then(|r| r.bytes().next()).is_some_and(|next| next <= b'/')
        });
        for (name, file) in &mut self.open {
            if key.as_bytes().get(name.len()) != Some(&b'/') {
                continue;
            }
            match (*file, fate) {
                (Fate::Deleted, Fate::Copied) => found.push(Found::Blocking { key: name.clone() }),
                (Fate::Copied, Fate::Deleted) => found.push(Found::Blocking { key: key.to_owned() }),
                (Fate::Deleted | Fate::Collides, _) | (_, Fate::Deleted | Fate::Collides) => {}
                _ => {
                    found.push(Found::Collision { file: name.clone(), below: key.to_owned() });
                    *file = Fate::Collides;
                }
            }
        }
        self.open.push((key.to_owned(), fate));
    }

    /// Whether `key`, which something below it was seen for, is deleted.
    pub(crate) fn goes(&self, key: &str) -> bool {
        self.open.iter().any(|(name, fate)| name == key && *fate == Fate::Deleted)
    }

    /// Whether a row of `key` may still turn out to block a later one.
    pub(crate) fn is_open(&self, key: &str) -> bool {
        self.open.iter().any(|(name, _)| name == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[(&str, Fate)]) -> Vec<Found> {
        let (mut paths, mut found) = (Paths::default(), Vec::new());
        for (key, fate) in rows {
            paths.row(key, *fate, &mut found);
        }
        found
    }

    #[test]
    fn a_file_that_becomes_a_folder_goes_first() {
        let rows =
            [("a", Fate::Deleted), ("a!", Fate::Copied), ("a-b", Fate::Stays), ("a/b", Fate::Copied), ("a/c", Fate::Copied)];
        assert_eq!(run(&rows)[0], Found::Blocking { key: "a".into() });
    }

    #[test]
    fn a_folder_that_becomes_a_file_goes_first() {
        let rows = [("a", Fate::Copied), ("a/b", Fate::Deleted), ("a/c/d", Fate::Deleted), ("ab", Fate::Deleted)];
        let keys: Vec<_> = run(&rows).into_iter().map(|f| format!("{f:?}")).collect();
        assert_eq!(keys, ["Blocking { key: \"a/b\" }", "Blocking { key: \"a/c/d\" }"]);
    }

    #[test]
    fn both_at_once_collide() {
        let rows = [("x/a", Fate::Stays), ("x/a.b", Fate::Copied), ("x/a/b", Fate::Copied), ("x/a/c", Fate::Stays)];
        assert_eq!(run(&rows), [Found::Collision { file: "x/a".into(), below: "x/a/b".into() }]);
        assert!(run(&[("a", Fate::Copied), ("ab", Fate::Copied), ("b/a", Fate::Copied)]).is_empty());
    }
}
