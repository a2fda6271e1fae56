//! Which lake and which commit is meant: a reference is resolved once, here.

use std::sync::Arc;

use engine::Source;
use planner::source::{Commit, CommitSource, LakeUrl, RefExpression};
use planner::{Error, ErrorKind, Result, Stores};
use worker::Registry;

use crate::args::{SelectionArgs, SparkArgs};

/// A lake that was opened.
#[derive(Debug, Clone)]
pub(crate) struct Lake {
    /// As it was typed, taken apart.
    pub(crate) url: LakeUrl,
    /// Who knows its commits.
    pub(crate) commits: Arc<dyn CommitSource>,
}

/// A lake at one commit.
#[derive(Debug, Clone)]
pub(crate) struct LakeAt {
    /// The lake.
    pub(crate) lake: Lake,
    /// The commit that was named.
    pub(crate) commit: Commit,
}

impl Lake {
    /// Opens the lake of `url`.
    pub(crate) async fn open(registry: &Arc<Registry>, url: LakeUrl) -> Result<Self> {
        let stores = Arc::clone(registry) as Arc<dyn Stores>;
        let commits = planner::source::open(&url, stores, &|name| std::env::var(name).ok()).await?;
        Ok(Self { url, commits })
    }

    /// Opens the lake of `url` at the commit that it names. A URL that names none is told before a server is asked.
    async fn open_at(registry: &Arc<Registry>, url: LakeUrl) -> Result<LakeAt> {
        let reference = url.require_reference()?.to_owned();
        let lake = Self::open(registry, url).await?;
        let commit = lake.commits.resolve(&reference).await?;
        Ok(LakeAt { lake, commit })
    }

    /// The URL names a branch, which may be moved back: not a tag, not a commit's id, not a step away from a branch.
    async fn names_branch(&self) -> Result<bool> {
        let Some(text) = self.url.reference().filter(|_| self.url.metarange().is_none()) else { return Ok(false) };
        let expression = RefExpression::parse(text)?;
        if expression.needs_branch() {
            return Ok(true);
        }
        let is_id = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_id || !expression.modifiers.is_empty() {
            return Ok(false);
        }
        // `NAME@` is known of branches alone, and costs one request where a list of all branches may cost many.
        match self.commits.resolve(&format!("{text}@")).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Usage => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Opens a lake at the commit that `text` names.
pub(crate) async fn lake_at(registry: &Arc<Registry>, text: &str) -> Result<LakeAt> {
    Lake::open_at(registry, LakeUrl::parse(text)?).await
}

/// What `export` and `plan` compare.
#[derive(Debug)]
pub(crate) struct Compared {
    /// What is exported.
    pub(crate) source: Source,
    /// `--from`, resolved in the same lake.
    pub(crate) from: Option<Commit>,
    /// Everything is copied again.
    pub(crate) full: bool,
}

/// Resolves SOURCE and `--from`, in our own words or in the Spark exporter's.
pub(crate) async fn compared(registry: &Arc<Registry>, words: &Words) -> Result<Compared> {
    let LakeAt { lake, commit } = Lake::open_at(registry, words.url.clone()).await?;
    let from = match &words.from {
        Some(from) => Some(lake.commits.resolve(from).await.map_err(|e| e.context("the base of the export"))?),
        None => None,
    };
    let branch = lake.names_branch().await?;
    let source = Source { text: words.url.to_string(), lake: lake.commits, commit, branch, prefix: lake.url.prefix().to_owned() };
    Ok(Compared { source, from, full: words.full })
}

/// What was said of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// Lake, reference, prefix.
    pub(crate) url: LakeUrl,
    /// The base.
    pub(crate) from: Option<String>,
    /// Everything is copied again.
    pub(crate) full: bool,
}

impl Words {
    /// Our own words.
    pub(crate) fn own(source: &str, selection: &SelectionArgs) -> Result<Self> {
        Ok(Self { url: LakeUrl::parse(source)?, from: selection.from.clone(), full: selection.full })
    }

    /// Our own words, or the Spark exporter's: SOURCE is a repository, and without a previous commit everything is copied.
    pub(crate) fn with_spark(source: &str, selection: &SelectionArgs, spark: &SparkArgs) -> Result<Self> {
        let (option, reference) = match (&spark.branch, &spark.commit_id) {
            (Some(branch), _) => ("--branch", branch),
            (None, Some(commit)) => ("--commit-id", commit),
            (None, None) => return Self::own(source, selection).map_err(|e| bare_repository(source, e)),
        };
        let is_bare = !source.contains("://") && !source.contains('/');
        let url = if is_bare { LakeUrl::parse(&format!("lakefs://{source}"))? } else { LakeUrl::parse(source)? };
        if let Some(named) = url.reference() {
            return Err(Error::usage(format!("`{source}` names `{named}`, and {option} names `{reference}`"))
                .with_help(format!("leave {option} away, or the reference in SOURCE")));
        }
        let from = spark.prev_commit_id.clone();
        Ok(Self { url: url.with_ref(reference.as_str()), full: from.is_none(), from })
    }
}

/// A bare name is a repository only in the Spark exporter's words.
fn bare_repository(source: &str, error: Error) -> Error {
    if source.contains("://") || source.contains('/') {
        return error;
    }
    Error::usage(error.message())
        .with_help(format!("for a repository write lakefs://{source}/REF, or {source} with --branch or --commit-id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spark(branch: Option<&str>, commit: Option<&str>, previous: Option<&str>) -> SparkArgs {
        let own = |t: Option<&str>| t.map(str::to_owned);
        SparkArgs { branch: own(branch), commit_id: own(commit), prev_commit_id: own(previous) }
    }

    #[test]
    fn the_spark_exporters_words_name_a_repository_and_a_commit() {
        let selection = SelectionArgs::default();
        let words = |source, args: &SparkArgs| Words::with_spark(source, &selection, args).unwrap();
        for source in ["orders", "lakefs://orders", "lakefs://orders/"] {
            let got = words(source, &spark(Some("main"), None, None));
            assert_eq!((got.url.to_string().as_str(), got.from, got.full), ("lakefs://orders/main", None, true), "{source}");
        }
        let got = words("orders", &spark(Some("main"), None, Some("abc")));
        assert_eq!((got.from.as_deref(), got.full), (Some("abc"), false));
        let got = words("lake+file:///srv/lake", &spark(None, Some("c0ff"), None));
        assert_eq!(got.url.to_string(), "lake+file:///srv/lake?ref=c0ff");
    }

    #[test]
    fn two_references_are_one_too_many() {
        let error =
            Words::with_spark("lakefs://orders/main", &SelectionArgs::default(), &spark(Some("dev"), None, None)).unwrap_err();
        assert_eq!(error.message(), "`lakefs://orders/main` names `main`, and --branch names `dev`");
    }

    #[test]
    fn a_bare_name_is_explained() {
        let error = Words::with_spark("orders", &SelectionArgs::default(), &SparkArgs::default()).unwrap_err();
        assert!(error.help().unwrap().contains("lakefs://orders/REF"), "{:?}", error.help());
    }

    #[test]
    fn our_own_words_pass_through() {
        let selection = SelectionArgs { from: Some("v1".into()), ..SelectionArgs::default() };
        let got = Words::with_spark("lakefs://orders/main/tables/", &selection, &SparkArgs::default()).unwrap();
        assert_eq!((got.url.prefix(), got.from.as_deref(), got.full), ("tables/", Some("v1"), false));
    }
}
