//! Which round a key belongs to: a preset's own rounds, and those of `--round` between the rest of the data and the
//! preset's last ones.

use datafusion::arrow::array::{BooleanArray, StringArray};

use crate::entry::{Columns, EntryBatch};
use crate::error::Result;
use crate::select::{Globs, Predicate};
use crate::view::{Preset, RoundsSpec};

/// The file name of a completion marker: what `(.*/|^)_SUCCESS$` matches.
pub const MARKER: &str = "_SUCCESS";

/// Whether `key` is a completion marker: it speaks for everything below its directory.
#[must_use]
pub fn is_marker(key: &str) -> bool {
    key.strip_suffix(MARKER).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
}

/// How a round of one's own chooses its keys.
#[derive(Debug, Clone)]
enum Matcher {
    Glob(Globs),
    Sql(Predicate),
}

/// Compiled rounds.
#[derive(Debug, Clone)]
pub struct Rounds {
    preset: Preset,
    keep_markers: bool,
    custom: Vec<(String, Matcher)>,
}

impl Rounds {
    /// The round that retracts.
    pub const RETRACT: i32 = 0;
    /// The round of all data that no other round takes.
    pub const DATA: i32 = 1;

    /// Compiles presets and patterns: a glob as of [`crate::select`], or `sql:` and a predicate.
    ///
    /// # Errors
    /// `Usage` for a pattern that cannot be read.
    pub fn compile(spec: &RoundsSpec) -> Result<Self> {
        let matcher = |pattern: &String| -> Result<(String, Matcher)> {
            let matcher = match pattern.strip_prefix("sql:") {
                Some(sql) => Matcher::Sql(Predicate::compile(sql, None)?),
                None => Matcher::Glob(Globs::compile(std::slice::from_ref(pattern))?),
            };
            Ok((pattern.clone(), matcher))
        };
        let custom = spec.rounds.iter().map(matcher).collect::<Result<_>>()?;
        Ok(Self { preset: spec.preset, keep_markers: spec.keep_markers, custom })
    }

    /// Completion markers have a round of their own.
    #[must_use]
    pub fn has_markers(&self) -> bool {
        self.preset == Preset::Spark
    }

    /// Markers over changes are deleted first.
    #[must_use]
    pub fn retracts(&self) -> bool {
        self.has_markers() && !self.keep_markers
    }

    /// The number of the markers' round.
    #[must_use]
    pub fn markers(&self) -> i32 {
        Self::DATA + 1 + i32::try_from(self.custom.len()).unwrap_or(i32::MAX - 2)
    }

    /// Numbers and names of all rounds, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<(i32, String)> {
        let mut names = Vec::new();
        if self.has_markers() {
            names.push((Self::RETRACT, "retract".to_owned()));
        }
        names.push((Self::DATA, "data".to_owned()));
        names.extend(self.custom.iter().zip(Self::DATA + 1..).map(|((name, _), n)| (n, name.clone())));
        if self.has_markers() {
            names.push((self.markers(), "markers".to_owned()));
        }
        names
    }

    /// The columns that must be decoded to decide.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.custom.iter().fold(Columns::KEYS, |all, (_, m)| match m {
            Matcher::Sql(p) => all.and(p.columns()),
            Matcher::Glob(_) => all,
        })
    }

    /// The round of each row that is no marker: the first of the `--round`s that matches, else the data's.
    pub(crate) fn assign(&self, paths: &StringArray, entries: &EntryBatch) -> Result<Vec<i32>> {
        let mut rounds = vec![Self::DATA; entries.batch().num_rows()];
        let mut free = vec![true; rounds.len()];
        for ((_, matcher), number) in self.custom.iter().zip(Self::DATA + 1..) {
            let flags: Option<BooleanArray> = match matcher {
                Matcher::Sql(predicate) => Some(predicate.evaluate(paths, entries)?),
                Matcher::Glob(_) => None,
            };
            for i in 0..rounds.len() {
                let hit = match (matcher, &flags) {
                    (Matcher::Glob(globs), _) => free[i] && globs.matches(paths.value(i)),
                    (_, Some(flags)) => free[i] && flags.value(i),
                    _ => false,
                };
                if hit {
                    rounds[i] = number;
                    free[i] = false;
                }
            }
        }
        Ok(rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_whole_segments() {
        for (key, expected) in
            [("_SUCCESS", true), ("a/_SUCCESS", true), ("x_SUCCESS", false), ("_SUCCESS.bak", false), ("_SUCCESS/x", false)]
        {
            assert_eq!(is_marker(key), expected, "{key}");
        }
    }

    #[test]
    fn own_rounds_come_between_data_and_markers() {
        let spec = RoundsSpec { rounds: vec!["*.html".into(), "sql:size > 10".into()], ..RoundsSpec::default() };
        let rounds = Rounds::compile(&spec).unwrap();
        let names: Vec<_> = rounds.names().into_iter().map(|(n, name)| format!("{n} {name}")).collect();
        assert_eq!(names, ["0 retract", "1 data", "2 *.html", "3 sql:size > 10", "4 markers"]);
        let none = Rounds::compile(&RoundsSpec { preset: Preset::None, ..spec }).unwrap();
        assert_eq!(none.names().len(), 3);
    }
}
