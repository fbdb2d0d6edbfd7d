//! A short word as three integers: what the word table and the word cache compare and hash instead of bytes in memory.

/// Longest word, in bytes, that has a key.
pub(crate) const MAX_KEY_BYTES: usize = 24;

/// The bytes of a word of 1 to 24 bytes. Reads may overlap, so the parts identify the word only together with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WordKey {
    pub(crate) parts: [u64; 3],
    pub(crate) length: u8,
}

impl WordKey {
    /// The key of a word, or none when it is too long.
    #[inline(always)]
    pub(crate) fn new(word: &[u8]) -> Option<Self> {
        let length = word.len();
        let parts = match length {
            0..=3 => {
                let byte = |index: usize| u64::from(word.get(index).copied().unwrap_or(0));
                [byte(0) | byte(1) << 8 | byte(2) << 16, 0, 0]
            }
            4..=7 => [
                u64::from(first_u32(word)) | u64::from(last_u32(word)) << 32,
                0,
                0,
            ],
            8..=16 => [first_u64(word), last_u64(word), 0],
            17..=MAX_KEY_BYTES => [first_u64(word), first_u64(&word[8..]), last_u64(word)],
            _ => return None,
        };
        Some(Self {
            parts,
            length: length as u8,
        })
    }

    /// A hash whose high bits are good.
    #[inline(always)]
    pub(crate) fn hash(self) -> u64 {
        // One 64 × 64 → 128 bit product folded together mixes two words well; the constants are odd numbers without structure.
        let [a, b, c] = self.parts;
        let left = a ^ 0x9E37_79B9_7F4A_7C15;
        let right = b
            ^ c.rotate_left(29)
            ^ (0xD6E8_FEB8_6659_FD93_u64.wrapping_add(u64::from(self.length) << 56));
        let product = u128::from(left) * u128::from(right);
        (product as u64 ^ (product >> 64) as u64).wrapping_mul(0xA076_1D64_78BD_642F)
    }
}

#[inline(always)]
fn first_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

#[inline(always)]
fn last_u64(bytes: &[u8]) -> u64 {
    bytes.last_chunk().copied().map_or(0, u64::from_le_bytes)
}

#[inline(always)]
fn first_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_le_bytes)
}

#[inline(always)]
fn last_u32(bytes: &[u8]) -> u32 {
    bytes.last_chunk().copied().map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_without_a_key() {
        assert!(WordKey::new(&[1; 24]).is_some());
        assert!(WordKey::new(&[1; 25]).is_none());
    }

    proptest! {
        #[test]
        fn equal_keys_mean_equal_words(a in proptest::collection::vec(0..3_u8, 1..25), b in proptest::collection::vec(0..3_u8, 1..25)) {
            prop_assert_eq!(WordKey::new(&a) == WordKey::new(&b), a == b);
        }
    }
}
