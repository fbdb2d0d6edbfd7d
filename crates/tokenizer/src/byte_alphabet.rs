//! The byte alphabet of byte-level BPE: each of the 256 byte values is written as one printable character, so that a token of arbitrary bytes
//! can stand in a JSON string. It is the mapping that GPT-2 introduced and every `tokenizer.json` of this kind uses.

/// The printable character that stands for each byte value.
const BYTE_TO_CHAR: [char; 256] = byte_to_char();
/// The byte that each character below U+0144 stands for, or -1.
const CHAR_TO_BYTE: [i16; 0x144] = char_to_byte();

/// Bytes that stand for themselves: the printable part of Latin-1 without the soft hyphen.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

const fn byte_to_char() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut shifted = 0x100;
    let mut value = 0;
    while value < 256 {
        let byte = value as u8;
        if is_printable(byte) {
            table[value] = byte as char;
        } else {
            // The 68 bytes that do not print take U+0100 upwards, in order.
            if let Some(character) = char::from_u32(shifted) {
                table[value] = character;
            }
            shifted += 1;
        }
        value += 1;
    }
    table
}

const fn char_to_byte() -> [i16; 0x144] {
    let forward = byte_to_char();
    let mut table = [-1; 0x144];
    let mut byte = 0;
    while byte < 256 {
        table[forward[byte] as usize] = byte as i16;
        byte += 1;
    }
    table
}

/// Writes `bytes` in the byte alphabet.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|&byte| BYTE_TO_CHAR[usize::from(byte)])
        .collect()
}

/// The bytes that `text` stands for, or the first character that is not in the alphabet.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, char> {
    text.chars()
        .map(|character| {
            let value = CHAR_TO_BYTE.get(character as usize).copied().unwrap_or(-1);
            u8::try_from(value).map_err(|_| character)
        })
        .collect()
}

/// All byte values in the order in which a trained vocabulary lists them: by the code point of their character.
pub(crate) fn bytes_in_vocabulary_order() -> [u8; 256] {
    let mut order = [0; 256];
    let bytes = CHAR_TO_BYTE
        .iter()
        .filter_map(|&byte| u8::try_from(byte).ok());
    for (slot, byte) in order.iter_mut().zip(bytes) {
        *slot = byte;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert_eq!(text.chars().count(), 256);
        assert_eq!(decode(&text).unwrap(), all);
        assert_eq!(encode(b" \n"), "\u{120}\u{10A}");
        assert_eq!(encode("ção".as_bytes()), "\u{C3}\u{A7}\u{C3}\u{A3}o");
        assert_eq!(decode("a b"), Err(' '));
        assert_eq!(decode("\u{144}"), Err('\u{144}'));
    }

    #[test]
    fn vocabulary_order_is_a_permutation_that_starts_at_the_exclamation_mark() {
        let order = bytes_in_vocabulary_order();
        assert_eq!((order[0], order[255]), (b'!', 0xAD));
        let mut sorted = order;
        sorted.sort_unstable();
        assert!(
            sorted
                .iter()
                .enumerate()
                .all(|(index, &byte)| index == usize::from(byte))
        );
    }
}
