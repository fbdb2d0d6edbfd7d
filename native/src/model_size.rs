//! `--model-size`: a preset's name, or a file of sizes.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ptbr_model::{ArchConfig, RwkvConfig, preset};

/// The sizes that `--model-size` names: a preset, or a TOML file like those in `configs/models`.
///
/// # Errors
/// When there is no such preset or file, or the sizes are not possible.
pub fn named_size(size: &str) -> Result<RwkvConfig> {
    let path = Path::new(size);
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Ok(preset(size)?);
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the model sizes in {}", path.display()))?;
    let config = ArchConfig::from_toml(&text)
        .with_context(|| format!("{} does not describe a model", path.display()))?;
    rwkv4(&config).cloned()
}

/// The sizes of an RWKV-4 model.
///
/// # Errors
/// For another architecture, which this program cannot train.
pub fn rwkv4(config: &ArchConfig) -> Result<&RwkvConfig> {
    match config {
        ArchConfig::Rwkv4(config) => Ok(config),
        other => bail!(
            "the architecture is {}, and this program knows rwkv4",
            other.name()
        ),
    }
}
