//! `lake`: lakes without a server.

mod commit;
mod init;
mod merge;
mod refs;

use engine::lake::CommitWords;
use planner::source::{LakePlace, LakeUrl, RefKind};
use planner::{Error, Location, Result};

use super::Context;
use crate::args::{LakeArgs, LakeCommand, WordsArgs};
use crate::failure::Outcome;

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &LakeArgs) -> Outcome {
    match &args.command {
        LakeCommand::Init(args) => init::run(context, args).await,
        LakeCommand::Commit(args) => commit::run(context, args).await,
        LakeCommand::Branch(args) => refs::run(context, RefKind::Branch, args).await,
        LakeCommand::Tag(args) => refs::run(context, RefKind::Tag, args).await,
        LakeCommand::Merge(args) => merge::run(context, args).await,
    }
}

/// A lake that is to be written: where it is, and what the URL says beside that.
fn writable(text: &str) -> Result<(Location, LakeUrl)> {
    let url = LakeUrl::parse(text)?;
    let LakePlace::Namespace(location) = url.place() else {
        return Err(Error::usage(format!("`{text}` is a repository of a lakeFS server, which alone writes to it"))
            .with_help("use lakectl, or name a lake without a server: lake+s3://BUCKET/PREFIX or lake+file:///FOLDER"));
    };
    if url.dump().is_some() || url.metarange().is_some() {
        return Err(Error::usage(format!("`{text}`: a lake is written by its own refs, not by a dump or a metarange"))
            .with_help("leave dump=FILE and metarange=ID away"));
    }
    Ok((location.clone(), url))
}

/// A part of the lake means nothing here.
fn whole(text: &str, url: &LakeUrl) -> Result<()> {
    if url.prefix().is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!("`{text}` names a part of the lake")).with_help("leave prefix=PREFIX away"))
}

/// What is said of a new commit.
fn words(args: &WordsArgs, message: Option<&str>) -> Result<CommitWords> {
    let mut words = CommitWords { message: message.map(str::to_owned), committer: committer(args), ..CommitWords::default() };
    for (key, value) in &args.metadata {
        if words.metadata.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::usage(format!("--meta says `{key}` twice")).with_help("keep one of the two"));
        }
    }
    Ok(words)
}

/// Who commits: the option, else the user of this machine.
fn committer(args: &WordsArgs) -> String {
    let user = || ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    args.committer.clone().or_else(user).unwrap_or_else(|| "millrace".to_owned())
}
