//! What fits into S3's headers: copy sources, user metadata, content types.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::store::{FailureKind, StoreError, StoreResult, UserMetadata};

/// Everything but `A-Z a-z 0-9 - _ . ~ /`.
const COPY_SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The value of `x-amz-copy-source`. The SDK sends it as it is, so it is encoded here.
pub(crate) fn copy_source(bucket: &str, key: &str) -> String {
    format!("{bucket}/{}", utf8_percent_encode(key, COPY_SOURCE))
}

/// A key of a listing that was asked for with `encoding-type=url`, where a space is a plus.
pub(crate) fn decode_listed(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// User metadata as headers. Values that no header can hold go as encoded words of RFC 2047: that is how S3 itself stores
/// and returns them. Keys have no such form.
pub(crate) fn metadata_headers(metadata: &UserMetadata) -> StoreResult<Option<HashMap<String, String>>> {
    if metadata.is_empty() {
        return Ok(None);
    }
    let mut headers = HashMap::with_capacity(metadata.len());
    for (key, value) in metadata {
        if key.is_empty() || !key.bytes().all(is_token) {
            let message =
                format!("S3 cannot hold the metadata key `{}`: only letters, digits and -_.!#$%&'*+^`|~", key.escape_debug());
            return Err(StoreError::new(FailureKind::Unsupported, message));
        }
        headers.insert(key.clone(), header_value(value));
    }
    Ok(Some(headers))
}

/// Tags as the header `x-amz-tagging` holds them; `None` for no tags.
pub(crate) fn tags_header<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(tags).finish();
    (!text.is_empty()).then_some(text)
}

/// A CRC64NVME as the header of its name holds it.
pub(crate) fn base64_of_crc64(sum: u64) -> String {
    aws_smithy_types::base64::encode(sum.to_be_bytes())
}

/// A CRC64NVME from the header of its name.
pub(crate) fn crc64_of(text: &str) -> Option<u64> {
    let bytes = aws_smithy_types::base64::decode(text).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// A checksum of a whole object that a store computed, as `algorithm:hex`: the first that there is. One of parts ends in the
/// number of them and says nothing of the whole.
pub(crate) fn stored_checksum(sums: &[(&str, Option<&str>)]) -> Option<String> {
    sums.iter().find_map(|(name, sum)| {
        let bytes = aws_smithy_types::base64::decode(sum.filter(|sum| !sum.contains('-'))?).ok()?;
        Some(format!("{name}:{}", hex::encode(bytes)))
    })
}

/// XML can carry the text: it has no way to write most control characters, and turns a carriage return into a line feed.
pub(crate) fn fits_xml(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'))
}

/// Refuses a header's value that cannot be sent.
pub(crate) fn checked(name: &str, value: Option<&String>) -> StoreResult<Option<String>> {
    match value {
        Some(value) if !value.bytes().all(|b| (0x20..0x7f).contains(&b) || b == b'\t') => {
            let message = format!("S3 cannot hold the {name} `{}`", value.escape_debug());
            Err(StoreError::new(FailureKind::Unsupported, message))
        }
        // An empty one would be sent as a header without a value, which some servers refuse to check signatures of.
        value => Ok(value.filter(|value| !value.is_empty()).cloned()),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn header_value(value: &str) -> String {
    let plain = value.bytes().all(|b| (0x20..0x7f).contains(&b)) && value.trim() == value;
    if plain { value.to_owned() } else { encoded_words(value) }
}

/// `=?UTF-8?B?…?=`, as many as are needed: one word holds 75 characters, which is 45 bytes, and never a part of a character.
fn encoded_words(value: &str) -> String {
    let mut words = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let end = (0..=rest.len().min(45)).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (word, more) = rest.split_at(end);
        words.push(format!("=?UTF-8?B?{}?=", aws_smithy_types::base64::encode(word)));
        rest = more;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_source_is_encoded_byte_by_byte() {
        assert_eq!(copy_source("b", "a//b/../c d+e%2F?x=ü~_-."), "b/a//b/../c%20d%2Be%252F%3Fx%3D%C3%BC~_-.");
    }

    #[test]
    fn listed_keys_are_decoded_once() {
        assert_eq!(decode_listed("a+b%2Bc%2525/%C3%BC"), "a b+c%25/ü");
    }

    #[test]
    fn values_that_no_header_holds_are_encoded_words() {
        let got = metadata_headers(&vec![("owner".into(), "crm team".into()), ("stadt".into(), "Köln".into())]).unwrap().unwrap();
        assert_eq!(got["owner"], "crm team");
        assert_eq!(got["stadt"], "=?UTF-8?B?S8O2bG4=?=");
        assert!(header_value(&"ü".repeat(60)).split(' ').all(|word| word.len() <= 75));
        assert_eq!(header_value(" lead"), "=?UTF-8?B?IGxlYWQ=?=");
    }

    #[test]
    fn tags_are_a_query() {
        assert_eq!(tags_header([("class", "a b"), ("köln", "x&y=z")].into_iter()).unwrap(), "class=a+b&k%C3%B6ln=x%26y%3Dz");
        assert_eq!(tags_header(std::iter::empty()), None);
    }

    #[test]
    fn checksums_are_read_and_written() {
        assert_eq!(crc64_of(&base64_of_crc64(0xae8b_1486_0a79_9888)), Some(0xae8b_1486_0a79_9888));
        assert_eq!(crc64_of("AAAA"), None);
        let both = [("crc64nvme", Some("AAAAAAAAAAE=")), ("sha256", Some("AAAA"))];
        assert_eq!(stored_checksum(&both).as_deref(), Some("crc64nvme:0000000000000001"));
        assert_eq!(stored_checksum(&[("crc64nvme", None), ("crc32", Some("AAAA-2"))]), None);
    }

    #[test]
    fn control_characters_do_not_fit_into_xml() {
        assert!(fits_xml("a//b/ü\t\n %<&>"));
        assert!(!fits_xml("a\u{1}") && !fits_xml("a\r") && !fits_xml("\0"));
    }

    #[test]
    fn keys_that_no_header_holds_fail_by_name() {
        let error = metadata_headers(&vec![("größe".into(), "1".into())]).unwrap_err();
        assert_eq!(error.kind, FailureKind::Unsupported);
        assert!(error.message.contains("größe"), "{error}");
        assert!(checked("content type", Some(&"text/ü".to_owned())).is_err());
    }
}
