//! Loads the model that `--model` names, and says what was odd about it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use ptbr_model::{ModelSource, SkippedCheckpoint};
use ptbr_runtime::Model;
#[cfg(feature = "gpu")]
use ptbr_runtime::{AdapterChoice, GpuError, RuntimeError};
use ptbr_tokenizer::BpeTokenizer;

use crate::options::{EngineDevice, MemoryOption};
use crate::ui::Ui;

/// Loads a model with the tokenizer that it carries.
///
/// # Errors
/// When there is no whole model at `path`.
pub fn model(path: &Path, device: EngineDevice, ui: &Ui) -> Result<Arc<Model>> {
    model_kept(path, MemoryOption::MAPPED, device, ui)
}

/// [`model`], its weights where the option says.
///
/// # Errors
/// As [`model`], or when there is not enough memory.
pub fn model_kept(
    path: &Path,
    memory: MemoryOption,
    device: EngineDevice,
    ui: &Ui,
) -> Result<Arc<Model>> {
    let model = Model::from_source(source(path, memory)?, None)?;
    report_skipped(model.skipped(), ui);
    choose_device(&model, device, &|line| ui.note(line))?;
    Ok(model)
}

fn source(path: &Path, memory: MemoryOption) -> Result<ModelSource> {
    let source = ModelSource::open(path)?;
    Ok(if memory.in_memory {
        source.into_memory()?
    } else {
        source
    })
}

/// Brings the model to where it is to run. `auto` takes a hardware GPU and says so when that does not work; it needs none.
#[cfg(feature = "gpu")]
fn choose_device(model: &Model, device: EngineDevice, say: &dyn Fn(String)) -> Result<()> {
    match device {
        EngineDevice::Cpu => {}
        EngineDevice::Gpu => model.use_gpu(AdapterChoice::Any)?,
        EngineDevice::Auto => match model.use_gpu(AdapterChoice::Hardware) {
            Ok(())
            | Err(RuntimeError::Gpu(GpuError::NoAdapter | GpuError::OnlySoftware { .. })) => {}
            Err(error) => say(format!("warning: going on with the CPU: {error}")),
        },
    }
    if let Some(name) = model.gpu_name() {
        say(format!("running on {name}"));
    }
    Ok(())
}

/// The GPU that the model runs on, if it does.
#[cfg(feature = "gpu")]
pub fn gpu_name(model: &Model) -> Option<String> {
    model.gpu_name()
}

/// There is only the CPU.
#[cfg(not(feature = "gpu"))]
pub fn gpu_name(_model: &Model) -> Option<String> {
    None
}

/// There is only the CPU.
#[cfg(not(feature = "gpu"))]
fn choose_device(_model: &Model, device: EngineDevice, _say: &dyn Fn(String)) -> Result<()> {
    match device {
        EngineDevice::Auto | EngineDevice::Cpu => Ok(()),
    }
}

/// Loads a model file that is open already and says nothing; `label` names it in messages.
///
/// # Errors
/// When it is no whole model file.
pub fn model_from_file(label: &str, file: &File, device: EngineDevice) -> Result<Arc<Model>> {
    let model = Model::from_file(label, file)?;
    choose_device(&model, device, &|_| ())?;
    Ok(model)
}

/// [`model_kept`], with the tokenizer of a file where one is given: for models that carry none.
///
/// # Errors
/// When there is no whole model at `path`, or it carries another tokenizer than the one given.
pub fn model_with_tokenizer(
    path: &Path,
    tokenizer: Option<&Path>,
    memory: MemoryOption,
    device: EngineDevice,
    ui: &Ui,
) -> Result<Arc<Model>> {
    let Some(tokenizer) = tokenizer else {
        return model_kept(path, memory, device, ui);
    };
    let given = BpeTokenizer::from_file(tokenizer)?;
    let sha256 = given.sha256();
    let source = source(path, memory)?;
    let own = source.tokenizer_json().map(str::to_owned);
    let model = Model::from_source(source, Some(given))?;
    report_skipped(model.skipped(), ui);
    choose_device(&model, device, &|line| ui.note(line))?;
    if let Some(json) = own
        && BpeTokenizer::from_json(json.as_bytes())?.sha256() != sha256
    {
        bail!(
            "{} was trained with another tokenizer than {}, and would write nonsense with it; leave out --tokenizer to \
             use the one inside the model",
            path.display(),
            tokenizer.display()
        );
    }
    Ok(model)
}

/// Refuses to write where the model that is read lies: the only exact weights would be replaced by others.
///
/// # Errors
/// When both are the same file, or the folder of `output` is not there.
pub fn check_output(model: &Path, output: &Path) -> Result<()> {
    let folder = folder_of(output);
    if !folder.is_dir() {
        bail!("{} is not a folder: make it first", folder.display());
    }
    if let (Ok(model_file), Ok(output_file)) = (model.canonicalize(), output.canonicalize())
        && (model_file == output_file || output_file.starts_with(&model_file))
    {
        bail!(
            "--output {} would replace the model that is read, and its exact weights with it; give another name",
            output.display()
        );
    }
    Ok(())
}

/// The folder that an output lies in; the current one for a bare name.
pub fn folder_of(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Names every damaged checkpoint that was passed over.
pub fn report_skipped(skipped: &[SkippedCheckpoint], ui: &Ui) {
    for one in skipped {
        ui.note(format!(
            "warning: skipped {}: {}",
            one.path.display(),
            one.reason
        ));
    }
}
