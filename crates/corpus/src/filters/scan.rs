//! One pass over a text: its words, its lines, and how many characters of each kind it has. Every rule reads these and none reads the text again.

/// A maximal run of letters and digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    /// Hash of its characters in lower case.
    pub hash: u64,
    /// Its length, characters.
    pub chars: u32,
    /// What it consists of and how it ends: `HAS_LETTER` and the like.
    pub flags: u8,
}

/// The word has a letter.
pub(crate) const HAS_LETTER: u8 = 1;
/// The word ends in "ndo", as gerunds do.
pub(crate) const ENDS_NDO: u8 = 2;
/// The word ends in "r", as infinitives do.
pub(crate) const ENDS_R: u8 = 4;
/// A mark that ends a sentence or a line stands between this word and the one before it.
pub(crate) const AFTER_STOP: u8 = 8;

/// A line that has more than blanks in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Hash of the line without the blanks around it.
    pub hash: u64,
    /// Its length without the blanks around it, characters.
    pub chars: u32,
    /// First and last character.
    pub first: char,
    pub last: char,
    /// It ends in "…" or "...".
    pub ellipsis: bool,
}

/// What one pass finds. Kept between documents, so that its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub words: Vec<Word>,
    pub lines: Vec<Line>,
    /// All characters.
    pub chars: u64,
    pub letters: u64,
    /// Letters of the Latin script.
    pub latin: u64,
    pub digits: u64,
    pub whitespace: u64,
    pub line_breaks: u64,
    /// "#" and ellipses, Gopher's symbols.
    pub symbols: u64,
    /// Brackets of all three kinds.
    pub brackets: u64,
    /// Places where a sentence ends: a mark, then a blank or the end.
    pub sentences: u64,
    /// Letters and digits inside words.
    pub word_chars: u64,
    pub longest_word: u32,
}

const SEED: u64 = 0x51_7C_C1_B7_27_22_0A_95;
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// A hash that is fed one value after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RollingHash(u64);

impl RollingHash {
    pub(crate) const fn new() -> Self {
        Self(SEED)
    }

    #[inline]
    pub(crate) fn push(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(FACTOR);
    }

    /// The low half of a product knows only the low half of its factors: the high half is folded in.
    #[inline]
    pub(crate) fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 32)
    }
}

/// The hash that [`Scan`] gives to `word`, which is in lower case.
pub(crate) fn word_hash(word: &str) -> u64 {
    let mut hash = RollingHash::new();
    word.chars().for_each(|c| hash.push(u64::from(c)));
    hash.finish()
}

/// Lower case of a letter; the few whose lower case has two characters give their first.
#[inline]
pub(crate) fn lower(c: char) -> char {
    match c {
        'A'..='Z' => (c as u8 | 0x20) as char,
        '\0'..='\u{BF}' => c,
        // Latin-1: everything that Portuguese needs.
        'À'..='Þ' if c != '×' => char::from_u32(c as u32 + 0x20).unwrap_or(c),
        'ß'..='ÿ' => c,
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

fn is_latin(c: char) -> bool {
    c < '\u{250}' || ('\u{1E00}'..='\u{1EFF}').contains(&c)
}

/// A word being read.
#[derive(Clone, Copy)]
struct Open {
    hash: RollingHash,
    chars: u32,
    flags: u8,
    /// The last three characters, the last one in the low bits.
    ending: u64,
}

const NDO: u64 = (b'n' as u64) << 42 | (b'd' as u64) << 21 | b'o' as u64;

impl Open {
    const NONE: Self = Self {
        hash: RollingHash::new(),
        chars: 0,
        flags: 0,
        ending: 0,
    };

    #[inline]
    fn push(&mut self, small: char) {
        self.hash.push(u64::from(small));
        self.chars += 1;
        self.ending = (self.ending << 21 | u64::from(small)) & ((1 << 63) - 1);
    }
}

/// What a scan remembers from one character to the next.
struct Position {
    word: Open,
    after_stop: u8,
    /// A full stop or the like was the last character but for closing marks.
    stopped: bool,
    /// Full stops in a row.
    dots: u32,
    /// Byte where the line begins.
    line_start: usize,
}

impl Scan {
    /// Reads `text`, forgetting what was read before.
    pub(crate) fn read(&mut self, text: &str) {
        let mut fresh = Self {
            words: std::mem::take(&mut self.words),
            lines: std::mem::take(&mut self.lines),
            ..Self::default()
        };
        fresh.words.clear();
        fresh.lines.clear();
        fresh.pass(text);
        *self = fresh;
    }

    fn pass(&mut self, text: &str) {
        let mut at = Position {
            word: Open::NONE,
            after_stop: AFTER_STOP,
            stopped: false,
            dots: 0,
            line_start: 0,
        };
        let bytes = text.as_bytes();
        let mut next = 0;
        while let Some(&byte) = bytes.get(next) {
            if byte.is_ascii_alphabetic() {
                // Most of any text.
                at.word.push(char::from(byte | 0x20));
                at.word.flags |= HAS_LETTER;
                self.letters += 1;
                self.latin += 1;
                self.chars += 1;
                next += 1;
                continue;
            }
            let Some(c) = text[next..].chars().next() else {
                break;
            };
            next += c.len_utf8();
            self.chars += 1;
            if c.is_ascii_digit() || (!c.is_ascii() && c.is_alphanumeric()) {
                if c.is_alphabetic() {
                    self.letters += 1;
                    self.latin += u64::from(is_latin(c));
                    at.word.flags |= HAS_LETTER;
                }
                self.digits += u64::from(c.is_ascii_digit());
                at.word.push(lower(c));
            } else {
                self.close_word(&mut at);
                self.mark(c, text, next, &mut at);
            }
        }
        self.close_word(&mut at);
        self.sentences += u64::from(at.stopped);
        self.close_line(text, bytes.len(), &mut at);
    }

    #[inline]
    fn close_word(&mut self, at: &mut Position) {
        let word = at.word;
        if word.chars == 0 {
            return;
        }
        let mut flags = word.flags | at.after_stop;
        if word.ending == NDO {
            flags |= ENDS_NDO;
        }
        if word.ending & 0x1F_FFFF == u64::from('r') {
            flags |= ENDS_R;
        }
        self.words.push(Word {
            hash: word.hash.finish(),
            chars: word.chars,
            flags,
        });
        self.word_chars += u64::from(word.chars);
        self.longest_word = self.longest_word.max(word.chars);
        at.word = Open::NONE;
        at.after_stop = 0;
        at.stopped = false;
        at.dots = 0;
    }

    /// A character that is neither letter nor digit; `next` is the byte after it.
    #[inline]
    fn mark(&mut self, c: char, text: &str, next: usize, at: &mut Position) {
        match c {
            ' ' => self.blank(at),
            '\n' => {
                self.blank(at);
                self.line_breaks += 1;
                at.after_stop = AFTER_STOP;
                self.close_line(text, next - 1, at);
            }
            '.' => {
                at.dots += 1;
                self.symbols += u64::from(at.dots == 3);
                (at.stopped, at.after_stop) = (true, AFTER_STOP);
                return;
            }
            '!' | '?' => (at.stopped, at.after_stop) = (true, AFTER_STOP),
            '…' => {
                self.symbols += 1;
                (at.stopped, at.after_stop) = (true, AFTER_STOP);
            }
            // These close what a sentence that has ended stands in.
            '"' | '\'' | '”' | '’' | '»' => {}
            ')' | ']' => self.brackets += 1,
            '(' | '[' | '{' | '}' => {
                self.brackets += 1;
                at.stopped = false;
            }
            '#' => {
                self.symbols += 1;
                at.stopped = false;
            }
            _ if c.is_whitespace() => self.blank(at),
            _ => at.stopped = false,
        }
        at.dots = 0;
    }

    #[inline]
    fn blank(&mut self, at: &mut Position) {
        self.whitespace += 1;
        self.sentences += u64::from(at.stopped);
        at.stopped = false;
    }

    fn close_line(&mut self, text: &str, end: usize, at: &mut Position) {
        let line = text[at.line_start..end].trim();
        if let (Some(first), Some(last)) = (line.chars().next(), line.chars().next_back()) {
            self.lines.push(Line {
                hash: bytes_hash(line.as_bytes()),
                chars: u32::try_from(line.chars().count()).unwrap_or(u32::MAX),
                first,
                last,
                ellipsis: last == '…' || line.ends_with("..."),
            });
        }
        at.line_start = end + 1;
    }
}

/// Eight bytes at a time: lines are as long as the text.
fn bytes_hash(bytes: &[u8]) -> u64 {
    let mut hash = RollingHash::new();
    hash.push(bytes.len() as u64);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        hash.push(u64::from_le_bytes(*chunk));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash.push(u64::from_le_bytes(last));
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        let mut scan = Scan::default();
        scan.read("o que veio antes.\n");
        scan.read(text);
        scan
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        let scan = scan("ÁGUA disse-lhe 2ª vez, fazendo\nvoltar.");
        let expected = ["água", "disse", "lhe", "2ª", "vez", "fazendo", "voltar"];
        let hashes: Vec<u64> = scan.words.iter().map(|word| word.hash).collect();
        assert_eq!(hashes, expected.map(word_hash));
        assert_eq!(scan.words[5].flags, HAS_LETTER | ENDS_NDO);
        assert_eq!(scan.words[6].flags, HAS_LETTER | ENDS_R | AFTER_STOP);
        assert_eq!(scan.word_chars, 4 + 5 + 3 + 2 + 3 + 7 + 6);
    }

    #[test]
    fn lines_are_known_by_what_stands_between_their_blanks() {
        let scan = scan("  - um item \n\n- um item\nfim...");
        assert_eq!(scan.lines.len(), 3);
        assert_eq!(scan.lines[0].hash, scan.lines[1].hash);
        assert_eq!((scan.lines[0].first, scan.lines[0].last), ('-', 'm'));
        assert_eq!(scan.lines[0].chars, 9);
        assert!(scan.lines[2].ellipsis && !scan.lines[1].ellipsis);
        assert_eq!(scan.line_breaks, 3);
    }

    #[test]
    fn characters_are_counted_by_kind() {
        let text = "Vale 1.234,5 (mil)… “Sim.” Русский # {x} ...";
        let scan = scan(text);
        assert_eq!(scan.chars, text.chars().count() as u64);
        assert_eq!(scan.digits, 5);
        assert_eq!(scan.latin, 4 + 3 + 3 + 1);
        assert_eq!(scan.letters - scan.latin, 7);
        assert_eq!(scan.brackets, 4);
        assert_eq!(scan.symbols, 3);
        assert_eq!(scan.sentences, 3);
    }
}
