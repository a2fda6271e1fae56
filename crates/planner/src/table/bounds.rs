//! What filters say of `path`, so that ranges outside can be left unread.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// Paths from `from`, included, to `to`, excluded; `None` is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PathBounds {
    pub from: Option<String>,
    pub to: Option<Vec<u8>>,
}

impl PathBounds {
    /// The bounds that all of `filters` together imply; filters that say nothing of `path` are passed over.
    pub(crate) fn of(filters: &[Expr]) -> Self {
        filters.iter().filter_map(bounds).fold(Self::default(), Self::and)
    }

    /// Whether the filter bounds `path` at all.
    pub(crate) fn bound(filter: &Expr) -> bool {
        bounds(filter).is_some()
    }

    fn and(self, other: Self) -> Self {
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { from: self.from.max(other.from), to }
    }

    /// Whether a range from `min` to `max`, both included, can hold such a path.
    pub(crate) fn overlaps(&self, min: &[u8], max: &[u8]) -> bool {
        self.from.as_ref().is_none_or(|from| max >= from.as_bytes()) && self.to.as_ref().is_none_or(|to| min < &to[..])
    }

    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for PathBounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = self.from.iter().map(|t| format!("path >= {t:?}"));
        let to = self.to.iter().map(|t| format!("path < \"{}\"", t.escape_ascii()));
        f.write_str(&from.chain(to).collect::<Vec<_>>().join(" AND "))
    }
}

fn bounds(filter: &Expr) -> Option<PathBounds> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => match (bounds(left), bounds(right)) {
            (Some(a), Some(b)) => Some(a.and(b)),
            (a, b) => a.or(b),
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (path(left), text(right), path(right), text(left)) {
            (true, Some(value), _, _) => compared(*op, value),
            (_, _, true, Some(value)) => compared(op.swap()?, value),
            _ => None,
        },
        Expr::Like(like) if !like.negated && !like.case_insensitive && path(&like.expr) => {
            let pattern = text(&like.pattern)?;
            let plain = pattern.find(['%', '_', '\\']).map_or(pattern.as_str(), |at| &pattern[..at]);
            (!plain.is_empty()).then(|| below(plain))
        }
        Expr::ScalarFunction(call) if call.func.name() == "starts_with" && call.args.first().is_some_and(path) => {
            Some(below(&text(call.args.get(1)?)?))
        }
        Expr::Between(between) if !between.negated && path(&between.expr) => {
            let (low, high) = (text(&between.low)?, text(&between.high)?);
            compared(Operator::GtEq, low).zip(compared(Operator::LtEq, high)).map(|(a, b)| a.and(b))
        }
        _ => None,
    }
}

fn compared(op: Operator, value: String) -> Option<PathBounds> {
    let after = |value: &str| Some([value.as_bytes(), &[0]].concat());
    Some(match op {
        Operator::Eq => PathBounds { to: after(&value), from: Some(value) },
        Operator::Gt | Operator::GtEq => PathBounds { from: Some(value), to: None },
        Operator::Lt => PathBounds { from: None, to: Some(value.into_bytes()) },
        Operator::LtEq => PathBounds { from: None, to: after(&value) },
        _ => return None,
    })
}

/// All paths that begin with `prefix`.
fn below(prefix: &str) -> PathBounds {
    let mut end = prefix.as_bytes().to_vec();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    PathBounds { from: Some(prefix.to_owned()), to: (!end.is_empty()).then_some(end) }
}

fn path(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "path")
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(v) | ScalarValue::Utf8View(v) | ScalarValue::LargeUtf8(v), _) => v.clone(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    #[test]
    fn filters_on_the_path_become_bounds() {
        let under = PathBounds::of(&[col("path").like(lit("tables/%"))]);
        assert_eq!(under.to_string(), "path >= \"tables/\" AND path < \"tables0\"");
        assert!(under.overlaps(b"a", b"tables/x") && !under.overlaps(b"tables0", b"z") && !under.overlaps(b"a", b"tables"));
        let one = PathBounds::of(&[col("path").eq(lit("b"))]);
        assert!(one.overlaps(b"a", b"b") && one.overlaps(b"b", b"c") && !one.overlaps(b"b!", b"c"));
        let both = PathBounds::of(&[col("path").gt_eq(lit("b")).and(lit("d").gt(col("path")))]);
        assert!(both.overlaps(b"c", b"z") && !both.overlaps(b"d", b"z"));
    }

    #[test]
    fn other_filters_bound_nothing() {
        for filter in
            [col("size").gt(lit(1)), col("path").like(lit("%x")), col("path").not_eq(lit("x")), !col("path").like(lit("a%"))]
        {
            assert!(!PathBounds::bound(&filter), "{filter}");
        }
    }
}
