//! `adapters merge`: a model with an adapter baked into its weights.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{
    Adapter, ModelFileInfo, ModelSource, TensorSource, TensorSpec, WeightFormat, model_id,
    write_model_file,
};
use serde_json::json;

use super::read;
use crate::Outcome;
use crate::adapters::{find, warn_of};
use crate::loading::{check_output, report_skipped};
use crate::options::Common;

/// Bake an adapter into a model's weights
///
/// Writes a model file in f32 with a model id of its own: it is another model, which runs without the adapter and can be
/// quantized and exported. States and adapters of the old one do not belong to it.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm adapters merge --model run --adapter legal --output legal.safetensors"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file in f32
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// The adapter: a folder, or a name in the model's folder `adapters`
    #[arg(long, value_name = "NAME|FOLDER")]
    pub adapter: String,
    /// The model file to write
    #[arg(long, value_name = "FILE.safetensors")]
    pub output: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the model or the adapter cannot be read, they do not belong together, the weights are quantized, or the file cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    check_output(&args.model, &args.output)?;
    let folder = find(&args.adapter, Some(&args.model))?;
    let adapter = read(&folder)?;
    let model = ModelSource::open(&args.model)?;
    report_skipped(model.skipped(), &ui);
    let matching = adapter
        .check_against(model.config(), model.model_id())
        .with_context(|| format!("cannot merge {}", folder.display()))?;
    warn_of(matching, &folder, &ui);
    for name in model.config().matrix_names() {
        let format = model.matrix(&name)?.format();
        if format != WeightFormat::F32 {
            bail!(
                "{} holds weights in {format}, and merging into rounded weights would round them again; give the f32 model that it was made from",
                args.model.display()
            );
        }
    }
    let merged = Merged {
        model: &model,
        adapter: &adapter,
    };
    let id = model_id(&merged).context("cannot merge the weights")?;
    let tokenizer = model.tokenizer_json().map(str::to_owned);
    let info = ModelFileInfo::f32(model.config().clone(), tokenizer, id.clone());
    write_model_file(&args.output, &info, &merged)?;
    ui.line(format!(
        "{} with {} matrices changed: model {id}",
        args.output.display(),
        adapter.modules.len()
    ))?;
    ui.result(&json!({
        "output": args.output,
        "model_id": id,
        "base_model_id": model.model_id(),
        "adapter_id": adapter.id(),
    }))?;
    ui.next(&format!(
        "ptbr-slm generate --model {} --prompt \"O Brasil é\"",
        args.output.display()
    ));
    Ok(Outcome::Done)
}

/// The weights with `W + scale · B·A` in place of W, summed in f64 and rounded once.
struct Merged<'a> {
    model: &'a ModelSource,
    adapter: &'a Adapter,
}

impl TensorSource for Merged<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.model.config().tensor_specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let values = self.model.tensor(name).map_err(io::Error::other)?;
        let target = name.strip_suffix(".weight").unwrap_or(name);
        let modules = &self.adapter.modules;
        let Some(module) = modules.iter().find(|module| module.target == target) else {
            return sink(values);
        };
        let (rank, scale) = (
            self.adapter.config.rank,
            f64::from(self.adapter.config.scale()),
        );
        let (mut sums, mut row) = (vec![0.0f64; module.in_features], Vec::new());
        for (weights, b) in values
            .chunks_exact(module.in_features)
            .zip(module.b.chunks_exact(rank))
        {
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = f64::from(weight);
            }
            for (&b, a) in b.iter().zip(module.a.chunks_exact(module.in_features)) {
                let factor = scale * f64::from(b);
                for (sum, &a) in sums.iter_mut().zip(a) {
                    *sum += factor * f64::from(a);
                }
            }
            row.clear();
            row.extend(sums.iter().map(|&sum| sum as f32));
            sink(&row)?;
        }
        Ok(())
    }
}
