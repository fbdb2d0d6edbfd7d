//! Validation by source: where a mixture of texts is learnt well, and where not.

use std::path::Path;
use std::sync::Arc;

use ptbr_dataset::MmapDataset;
use ptbr_model::ValidationFile;
use ptbr_tokenizer::BpeTokenizer;

use super::start::check_tokens;
use super::{SourceReport, Trainer};
use crate::TrainError;

/// Tokens of one source to judge by, beside those of all.
#[derive(Clone)]
pub struct ValidationSource {
    /// What the source is called.
    pub name: String,
    /// Its tokens.
    pub data: Arc<MmapDataset>,
}

impl ValidationSource {
    /// Letters, digits, `.`, `_` and `-`: a name stands in file names, in cells of a CSV file and in tags of TensorBoard.
    fn has_plain_name(&self) -> bool {
        let plain = |c: char| c.is_alphanumeric() || ".-_".contains(c);
        !self.name.is_empty() && self.name.chars().all(plain)
    }

    /// The source that a run's state names.
    pub(super) fn open(file: &ValidationFile, raw: bool) -> Result<Self, TrainError> {
        let path = Path::new(&file.path);
        let data = if raw {
            MmapDataset::open_raw(path)?
        } else {
            MmapDataset::open(path)?
        };
        Ok(Self {
            name: file.name.clone(),
            data: Arc::new(data),
        })
    }
}

impl Trainer {
    /// Reports each of `sources` with every evaluation, here and after a resume; which loss is the best is decided without them.
    ///
    /// # Errors
    /// When two have one name, a name is not plain, or a file is of another tokenizer.
    pub fn judge_by_source(&mut self, sources: Vec<ValidationSource>) -> Result<(), TrainError> {
        let tokenizer = BpeTokenizer::from_json(self.tokenizer_json.as_bytes())?;
        for (i, source) in sources.iter().enumerate() {
            let twice = sources
                .iter()
                .take(i)
                .any(|other| other.name == source.name);
            if twice || !source.has_plain_name() {
                return Err(TrainError::SourceName(source.name.clone()));
            }
            check_tokens(&source.data, &self.config, &tokenizer)?;
        }
        let file = |source: &ValidationSource| ValidationFile {
            name: source.name.clone(),
            path: source.data.path().display().to_string(),
        };
        self.state.val_sources = sources.iter().map(file).collect();
        self.sources = sources;
        Ok(())
    }

    /// Evaluates on each source.
    pub(super) fn evaluate_sources(&mut self) -> Result<Vec<SourceReport>, TrainError> {
        let mut reports = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let metrics = self.evaluate_on(&source.data)?;
            reports.push(SourceReport {
                step: self.state.step,
                source: source.name.clone(),
                metrics,
            });
        }
        Ok(reports)
    }
}
