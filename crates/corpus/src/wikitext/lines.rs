//! Second pass: marked lines to paragraphs, lists and sections, and the choice of what is prose.

use super::holes::HoleMender;
use super::scan::{HARD_HOLE, HEADING, LINE_BREAK, LIST, SOFT_HOLE, TABLE_LINE};
use super::tidy::tidy;
use super::words::is_tail_section;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Heading(u8),
    Paragraph,
    /// `*` or `#`
    Item,
    /// `;`
    Term,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    kind: BlockKind,
    start: usize,
    end: usize,
    keep: bool,
}

/// Buffers of the second pass.
#[derive(Debug, Default)]
pub(super) struct LineAssembler {
    paragraph: Vec<u8>,
    text: Vec<u8>,
    blocks: Vec<Block>,
    pending: Vec<usize>,
    mender: HoleMender,
    word: String,
}

/// An item with at least this many words is prose.
const PROSE_WORDS: usize = 5;
/// A list after a colon belongs to the sentence before it, up to this many items.
const MAX_ANNOUNCED_ITEMS: usize = 12;
/// An appendix goes when at least this share of its bytes is lists, in percent.
const TAIL_LIST_PERCENT: usize = 70;

impl LineAssembler {
    /// Turns the output of the first pass into text, appended to `out`; gives the bytes handled.
    pub(super) fn assemble(&mut self, marked: &[u8], out: &mut String) -> u64 {
        let mut steps = 2 * marked.len() as u64;
        self.text.clear();
        self.blocks.clear();
        self.paragraph.clear();
        let mut kind = BlockKind::Paragraph;
        for line in marked.split(|b| *b == b'\n') {
            match line {
                [TABLE_LINE, ..] => self.flush(kind, &mut steps),
                _ if is_lost_block(line) => {
                    self.flush(kind, &mut steps);
                    self.drop_announcement(&mut steps);
                }
                [HEADING, level, rest @ ..] => {
                    self.flush(kind, &mut steps);
                    let level = level.saturating_sub(b'0').clamp(1, 6);
                    let rest = rest.trim_ascii_end();
                    let title = rest.strip_suffix(b"=").map(|t| {
                        let end = t.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
                        t[..end].trim_ascii()
                    });
                    self.paragraph.extend_from_slice(title.unwrap_or(rest));
                    self.flush(
                        if title.is_some() {
                            BlockKind::Heading(level)
                        } else {
                            BlockKind::Paragraph
                        },
                        &mut steps,
                    );
                    kind = BlockKind::Paragraph;
                    continue;
                }
                [LIST, mark, rest @ ..] => {
                    self.flush(kind, &mut steps);
                    kind = match mark {
                        b'*' | b'#' => BlockKind::Item,
                        b';' => BlockKind::Term,
                        _ => BlockKind::Paragraph,
                    };
                    self.paragraph.extend_from_slice(rest);
                    // Every item is one line; a definition stays open for the text that explains it.
                    self.flush(kind, &mut steps);
                }
                _ if line.trim_ascii().is_empty() => self.flush(kind, &mut steps),
                _ => {
                    if !self.paragraph.is_empty() {
                        self.paragraph.push(b' ');
                    }
                    self.paragraph.extend_from_slice(line);
                    kind = BlockKind::Paragraph;
                    continue;
                }
            }
            kind = BlockKind::Paragraph;
        }
        self.flush(kind, &mut steps);
        self.choose_lists();
        self.cut_tails();
        self.write(out);
        steps + 2 * self.text.len() as u64
    }

    fn flush(&mut self, kind: BlockKind, steps: &mut u64) {
        if self.paragraph.is_empty() {
            return;
        }
        *steps += self.paragraph.len() as u64;
        self.mender.mend(&mut self.paragraph, steps);
        let start = self.text.len();
        tidy(&self.paragraph, &mut self.text);
        self.paragraph.clear();
        if self.text.len() > start {
            self.blocks.push(Block {
                kind,
                start,
                end: self.text.len(),
                keep: true,
            });
        }
    }

    /// A formula or listing with a line of its own went: so does the sentence that announces it, "A área é dada por:".
    fn drop_announcement(&mut self, steps: &mut u64) {
        let Some(block) = self.blocks.last_mut() else {
            return;
        };
        let text = &self.text[block.start..block.end];
        if block.kind != BlockKind::Paragraph || !text.ends_with(b":") {
            return;
        }
        *steps += text.len() as u64;
        let kept = text[..self.mender.last_sentence(text)]
            .trim_ascii_end()
            .len();
        block.end = block.start + kept;
        self.text.truncate(block.end);
        if kept == 0 {
            self.blocks.pop();
        }
    }

    fn bytes(&self, block: &Block) -> &[u8] {
        &self.text[block.start..block.end]
    }

    fn is_prose(&self, block: &Block) -> bool {
        self.bytes(block).iter().filter(|b| **b == b' ').count() + 1 >= PROSE_WORDS
    }

    /// Lists stay when a third of their items is prose, or when a sentence announces them; bare lists of names go.
    fn choose_lists(&mut self) {
        let mut n = 0;
        while n < self.blocks.len() {
            if self.blocks[n].kind != BlockKind::Item {
                n += 1;
                continue;
            }
            let first = n;
            while n < self.blocks.len() && self.blocks[n].kind == BlockKind::Item {
                n += 1;
            }
            let items = n - first;
            let prose = self.blocks[first..n]
                .iter()
                .filter(|b| self.is_prose(b))
                .count();
            let announced = first > 0 && {
                let before = &self.blocks[first - 1];
                before.kind == BlockKind::Paragraph && self.bytes(before).ends_with(b":")
            };
            let keep = prose * 3 >= items || (announced && items <= MAX_ANNOUNCED_ITEMS);
            for block in &mut self.blocks[first..n] {
                block.keep = keep;
            }
        }
    }

    /// Appendices that are mostly lists go: "Ligações externas", "Referências" and their like.
    fn cut_tails(&mut self) {
        let mut n = 0;
        while n < self.blocks.len() {
            let BlockKind::Heading(level) = self.blocks[n].kind else {
                n += 1;
                continue;
            };
            let Block { start, end, .. } = self.blocks[n];
            let title = std::str::from_utf8(&self.text[start..end]).unwrap_or("");
            if !is_tail_section(title, &mut self.word) {
                n += 1;
                continue;
            }
            let end = (n + 1..self.blocks.len())
                .find(|at| matches!(self.blocks[*at].kind, BlockKind::Heading(l) if l <= level))
                .unwrap_or(self.blocks.len());
            let (mut lists, mut all) = (0, 0);
            for block in &self.blocks[n + 1..end] {
                let size = block.end - block.start;
                match block.kind {
                    BlockKind::Heading(_) => {}
                    BlockKind::Item | BlockKind::Term => {
                        lists += size;
                        all += size;
                    }
                    BlockKind::Paragraph => all += size,
                }
            }
            if lists * 100 >= all * TAIL_LIST_PERCENT {
                for block in &mut self.blocks[n..end] {
                    block.keep = false;
                }
                n = end;
            } else {
                n += 1;
            }
        }
    }

    /// Writes what is kept, a block a line; headings only when text follows them in their section.
    fn write(&mut self, out: &mut String) {
        self.pending.clear();
        let mut first = out.is_empty();
        let mut term = false;
        for n in 0..self.blocks.len() {
            let block = self.blocks[n];
            if !block.keep {
                continue;
            }
            if let BlockKind::Heading(level) = block.kind {
                while let Some(BlockKind::Heading(above)) =
                    self.pending.last().map(|at| self.blocks[*at].kind)
                {
                    if above < level {
                        break;
                    }
                    self.pending.pop();
                }
                self.pending.push(n);
                term = false;
                continue;
            }
            for at in std::mem::take(&mut self.pending) {
                let heading = self.blocks[at];
                push_line(self.bytes(&heading), "", &mut first, out);
            }
            let text = self.bytes(&block);
            if term && block.kind == BlockKind::Paragraph {
                // The definition after its term.
                out.push_str(if out.ends_with([':', '.', '?', '!']) {
                    " "
                } else {
                    ": "
                });
                out.push_str(std::str::from_utf8(text).unwrap_or(""));
                term = false;
                continue;
            }
            term = block.kind == BlockKind::Term;
            push_line(
                text,
                if block.kind == BlockKind::Item {
                    "- "
                } else {
                    ""
                },
                &mut first,
                out,
            );
        }
    }
}

/// A line on which something stood that surely was part of the text, and nothing else.
fn is_lost_block(line: &[u8]) -> bool {
    let content = match line {
        [LIST, _, rest @ ..] => rest,
        _ => line,
    };
    content.contains(&HARD_HOLE)
        && content
            .iter()
            .all(|b| matches!(*b, HARD_HOLE | SOFT_HOLE | LINE_BREAK) || b" .,;".contains(b))
}

fn push_line(text: &[u8], prefix: &str, first: &mut bool, out: &mut String) {
    if !*first {
        out.push('\n');
    }
    *first = false;
    out.push_str(prefix);
    // The text is UTF-8: it was cut only at ASCII bytes.
    out.push_str(std::str::from_utf8(text).unwrap_or(""));
}
