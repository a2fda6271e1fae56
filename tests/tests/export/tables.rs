//! Presets of tables and sites: after every single operation the destination can be read, forward, back and sideways.

mod hudi;
mod killed;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use millrace_tests::{s3::Buckets, tree::data_only};
use serde_json::json;

use super::{
    BUCKET, Effect, PREFIX, Place, Stage, Tree,
    made_up::Random,
    readers::{self, State},
};
use crate::made::{MadeLake, Objects, objects};

/// Judges the destination after every operation.
type Judge = Box<dyn Fn(&Tree) -> Result<(), String> + Send>;

/// What the destination is judged by; set anew for each export.
#[derive(Clone, Default)]
struct Judged(Arc<Mutex<Option<Judge>>>);

impl Judged {
    fn start(stage: &Stage) -> Self {
        let judged = Self::default();
        let judge = Arc::clone(&judged.0);
        stage.server.watch(move |op, buckets: &Buckets| match judge.lock().unwrap().as_ref() {
            Some(judge) if op.bucket == BUCKET && op.applied && op.is_write() => judge(&buckets.tree(BUCKET, PREFIX)),
            _ => Ok(()),
        });
        judged
    }

    fn by(&self, judge: impl Fn(&Tree) -> Result<(), String> + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(judge));
    }
}

/// Reads one table.
type Reader = fn(&Tree, &str) -> Result<State, String>;

/// What readers of a table may be told between two commits.
type Told = BTreeMap<&'static str, BTreeSet<State>>;

fn judge_tables(tables: &'static [&'static str], read: Reader, told: Told) -> impl Fn(&Tree) -> Result<(), String> + Send {
    move |tree| {
        for table in tables {
            let state = read(tree, table)?;
            if !told[table].contains(&state) {
                return Err(format!("{table}: readers are told {state:?}, of {:?}", told[table]));
            }
        }
        Ok(())
    }
}

const TABLES: &[&str] = &["a/t0/", "t1/"];

/// A Delta table as its writer knows it.
#[derive(Debug, Clone, Default)]
struct DeltaTable {
    objects: Objects,
    files: BTreeSet<String>,
    /// What its readers were told at each version.
    history: Vec<State>,
    checkpoint: Option<usize>,
}

impl DeltaTable {
    fn log(name: &str) -> String {
        format!("_delta_log/{name}")
    }

    /// One more version: some files come, some go.
    fn commit(&mut self, random: &mut Random, number: u64) {
        let version = self.history.len();
        let mut lines = Vec::new();
        for file in self.files.clone() {
            if random.chance(30) {
                self.files.remove(&file);
                lines.push(json!({"remove": {"path": file}}).to_string());
            }
        }
        for n in 0..=random.below(2) {
            let file = format!("part-{number}-{n}.parquet");
            self.objects.insert(file.clone(), file.clone().into_bytes());
            lines.push(json!({"add": {"path": file}}).to_string());
            self.files.insert(file);
        }
        self.objects.insert(Self::log(&format!("{version:020}.json")), lines.join("\n").into_bytes());
        self.history.push(Some(self.files.clone()));
    }

    fn checkpoint(&mut self) {
        let version = self.history.len() - 1;
        let body = serde_json::to_vec(&self.files).unwrap();
        self.objects.insert(Self::log(&format!("{version:020}.checkpoint.parquet")), body);
        self.objects.insert(Self::log("_last_checkpoint"), json!({"version": version}).to_string().into_bytes());
        self.checkpoint = Some(version);
    }

    /// Forgets log entries that the checkpoint sums up.
    fn clean(&mut self) {
        let Some(checkpoint) = self.checkpoint else { return };
        let first = Self::log(&format!("{checkpoint:020}"));
        self.objects.retain(|key, _| !key.starts_with("_delta_log/0") || *key >= first);
    }

    /// Deletes files that the newest version does not name.
    fn vacuum(&mut self) {
        let files = &self.files;
        self.objects.retain(|key, _| key.starts_with("_delta_log/") || files.contains(key));
    }
}

/// Two tables, at one commit.
type Two = [DeltaTable; 2];

fn two(tables: &Two) -> Objects {
    let of = |(folder, table): (&&str, &DeltaTable)| {
        let keys = table.objects.iter().map(|(key, body)| (format!("{folder}{key}"), body.clone()));
        keys.collect::<Vec<_>>()
    };
    TABLES.iter().zip(tables).flat_map(of).collect()
}

/// What the readers of two tables may be told on the way from one commit to another.
fn told(base: &Two, target: &Two) -> Told {
    let states = |at: usize| {
        let mut states: BTreeSet<State> = [&base[at], &target[at]].iter().flat_map(|table| table.history.clone()).collect();
        // A table that one of them does not have comes or goes.
        if base[at].history.is_empty() || target[at].history.is_empty() {
            states.insert(None);
        }
        states
    };
    TABLES.iter().enumerate().map(|(at, table)| (*table, states(at))).collect()
}

/// A lake of these commits, with a destination that is judged.
fn staged(commits: &[(String, Objects)], entries_a_range: u64) -> (Stage, Judged, MadeLake) {
    let commits: Vec<_> = commits.iter().map(|(label, objects)| (label.as_str(), objects)).collect();
    let lake = MadeLake::new(entries_a_range, &commits);
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    let judged = Judged::start(&stage);
    (stage, judged, lake)
}

fn soak(few: u64, many: u64) -> u64 {
    if std::env::var_os("MILLRACE_SOAK").is_some() { many } else { few }
}

/// Exports and checks that the destination is what the commit is, and was readable all the way.
#[track_caller]
fn arrives(stage: &Stage, label: &str, options: &[&str]) {
    stage.exported(label, &[&["--force", "--concurrency", "8"], options].concat());
    stage.server.assert_no_violations();
    assert_eq!(stage.data(), stage.expected(label), "{label}");
}

#[test]
fn a_delta_table_can_be_read_at_every_step_commit_by_commit_forward_and_back() {
    for seed in 1..=soak(2, 40) {
        let (random, mut tables, mut commits) = (&mut Random(seed), Two::default(), Vec::new());
        for number in 0..9 {
            for table in &mut tables {
                match random.below(8) {
                    0 if !table.history.is_empty() => table.checkpoint(),
                    1 => table.clean(),
                    2 => table.vacuum(),
                    _ => table.commit(random, number),
                }
            }
            commits.push((format!("c{number}"), tables.clone()));
        }
        let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
        let (stage, judged, _lake) = staged(&lake, 1 + seed % 3 * 5);
        let mut before = Two::default();
        for (label, tables) in commits.iter().chain(commits.iter().rev()) {
            judged.by(judge_tables(TABLES, readers::delta, told(&before, tables)));
            arrives(&stage, label, &["--preset", "delta"]);
            before = tables.clone();
        }
    }
}

/// Commits that follow any earlier one, as on branches that are reset.
fn delta_commits(random: &mut Random) -> Vec<(String, Two)> {
    let mut commits: Vec<(String, Two)> = Vec::new();
    for number in 0..7 {
        let parent = random.below(number + 1);
        let mut tables = commits.get(usize::try_from(parent).unwrap()).map_or_else(Two::default, |c| c.1.clone());
        for table in &mut tables {
            for more in 0..random.below(4) {
                table.commit(random, number * 10 + more);
                if random.chance(30) {
                    table.checkpoint();
                }
            }
            if random.chance(30) {
                table.clean();
            }
        }
        commits.push((format!("c{number}"), tables));
    }
    commits
}

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn a_delta_table_can_be_read_at_every_step_from_any_commit_to_any_other() {
    for seed in 101..=100 + soak(3, 60) {
        let random = &mut Random(seed);
        let commits = delta_commits(random);
        let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
        let (stage, judged, _lake) = staged(&lake, 1 + seed % 3 * 5);
        let mut before = (String::new(), Two::default());
        for step in 0..6 {
            let (label, tables) = random.pick(&commits).clone();
            println!("seed {seed}, step {step}: {} → {label}", before.0);
            judged.by(judge_tables(TABLES, readers::delta, told(&before.1, &tables)));
            let options: &[&str] = if random.chance(20) { &["--preset", "delta", "--full"] } else { &["--preset", "delta"] };
            arrives(&stage, &label, options);
            before = (label, tables);
        }
    }
}

#[test]
fn a_recorded_delta_lake_is_published_in_order() {
    let stage = Stage::s3("delta");
    for label in ["v0", "v1", "v2", "v1", "v0", "v2"] {
        stage.server.clear_log();
        stage.exported(label, &["--force", "--preset", "delta"]);
        assert_eq!(stage.data(), stage.expected(label));
        let effects = stage.effects();
        let data: Vec<_> = effects.iter().filter(|effect| effect.is_data()).collect();
        let is_log = |effect: &Effect| effect.key().contains("_delta_log/");
        let last_write = data.iter().rposition(|e| e.is_write() && !is_log(e));
        let first_log = data.iter().position(|e| is_log(e));
        assert!(last_write.zip(first_log).is_none_or(|(data, log)| data < log), "{effects:?}");
        let first_delete = data.iter().position(|e| !e.is_write() && !is_log(e));
        let last_log = data.iter().rposition(|e| is_log(e));
        assert!(first_delete.zip(last_log).is_none_or(|(delete, log)| log < delete), "{effects:?}");
    }
}

#[test]
fn a_log_entry_that_fails_stops_its_log_and_the_next_run_goes_on() {
    let (random, mut tables) = (&mut Random(7), Two::default());
    let mut commits = vec![("empty".to_owned(), tables.clone())];
    for number in 0..4 {
        for table in &mut tables {
            table.commit(random, number);
        }
    }
    commits.push(("full".to_owned(), tables.clone()));
    let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
    let (stage, judged, _lake) = staged(&lake, 5);
    judged.by(judge_tables(TABLES, readers::delta, told(&commits[0].1, &tables)));
    let (bucket, key) = stage.source_object("full", "t1/_delta_log/00000000000000000001.json");
    let lost = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    let failed = stage.export("full", &["--preset", "delta"]).expect_code(1).json();
    // 1 failed, and 2 and 3 were not tried; the other table is not to blame.
    assert_eq!(failed["failed"], 3, "{failed}");
    let errors: Vec<_> = failed["failures"].as_array().unwrap().iter().map(|f| f["error"].as_str().unwrap()).collect();
    let not_tried = "not tried, because `t1/_delta_log/00000000000000000001.json` before it failed";
    assert_eq!(errors.iter().filter(|error| **error == not_tried).count(), 2, "{errors:?}");
    stage.server.assert_no_violations();
    let there = stage.data();
    assert!(there.contains_key("a/t0/_delta_log/00000000000000000003.json"));
    assert!(!there.contains_key("t1/_delta_log/00000000000000000002.json"));
    stage.server.put_object(&bucket, &key, (*lost).clone());
    arrives(&stage, "full", &["--preset", "delta"]);
}

/// An Iceberg table: versions, of which old ones and their files expire.
fn iceberg_commits(random: &mut Random, vacuum: bool) -> Vec<(String, Objects)> {
    let mut commits: Vec<(String, Objects, u64)> = Vec::new();
    for number in 0..6 {
        let parent = usize::try_from(random.below(number + 1)).unwrap();
        let (mut tree, mut version) = commits.get(parent).map_or((Objects::new(), 0), |c| (c.1.clone(), c.2));
        for more in 0..=random.below(3) {
            version += 1;
            let files: Vec<_> = (0..2)
                .map(|n| format!("data/{number}-{more}-{n}.parquet"))
                .chain([format!("metadata/snap-{number}-{more}.avro")])
                .collect();
            tree.extend(files.iter().map(|file| (format!("db/t/{file}"), file.clone().into_bytes())));
            tree.insert(format!("db/t/metadata/v{version}.metadata.json"), serde_json::to_vec(&files).unwrap());
            if vacuum && random.chance(40) {
                let old = |key: &str| key.starts_with("db/t/") && !files.iter().any(|file| key == format!("db/t/{file}"));
                tree.retain(|key, _| !old(key) || key.ends_with(&format!("/v{version}.metadata.json")));
            }
        }
        if random.chance(80) {
            tree.insert("db/t/metadata/version-hint.text".to_owned(), version.to_string().into_bytes());
        } else {
            tree.remove("db/t/metadata/version-hint.text");
        }
        commits.push((format!("c{number}"), tree, version));
    }
    commits.into_iter().map(|(label, tree, _)| (label, tree)).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn an_iceberg_table_is_the_old_one_or_the_new_one_at_every_step() {
    for seed in 201..=200 + soak(3, 60) {
        let random = &mut Random(seed);
        let commits = iceberg_commits(random, seed % 2 == 0);
        let (stage, judged, _lake) = staged(&commits, 1 + seed % 3 * 5);
        let mut before = Tree::new();
        for step in 0..6 {
            let (label, tree) = random.pick(&commits);
            println!("seed {seed}, step {step}: {label}");
            let states = [&before, tree].map(|tree| readers::iceberg(tree, "db/t/").unwrap());
            judged.by(judge_tables(&["db/t/"], readers::iceberg, BTreeMap::from([("db/t/", BTreeSet::from(states))])));
            let report = stage.exported(label, &["--force", "--preset", "iceberg"]);
            let notes = report["notes"].as_array().map(Vec::as_slice).unwrap_or_default();
            // Whatever is there already needs no plan, and has no notes.
            let says = notes.iter().any(|note| note.as_str().unwrap().contains("absolute paths"));
            assert!(says || before == *tree, "{report}");
            stage.server.assert_no_violations();
            assert_eq!(stage.data(), *tree);
            before.clone_from(tree);
        }
    }
}

/// A site: folders with an index that leads to their pages and to the folders in them; pages that need assets.
fn site(random: &mut Random) -> Objects {
    let mut tree = Objects::new();
    let mut indexes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for folder in ["", "blog/", "blog/2026/", "docs/"] {
        if !folder.is_empty() && random.chance(25) {
            continue;
        }
        let mut links = BTreeSet::new();
        for page in 0..random.below(4) {
            let assets: Vec<_> = (0..2).map(|_| format!("assets/{}.css", random.below(12))).collect();
            tree.extend(assets.iter().map(|asset| (asset.clone(), asset.clone().into_bytes())));
            let page = format!("{folder}p{page}.html");
            tree.insert(page.clone(), serde_json::to_vec(&assets).unwrap());
            links.insert(page);
        }
        if let Some(above) =
            ["blog/", ""].into_iter().find(|above| folder != *above && folder.starts_with(above) && indexes.contains_key(above))
        {
            indexes.get_mut(above).unwrap().insert(format!("{folder}index.html"));
        }
        indexes.insert(folder, links);
    }
    tree.extend(indexes.iter().map(|(folder, links)| (format!("{folder}index.html"), serde_json::to_vec(links).unwrap())));
    tree
}

#[test]
fn a_site_has_no_dead_links_at_any_step() {
    for seed in 301..=300 + soak(2, 40) {
        let random = &mut Random(seed);
        let commits: Vec<_> = (0..5).map(|number| (format!("c{number}"), site(random))).collect();
        let (stage, judged, _lake) = staged(&commits, 1 + seed % 3 * 5);
        judged.by(readers::site);
        for (label, _) in commits.iter().chain(commits.iter().rev()) {
            arrives(&stage, label, &["--preset", "site"]);
        }
    }
}

#[test]
fn without_the_preset_a_reader_would_be_stopped() {
    let (random, mut table) = (&mut Random(3), DeltaTable::default());
    table.commit(random, 0);
    let first = two(&[table.clone(), DeltaTable::default()]);
    table.commit(random, 1);
    table.vacuum();
    let both = [table, DeltaTable::default()];
    let (stage, judged, _lake) = staged(&[("c0".to_owned(), first), ("c1".to_owned(), two(&both))], 5);
    judged.by(|tree| readers::delta(tree, TABLES[0]).map(drop));
    for label in ["c0", "c1", "c0", "c1"] {
        stage.exported(label, &["--preset", "none", "--round", "part-*", "--force"]);
    }
    assert!(!stage.server.violations().is_empty());
}

#[test]
fn rounds_of_ones_own_come_before_the_presets_last_ones() {
    let tree = objects(&[("a.csv", "1"), ("t/_delta_log/00000000000000000000.json", "{}"), ("t/x.parquet", "2"), ("z.bin", "3")]);
    let (stage, _, _lake) = staged(&[("only".to_owned(), tree)], 5);
    let report = stage.exported("only", &["--preset", "delta", "--round", "*.csv", "--round", "*.json"]);
    let rounds: Vec<_> = report["rounds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| format!("{} {} {}", r["round"], r["name"].as_str().unwrap(), r["copied"]))
        .collect();
    assert_eq!(rounds, ["1 data 2", "2 *.csv 1", "3 *.json 0", "4 take back 0", "5 log 1", "6 pointers 0", "7 deletes 0"]);
    assert_eq!(data_only(stage.tree()), stage.expected("only"));
}
