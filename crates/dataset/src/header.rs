//! The 256 bytes before the tokens.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `PTBRTOKN` |
//! | 8..12 | version, u32: 1 |
//! | 12..16 | bytes of a token, u32: 2 |
//! | 16..24 | vocabulary size, u64 |
//! | 24..32 | tokens, u64 |
//! | 32..40 | documents, u64 |
//! | 40..72 | SHA-256 of the tokenizer |
//! | 72..104 | SHA-256 of the tokens' bytes |
//! | 104..136 | SHA-256 of the `.idx` file |
//! | 136..224 | zero |
//! | 224..256 | SHA-256 of bytes 0..224 |
//!
//! All numbers are little-endian.

use sha2::{Digest, Sha256};

/// Length of the header; the tokens follow.
pub const HEADER_BYTES: usize = 256;
pub(crate) const MAGIC: &[u8; 8] = b"PTBRTOKN";
pub(crate) const MAX_VOCABULARY: usize = 65_536;
const VERSION: u32 = 1;
const TOKEN_BYTES: u32 = 2;
const HASHED: usize = 224;

/// What a token file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFileHeader {
    /// Every token is below this.
    pub vocab_size: usize,
    /// Tokens in the file.
    pub n_tokens: u64,
    /// Documents in the file.
    pub n_docs: u64,
    /// SHA-256 of the tokenizer that made the tokens.
    pub tokenizer_sha256: [u8; 32],
    /// SHA-256 of the tokens' bytes.
    pub payload_sha256: [u8; 32],
    /// SHA-256 of the `.idx` file.
    pub index_sha256: [u8; 32],
}

impl TokenFileHeader {
    pub(crate) fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&TOKEN_BYTES.to_le_bytes());
        bytes[16..24].copy_from_slice(&(self.vocab_size as u64).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.n_tokens.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.n_docs.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.tokenizer_sha256);
        bytes[72..104].copy_from_slice(&self.payload_sha256);
        bytes[104..136].copy_from_slice(&self.index_sha256);
        let digest = Sha256::digest(&bytes[..HASHED]);
        bytes[HASHED..].copy_from_slice(&digest);
        bytes
    }

    /// Reads a header whose magic was already seen; the error says what is wrong with it.
    pub(crate) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, String> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let digest_at = |at: usize| {
            let mut digest = [0; 32];
            digest.copy_from_slice(&bytes[at..at + 32]);
            digest
        };
        if u32_at(8) != VERSION {
            return Err(format!(
                "its version is {}, this program reads {VERSION}",
                u32_at(8)
            ));
        }
        if Sha256::digest(&bytes[..HASHED])[..] != bytes[HASHED..] {
            return Err("its header was changed".to_owned());
        }
        if u32_at(12) != TOKEN_BYTES {
            return Err(format!(
                "its tokens have {} bytes, this program reads {TOKEN_BYTES}",
                u32_at(12)
            ));
        }
        let vocab_size = usize::try_from(u64_at(16))
            .ok()
            .filter(|size| (1..=MAX_VOCABULARY).contains(size));
        let Some(vocab_size) = vocab_size else {
            return Err(format!(
                "its vocabulary of {} is not between 1 and {MAX_VOCABULARY}",
                u64_at(16)
            ));
        };
        Ok(Self {
            vocab_size,
            n_tokens: u64_at(24),
            n_docs: u64_at(32),
            tokenizer_sha256: digest_at(40),
            payload_sha256: digest_at(72),
            index_sha256: digest_at(104),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TokenFileHeader {
        TokenFileHeader {
            vocab_size: 65_536,
            n_tokens: 0x0102_0304_0506_0708,
            n_docs: 9,
            tokenizer_sha256: [1; 32],
            payload_sha256: [2; 32],
            index_sha256: [3; 32],
        }
    }

    #[test]
    fn round_trip_at_the_documented_offsets() {
        let bytes = sample().to_bytes();
        assert_eq!(TokenFileHeader::from_bytes(&bytes).unwrap(), sample());
        assert_eq!(bytes[24..32], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[72..104], [2; 32]);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = sample().to_bytes();
        for at in 8..HEADER_BYTES {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes;
                changed[at] ^= flip;
                assert!(TokenFileHeader::from_bytes(&changed).is_err(), "byte {at}");
            }
        }
    }
}
