//! Mutations as a function of a number.

/// SplitMix64: a small generator whose numbers are the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Pieces that wikitext is made of, whole and broken.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "{{", "}}", "{{{", "}}}", "[[", "]]", "[[[", "]]]]", "{|", "|}", "|}}", "\n{|\n", "\n|}\n", "\n|-\n", "\n| ", "\n! ", "||", "!!", "|", "=", "\n== ",
    " ==\n", "\n* ", "\n# ", "\n; ", "\n: ", "\n\n", "\n", "''", "'''", "'''''", "<ref>", "</ref>", "<ref name=\"a>b\" />", "<ref name=", "<ref", "<!--",
    "-->", "<nowiki>", "</nowiki>", "<math>", "</math>", "<br>", "<br", "<sup>", "</sup>", "<poem>", "</poem>", "<gallery>", "</gallery>", "<div class=\"",
    "<li>", "&amp;nbsp;", "&amp;amp;lt;", "&#8211;", "&#x110000;", "&lt;ref&gt;", "&", ";", "__SEMTDC__", "__", "_", "http://x.org/a b", "[http://x y]", "[",
    "]", "Ficheiro:a.jpg|thumb|", "Categoria:B", "en:C", "{{nowrap|", "{{dtlink|1|2|1900}}", "{{citação|", "{{séc|XIX}}", "{{#if:", "{{formatnum:", "{{!}}",
    "{{desconhecido}}", "{{chem|", "{{frac|1|", "{{duração|h=", "{{val|1|u=", "{{e|", "(", ")", "( ; )", " , .", " de ", " habitantes. ", "Sr. ", "…", "”", "“",
    "\u{AD}", "\u{200B}", "\u{FEFF}", "\u{1}", "\u{4}", "\u{7}", "\t", "é", "日本", "𝄞", "#REDIRECT [[x]]", "0", "1234567", "-{", "~~~~", "----", "Ã", "\r",
];

/// A page made of the seeds by one to six changes.
pub fn mutate_text(seeds: &[(String, String)], random: &mut Random) -> String {
    let pick = |random: &mut Random| seeds[random.below(seeds.len())].1.clone().into_bytes();
    let mut bytes = pick(random);
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(200)).min(bytes.len());
        match random.below(8) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let copy = bytes[at..to].to_vec();
                let where_to = random.below(bytes.len() + 1);
                bytes.splice(where_to..where_to, copy);
            }
            2 => {
                // The end of one page after the beginning of another.
                let other = pick(random);
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            3 => {
                let most = if random.below(50) == 0 { 3000 } else { 20 };
                let times = 1 + random.below(most);
                let piece = PIECES[random.below(PIECES.len())].repeat(times);
                bytes.splice(at..at, piece.into_bytes());
            }
            4 => bytes.truncate(at),
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `bytes` with one to four changes anywhere.
pub fn mutate_bytes(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(300)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let copy = bytes[at..to].to_vec();
                let where_to = random.below(bytes.len() + 1);
                bytes.splice(where_to..where_to, copy);
            }
            2 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
        }
    }
    bytes
}
