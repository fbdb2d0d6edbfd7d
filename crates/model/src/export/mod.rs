//! Models for other tools: the official RWKV layout, a transformers folder, a file of rwkv.cpp, an ONNX graph.
//!
//! Weights pass once from a [`TensorSource`] into the file; outputs are written under a temporary name and renamed. A path that ends as the format's files do
//! becomes that file; any other becomes a folder, which also holds `tokenizer.json` and a model card.

mod card;
mod error;
mod ggmf;
mod hf;
mod onnx;
mod onnx_graph;
mod protobuf;
mod weights;

use std::fs;
use std::io::Write;
use std::path::Path;

pub use card::ModelCard;
pub use error::ExportError;
use onnx::OnnxFile;
use weights::write_safetensors;

use crate::arch::ArchConfig;
use crate::format::WeightFormat;
use crate::storage::{
    DiskStorage, NewFolder, StorageError, remove_leftovers, replace_file, replace_folder,
};
use crate::tensor::TensorSource;

/// Whose format is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// safetensors with the official names: web-rwkv, and after `torch.save` every tool for RWKV.
    Rwkv,
    /// A folder of transformers' `RwkvForCausalLM`.
    Hf,
    /// A `ggmf` file, version 101.
    RwkvCpp,
    /// One recurrent step as an ONNX graph.
    Onnx,
}

impl ExportFormat {
    /// The number format that most readers of the file expect.
    pub fn usual_dtype(self) -> WeightFormat {
        match self {
            Self::Rwkv | Self::RwkvCpp => WeightFormat::F16,
            Self::Hf | Self::Onnx => WeightFormat::F32,
        }
    }

    /// How the names of its files end; none where it is always a folder.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Rwkv => &["safetensors", "st"],
            Self::Hf => &[],
            Self::RwkvCpp => &["bin"],
            Self::Onnx => &["onnx"],
        }
    }

    /// What the weights are called in a folder.
    fn file_name(self) -> &'static str {
        match self {
            Self::Rwkv | Self::Hf => "model.safetensors",
            Self::RwkvCpp => "model.bin",
            Self::Onnx => "model.onnx",
        }
    }
}

/// A tokenizer that goes with a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportTokenizer<'a> {
    /// `tokenizer.json`.
    pub json: &'a str,
    /// Id and text of the token that begins a text.
    pub bos: (u16, String),
    /// Of the one that ends a text.
    pub eos: (u16, String),
    /// Of the one that fills up a batch.
    pub pad: (u16, String),
    /// Of the one for what is unknown.
    pub unk: (u16, String),
}

/// What is exported.
pub struct ExportContents<'a> {
    /// The sizes.
    pub config: &'a ArchConfig,
    /// The f32 weights: exactly [`ArchConfig::tensor_specs`], in that order.
    pub model: &'a dyn TensorSource,
    /// The tokenizer, where the model has one.
    pub tokenizer: Option<ExportTokenizer<'a>>,
    /// What the model card says.
    pub card: ModelCard<'a>,
}

/// Writes a model at `path` with matrices as `dtype` (f32 or f16); a file where the path ends as the format's files do, a folder otherwise.
///
/// Errors: a number format other than those two, a weight that f16 cannot hold, a path that names another kind of file or a folder that is not empty, and whatever the
/// system refuses. What was at `path` before is unchanged then.
pub fn export_model(
    path: &Path,
    format: ExportFormat,
    dtype: WeightFormat,
    contents: &ExportContents<'_>,
) -> Result<(), ExportError> {
    if !matches!(dtype, WeightFormat::F32 | WeightFormat::F16) {
        return Err(ExportError::Dtype { dtype });
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if format.extensions().contains(&extension) => {
            export_file(path, format, dtype, contents)
        }
        Some("safetensors" | "st" | "bin" | "onnx" | "pth" | "gguf") => {
            Err(ExportError::Extension {
                path: path.to_owned(),
                expected: match format {
                    ExportFormat::Rwkv => ".safetensors or .st",
                    ExportFormat::Hf => "nothing of the kind (this format is a folder)",
                    ExportFormat::RwkvCpp => ".bin",
                    ExportFormat::Onnx => ".onnx",
                },
            })
        }
        _ => export_folder(path, format, dtype, contents),
    }
}

fn export_file(
    path: &Path,
    format: ExportFormat,
    dtype: WeightFormat,
    contents: &ExportContents<'_>,
) -> Result<(), ExportError> {
    remove_leftovers(path);
    let ArchConfig::Rwkv4(config) = contents.config;
    let model = contents.model;
    let replace = |write: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>| {
        replace_file(&DiskStorage, path, write)
            .map_err(|error| StorageError::on("write", path)(error).into())
    };
    match format {
        ExportFormat::Rwkv | ExportFormat::Hf => {
            replace(&mut |out| write_safetensors(out, model, &|spec| (spec.name.clone(), dtype)))
        }
        ExportFormat::RwkvCpp => replace(&mut |out| ggmf::write(out, config, model, dtype)),
        ExportFormat::Onnx => {
            let graph = onnx_graph::build(config, &model.specs(), dtype);
            let file = OnnxFile::new(&graph, &onnx_properties(contents), None);
            match file.bytes() {
                bytes if bytes > onnx::MAX_BYTES => Err(ExportError::OnnxTooLarge { bytes }),
                _ => replace(&mut |out| file.write(out, model)),
            }
        }
    }
}

fn export_folder(
    path: &Path,
    format: ExportFormat,
    dtype: WeightFormat,
    contents: &ExportContents<'_>,
) -> Result<(), ExportError> {
    let is_taken = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    };
    if is_taken {
        return Err(ExportError::Exists {
            path: path.to_owned(),
        });
    }
    replace_folder(&DiskStorage, path, &mut |folder| {
        write_weights(folder, format, dtype, contents)?;
        let name = format.file_name();
        let card = card::text(&contents.card, contents.config, format, dtype, name);
        folder.file("README.md", &mut |out| out.write_all(card.as_bytes()))?;
        if let Some(tokenizer) = &contents.tokenizer {
            folder.file("tokenizer.json", &mut |out| {
                out.write_all(tokenizer.json.as_bytes())
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Writes the weights of a folder, and what belongs to them.
fn write_weights(
    folder: &NewFolder<'_>,
    format: ExportFormat,
    dtype: WeightFormat,
    contents: &ExportContents<'_>,
) -> Result<(), StorageError> {
    let ArchConfig::Rwkv4(config) = contents.config;
    let (model, tokenizer) = (contents.model, contents.tokenizer.as_ref());
    let name = format.file_name();
    match format {
        ExportFormat::Rwkv => folder.file(name, &mut |out| {
            write_safetensors(out, model, &|spec| (spec.name.clone(), dtype))
        }),
        ExportFormat::RwkvCpp => {
            folder.file(name, &mut |out| ggmf::write(out, config, model, dtype))
        }
        ExportFormat::Hf => {
            let json = |name: &str, value: serde_json::Value| {
                folder.file(name, &mut |out| {
                    out.write_all(format!("{value:#}\n").as_bytes())
                })
            };
            json("config.json", hf::config(config, dtype, tokenizer))?;
            if let Some(tokenizer) = tokenizer {
                json("tokenizer_config.json", hf::tokenizer_config(tokenizer))?;
            }
            folder.file(name, &mut |out| {
                write_safetensors(out, model, &|spec| hf::stored(spec, dtype))
            })
        }
        ExportFormat::Onnx => {
            let graph = onnx_graph::build(config, &model.specs(), dtype);
            let properties = onnx_properties(contents);
            let mut file = OnnxFile::new(&graph, &properties, None);
            if file.bytes() > onnx::MAX_BYTES {
                let beside = format!("{name}.data");
                file = OnnxFile::new(&graph, &properties, Some(&beside));
                folder.file(&beside, &mut |out| file.write_weights(out, model))?;
            }
            folder.file(name, &mut |out| file.write(out, model))
        }
    }
}

/// What an ONNX file says about itself.
fn onnx_properties<'a>(contents: &ExportContents<'a>) -> [(&'static str, &'a str); 2] {
    [
        ("ptbr-slm.model_id", contents.card.model_id),
        (
            "ptbr-slm.state",
            "begins with zeros, pp with -1e38; next_* of a step is the state of the next",
        ),
    ]
}
