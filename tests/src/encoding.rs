//! Percent-encoded text.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// A path with its escapes resolved.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The pairs of a query, where `+` is a blank.
pub(crate) fn query_pairs(query: &str) -> BTreeMap<String, String> {
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    let pairs = pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")));
    pairs.map(|(name, value)| (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))).collect()
}
