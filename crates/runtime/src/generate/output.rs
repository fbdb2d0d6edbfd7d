//! Text on its way out: stop texts are found in it, and held back while they may still become one.

use super::StopReason;
use std::ops::ControlFlow;

/// Text on its way out.
pub(super) struct Output {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop text.
    pending: String,
}

/// Whoever gets the text.
type OnPiece<'a> = dyn FnMut(&str) -> ControlFlow<()> + 'a;

impl Output {
    /// Empty stop texts are ignored.
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        Self {
            stops: stops.cloned().collect(),
            pending: String::new(),
        }
    }

    /// Takes new text; the reason to stop, if there is one now.
    pub(super) fn push(&mut self, piece: &str, on_piece: &mut OnPiece<'_>) -> Option<StopReason> {
        self.pending.push_str(piece);
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|stop| self.pending.find(stop.as_str()))
            .min()
        {
            self.pending.truncate(at);
            return self.flush(on_piece).or(Some(StopReason::StopText));
        }
        let held = self
            .stops
            .iter()
            .map(|stop| overlap(&self.pending, stop))
            .max()
            .unwrap_or(0);
        let rest = self.pending.split_off(self.pending.len() - held);
        let reason = self.flush(on_piece);
        self.pending = rest;
        reason
    }

    /// Gives out what was held back.
    pub(super) fn flush(&mut self, on_piece: &mut OnPiece<'_>) -> Option<StopReason> {
        let text = std::mem::take(&mut self.pending);
        (!text.is_empty() && on_piece(&text).is_break()).then_some(StopReason::Interrupted)
    }
}

/// Bytes of the longest end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .rev()
        .find(|&at| text.ends_with(&stop[..at]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<StopReason>) {
        let mut written = Vec::new();
        let mut on_piece = |piece: &str| {
            written.push(piece.to_owned());
            if piece.contains('!') {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let mut output = Output::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let reason = pieces
            .iter()
            .find_map(|piece| output.push(piece, &mut on_piece))
            .or_else(|| output.flush(&mut on_piece));
        (written, reason)
    }

    #[test]
    fn stop_texts_are_found_across_pieces_and_not_written() {
        let strings = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
        assert_eq!(written(&[], &["a", "b"]), (strings(&["a", "b"]), None));
        assert_eq!(
            written(&["fim"], &["o f", "i", "m?"]),
            (strings(&["o "]), Some(StopReason::StopText))
        );
        assert_eq!(
            written(&["fim"], &["o f", "io f", "i"]),
            (strings(&["o ", "fio ", "fi"]), None)
        );
        assert_eq!(
            written(&["xyz", "b"], &["abxyz"]),
            (strings(&["a"]), Some(StopReason::StopText)),
            "the first in the text ends it"
        );
        assert_eq!(
            written(&["ção!"], &["canç", "ão", "..."]),
            (strings(&["can", "ção..."]), None)
        );
        assert_eq!(
            written(&["aab"], &["aa", "ab"]),
            (strings(&["a"]), Some(StopReason::StopText))
        );
        assert_eq!(
            written(&[], &["a!", "b"]),
            (strings(&["a!"]), Some(StopReason::Interrupted))
        );
    }
}
