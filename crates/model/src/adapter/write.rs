//! Writing an adapter folder, whole or not at all.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::config::{MAX_RANK, PeftConfig};
use super::names::{hf_module, peft_target};
use super::{Adapter, AdapterError, CONFIG_FILE, LoraModule, TENSOR_FILE};
use crate::model_file::DOCUMENT_KEY;
use crate::safetensors_writer::write_safetensors;
use crate::storage::{DiskStorage, replace_folder};
use crate::tensor::{TensorSource, TensorSpec};

/// Writes `adapter` as the folder `folder`, replacing one that is there.
///
/// Errors: a target that is no matrix of the architecture, a rank out of range, values that are fewer or more than the dimensions, and whatever the system refuses.
pub fn write_adapter(folder: &Path, adapter: &Adapter) -> Result<(), AdapterError> {
    check(folder, adapter)?;
    let mut source = Source {
        entries: Vec::with_capacity(adapter.modules.len()),
        rank: adapter.config.rank,
    };
    for module in &adapter.modules {
        let hf = hf_module(&module.target).ok_or_else(|| AdapterError::NoSuchTarget {
            target: module.target.clone(),
        })?;
        source
            .entries
            .push((format!("base_model.model.{hf}"), module));
    }
    source.entries.sort_by(|a, b| a.0.cmp(&b.0));
    let document = adapter
        .model_id
        .as_ref()
        .map(|id| serde_json::json!({ "model_id": id }).to_string());
    let mut metadata = vec![("format", "pt")];
    metadata.extend(document.as_deref().map(|document| (DOCUMENT_KEY, document)));
    write_folder(folder, adapter, &mut |out| {
        write_safetensors(&source, &metadata, out, None).map(drop)
    })
}

/// Whether the parts of `adapter` fit together; `path` is what the error names.
pub(super) fn check(path: &Path, adapter: &Adapter) -> Result<(), AdapterError> {
    let content = |reason: String| AdapterError::Content {
        file: path.display().to_string(),
        reason,
    };
    let rank = adapter.config.rank;
    if !(1..=MAX_RANK).contains(&rank) || adapter.modules.is_empty() {
        return Err(content(format!(
            "an adapter of rank {rank} with {} targets cannot be written",
            adapter.modules.len()
        )));
    }
    let mut seen = BTreeSet::new();
    for module in &adapter.modules {
        if hf_module(&module.target).is_none() {
            return Err(AdapterError::NoSuchTarget {
                target: module.target.clone(),
            });
        }
        let expected = module
            .in_features
            .checked_mul(rank)
            .zip(module.out_features.checked_mul(rank));
        if expected != Some((module.a.len(), module.b.len())) {
            return Err(content(format!(
                "`{}` has {} and {} values, which are not its dimensions",
                module.target,
                module.a.len(),
                module.b.len()
            )));
        }
        if !seen.insert(&module.target) {
            return Err(content("a target occurs twice".to_owned()));
        }
    }
    Ok(())
}

/// Writes the folder of a checked adapter; `tensors` writes the tensor file.
pub(super) fn write_folder(
    folder: &Path,
    adapter: &Adapter,
    tensors: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), AdapterError> {
    let targets: BTreeSet<_> = adapter
        .modules
        .iter()
        .filter_map(|module| peft_target(&module.target))
        .collect();
    let config = PeftConfig::new(&adapter.config, targets.into_iter().collect());
    let mut json =
        serde_json::to_string_pretty(&config).map_err(|error| AdapterError::Content {
            file: folder.display().to_string(),
            reason: error.to_string(),
        })?;
    json.push('\n');

    Ok(replace_folder(&DiskStorage, folder, &mut |new| {
        new.file(CONFIG_FILE, &mut |out| out.write_all(json.as_bytes()))?;
        new.file(TENSOR_FILE, tensors)
    })?)
}

/// The modules by their names in the file, sorted.
struct Source<'a> {
    entries: Vec<(String, &'a LoraModule)>,
    rank: usize,
}

impl TensorSource for Source<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        let specs = |(name, module): &(String, &LoraModule)| {
            let a = TensorSpec::new(
                format!("{name}.lora_A.weight"),
                [self.rank, module.in_features],
            );
            let b = TensorSpec::new(
                format!("{name}.lora_B.weight"),
                [module.out_features, self.rank],
            );
            [a, b]
        };
        self.entries.iter().flat_map(specs).collect()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        for (module_name, module) in &self.entries {
            match name.strip_prefix(module_name.as_str()) {
                Some(".lora_A.weight") => return sink(&module.a),
                Some(".lora_B.weight") => return sink(&module.b),
                _ => {}
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no tensor called `{name}`"),
        ))
    }
}
