//! Numbers for people.

use std::time::Duration;

use bytesize::ByteSize;

/// `1.2 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    ByteSize::b(n).display().iec().to_string()
}

/// `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12 objects`, `1 object`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `350 ms`, `1.2 s`, `3m 20s`.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// Things a second; nothing for runs too short to tell.
pub(crate) fn rate(n: u64, time: Duration) -> Option<u64> {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    (millis > 0).then(|| u64::try_from(u128::from(n) * 1000 / u128::from(millis)).unwrap_or(u64::MAX))
}

/// The first 12 digits of a commit's id.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// A key as it can be shown on one line of a terminal: control characters are escaped, everything else stays.
pub(crate) fn key(key: &str) -> std::borrow::Cow<'_, str> {
    if !key.chars().any(char::is_control) {
        return key.into();
    }
    let mut text = String::with_capacity(key.len() + 8);
    for c in key.chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text.into()
}

/// A word as a POSIX shell reads it back.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+=@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([bytes(0), bytes(1023), bytes(1_258_291)], ["0 B", "1023 B", "1.2 MiB"]);
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "object"), "1 object");
        assert_eq!(duration(Duration::from_millis(350)), "350 ms");
        assert_eq!(duration(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(200)), "3m 20s");
        assert_eq!(rate(40, Duration::from_millis(1234)), Some(32));
        assert_eq!(rate(40, Duration::ZERO), None);
    }

    #[test]
    fn keys_cannot_speak_to_the_terminal() {
        assert_eq!(key("a/é b"), "a/é b");
        assert_eq!(key("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
    }

    #[test]
    fn words_come_back_from_a_shell() {
        assert_eq!(shell_word("s3://b/p"), "s3://b/p");
        assert_eq!(shell_word("it's here"), r"'it'\''s here'");
        assert_eq!(shell_word("a?b"), "'a?b'");
    }
}
