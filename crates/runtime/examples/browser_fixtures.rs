//! Writes what the tests in a browser (`web/tests`) open and what the CPU engine makes of it here: `browser_fixtures FOLDER`.
//!
//! - `small-<format>.safetensors`: one random model of 300 tokens in every number format; `small-<format>.logits`: logits after each token of a text, `[tokens, 300]` as f32;
//! - `large.safetensors`: 14 MB, for downloads that are interrupted and generations that last;
//! - `markup.safetensors`: writes `<b>` for ever;
//! - `adapters/<name>`: adapters of the small model and of no other; `large-adapters/<name>`: of the large one;
//! - `reference.json`: the text, greedy continuations and how close their two best logits were.

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{config, random_adapter, random_tensors, tokenizer};
use ptbr_model::{
    ArchConfig, MemoryTensors, ModelFileInfo, QuantizationPlan, RwkvConfig, WeightFormat, model_id,
    write_adapter, write_model_file,
};
use ptbr_runtime::{Model, Session};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};

const PROMPT: &str = "O sertanejo é, antes de tudo,";
/// Tokens of the text whose logits are compared: both halves of a chunk, and more than one.
const TEXT_TOKENS: usize = 200;
const GREEDY_TOKENS: usize = 200;
const FORMATS: [WeightFormat; 5] = [
    WeightFormat::F32,
    WeightFormat::F16,
    WeightFormat::Int8,
    WeightFormat::Fp8,
    WeightFormat::Int4,
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    let tokenizer = tokenizer();
    let vocab_size = tokenizer.vocab_size();
    let text = common::Noise(7).tokens(TEXT_TOKENS, vocab_size);
    let prompt = tokenizer.encode(PROMPT);

    let small = config(vocab_size, 96, 2, 384);
    let weights = random_tensors(&small, 11);
    let id = model_id(&weights)?;
    for (name, seed) in [("um", 21), ("dois", 22)] {
        save_adapter(&folder.join("adapters").join(name), &small, seed, &id)?;
    }
    let mut greedy = Vec::new();
    for format in FORMATS {
        let path = folder.join(format!("small-{}.safetensors", format.name()));
        let model = save_model(&path, &small, &weights, &tokenizer, format)?;
        fs::write(path.with_extension("logits"), logits(&model, &text)?)?;
        greedy.push(continued(&model, format.name(), &prompt)?);
    }

    let large = config(vocab_size, 256, 4, 1024);
    let mut weights = random_tensors(&large, 12);
    never_ends(&mut weights, large.d_model, usize::from(tokenizer.eos_id()));
    let path = folder.join("large.safetensors");
    save_model(&path, &large, &weights, &tokenizer, WeightFormat::F32)?;
    let id = model_id(&weights)?;
    for (name, seed) in [("um", 31), ("dois", 32)] {
        save_adapter(&folder.join("large-adapters").join(name), &large, seed, &id)?;
    }

    let (config, weights) = markup(&tokenizer);
    let path = folder.join("markup.safetensors");
    save_model(&path, &config, &weights, &tokenizer, WeightFormat::F32)?;

    let reference = format!(
        "{{\n\"vocab_size\": {vocab_size},\n\"text\": {text:?},\n\"prompt\": {PROMPT:?},\n\"prompt_tokens\": {prompt:?},\n\"greedy\": {{\n{}\n}}\n}}\n",
        greedy.join(",\n")
    );
    fs::write(folder.join("reference.json"), reference)?;
    Ok(())
}

fn save_model(
    path: &Path,
    config: &RwkvConfig,
    weights: &MemoryTensors,
    tokenizer: &BpeTokenizer,
    format: WeightFormat,
) -> Result<Arc<Model>> {
    let info = ModelFileInfo::quantized(
        &QuantizationPlan::uniform(format),
        ArchConfig::Rwkv4(config.clone()),
        Some(tokenizer.to_json()),
        model_id(weights)?,
    );
    write_model_file(path, &info, weights)?;
    Ok(Model::load(path)?)
}

fn save_adapter(folder: &Path, config: &RwkvConfig, seed: u64, model_id: &str) -> Result<()> {
    let mut adapter = random_adapter(config, 4, &[".att.", ".ffn."], seed);
    adapter.model_id = Some(model_id.to_owned());
    adapter.config.base_model = Some(model_id.to_owned());
    Ok(write_adapter(folder, &adapter)?)
}

/// Logits after each token, as bytes.
fn logits(model: &Arc<Model>, text: &[u16]) -> Result<Vec<u8>> {
    let mut session = Session::new(Arc::clone(model));
    let mut bytes = Vec::new();
    for &token in text {
        let logits = session.decode(token)?;
        bytes.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
    }
    Ok(bytes)
}

/// The most probable tokens after the prompt, and by how much each was above the next.
fn continued(model: &Arc<Model>, name: &str, prompt: &[u16]) -> Result<String> {
    let mut session = Session::new(Arc::clone(model));
    let mut logits = session.prefill(prompt)?.to_vec();
    let (mut tokens, mut margins) = (Vec::new(), Vec::new());
    for _ in 0..GREEDY_TOKENS {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        margins.push(logits[order[0]] - logits[order[1]]);
        tokens.push(order[0] as u16);
        logits = session.decode(order[0] as u16)?.to_vec();
    }
    Ok(format!(
        "{name:?}: {{\"tokens\": {tokens:?}, \"margins\": {margins:?}}}"
    ))
}

/// Has the logit of the end-of-text token far below the others, so that a test may wait for a text as long as it likes.
fn never_ends(weights: &mut MemoryTensors, width: usize, end_of_text: usize) {
    let expected = "a tensor of the model";
    weights.get_mut("ln_out.bias").expect(expected).fill(0.5);
    let head = weights.get_mut("head.weight").expect(expected);
    head[end_of_text * width..][..width].fill(-1.0);
}

/// A model that knows three tokens, each of which names the next: `<`, `b`, `>`, `<`, … Nothing is mixed in: the last layer norm sees the embedding.
fn markup(tokenizer: &BpeTokenizer) -> (RwkvConfig, MemoryTensors) {
    let config = config(tokenizer.vocab_size(), 32, 1, 32);
    let mut weights = random_tensors(&config, 13);
    let mut fill = |name: &str, values: &dyn Fn(usize) -> f32| {
        let tensor = weights
            .get_mut(name)
            .unwrap_or_else(|| panic!("{name} is a tensor of the model"));
        tensor
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = values(i));
    };
    for silent in ["blocks.0.att.output.weight", "blocks.0.ffn.value.weight"] {
        fill(silent, &|_| 0.0);
    }
    for norm in ["blocks.0.ln0", "ln_out"] {
        fill(&format!("{norm}.weight"), &|_| 1.0);
        fill(&format!("{norm}.bias"), &|_| 0.0);
    }
    let cycle = ["<", "b", ">"].map(|text| usize::from(tokenizer.encode(text)[0]));
    // One number of the embedding says where in the cycle a token is; what is not in it counts as its end.
    let place = |token: usize| cycle.iter().position(|&own| own == token).unwrap_or(2);
    fill("emb.weight", &|i| {
        f32::from(u8::from(place(i / 32) == i % 32))
    });
    fill("head.weight", &|i| {
        let follows = cycle.iter().position(|&own| own == i / 32);
        let after = follows.map(|place| (place + 2) % 3);
        f32::from(u8::from(after == Some(i % 32)))
    });
    (config, weights)
}
