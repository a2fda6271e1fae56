//! The built-in orders.

use std::sync::Arc;

use super::order::{Deletes, LastRound, LogKind, LogPlace, PublishOrder, RoundOrder};
use crate::view::Preset;

/// The order of a preset; `None` for one of somebody's own.
pub(super) fn built_in(preset: &Preset) -> Option<Arc<dyn PublishOrder>> {
    Some(match preset {
        Preset::Spark => Arc::new(Spark),
        Preset::Delta => Arc::new(Delta),
        Preset::Iceberg => Arc::new(Iceberg),
        Preset::Hudi => Arc::new(Hudi),
        Preset::Site => Arc::new(Site),
        Preset::None => Arc::new(Plain),
        Preset::Own(_) => return None,
    })
}

/// The folder of a key with its slash, and its name.
fn split(key: &str) -> (&str, &str) {
    key.split_at(key.rfind('/').map_or(0, |at| at + 1))
}

/// `folder` is called `name`, or ends in a folder of that name.
fn is_called(folder: &str, name: &str) -> bool {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    folder == name || folder.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'))
}

/// The digits that `text` begins with.
fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

/// A number as text that is compared byte by byte.
fn padded(number: &str) -> String {
    format!("{:0>20}", number.trim_start_matches('0'))
}

/// `_SUCCESS` markers: retracted before, written after what they cover.
#[derive(Debug)]
struct Spark;

impl PublishOrder for Spark {
    fn name(&self) -> &'static str {
        "spark"
    }

    fn last_rounds(&self) -> Vec<LastRound> {
        vec![LastRound::new("markers", RoundOrder::InnermostFirst)]
    }

    fn round_of(&self, key: &str) -> Option<usize> {
        super::is_marker(key).then_some(0)
    }

    fn deletes(&self) -> Deletes {
        Deletes::InTheirRound
    }

    fn markers(&self) -> bool {
        true
    }
}

/// Everything is data.
#[derive(Debug)]
struct Plain;

impl PublishOrder for Plain {
    fn name(&self) -> &'static str {
        "none"
    }

    fn last_rounds(&self) -> Vec<LastRound> {
        Vec::new()
    }

    fn round_of(&self, _: &str) -> Option<usize> {
        None
    }

    fn deletes(&self) -> Deletes {
        Deletes::InTheirRound
    }
}

/// Delta Lake: commits `_delta_log/<20 digits>.json`, and what belongs to a version (`.crc`, `.checkpoint…`,
/// `<from>.<to>.compacted.json`) after it; `_last_checkpoint` points to a checkpoint. Side cars of checkpoints, change data
/// and deletion vectors are data.
#[derive(Debug)]
struct Delta;

impl Delta {
    const LOG: usize = 0;
    const POINTERS: usize = 1;
    const POINTER: &str = "_last_checkpoint";
    const DIGITS: usize = 20;
}

impl PublishOrder for Delta {
    fn name(&self) -> &'static str {
        "delta"
    }

    fn last_rounds(&self) -> Vec<LastRound> {
        vec![LastRound::new("log", RoundOrder::Log(LogKind::Chain)), LastRound::new("pointers", RoundOrder::Any)]
    }

    fn round_of(&self, key: &str) -> Option<usize> {
        let (folder, name) = split(key);
        if !is_called(folder, "_delta_log") {
            return None;
        }
        if name == Self::POINTER {
            return Some(Self::POINTERS);
        }
        self.log_place(key).map(|_| Self::LOG)
    }

    fn deletes(&self) -> Deletes {
        Deletes::Last
    }

    fn log_place(&self, key: &str) -> Option<LogPlace> {
        let name = split(key).1;
        let version = digits(name);
        let rest = name[version.len()..].strip_prefix('.').filter(|_| version.len() == Self::DIGITS)?;
        // A compacted log belongs to the last version that it holds.
        let compacted = rest.strip_suffix(".compacted.json").filter(|to| to.len() == Self::DIGITS && digits(to) == *to);
        if let Some(to) = compacted {
            return Some(LogPlace { version: to.to_owned(), rank: 1, whole: false });
        }
        let whole = rest.starts_with("checkpoint.");
        let rank = if rest == "json" { 0 } else { 1 + u8::from(whole) };
        Some(LogPlace { version: version.to_owned(), rank, whole })
    }

    fn pointer_of(&self, folder: &str) -> Option<String> {
        is_called(folder, "_delta_log").then(|| format!("{folder}{}", Self::POINTER))
    }
}

/// Apache Iceberg: `metadata/v<N>.metadata.json` or `metadata/<N>-<uuid>.metadata.json`; `version-hint.text` points to one.
/// Manifests and their lists are data.
#[derive(Debug)]
struct Iceberg;

impl Iceberg {
    const POINTER: &str = "version-hint.text";
}

impl PublishOrder for Iceberg {
    fn name(&self) -> &'static str {
        "iceberg"
    }

    fn last_rounds(&self) -> Vec<LastRound> {
        vec![LastRound::new("metadata", RoundOrder::Log(LogKind::Snapshots)), LastRound::new("pointers", RoundOrder::Any)]
    }

    fn round_of(&self, key: &str) -> Option<usize> {
        let (folder, name) = split(key);
        if !is_called(folder, "metadata") {
            return None;
        }
        let is_metadata = name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz");
        let is_pointer = name == Self::POINTER;
        (is_metadata || is_pointer).then_some(usize::from(is_pointer))
    }

    fn deletes(&self) -> Deletes {
        Deletes::Last
    }

    fn log_place(&self, key: &str) -> Option<LogPlace> {
        let name = split(key).1;
        let number = digits(name.strip_prefix('v').unwrap_or(name));
        Some(LogPlace { version: padded(number), rank: 0, whole: true })
    }

    fn pointer_of(&self, folder: &str) -> Option<String> {
        is_called(folder, "metadata").then(|| format!("{folder}{}", Self::POINTER))
    }

    fn note(&self) -> Option<String> {
        let note = "Iceberg's metadata holds absolute paths: readers find the files only where a catalog or the reader's own \
                    settings lead the old location to this one";
        Some(note.to_owned())
    }
}

/// Apache Hudi: instants of the timeline (`.hoodie/`, or `.hoodie/timeline/` since 1.0) by their time, requested and inflight
/// before completed; those of the metadata table (`.hoodie/metadata/.hoodie/`) before the table's own;
/// `hoodie.properties` last, without which there is no table. What is archived is data.
#[derive(Debug)]
struct Hudi;

impl PublishOrder for Hudi {
    fn name(&self) -> &'static str {
        "hudi"
    }

    fn last_rounds(&self) -> Vec<LastRound> {
        vec![
            LastRound::new("metadata timeline", RoundOrder::Log(LogKind::Chain)),
            LastRound::new("timeline", RoundOrder::Log(LogKind::Chain)),
            LastRound::new("properties", RoundOrder::Any),
        ]
    }

    fn round_of(&self, key: &str) -> Option<usize> {
        let (folder, name) = split(key);
        let timeline = folder.strip_suffix("timeline/").unwrap_or(folder);
        if !is_called(timeline, ".hoodie") {
            return None;
        }
        if name == "hoodie.properties" {
            return Some(2);
        }
        self.log_place(key)?;
        let table = timeline.strip_suffix(".hoodie/").unwrap_or_default();
        Some(usize::from(!table.ends_with(".hoodie/metadata/")))
    }

    fn deletes(&self) -> Deletes {
        Deletes::Last
    }

    fn log_place(&self, key: &str) -> Option<LogPlace> {
        /// Instants are times down to the second at least.
        const SHORTEST: usize = 14;
        let name = split(key).1;
        let time = digits(name);
        let rest = &name[time.len()..];
        // Since 1.0 the time of completion follows: `<requested>_<completed>.commit`.
        let rest = rest.strip_prefix('_').map_or(rest, |completed| &completed[digits(completed).len()..]);
        let state = rest.strip_prefix('.').filter(|_| time.len() >= SHORTEST)?;
        let rank = if state.ends_with("requested") { 0 } else { 1 + u8::from(!state.ends_with("inflight")) };
        Some(LogPlace { version: time.to_owned(), rank, whole: false })
    }
}

/// A web site: what pages need, then pages, then what leads to them from the innermost folder outwards.
#[derive(Debug)]
struct Site;

impl PublishOrder for Site {
    fn name(&self) -> &'static str {
        "site"
    }

    fn last_rounds(&self) -> Vec<LastRound> {
        vec![LastRound::new("pages", RoundOrder::Any), LastRound::new("index", RoundOrder::InnermostFirst)]
    }

    fn round_of(&self, key: &str) -> Option<usize> {
        let name = split(key).1;
        let (stem, kind) = name.rsplit_once('.')?;
        let is_page = ["html", "htm", "xhtml"].iter().any(|page| kind.eq_ignore_ascii_case(page));
        let is_list = stem.starts_with("sitemap") && matches!(kind, "xml" | "txt" | "gz");
        let is_feed = matches!(name, "feed.xml" | "rss.xml" | "atom.xml" | "index.xml");
        if is_list || is_feed || (is_page && stem == "index") {
            return Some(1);
        }
        is_page.then_some(0)
    }

    fn deletes(&self) -> Deletes {
        Deletes::Last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(preset: &Preset) -> Arc<dyn PublishOrder> {
        built_in(preset).unwrap()
    }

    /// The names of the rounds of keys.
    fn rounds(preset: &Preset, keys: &[&str]) -> Vec<String> {
        let order = of(preset);
        let rounds = order.last_rounds();
        keys.iter().map(|key| order.round_of(key).map_or_else(|| "data".to_owned(), |at| rounds[at].name.clone())).collect()
    }

    /// Keys by their place in the log.
    fn sorted(preset: &Preset, keys: &[&str]) -> Vec<String> {
        let order = of(preset);
        let place = |key: &str| order.log_place(key).map(|p| (p.version, p.rank)).unwrap();
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort_by_key(|key| place(key));
        keys
    }

    #[test]
    fn every_preset_has_its_own_name() {
        for preset in [Preset::Spark, Preset::Delta, Preset::Iceberg, Preset::Hudi, Preset::Site, Preset::None] {
            assert_eq!(serde_json::to_value(&preset).unwrap(), of(&preset).name());
        }
    }

    #[test]
    fn of_a_delta_table_the_log_comes_after_the_data_and_the_pointer_after_the_log() {
        let keys = [
            "t/part-0.parquet",
            "t/_delta_log/00000000000000000001.json",
            "_delta_log/00000000000000000010.checkpoint.parquet",
            "t/_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet",
            "t/_delta_log/00000000000000000001.crc",
            "t/_delta_log/_last_checkpoint",
            "t/_delta_log/_sidecars/x.parquet",
            "t/_delta_log/7.json",
            "x_delta_log/00000000000000000001.json",
            "t/_delta_log/_staged_commits/00000000000000000001.x.json",
        ];
        let expected = ["data", "log", "log", "log", "log", "pointers", "data", "data", "data", "data"];
        assert_eq!(rounds(&Preset::Delta, &keys), expected);
        assert_eq!(of(&Preset::Delta).pointer_of("a/_delta_log/").unwrap(), "a/_delta_log/_last_checkpoint");
        let log = [
            "00000000000000000000.json",
            "00000000000000000001.json",
            "00000000000000000000.00000000000000000001.compacted.json",
            "00000000000000000001.checkpoint.parquet",
            "00000000000000000002.json",
        ];
        let mut shuffled = log;
        shuffled.reverse();
        assert_eq!(sorted(&Preset::Delta, &shuffled), log);
    }

    #[test]
    fn of_an_iceberg_table_metadata_comes_after_manifests_and_is_ordered_by_number() {
        let keys = [
            "db/t/metadata/snap-1.avro",
            "db/t/metadata/v2.metadata.json",
            "db/t/metadata/00010-ab.metadata.json",
            "metadata/v3.gz.metadata.json",
            "db/t/metadata/version-hint.text",
            "db/t/data/v2.metadata.json",
        ];
        let expected = ["data", "metadata", "metadata", "metadata", "pointers", "data"];
        assert_eq!(rounds(&Preset::Iceberg, &keys), expected);
        assert_eq!(
            sorted(&Preset::Iceberg, &["metadata/v10.metadata.json", "metadata/v9.metadata.json"])[0],
            "metadata/v9.metadata.json"
        );
    }

    #[test]
    fn of_a_hudi_table_the_metadata_table_comes_first_and_the_properties_last() {
        let keys = [
            "t/2026/a_0_20260101000000000.parquet",
            "t/.hoodie/20260101000000000.commit",
            "t/.hoodie/20260101000000000.commit.requested",
            "t/.hoodie/timeline/20260101000000000_20260101000001000.commit",
            "t/.hoodie/timeline/history/_version_",
            "t/.hoodie/metadata/.hoodie/20260101000000000.deltacommit",
            "t/.hoodie/metadata/.hoodie/hoodie.properties",
            "t/.hoodie/metadata/files/x.hfile",
            "t/.hoodie/archived/x",
            "t/.hoodie/hoodie.properties",
        ];
        let expected =
            ["data", "timeline", "timeline", "timeline", "data", "metadata timeline", "properties", "data", "data", "properties"];
        assert_eq!(rounds(&Preset::Hudi, &keys), expected);
        let instants = [
            "20260101000000000.commit.requested",
            "20260101000000000.inflight",
            "20260101000000000.commit",
            "20260102000000000.clean.requested",
            "20260102000000000_20260102000005000.clean",
        ];
        let mut shuffled = instants;
        shuffled.reverse();
        assert_eq!(sorted(&Preset::Hudi, &shuffled), instants);
    }

    #[test]
    fn of_a_site_what_leads_to_pages_comes_last() {
        let keys = ["a.css", "about.html", "blog/INDEX.HTML", "blog/index.html", "sitemap.xml", "sitemap-1.xml.gz", "feed.xml"];
        assert_eq!(rounds(&Preset::Site, &keys), ["data", "pages", "pages", "index", "index", "index", "index"]);
    }
}
