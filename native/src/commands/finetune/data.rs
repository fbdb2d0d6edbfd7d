//! The token files that a domain is tuned on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ptbr_corpus::export_split;
use ptbr_dataset::MmapDataset;
use ptbr_model::{Domain, Split};
use ptbr_tokenizer::BpeTokenizer;

use crate::commands::evaluate::is_text;
use crate::commands::tokenize;
use crate::training::{make_folder, open_data};
use crate::ui::Ui;

/// Where the texts of one domain come from.
pub enum Texts<'a> {
    /// Named on the command line.
    Files {
        /// Token file or text.
        train: &'a Path,
        /// Token file or text.
        validation: Option<&'a Path>,
        /// Token files without a header.
        raw: bool,
    },
    /// What the domain's file names, below the data folder.
    Domain(&'a Domain, &'a Path),
}

/// Opened token files.
pub struct TokenFiles {
    /// To learn from.
    pub train: Arc<MmapDataset>,
    /// To judge by.
    pub validation: Option<Arc<MmapDataset>>,
}

impl Texts<'_> {
    /// Opens the token files; text is tokenized first, into `folder`, where a resumed run finds it again.
    ///
    /// # Errors
    /// When a text is missing or empty, a token file is damaged or of another tokenizer, or `folder` cannot be written.
    pub fn token_files(
        &self,
        folder: &Path,
        tokenizer: &BpeTokenizer,
        ui: &Ui,
    ) -> Result<TokenFiles> {
        make_folder(folder)?;
        match self {
            Self::Files {
                train,
                validation,
                raw,
            } => {
                let open = |path: &Path, split| {
                    if *raw || !is_text(path) {
                        return open_data(path, *raw, tokenizer);
                    }
                    from_text(path.to_owned(), folder, split, tokenizer, ui)
                };
                Ok(TokenFiles {
                    train: open(train, Split::Train)?,
                    validation: validation
                        .map(|path| open(path, Split::Validation))
                        .transpose()?,
                })
            }
            Self::Domain(domain, root) => {
                let open = |split: Split| {
                    let text = folder.join(format!("{split}.txt"));
                    export_split(domain, root, split, &text)
                        .with_context(|| format!("cannot read the domain {}", domain.name()))?;
                    from_text(text, folder, split, tokenizer, ui)
                };
                let has_validation = !domain.data().sources(Split::Validation).is_empty();
                Ok(TokenFiles {
                    train: open(Split::Train)?,
                    validation: has_validation
                        .then(|| open(Split::Validation))
                        .transpose()?,
                })
            }
        }
    }
}

fn from_text(
    text: PathBuf,
    folder: &Path,
    split: Split,
    tokenizer: &BpeTokenizer,
    ui: &Ui,
) -> Result<Arc<MmapDataset>> {
    if !text.exists() {
        bail!("there is no text at {}", text.display());
    }
    let tokens = folder.join(format!("{split}.bin"));
    tokenize::write(&[text], tokenizer, &tokens, ui)?;
    open_data(&tokens, false, tokenizer)
}
