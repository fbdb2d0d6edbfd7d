//! Names of adapters: they become folder names and appear in URLs, so they are kept plain.

use std::fmt;
use std::str::FromStr;

use super::AdapterError;

/// `^[a-z0-9][a-z0-9._-]{0,63}$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct AdapterName(String);

impl AdapterName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdapterName {
    type Err = AdapterError;

    fn from_str(name: &str) -> Result<Self, AdapterError> {
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
        let valid = name.len() <= 64
            && name.bytes().next().is_some_and(plain)
            && name
                .bytes()
                .all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(AdapterError::Name {
                name: name.chars().take(80).collect(),
            })
        }
    }
}

impl fmt::Display for AdapterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_only() {
        for name in ["legal", "0", "a.b_c-d", &"x".repeat(64)] {
            assert_eq!(AdapterName::from_str(name).unwrap().to_string(), name);
        }
        for name in [
            "",
            ".",
            "..",
            "-a",
            "Legal",
            "jurídico",
            "a/b",
            "a b",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(
                AdapterName::from_str(name)
                    .unwrap_err()
                    .to_string()
                    .contains("is not an adapter name"),
                "{name:?}"
            );
        }
    }
}
