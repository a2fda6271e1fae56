//! Names of branches and tags: what lakeFS accepts, so that a server can restore the lake.

use graveler::{Refs, is_id};
use planner::source::RefKind;
use planner::{Error, Result};

/// Fails unless lakeFS would accept the name.
pub(super) fn check(kind: RefKind, name: &str) -> Result<()> {
    match kind {
        RefKind::Branch => check_branch(name),
        RefKind::Tag => check_tag(name),
    }
}

/// Fails when a branch or a tag has that name, or when it would hide a commit.
pub(super) fn check_free(refs: &Refs, kind: RefKind, name: &str) -> Result<()> {
    let taken = [(&refs.branches, "branch"), (&refs.tags, "tag")].into_iter().find(|(names, _)| names.contains_key(name));
    if let Some((_, taken)) = taken {
        return Err(Error::usage(format!("there is a {taken} `{name}` already"))
            .with_help(format!("choose another name for the {}; `millrace refs` lists those that are taken", word(kind))));
    }
    if is_id(name) {
        return Err(Error::usage(format!("`{name}` looks like the id of a commit")).with_help("choose another name"));
    }
    Ok(())
}

/// What a kind is called.
pub(super) fn word(kind: RefKind) -> &'static str {
    match kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
    }
}

fn check_branch(name: &str) -> Result<()> {
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.starts_with(of_word) && name.chars().all(|c| of_word(c) || c == '-');
    if good {
        return Ok(());
    }
    Err(Error::usage(format!("`{name}` is no name for a branch"))
        .with_help("use letters, digits, `_` and `-`, and no `-` at the beginning"))
}

/// The rules of git's references, but for `/`, which is not allowed, and `~`, which is.
fn check_tag(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name == "@" || name.contains("@{") {
        "`@` alone and `@{` have a meaning of their own"
    } else if name.rsplit_once('.').is_some_and(|(_, end)| end.is_empty() || end == "lock") {
        "it ends in `.` or `.lock`"
    } else if name.contains("..") {
        "it holds `..`"
    } else if name.contains(['/', '^', ':', '?', '*', '[', '\\']) {
        "it holds one of / ^ : ? * [ \\"
    } else if name.chars().any(|c| c <= ' ') {
        "it holds a blank or a control character"
    } else if name.contains(['~', '@', '$']) {
        // lakeFS takes these, and then cannot find the tag: they end a name in an expression.
        "it holds one of ~ @ $, which end a name in `main~1`"
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("`{}` is no name for a tag: {why}", name.escape_debug())).with_help("such as v1.2 or 2026-11-20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_server_takes() {
        for name in ["main", "a-b", "_x", "9", "A_1-"] {
            assert!(check(RefKind::Branch, name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a/b", "a.b", "é", "a b", "main~1"] {
            let error = check(RefKind::Branch, name).unwrap_err();
            assert_eq!(error.kind(), planner::ErrorKind::Usage, "{name}");
        }
        for name in ["v1.2", "-x", "é", "a,b", "2026-11-20"] {
            assert!(check(RefKind::Tag, name).is_ok(), "{name}");
        }
        for name in ["", "@", "a@{1}", "a.", "a.lock", "a..b", "a/b", "a:b", "a b", "a\tb", "v1~", "v@1", "a$"] {
            assert!(check(RefKind::Tag, name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let id = "a".repeat(64);
        let mut refs = Refs::default();
        refs.branches.insert("dev".to_owned(), id.clone());
        refs.tags.insert("v1".to_owned(), id.clone());
        for (kind, name) in [(RefKind::Branch, "dev"), (RefKind::Branch, "v1"), (RefKind::Tag, "dev"), (RefKind::Tag, &*id)] {
            assert!(check_free(&refs, kind, name).is_err(), "{name}");
        }
        assert!(check_free(&refs, RefKind::Tag, "v2").is_ok());
    }
}
