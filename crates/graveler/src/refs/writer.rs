//! Writing a refs dump: what a server restores a repository from, and what is read without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::{Entity, RefsManifest};
use crate::encode;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::commit_id;
use crate::metarange_writer::{MetarangeWriter, WriteOptions};
use crate::proto::{BranchData, CommitData, TagData};
use crate::sink::MetadataSink;

/// The refs of a repository, to be dumped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// The commit at the head of each branch, by the branch's name.
    pub branches: BTreeMap<String, String>,
    /// The commit of each tag, by the tag's name.
    pub tags: BTreeMap<String, String>,
    /// All commits, by id.
    pub commits: BTreeMap<String, CommitData>,
}

/// Stores a dump's ranges and metaranges and gives its manifest, which is not stored: that is the
/// moment at which the dump counts ([`MetadataSink::put_refs_manifest`]).
///
/// Fails with [`ErrorKind::InvalidInput`] when a commit's id is not that of its content, or when a
/// branch, tag or parent names a commit that is not among them: a server would refuse to restore it.
pub async fn write_refs(sink: &Arc<dyn MetadataSink>, options: WriteOptions, refs: &Refs) -> Result<RefsManifest> {
    check(refs)?;
    let commits = refs.commits.iter().map(|(id, commit)| {
        let mut data = Vec::new();
        encode::commit(commit, &mut data);
        (&**id, &**id, data)
    });
    let branches = refs.branches.iter().map(|(name, head)| {
        let branch = BranchData { id: name.clone(), commit_id: head.clone(), ..BranchData::default() };
        (&**name, &**head, branch.encode_to_vec())
    });
    let tags = refs.tags.iter().map(|(name, commit)| {
        let tag = TagData { id: name.clone(), commit_id: commit.clone() };
        (&**name, &**commit, tag.encode_to_vec())
    });
    Ok(RefsManifest {
        commits_meta_range_id: write_list(sink, options, Entity::Commit, commits).await?,
        tags_meta_range_id: write_list(sink, options, Entity::Tag, tags).await?,
        branches_meta_range_id: write_list(sink, options, Entity::Branch, branches).await?,
    })
}

/// Writes one list: its names, what each is compared by, and its data.
async fn write_list<'a>(
    sink: &Arc<dyn MetadataSink>,
    options: WriteOptions,
    entity: Entity,
    records: impl Iterator<Item = (&'a str, &'a str, Vec<u8>)> + Send,
) -> Result<String> {
    let mut writer = MetarangeWriter::of(Arc::clone(sink), options, Some(entity));
    for (name, identity, data) in records {
        writer.add(name.as_bytes(), identity.as_bytes(), &data).await?;
    }
    Ok(writer.finish().await?.metarange.id().to_owned())
}

fn check(refs: &Refs) -> Result<()> {
    for (id, commit) in &refs.commits {
        let found = commit_id(commit);
        if found != *id || found != commit.id {
            return Err(invalid(format!("expected commit {id}, found the content of commit {found}")));
        }
        for parent in &commit.parents {
            known(refs, parent, || format!("parent of commit {id}"))?;
        }
    }
    for (name, head) in &refs.branches {
        known(refs, head, || format!("head of branch `{name}`"))?;
    }
    for (name, commit) in &refs.tags {
        known(refs, commit, || format!("commit of tag `{name}`"))?;
    }
    Ok(())
}

fn known(refs: &Refs, commit: &str, what: impl FnOnce() -> String) -> Result<()> {
    if refs.commits.contains_key(commit) {
        return Ok(());
    }
    Err(invalid(format!("expected the {} among the commits, found no commit {commit}", what())))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "(refs dump)", message)
}
