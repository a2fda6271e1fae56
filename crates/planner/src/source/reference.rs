//! Reference expressions: a base and what is done to it.
//!
//! ```text
//! main~3^2       base `main`, three first parents back, then the second parent
//! main@          the committed head of a branch
//! ```
//! The base ends at the first of `~ ^ @ $`. Nothing is looked up here: this is a function of the text alone.

use std::fmt;

use crate::error::{Error, Result};

/// Steps back that `~n` may ask for: more than any history has, few enough that a typing error ends soon.
pub(super) const MAX_STEPS: u32 = 1_000_000;

/// One step from a commit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modifier {
    /// `~n`: `n` first parents back.
    Ancestor(u32),
    /// `^n`: the `n`-th parent, counted from 1; `^0` is the commit itself.
    Parent(u32),
    /// `@`: the committed head of a branch.
    Committed,
}

/// A reference expression, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefExpression {
    /// A branch, a tag, a commit's id or the beginning of one.
    pub base: String,
    /// What is done to it, in order.
    pub modifiers: Vec<Modifier>,
}

impl RefExpression {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for what is no expression, and for `$`, which means uncommitted data.
    pub fn parse(text: &str) -> Result<Self> {
        let end = text.find(is_modifier).unwrap_or(text.len());
        let (base, mut rest) = text.split_at(end);
        if base.is_empty() {
            return Err(wrong(text, "it names no branch, tag or commit"));
        }
        let mut modifiers = Vec::new();
        while let Some(sign) = rest.chars().next() {
            let body = &rest[sign.len_utf8()..];
            let number = &body[..body.find(is_modifier).unwrap_or(body.len())];
            modifiers.push(modifier(text, sign, number)?);
            rest = &body[number.len()..];
        }
        if modifiers.len() > 1 && modifiers.contains(&Modifier::Committed) {
            return Err(wrong(text, "`@` cannot be combined with `~`, `^` or another `@`"));
        }
        Ok(Self { base: base.to_owned(), modifiers })
    }

    /// `@` was said, so the base must be a branch.
    #[must_use]
    pub fn needs_branch(&self) -> bool {
        self.modifiers == [Modifier::Committed]
    }
}

impl fmt::Display for RefExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)?;
        self.modifiers.iter().try_for_each(|modifier| match modifier {
            Modifier::Ancestor(n) => write!(f, "~{n}"),
            Modifier::Parent(n) => write!(f, "^{n}"),
            Modifier::Committed => f.write_str("@"),
        })
    }
}

fn is_modifier(c: char) -> bool {
    matches!(c, '~' | '^' | '@' | '$')
}

fn modifier(text: &str, sign: char, number: &str) -> Result<Modifier> {
    match sign {
        '$' => Err(Error::usage(format!("`{text}` asks for uncommitted data, which is never read"))
            .with_help("commit first, and name the branch without `$`")),
        '@' if number.is_empty() => Ok(Modifier::Committed),
        '@' => Err(wrong(text, &format!("nothing may follow `@`, and here `{number}` does"))),
        '~' => Ok(Modifier::Ancestor(count(text, sign, number)?)),
        _ => Ok(Modifier::Parent(count(text, sign, number)?)),
    }
}

fn count(text: &str, sign: char, number: &str) -> Result<u32> {
    if number.is_empty() {
        return Ok(1);
    }
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let count = number.parse().ok().filter(|n| digits && *n <= MAX_STEPS);
    count.ok_or_else(|| wrong(text, &format!("`{number}` after `{sign}` is no number up to {MAX_STEPS}")))
}

fn wrong(text: &str, why: &str) -> Error {
    Error::usage(format!("`{text}` is no reference: {why}")).with_help(
        "write a branch, a tag or a commit, if need be with `~N` (N first parents back), `^N` (the N-th parent) or `@`",
    )
}

#[cfg(test)]
mod tests {
    use super::Modifier::{Ancestor, Committed, Parent};
    use super::*;

    #[test]
    fn expressions_fall_into_a_base_and_its_modifiers() {
        let table: &[(&str, &str, &[Modifier])] = &[
            ("main", "main", &[]),
            ("main^", "main", &[Parent(1)]),
            ("main~", "main", &[Ancestor(1)]),
            ("main@", "main", &[Committed]),
            ("main^^", "main", &[Parent(1), Parent(1)]),
            ("main^2^", "main", &[Parent(2), Parent(1)]),
            ("main^0", "main", &[Parent(0)]),
            ("main~0", "main", &[Ancestor(0)]),
            ("main~^~3", "main", &[Ancestor(1), Parent(1), Ancestor(3)]),
            ("v1.0~12", "v1.0", &[Ancestor(12)]),
            ("release/é~007", "release/é", &[Ancestor(7)]),
            ("c0ff4cf3", "c0ff4cf3", &[]),
            ("bad ref", "bad ref", &[]),
        ];
        for (text, base, modifiers) in table {
            let got = RefExpression::parse(text).unwrap();
            assert_eq!((got.base.as_str(), got.modifiers.as_slice()), (*base, *modifiers), "{text}");
            assert_eq!(RefExpression::parse(&got.to_string()).unwrap(), got, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_reason() {
        let table = [
            ("", "names no branch"),
            ("^^^3", "names no branch"),
            ("@", "names no branch"),
            ("main^a", "`a` after `^`"),
            ("main~-1", "`-1` after `~`"),
            ("main~+1", "`+1` after `~`"),
            ("main~99999999999", "after `~`"),
            ("main~1000001", "up to 1000000"),
            ("main@1", "nothing may follow `@`"),
            ("main@~1", "cannot be combined"),
            ("main~1@", "cannot be combined"),
            ("main@@", "cannot be combined"),
            ("main$", "uncommitted data"),
            ("main~1$", "uncommitted data"),
        ];
        for (text, why) in table {
            let error = RefExpression::parse(text).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Usage, "{text}");
            assert!(error.message().contains(why), "{text}: {error}");
            assert!(error.help().is_some(), "{text}");
        }
    }
}
