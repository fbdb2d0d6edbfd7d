//! `Range: bytes=…`: what lets an interrupted download go on where it stopped.

use std::ops::Range;

/// Which bytes of a file of `length` bytes a `Range` field asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// All of them: no range, several, or one in another unit or spelling, which may all be answered so.
    Everything,
    /// These, at least one.
    Part(Range<u64>),
    /// Bytes behind the end only.
    Nothing,
}

/// Reads the field; one range is enough for every download.
pub fn asked(field: Option<&str>, length: u64) -> Asked {
    let Some(range) = field.and_then(|field| field.strip_prefix("bytes=")) else {
        return Asked::Everything;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Asked::Everything;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let part = match (first, last) {
        // The last so many bytes.
        ("", count) => number(count).map(|count| length.saturating_sub(count)..length),
        (first, "") => number(first).map(|first| first..length),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => {
                Some(first..last.saturating_add(1).min(length))
            }
            _ => None,
        },
    };
    match part {
        None => Asked::Everything,
        Some(part) if part.start >= part.end => Asked::Nothing,
        Some(part) => Asked::Part(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clipped_and_nonsense_is_everything() {
        for (field, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=3-", Asked::Part(3..10)),
            ("bytes=3-99", Asked::Part(3..10)),
            ("bytes=-4", Asked::Part(6..10)),
            ("bytes=-40", Asked::Part(0..10)),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=11-12", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Everything),
            ("bytes=1-2,4-5", Asked::Everything),
            ("bytes=-", Asked::Everything),
            ("bytes=+1-", Asked::Everything),
            ("bytes=99999999999999999999-", Asked::Everything),
            ("lines=1-2", Asked::Everything),
        ] {
            assert_eq!(asked(Some(field), 10), expected, "{field}");
        }
        assert_eq!(asked(None, 10), Asked::Everything);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Nothing);
    }
}
