//! `sql`: questions to lakes, plans and destinations.
//!
//! Tables are called by what they are (`objects('REF')`, `diff('A','B')`, `plan`, `receipts`, `runs`), and with `NAME=URL`
//! by name and kind (`NAME_plan`). Nothing can be written.

mod answer;
mod tables;

use std::io::Write as _;

use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{SessionConfig, SessionContext};
use planner::{Error, Result};

use super::Context;
use crate::args::SqlArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output;

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &SqlArgs) -> Outcome {
    let (query, sources) = split(&args.words)?;
    let session = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true));
    tables::register(&session, &context.registry(None).await?, &sources).await?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = session.sql_with_options(query, options).await?;
    let mut out = output::stdout();
    let rows = frame.execute_stream().await?;
    if context.out.is_json() {
        answer::lines(&mut out, rows).await?;
    } else {
        answer::table(&mut out, rows).await?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}

/// One lake, plan or destination, and the name it was given.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    name: Option<&'a str>,
    url: &'a str,
}

/// The query is the last word; the others are sources.
fn split(words: &[String]) -> Result<(&str, Vec<Named<'_>>)> {
    let Some((query, sources)) = words.split_last() else {
        return Err(Error::usage("there is no query").with_help("write millrace sql LAKE 'SELECT …'"));
    };
    let looks_like_a_source =
        planner::source::LakeUrl::is_lake(query) || query.contains("://") && !query.contains(char::is_whitespace);
    if looks_like_a_source {
        return Err(
            Error::usage(format!("the query comes last, and `{query}` is none")).with_help("write millrace sql LAKE 'SELECT …'")
        );
    }
    let named: Vec<_> = sources.iter().map(|word| named(word)).collect();
    for (i, one) in named.iter().enumerate() {
        if let Some(name) = one.name.filter(|_| named[..i].iter().any(|other| other.name == one.name)) {
            return Err(Error::usage(format!("two sources are called `{name}`")).with_help("give each its own NAME=URL"));
        }
    }
    Ok((query, named))
}

/// `NAME=URL`; an equals sign that does not follow a plain word belongs to the URL.
fn named(word: &str) -> Named<'_> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match word.split_once('=') {
        Some((name, url)) if is_name(name) => Named { name: Some(name), url },
        _ => Named { name: None, url: word },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn the_query_comes_last_and_sources_may_have_names() {
        let given = words(&["a=lakefs://r/main", "lake+file:///x?ref=main", "./plan", "SELECT 1"]);
        let (query, sources) = split(&given).unwrap();
        assert_eq!(query, "SELECT 1");
        assert_eq!(
            sources,
            [
                Named { name: Some("a"), url: "lakefs://r/main" },
                Named { name: None, url: "lake+file:///x?ref=main" },
                Named { name: None, url: "./plan" }
            ]
        );
    }

    #[test]
    fn a_query_that_is_none_is_refused() {
        for bad in [&["lakefs://r/main"][..], &["SELECT 1", "s3://b/x"], &["a=x", "a=y", "SELECT 1"]] {
            assert_eq!(split(&words(bad)).unwrap_err().kind(), planner::ErrorKind::Usage, "{bad:?}");
        }
    }
}
