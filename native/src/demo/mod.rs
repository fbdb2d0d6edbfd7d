//! The text inside the program, and the check of what the demo's model writes.

mod folder;
mod text_check;

use std::io::Read;

use anyhow::{Context, Result};

pub use folder::{DemoFolder, write};
pub use text_check::check;

/// A MediaWiki export of 16 pages, compressed with bz2 as dumps are.
pub const WIKI_DUMP: &[u8] = include_bytes!("../../assets/demo.xml.bz2");

const LITERATURE: &[u8] = include_bytes!("../../assets/literature.txt.bz2");

/// Public-domain novels, a chapter a document, blank lines between documents.
///
/// # Errors
/// When the program file is damaged.
pub fn literature() -> Result<String> {
    let mut text = String::new();
    bzip2::read::BzDecoder::new(LITERATURE)
        .read_to_string(&mut text)
        .context("the text inside the program cannot be unpacked: the program file is damaged")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_whole_and_small() -> Result<()> {
        let text = literature()?;
        assert_eq!(text.split("\n\n").count(), 320);
        assert!(text.contains("Capitu") && !text.contains('\u{FFFD}'));
        let mut dump = String::new();
        bzip2::read::BzDecoder::new(WIKI_DUMP).read_to_string(&mut dump)?;
        assert_eq!(dump.matches("<page>").count(), 16);
        assert!(text.len() + dump.len() <= 900_000);
        Ok(())
    }
}
