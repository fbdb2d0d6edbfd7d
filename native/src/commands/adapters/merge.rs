//! `adapters merge`: a model with adapters baked into its weights, or several adapters joined into one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{
    Adapter, MergedWeights, ModelFileInfo, ModelSource, WeightedAdapter, model_id, write_adapter,
    write_model_file,
};
use serde_json::json;

use super::read;
use crate::Outcome;
use crate::adapters::{find, is_adapter, warn_of};
use crate::loading::{check_output, report_skipped};
use crate::options::Common;
use crate::ui::Ui;

/// Bake adapters into a model's weights, or join them into one adapter
///
/// Writes a model file in f32 with a model id of its own: it is another model, which runs without the adapters and can be
/// quantized and exported. States and adapters of the old one do not belong to it. With --as-adapter it writes one adapter
/// that does what all of them do together; its rank is the sum of theirs.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm adapters merge --model run --adapter legal --output legal.safetensors\n  \
                  ptbr-slm adapters merge --model run --adapter legal=0.7 --adapter medical=0.3 --output both.safetensors\n  \
                  ptbr-slm adapters merge --model run --adapter legal=0.7 --adapter medical=0.3 --as-adapter --output run/adapters/both"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file in f32
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// An adapter: a folder, or a name in the model's folder `adapters`; =WEIGHT takes that much of it [default weight: 1].
    /// May be given several times
    #[arg(long, value_name = "NAME|FOLDER[=WEIGHT]", required = true)]
    pub adapter: Vec<String>,
    /// Write one adapter instead of a model
    #[arg(long)]
    pub as_adapter: bool,
    /// The model file to write, or with --as-adapter the folder
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the model or an adapter cannot be read, they do not belong together, the weights are quantized, or the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = ModelSource::open(&args.model)?;
    report_skipped(model.skipped(), &ui);
    let adapters = read_all(args, &model, &ui)?;
    let ids: Vec<String> = adapters.iter().map(|one| one.adapter.id()).collect();
    let weights: Vec<f64> = adapters.iter().map(|one| one.weight).collect();
    if args.as_adapter {
        let joined = Adapter::joined(&adapters)?;
        if args.output.exists() && !is_adapter(&args.output) {
            bail!(
                "{} is there already and is no adapter; give another name for --output",
                args.output.display()
            );
        }
        write_adapter(&args.output, &joined)?;
        ui.line(format!(
            "{}: an adapter of rank {} that changes {} matrices",
            args.output.display(),
            joined.config.rank,
            joined.modules.len()
        ))?;
        ui.result(&json!({
            "output": args.output,
            "adapter_id": joined.id(),
            "base_model_id": model.model_id(),
            "adapter_ids": ids,
            "weights": weights,
        }))?;
        return Ok(Outcome::Done);
    }
    check_output(&args.model, &args.output)?;
    let merged = MergedWeights::new(&model, &adapters)?;
    let id = model_id(&merged).context("cannot merge the weights")?;
    let tokenizer = model.tokenizer_json().map(str::to_owned);
    let info = ModelFileInfo::f32(model.config().clone(), tokenizer, id.clone());
    write_model_file(&args.output, &info, &merged)?;
    ui.line(format!(
        "{} with {} matrices changed: model {id}",
        args.output.display(),
        merged.num_changed()
    ))?;
    let mut result = json!({
        "output": args.output,
        "model_id": id,
        "base_model_id": model.model_id(),
        "adapter_ids": ids,
        "weights": weights,
    });
    if let [id] = &ids[..] {
        result["adapter_id"] = json!(id);
    }
    ui.result(&result)?;
    ui.next(&format!(
        "ptbr-slm generate --model {} --prompt \"O Brasil é\"",
        args.output.display()
    ));
    Ok(Outcome::Done)
}

/// The adapters that `--adapter` names, each checked against the model.
fn read_all(args: &Args, model: &ModelSource, ui: &Ui) -> Result<Vec<WeightedAdapter>> {
    let mut adapters = Vec::with_capacity(args.adapter.len());
    for given in &args.adapter {
        let (folder, weight) = named(given, &args.model)?;
        let adapter = read(&folder)?;
        let matching = adapter
            .check_against(model.config(), model.model_id())
            .with_context(|| format!("cannot merge {}", folder.display()))?;
        warn_of(matching, &folder, ui);
        adapters.push(WeightedAdapter { adapter, weight });
    }
    Ok(adapters)
}

/// `legal=0.7` as a folder and a weight. What follows the last `=` is a weight when it is a number.
fn named(given: &str, model: &Path) -> Result<(PathBuf, f64)> {
    let (name, weight) = match given.rsplit_once('=') {
        Some((name, weight)) => match weight.parse::<f64>() {
            Ok(weight) if weight.is_finite() => (name, weight),
            _ if is_adapter(Path::new(given)) => (given, 1.0),
            _ => bail!(
                "--adapter {given}: what follows `=` is how much of it to take, a number like 0.7"
            ),
        },
        None => (given, 1.0),
    };
    Ok((find(name, Some(model))?, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_follows_the_last_equals_sign() -> Result<()> {
        let root = tempfile::tempdir()?;
        for folder in ["adapters/legal", "a=b", "a=1"] {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("adapter_config.json"), "{}")?;
        }
        let legal = root.path().join("adapters/legal");
        assert_eq!(named("legal", root.path())?, (legal.clone(), 1.0));
        assert_eq!(named("legal=0.7", root.path())?, (legal.clone(), 0.7));
        assert_eq!(named("legal=-1e-3", root.path())?, (legal, -1e-3));
        let odd = root.path().join("a=b");
        assert_eq!(
            named(&odd.to_string_lossy(), root.path())?,
            (odd.clone(), 1.0)
        );
        let weighted = format!("{}=2", odd.display());
        assert_eq!(named(&weighted, root.path())?, (odd, 2.0));
        let error = |given: &str| {
            named(given, root.path()).map_or_else(|e| e.to_string(), |_| String::new())
        };
        assert!(error("legal=muito").contains("a number like 0.7"));
        assert!(error("legal=inf").contains("a number like 0.7"));
        Ok(())
    }
}
