//! Which round a key belongs to: the rounds of an order ([`PublishOrder`]: a preset, or one of somebody's own), and those of
//! `--round` between the rest of the data and the order's last ones.

mod done;
mod order;
mod presets;

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, StringArray};

pub(crate) use done::Done;
pub use order::{Deletes, LastRound, LogKind, LogPlace, PublishOrder, RoundOrder};

use crate::entry::{Columns, EntryBatch};
use crate::error::{Error, Result};
use crate::select::{Globs, Predicate};
use crate::view::{Preset, RoundsSpec};

/// The reason of rows that write or remove a done file.
pub const DONE_FILE: &str = "done file";

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
    order: Arc<dyn PublishOrder>,
    last: Vec<LastRound>,
    keep_markers: bool,
    custom: Vec<(String, Matcher)>,
    done: Option<Done>,
}

impl Rounds {
    /// The round that retracts.
    pub const RETRACT: i32 = 0;
    /// The round of all data that no other round takes.
    pub const DATA: i32 = 1;

    /// Compiles presets and patterns: a glob as of [`crate::select`], or `sql:` and a predicate. `own` is the order of the
    /// name that `spec` says, where that is none of the presets.
    ///
    /// # Errors
    /// `Usage` for a pattern that cannot be read, and for the name of an order that is not given.
    pub fn compile(spec: &RoundsSpec, own: Option<&Arc<dyn PublishOrder>>) -> Result<Self> {
        let matcher = |pattern: &String| -> Result<(String, Matcher)> {
            let matcher = match pattern.strip_prefix("sql:") {
                Some(sql) => Matcher::Sql(Predicate::compile(sql, None)?),
                None => Matcher::Glob(Globs::compile(std::slice::from_ref(pattern))?),
            };
            Ok((pattern.clone(), matcher))
        };
        let custom = spec.rounds.iter().map(matcher).collect::<Result<_>>()?;
        let order = presets::built_in(&spec.preset).or_else(|| own.map(Arc::clone));
        let order = order.filter(|order| !matches!(&spec.preset, Preset::Own(name) if name != order.name()));
        let order = order.ok_or_else(|| {
            Error::usage(format!("there is no preset {:?}", spec.preset))
                .with_help("give the order of that name with the request")
        })?;
        let done = spec.done.as_ref().map(Done::compile).transpose()?;
        if order.markers() && done.as_ref().is_some_and(|done| done.name() == MARKER) {
            return Err(Error::usage(format!("--done-file cannot be {MARKER}: the preset `{}` writes that", order.name()))
                .with_help("use --preset none, or another name"));
        }
        Ok(Self { last: order.last_rounds(), order, keep_markers: spec.keep_markers, custom, done })
    }

    /// Completion markers have a round of their own.
    #[must_use]
    pub fn has_markers(&self) -> bool {
        self.order.markers()
    }

    /// Markers over changes are deleted first.
    #[must_use]
    pub fn retracts(&self) -> bool {
        self.has_markers() && !self.keep_markers
    }

    /// The order's own: names, logs, pointers.
    #[must_use]
    pub fn order(&self) -> &dyn PublishOrder {
        self.order.as_ref()
    }

    /// The number of the markers' round.
    #[must_use]
    pub fn markers(&self) -> i32 {
        self.last(0)
    }

    /// There is a log in one of the rounds.
    #[must_use]
    pub fn has_logs(&self) -> bool {
        self.last.iter().any(|round| matches!(round.order, RoundOrder::Log(_)))
    }

    /// The rounds that move logs of which all entries together say what a table is, from the taking back to the pointers.
    /// `None` where there are no such logs.
    #[must_use]
    pub fn chains(&self) -> Option<Range<i32>> {
        let has_chain = self.last.iter().any(|round| round.order == RoundOrder::Log(LogKind::Chain));
        has_chain.then(|| self.take_back()..self.last(self.last.len()))
    }

    /// The first round after the data and the `--round`s.
    fn first_own(&self) -> i32 {
        Self::DATA + 1 + i32::try_from(self.custom.len()).unwrap_or(i32::MAX / 2)
    }

    /// The round in which entries are taken out of logs; only where there are logs.
    #[must_use]
    pub fn take_back(&self) -> i32 {
        self.first_own()
    }

    /// The number of the order's last round at that position.
    #[must_use]
    pub fn last(&self, position: usize) -> i32 {
        self.first_own() + i32::from(self.has_logs()) + i32::try_from(position).unwrap_or_default()
    }

    /// The round of all deletes, where they have one.
    #[must_use]
    pub fn deletes(&self) -> Option<i32> {
        (self.order.deletes() == Deletes::Last).then(|| self.last(self.last.len()))
    }

    /// The done files, and their round.
    pub(crate) fn done(&self) -> Option<(i32, &Done)> {
        let round = self.last(self.last.len()) + i32::from(self.order.deletes() == Deletes::Last);
        self.done.as_ref().map(|done| (round, done))
    }

    /// Which of the order's last rounds takes a key: its number, and in which order it writes. Markers are planned apart.
    #[must_use]
    pub fn own(&self, key: &str) -> Option<(i32, RoundOrder)> {
        if self.has_markers() && is_marker(key) {
            return None;
        }
        let position = self.order.round_of(key)?;
        self.last.get(position).map(|round| (self.last(position), round.order))
    }

    /// Numbers and names of all rounds, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<(i32, String)> {
        let mut names = Vec::new();
        if self.has_markers() || self.done.is_some() {
            names.push((Self::RETRACT, "retract".to_owned()));
        }
        names.push((Self::DATA, "data".to_owned()));
        names.extend(self.custom.iter().zip(Self::DATA + 1..).map(|((name, _), n)| (n, name.clone())));
        if self.has_logs() {
            names.push((self.take_back(), "take back".to_owned()));
        }
        names.extend(self.last.iter().enumerate().map(|(at, round)| (self.last(at), round.name.clone())));
        names.extend(self.deletes().map(|number| (number, "deletes".to_owned())));
        names.extend(self.done().map(|(number, done)| (number, done.name().to_owned())));
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

    /// The round of each row that the order's last rounds do not take: the first of the `--round`s that matches, else the
    /// data's.
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
        let rounds = Rounds::compile(&spec, None).unwrap();
        assert_eq!(names(&rounds), ["0 retract", "1 data", "2 *.html", "3 sql:size > 10", "4 markers"]);
        let none = Rounds::compile(&RoundsSpec { preset: Preset::None, ..spec.clone() }, None).unwrap();
        assert_eq!(names(&none).len(), 3);
        let delta = Rounds::compile(&RoundsSpec { preset: Preset::Delta, ..spec.clone() }, None).unwrap();
        let last = ["4 take back", "5 log", "6 pointers", "7 deletes"];
        assert_eq!(names(&delta)[3..], last);
        assert_eq!((delta.take_back(), delta.deletes(), delta.chains()), (4, Some(7), Some(4..7)));
        let iceberg = Rounds::compile(&RoundsSpec { preset: Preset::Iceberg, ..spec.clone() }, None).unwrap();
        assert_eq!(iceberg.chains(), None, "its entries are states of their own");
        assert_eq!(delta.own("t/_delta_log/_last_checkpoint"), Some((6, RoundOrder::Any)));
        let site = Rounds::compile(&RoundsSpec { preset: Preset::Site, ..spec }, None).unwrap();
        assert_eq!(names(&site)[3..], ["4 pages", "5 index", "6 deletes"]);
    }

    fn names(rounds: &Rounds) -> Vec<String> {
        rounds.names().into_iter().map(|(n, name)| format!("{n} {name}")).collect()
    }

    #[derive(Debug)]
    struct Current;

    impl PublishOrder for Current {
        fn name(&self) -> &'static str {
            "current"
        }

        fn last_rounds(&self) -> Vec<LastRound> {
            vec![LastRound::new("current", RoundOrder::Any)]
        }

        fn round_of(&self, key: &str) -> Option<usize> {
            key.ends_with("CURRENT").then_some(0)
        }

        fn deletes(&self) -> Deletes {
            Deletes::InTheirRound
        }
    }

    #[test]
    fn an_order_of_ones_own_is_taken_by_its_name() {
        let order: Arc<dyn PublishOrder> = Arc::new(Current);
        let spec = |name: &str| RoundsSpec { preset: Preset::Own(name.to_owned()), ..RoundsSpec::default() };
        let rounds = Rounds::compile(&spec("current"), Some(&order)).unwrap();
        assert_eq!(names(&rounds), ["1 data", "2 current"]);
        assert_eq!((rounds.own("x/CURRENT"), rounds.own("x")), (Some((2, RoundOrder::Any)), None));
        for (name, given) in [("other", Some(&order)), ("current", None)] {
            assert!(Rounds::compile(&spec(name), given).unwrap_err().to_string().contains(name));
        }
    }
}
