//! Finds and loads the adapter that `--adapter` names, and says what was odd about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use ptbr_model::{AdapterMatch, AdapterName};
use ptbr_runtime::{LoadedAdapter, Model};

use crate::ui::Ui;

/// The file that makes a folder an adapter.
const CONFIG_FILE: &str = "adapter_config.json";

/// `--adapter` of the commands that run a model.
#[derive(Debug, Args)]
pub struct AdapterOption {
    /// Compute with this adapter: a folder, or a name in the model's folder `adapters`
    #[arg(long, value_name = "NAME|FOLDER")]
    pub adapter: Option<String>,
}

/// What `generate --adapter` takes for the name of no adapter: the one that fits the prompt.
pub const AUTO: &str = "auto";

impl AdapterOption {
    /// The adapter that the flag names, loaded for `model`, which was found at `path`.
    ///
    /// # Errors
    /// When there is none of this name, it is damaged, or it belongs to another model.
    pub fn load(&self, model: &Model, path: &Path, ui: &Ui) -> Result<Option<Arc<LoadedAdapter>>> {
        let Some(named) = &self.adapter else {
            return Ok(None);
        };
        if named == AUTO {
            bail!(
                "--adapter {AUTO} picks an adapter by the prompt of `generate`, and here is none; name an adapter"
            );
        }
        Ok(Some(load(model, &find(named, Some(path))?, ui)?))
    }
}

/// The adapter in `folder`, loaded for `model`.
///
/// # Errors
/// When it is damaged, or belongs to another model.
pub fn load(model: &Model, folder: &Path, ui: &Ui) -> Result<Arc<LoadedAdapter>> {
    let loaded = model
        .load_adapter(folder)
        .with_context(|| format!("cannot use the adapter {}", folder.display()))?;
    warn_of(loaded.matching(), folder, ui);
    Ok(loaded)
}

/// Says so when an adapter names no model.
pub fn warn_of(matching: AdapterMatch, folder: &Path, ui: &Ui) {
    if matching == AdapterMatch::ShapesOnly {
        ui.note(format!(
            "warning: {} does not say which model it was made for; its shapes fit this one, and whether it belongs to it nobody can tell",
            folder.display()
        ));
    }
}

/// The folder of an adapter: a plain name is looked up among those of the model, anything else is a path.
///
/// # Errors
/// When there is no such adapter; the message lists those that there are.
pub fn find(named: &str, model: Option<&Path>) -> Result<PathBuf> {
    if named.parse::<AdapterName>().is_ok()
        && let Some(model) = model
    {
        let folder = folder_of(model).join(named);
        if is_adapter(&folder) {
            return Ok(folder);
        }
    }
    let path = PathBuf::from(named);
    if is_adapter(&path) {
        return Ok(path);
    }
    if path.is_dir() {
        bail!(
            "{named} is no adapter: it holds no {CONFIG_FILE}; an adapter is a folder in the PEFT layout"
        );
    }
    let Some(model) = model else {
        bail!(
            "there is no adapter at {named}; give its folder, or also the --model that it belongs to"
        );
    };
    let known: Vec<String> = adapters_in(&folder_of(model))?
        .iter()
        .map(|folder| name_of(folder))
        .collect();
    let known = if known.is_empty() {
        "it holds none".to_owned()
    } else {
        format!("it holds {}", known.join(", "))
    };
    bail!(
        "there is no adapter `{named}`: neither a folder of this name nor one in {}; {known}",
        folder_of(model).display()
    )
}

/// Where a model's adapters are: `adapters` in a training output folder, and beside a model file or the checkpoints of a run.
pub fn folder_of(model: &Path) -> PathBuf {
    let own = model.join("adapters");
    if model.is_dir() && (own.is_dir() || !model.join("MANIFEST.json").exists()) {
        return own;
    }
    match model.parent() {
        Some(parent) => parent.join("adapters"),
        None => own,
    }
}

/// The adapter folders in `folder`, by name; none where there is no such folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn adapters_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)
        .with_context(|| format!("cannot look into {}", folder.display()))?
    {
        let path = entry
            .with_context(|| format!("cannot look into {}", folder.display()))?
            .path();
        if is_adapter(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The last part of an adapter's path.
pub fn name_of(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or(folder.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Whether a folder claims to be an adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_are_looked_up_at_the_model_and_paths_are_paths() -> Result<()> {
        let root = tempfile::tempdir()?;
        let run = root.path().join("run");
        for (model, file) in [
            ("run/step-000001", "MANIFEST.json"),
            ("run/adapters/legal", CONFIG_FILE),
            ("run/adapters/not-one", "x"),
            ("other", CONFIG_FILE),
            ("empty", "x"),
        ] {
            let folder = root.path().join(model);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(file), "{}")?;
        }
        let legal = run.join("adapters/legal");
        // By the run, by one of its checkpoints, and by a model file in it.
        for model in [
            run.clone(),
            run.join("step-000001"),
            run.join("m.safetensors"),
        ] {
            assert_eq!(folder_of(&model), run.join("adapters"));
            assert_eq!(find("legal", Some(&model))?, legal);
        }
        assert_eq!(adapters_in(&run.join("adapters"))?, [legal]);
        assert!(adapters_in(&root.path().join("nowhere"))?.is_empty());
        let other = root.path().join("other");
        assert_eq!(find(&other.to_string_lossy(), None)?, other);

        let message = |named: &str, model| match find(named, model) {
            Ok(path) => format!("found {}", path.display()),
            Err(error) => error.to_string(),
        };
        assert!(message("nenhum", Some(&run)).ends_with("it holds legal"));
        assert!(message("nenhum", None).contains("--model"));
        let empty = root.path().join("empty");
        assert!(message(&empty.to_string_lossy(), None).contains("holds no adapter_config.json"));
        Ok(())
    }
}
