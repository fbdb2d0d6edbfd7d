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
    /// Its length, characters.
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
}

/// A line being read.
struct OpenLine {
    hash: RollingHash,
    /// As far as the last character that is not a blank.
    trimmed_hash: RollingHash,
    chars: u32,
    trimmed_chars: u32,
    first: Option<char>,
    last: char,
    /// Full stops at its end.
    dots: u32,
}

impl OpenLine {
    const EMPTY: Self = Self {
        hash: RollingHash::new(),
        trimmed_hash: RollingHash::new(),
        chars: 0,
        trimmed_chars: 0,
        first: None,
        last: ' ',
        dots: 0,
    };

    #[inline]
    fn push(&mut self, c: char) {
        self.hash.push(u64::from(c));
        self.chars += 1;
        if self.first.is_none() {
            self.first = Some(c);
        }
        self.dots = if c == '.' { self.dots + 1 } else { 0 };
        self.last = c;
        self.trimmed_hash = self.hash;
        self.trimmed_chars = self.chars;
    }

    #[inline]
    fn push_blank(&mut self, c: char) {
        if self.first.is_some() {
            self.hash.push(u64::from(c));
            self.chars += 1;
        }
    }
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
        let mut word = Open::NONE;
        let mut line = OpenLine::EMPTY;
        let mut after_stop = AFTER_STOP;
        // A full stop or the like was the last character but for closing quotation marks.
        let mut stopped = false;
        for c in text.chars() {
            self.chars += 1;
            let letter = match c {
                'a'..='z' | 'A'..='Z' => true,
                '0'..='9' => {
                    self.digits += 1;
                    false
                }
                '\0'..='\u{7F}' => {
                    self.close_word(&mut word, &mut after_stop);
                    self.mark(c, &mut line, &mut after_stop, &mut stopped);
                    continue;
                }
                _ if c.is_alphanumeric() => c.is_alphabetic(),
                _ => {
                    self.close_word(&mut word, &mut after_stop);
                    self.mark(c, &mut line, &mut after_stop, &mut stopped);
                    continue;
                }
            };
            let small = lower(c);
            if letter {
                self.letters += 1;
                self.latin += u64::from(is_latin(c));
                word.flags |= HAS_LETTER;
            }
            word.hash.push(u64::from(small));
            word.chars += 1;
            word.ending = (word.ending << 21 | u64::from(small)) & ((1 << 63) - 1);
            line.push(c);
            stopped = false;
        }
        self.close_word(&mut word, &mut after_stop);
        self.sentences += u64::from(stopped);
        self.close_line(&mut line);
    }

    #[inline]
    fn close_word(&mut self, word: &mut Open, after_stop: &mut u8) {
        if word.chars == 0 {
            return;
        }
        let mut flags = word.flags | *after_stop;
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
        *word = Open::NONE;
        *after_stop = 0;
    }

    /// A character that is neither letter nor digit.
    #[inline]
    fn mark(&mut self, c: char, line: &mut OpenLine, after_stop: &mut u8, stopped: &mut bool) {
        match c {
            '\n' => {
                self.line_breaks += 1;
                self.whitespace += 1;
                self.sentences += u64::from(*stopped);
                *stopped = false;
                *after_stop = AFTER_STOP;
                self.close_line(line);
            }
            _ if c.is_whitespace() => {
                self.whitespace += 1;
                self.sentences += u64::from(*stopped);
                *stopped = false;
                line.push_blank(c);
            }
            _ => {
                match c {
                    '.' | '!' | '?' | '…' => {
                        *stopped = true;
                        *after_stop = AFTER_STOP;
                        let ellipsis = c == '…' || (c == '.' && line.dots == 2);
                        self.symbols += u64::from(ellipsis);
                    }
                    '"' | '\'' | '”' | '’' | '»' | ')' | ']' => {
                        self.brackets += u64::from(c == ')' || c == ']');
                    }
                    '(' | '[' | '{' | '}' => {
                        self.brackets += 1;
                        *stopped = false;
                    }
                    '#' => {
                        self.symbols += 1;
                        *stopped = false;
                    }
                    _ => *stopped = false,
                }
                line.push(c);
            }
        }
    }

    fn close_line(&mut self, line: &mut OpenLine) {
        if let Some(first) = line.first {
            self.lines.push(Line {
                hash: line.trimmed_hash.finish(),
                chars: line.trimmed_chars,
                first,
                last: line.last,
                ellipsis: line.last == '…' || line.dots >= 3,
            });
        }
        *line = OpenLine::EMPTY;
    }
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
