//! The model that is measured, as a file in each number format.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ptbr_model::{
    ArchConfig, ModelFileInfo, ModelSource, QuantizationPlan, RandomTensors, TensorSource,
    WeightFormat, model_id, write_model_file_with,
};

use super::Formats;
use crate::loading::report_skipped;
use crate::model_size::named_size;
use crate::ui::Ui;

/// Seed of random weights: any would do, but a benchmark should do the same twice.
const SEED: u64 = 1;

/// A model that exists, or random weights of a size.
pub enum Candidate {
    Model {
        label: String,
        source: Box<ModelSource>,
    },
    Random {
        label: String,
        config: ArchConfig,
        tensors: RandomTensors,
        model_id: String,
    },
}

impl Candidate {
    /// The model at `path`.
    ///
    /// # Errors
    /// When there is no whole model.
    pub fn open(path: &Path, ui: &Ui) -> Result<Self> {
        let source = ModelSource::open(path)?;
        report_skipped(source.skipped(), ui);
        Ok(Self::Model {
            label: path.display().to_string(),
            source: Box::new(source),
        })
    }

    /// Random weights of the size that `--model-size` names.
    ///
    /// # Errors
    /// When there is no such size.
    pub fn random(size: &str) -> Result<Self> {
        let config = ArchConfig::Rwkv4(named_size(size)?);
        config.validate()?;
        let tensors = RandomTensors::new(&config, SEED);
        Ok(Self::Random {
            label: size.to_owned(),
            model_id: model_id(&tensors)?,
            config,
            tensors,
        })
    }

    /// What to call it.
    pub fn label(&self) -> &str {
        match self {
            Self::Model { label, .. } | Self::Random { label, .. } => label,
        }
    }

    /// Its sizes.
    pub fn config(&self) -> &ArchConfig {
        match self {
            Self::Model { source, .. } => source.config(),
            Self::Random { config, .. } => config,
        }
    }

    /// The formats that `asked` names, each once, widest first.
    ///
    /// # Errors
    /// When a quantized model is to have another format than its own.
    pub fn formats(&self, asked: &[Formats]) -> Result<Vec<WeightFormat>> {
        if let Some(own) = self.quantized_as() {
            if let Some(Formats::One(other)) = asked
                .iter()
                .find(|one| ![Formats::All, Formats::One(own)].contains(one))
            {
                bail!(
                    "{} is quantized ({own}) and cannot be measured in {other}; give the f32 model it was made from",
                    self.label()
                );
            }
            return Ok(vec![own]);
        }
        let all = asked.contains(&Formats::All);
        Ok(WeightFormat::ALL
            .into_iter()
            .filter(|format| all || asked.contains(&Formats::One(*format)))
            .collect())
    }

    /// The format of a model that is not f32 throughout.
    fn quantized_as(&self) -> Option<WeightFormat> {
        match self {
            Self::Model { source, .. } => {
                let plan = source.plan();
                (*plan != QuantizationPlan::uniform(WeightFormat::F32)).then(|| plan.format())
            }
            Self::Random { .. } => None,
        }
    }

    /// The model in `format`, one of [`Candidate::formats`]: itself, or a file that is written into `folder` tensor by tensor.
    ///
    /// # Errors
    /// When a weight is beyond the format's range or the file cannot be written.
    pub fn file(&self, format: WeightFormat, folder: &Path, ui: &Ui) -> Result<PathBuf> {
        let plan = QuantizationPlan::uniform(format);
        match self {
            Self::Model { source, .. } => {
                if format == WeightFormat::F32 || self.quantized_as().is_some() {
                    return Ok(source.path().to_owned());
                }
                let config = source.config().clone();
                let specs = config.tensor_specs();
                let tensors = source.tensors().in_order(&specs);
                let info = ModelFileInfo::quantized(
                    &plan,
                    config,
                    source.tokenizer_json().map(str::to_owned),
                    source.model_id().to_owned(),
                );
                write(&info, &tensors, folder, ui)
            }
            Self::Random {
                config,
                tensors,
                model_id,
                ..
            } => {
                let info = ModelFileInfo::quantized(&plan, config.clone(), None, model_id.clone());
                write(&info, tensors, folder, ui)
            }
        }
    }
}

fn write(
    info: &ModelFileInfo,
    tensors: &dyn TensorSource,
    folder: &Path,
    ui: &Ui,
) -> Result<PathBuf> {
    let path = folder.join(format!("{}.safetensors", info.format));
    let bar = ui.count_bar(
        info.config.num_parameters(),
        &format!("making {}", info.format),
    );
    write_model_file_with(&path, info, tensors, &mut |tensor| {
        bar.inc(tensor.elements as u64);
    })?;
    bar.finish_and_clear();
    Ok(path)
}

/// Bytes of a model: of its file, or of the weights of a checkpoint folder.
///
/// # Errors
/// When the file cannot be looked at.
pub fn num_bytes(path: &Path) -> Result<u64> {
    let file = if path.is_dir() {
        path.join("model.safetensors")
    } else {
        path.to_owned()
    };
    let metadata = std::fs::metadata(&file);
    Ok(metadata
        .with_context(|| format!("cannot look at {}", file.display()))?
        .len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_made_one_by_one_and_measured_widest_first() {
        let nano = Candidate::random("nano").unwrap();
        let both = [
            Formats::One(WeightFormat::Int4),
            Formats::One(WeightFormat::F16),
            Formats::One(WeightFormat::Int4),
        ];
        let formats = nano.formats(&both).unwrap();
        assert_eq!(formats, [WeightFormat::F16, WeightFormat::Int4]);
        assert_eq!(nano.formats(&[Formats::All]).unwrap(), WeightFormat::ALL);

        let folder = tempfile::tempdir().unwrap();
        let file = nano
            .file(WeightFormat::Int4, folder.path(), &Ui::new(true))
            .unwrap();
        let quantized = Candidate::open(&file, &Ui::new(true)).unwrap();
        assert_eq!(quantized.config(), nano.config());
        let own = quantized.formats(&[Formats::All]).unwrap();
        assert_eq!(own, [WeightFormat::Int4]);
        let error = quantized.formats(&both).unwrap_err().to_string();
        assert!(error.contains("cannot be measured in f16"), "{error}");
        let itself = quantized.file(WeightFormat::Int4, folder.path(), &Ui::new(true));
        assert_eq!(itself.unwrap(), file);
    }
}
