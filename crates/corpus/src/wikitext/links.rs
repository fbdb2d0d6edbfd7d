//! What a link shows.

use super::names::{Prefix, WikiNames};
use super::scan::Scanner;

impl Scanner {
    /// Ends the innermost frame, a `[[…`, and leaves what a reader would see of it.
    pub(super) fn close_link(&mut self, names: &WikiNames) {
        let Some(frame) = self.frames.last().copied() else {
            return;
        };
        let end = self.out.len();
        let first = self.args.get(frame.args).map(|mark| mark.start);
        let shown = self
            .args
            .last()
            .map(|mark| mark.start)
            .filter(|_| first.is_some());
        let target_end = first.unwrap_or(end);
        let (start, name) = (frame.start, &mut self.name);
        let target = std::str::from_utf8(&self.out[start..target_end]).unwrap_or("");
        let quiet = target.trim_start().starts_with(':');
        let bare = target.trim_start().trim_start_matches(':');
        // Prefixes are short: a colon further on belongs to the text.
        let prefix_end = bare.bytes().take(64).position(|b| b == b':');
        let prefix = prefix_end.and_then(|at| names.prefix(bare.get(..at)?, name));
        // Bytes of the target that are shown when there is no other text.
        let skip = target.len() - bare.len();
        let after_prefix = skip + prefix_end.map_or(0, |at| at + 1);
        let address = bare.starts_with("http://") || bare.starts_with("https://");
        let keep = match (prefix, quiet) {
            (Some(Prefix::File | Prefix::Category), false) => None,
            (Some(Prefix::Language), false) => None,
            (Some(Prefix::Project), _) | (Some(Prefix::Language), true) => {
                Some(shown.map_or((start + after_prefix, end), |s| (s, end)))
            }
            _ if address && shown.is_none() => {
                let text = bare.find(' ').map_or(end, |at| start + skip + at);
                Some((text, end))
            }
            _ => match shown {
                // The pipe trick: `[[Goiás (estado)|]]` shows "Goiás".
                Some(s) if self.out[s..end].iter().all(|b| *b == b' ') => {
                    let cut = bare
                        .find(" (")
                        .or_else(|| bare.find(", "))
                        .unwrap_or(bare.len());
                    let from = if prefix.is_some() { after_prefix } else { skip };
                    Some((start + from, (start + skip + cut).max(start + from)))
                }
                Some(s) => Some((s, end)),
                None => {
                    // A link to a section shows as "Página#Seção"; only the page, or the section of this page, reads as text.
                    let (from, to) = match bare.find('#') {
                        Some(0) => (1, bare.len()),
                        Some(at) => (0, at),
                        None => (0, bare.len()),
                    };
                    Some((start + skip + from, start + skip + to))
                }
            },
        };
        match keep {
            Some((from, to)) => {
                self.steps += (to - from) as u64;
                self.out.copy_within(from..to, start);
                self.out.truncate(start + to - from);
            }
            None => self.out.truncate(start),
        }
        self.leave_frame();
    }
}
