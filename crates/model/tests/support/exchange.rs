//! A model of two layers, and what is exported of it.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::path::Path;

use ptbr_model::{
    ArchConfig, ExportContents, ExportError, ExportFormat, ExportTokenizer, MemoryTensors,
    ModelCard, RwkvConfig, TensorSource, TensorSpec, TrainState, WeightFormat, export_model,
};

pub const ID: &str = "686039dff4bb205dbdcae1ab9cfca96b7e59db318dc97519a74c661e039ecf52";

/// Two layers, so that the one with `ln0` and one without are there.
pub fn config() -> RwkvConfig {
    RwkvConfig {
        d_ffn: 96,
        dropout: 0.0,
        layer_norm_eps: 1e-4,
        ..RwkvConfig::new(48, 32, 2, 64)
    }
}

pub fn model() -> MemoryTensors {
    super::tensors(&config().tensor_specs(), 7)
}

pub fn export(path: &Path, format: ExportFormat, dtype: WeightFormat) -> Result<(), ExportError> {
    export_of(&model(), path, format, dtype)
}

pub fn export_of(
    model: &dyn TensorSource,
    path: &Path,
    format: ExportFormat,
    dtype: WeightFormat,
) -> Result<(), ExportError> {
    let special = |id: u16, text: &str| (id, text.to_owned());
    let state = TrainState {
        step: 40,
        tokens_seen: 1_000_000,
        best_eval: Some(2.0),
        best_eval_step: Some(30),
        ..TrainState::default()
    };
    let contents = ExportContents {
        config: &ArchConfig::Rwkv4(config()),
        model,
        tokenizer: Some(ExportTokenizer {
            json: "{\"version\":\"1.0\"}",
            bos: special(2, "[BOS]"),
            eos: special(3, "[EOS]"),
            pad: special(0, "[PAD]"),
            unk: special(1, "[UNK]"),
        }),
        card: ModelCard {
            name: "sabiá",
            license: Some("cc-by-sa-4.0"),
            data: Some("Textos\n<script>"),
            model_id: ID,
            training: Some(&state),
        },
    };
    export_model(path, format, dtype, &contents)
}

pub fn values(model: &dyn TensorSource, name: &str) -> Vec<f32> {
    let mut values = Vec::new();
    let mut sink = |piece: &[f32]| {
        values.extend_from_slice(piece);
        Ok(())
    };
    model.write_f32(name, &mut sink).unwrap();
    values
}

/// The model with one tensor changed, or taken out.
pub fn with(
    name: &str,
    change: impl Fn(TensorSpec, Vec<f32>) -> Option<(TensorSpec, Vec<f32>)>,
) -> MemoryTensors {
    let original = model();
    let mut changed = MemoryTensors::new();
    for spec in original.specs() {
        let numbers = values(&original, &spec.name);
        let tensor = match spec.name == name {
            true => change(spec, numbers),
            false => Some((spec, numbers)),
        };
        if let Some((spec, numbers)) = tensor {
            changed.push(spec, numbers);
        }
    }
    changed
}
