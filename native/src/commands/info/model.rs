//! What `info` says of models, checkpoints and adapters.

use std::path::Path;

use anyhow::Result;
use ptbr_model::{
    ArchConfig, Checkpoint, ModelSource, Placement, Precision, RwkvConfig, StepPlan, TrainState,
    read_adapter,
};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde_json::json;

use super::{Args, Described, Line};
use crate::commands::quantize;
use crate::model_size::rwkv4;
use crate::ui;

/// Sizes, parameters and the memory of a training step.
pub fn config_of(config: &RwkvConfig, args: &Args) -> Described {
    let memory = config.estimated_vram(args.batch_size, args.seq_len, Precision::F32);
    let on_cpu = config
        .estimated_memory(
            &StepPlan::new(args.batch_size, args.seq_len, 2),
            Placement::Cpu,
        )
        .total();
    let parameters = config.num_parameters();
    let mut lines = vec![
        ("architecture", "RWKV-4".to_owned()),
        (
            "parameters",
            format!(
                "{} ({} in f32)",
                ui::thousands(parameters),
                ui::bytes(parameters.saturating_mul(4))
            ),
        ),
        ("vocabulary", ui::thousands(config.vocab_size as u64)),
        (
            "width",
            format!("{} (channel mixing {})", config.d_model, config.d_ffn),
        ),
        ("layers", config.n_layers.to_string()),
        (
            "longest trained",
            format!("{} tokens", ui::thousands(config.max_seq_len as u64)),
        ),
        (
            "training memory",
            format!(
                "about {} on a GPU, {} on the CPU, for a step of {} x {} tokens",
                ui::bytes(memory.total()),
                ui::bytes(on_cpu),
                args.batch_size,
                args.seq_len
            ),
        ),
    ];
    lines.extend(
        memory
            .items()
            .map(|(what, bytes)| ("", format!("{:>12}  {what}", ui::bytes(bytes)))),
    );
    let specs = config.tensor_specs();
    if args.tensors {
        lines.extend(
            specs
                .iter()
                .map(|spec| ("tensor", format!("{} {:?}", spec.name, spec.shape))),
        );
    }
    let mut value = json!({
        "config": ArchConfig::Rwkv4(config.clone()),
        "parameters": parameters,
        "training_memory": {
            "batch_size": args.batch_size,
            "seq_len": args.seq_len,
            "bytes": memory.total(),
            "cpu_bytes": on_cpu,
            "parts": memory,
        },
    });
    if args.tensors {
        value["tensors"] = specs
            .iter()
            .map(|spec| json!({ "name": spec.name, "shape": spec.shape }))
            .collect();
    }
    (lines, value)
}

/// A checkpoint: the model and where its run stood.
///
/// # Errors
/// For an architecture that this program does not know.
pub fn checkpoint(checkpoint: &Checkpoint, args: &Args) -> Result<Described> {
    let config = rwkv4(&checkpoint.config)?;
    let (model_lines, mut value) = config_of(config, args);
    let state = &checkpoint.state;
    let mut lines = vec![
        ("kind", "checkpoint".to_owned()),
        ("path", checkpoint.path.display().to_string()),
        ("model id", checkpoint.model_id.clone()),
    ];
    lines.extend(run_of(state));
    lines.push(tokenizer_line(checkpoint.tokenizer_json.as_deref()));
    lines.extend(model_lines);
    value["kind"] = json!("checkpoint");
    value["path"] = json!(checkpoint.path);
    value["model_id"] = json!(checkpoint.model_id);
    value["state"] = json!(state);
    Ok((lines, value))
}

/// Where a run stands; of weights that were imported nobody knows.
fn run_of(state: &TrainState) -> Vec<(&'static str, String)> {
    if state.step == 0 && state.data_path.is_empty() {
        return vec![(
            "trained on",
            "unknown: the weights were imported".to_owned(),
        )];
    }
    let number = |x: Option<f64>| x.map_or_else(|| "none yet".to_owned(), |x| format!("{x:.4}"));
    vec![
        (
            "step",
            format!(
                "{} of {}",
                ui::thousands(state.step),
                ui::thousands(state.config.max_steps)
            ),
        ),
        ("tokens seen", ui::thousands(state.tokens_seen)),
        ("mean loss", number(state.ema_loss)),
        ("best validation", number(state.best_eval)),
        ("trained on", state.data_path.clone()),
        ("device", state.device.clone()),
    ]
}

/// A model file.
///
/// # Errors
/// When it is damaged or no model.
pub fn model_file(path: &Path, args: &Args) -> Result<Described> {
    let source = ModelSource::open(path)?;
    let config = rwkv4(source.config())?;
    let (model_lines, mut value) = config_of(config, args);
    let mut lines = vec![
        ("kind", "model file".to_owned()),
        ("path", path.display().to_string()),
        ("model id", source.model_id().to_owned()),
        tokenizer_line(source.tokenizer_json()),
    ];
    let plan = source.plan();
    let kinds = plan.by_kind(source.config());
    let bytes = plan.num_bytes(source.config());
    let bits = quantize::bits_per_weight(bytes, source.config().num_parameters());
    lines.push(("format", plan.format().to_string()));
    lines.push((
        "stored",
        format!("{}, {bits:.2} bits a weight", ui::bytes(bytes)),
    ));
    lines.extend(kinds.iter().map(|kind| {
        (
            "",
            format!(
                "{:>12}  {} ({})",
                ui::bytes(kind.bytes),
                kind.kind,
                quantize::names(&kind.formats)
            ),
        )
    }));
    lines.extend(model_lines);
    value["kind"] = json!("model_file");
    value["path"] = json!(path);
    value["model_id"] = json!(source.model_id());
    value["format"] = json!(plan.format());
    value["exceptions"] = json!(plan.exceptions());
    value["weight_bytes"] = json!(bytes);
    value["bits_per_weight"] = json!(bits);
    value["kinds"] = json!(kinds);
    Ok((lines, value))
}

fn tokenizer_line(json: Option<&str>) -> Line {
    let text = match json.map(|json| BpeTokenizer::from_json(json.as_bytes())) {
        None => "none".to_owned(),
        Some(Ok(tokenizer)) => {
            format!(
                "{} tokens, {}…",
                ui::thousands(tokenizer.vocab_size() as u64),
                ui::short_hash(&tokenizer.sha256())
            )
        }
        Some(Err(error)) => format!("cannot be used: {error}"),
    };
    ("tokenizer", text)
}

/// An adapter folder.
///
/// # Errors
/// When it is damaged or no adapter.
pub fn adapter(path: &Path) -> Result<Described> {
    let adapter = read_adapter(path)?;
    let config = &adapter.config;
    let numbers: usize = adapter
        .modules
        .iter()
        .map(|module| module.a.len() + module.b.len())
        .sum();
    let mut lines = vec![
        ("kind", "adapter".to_owned()),
        ("path", path.display().to_string()),
        (
            "rank",
            format!(
                "{}, alpha {} (scale {})",
                config.rank,
                config.alpha,
                config.scale()
            ),
        ),
        ("parameters", ui::thousands(numbers as u64)),
        (
            "made for",
            adapter
                .model_id
                .clone()
                .unwrap_or_else(|| "not said: any model of these shapes".to_owned()),
        ),
    ];
    lines.extend(adapter.modules.iter().map(|module| {
        (
            "changes",
            format!(
                "{} [{}, {}]",
                module.target, module.out_features, module.in_features
            ),
        )
    }));
    let value = json!({
        "kind": "adapter",
        "path": path,
        "rank": config.rank,
        "alpha": config.alpha,
        "scale": config.scale(),
        "parameters": numbers,
        "model_id": adapter.model_id,
        "targets": adapter.modules.iter().map(|module| &module.target).collect::<Vec<_>>(),
    });
    Ok((lines, value))
}
