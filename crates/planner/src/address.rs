//! Physical addresses: where the bytes of an entry lie.
//!
//! The rules are those of lakeFS's `block/namespace.go`, with one deliberate difference: a full address is taken literally
//! after `scheme://bucket/`, so that keys with `?` or `%` can be read, which lakeFS itself cannot.

use graveler::AddressType;

use crate::location::Location;

/// Schemes that make an address of the deprecated type a full one.
const FULL_SCHEMES: [&str; 7] = ["s3", "gs", "local", "mem", "memory", "http", "https"];

/// Appends the URL of `address` to `out`; `storage` is the lake's namespace as a URL that ends in a slash.
pub(crate) fn resolve_into(out: &mut String, address: &str, kind: AddressType, storage: &str) {
    out.clear();
    if !is_full(address, kind) {
        out.push_str(storage);
    }
    out.push_str(address);
}

fn is_full(address: &str, kind: AddressType) -> bool {
    match kind {
        AddressType::Full => true,
        AddressType::Relative => false,
        AddressType::ByPrefixDeprecated => {
            address.split_once("://").is_some_and(|(scheme, rest)| FULL_SCHEMES.contains(&scheme) && !rest.is_empty())
        }
    }
}

/// The URL prefix of relative addresses in `storage`.
pub(crate) fn storage_prefix(storage: &Location) -> String {
    storage.as_folder().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(address: &str, kind: AddressType) -> String {
        let mut out = String::from("old");
        resolve_into(&mut out, address, kind, "s3://lake/ns/");
        out
    }

    #[test]
    fn relative_addresses_lie_in_the_namespace() {
        assert_eq!(resolve("data/x", AddressType::Relative), "s3://lake/ns/data/x");
        assert_eq!(resolve("s3://odd/but/relative", AddressType::Relative), "s3://lake/ns/s3://odd/but/relative");
    }

    #[test]
    fn full_addresses_are_taken_literally() {
        assert_eq!(resolve("s3://raw/q?x=1%41", AddressType::Full), "s3://raw/q?x=1%41");
    }

    #[test]
    fn old_entries_are_told_apart_by_a_known_scheme() {
        assert_eq!(resolve("s3://raw/x", AddressType::ByPrefixDeprecated), "s3://raw/x");
        assert_eq!(resolve("a/http://x", AddressType::ByPrefixDeprecated), "s3://lake/ns/a/http://x");
        assert_eq!(resolve("0123abcd", AddressType::ByPrefixDeprecated), "s3://lake/ns/0123abcd");
    }
}
