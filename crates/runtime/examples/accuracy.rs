//! How far every number format is from f32 on every engine: one table of the largest and the root mean square difference of a logit.
//!
//! ```sh
//! cargo run --release -p ptbr-runtime --features gpu --example accuracy -- [MODEL…]
//! ```
//!
//! Against f32 on the CPU, after each token of a text: random weights of realistic scale in sizes that are no powers of two, and the trained models that are named (checkpoint folders or f32
//! model files). Without the feature `gpu` the CPU's columns alone.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement ends where something is wrong"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::accuracy::{Difference, difference, in_format, random_text};
use common::{config, random_tensors};
use ptbr_model::{MemoryTensors, ModelSource, TensorSource, WeightFormat};
use ptbr_runtime::Model;
use ptbr_tokenizer::Tokenizer;
use std::sync::Arc;

/// From *Os Sertões* (Euclides da Cunha, 1902, public domain).
const TEXT: &str = "O sertanejo é, antes de tudo, um forte. Não tem o raquitismo exaustivo dos mestiços neurastênicos do litoral. A sua aparência, entretanto, ao primeiro \
    lance de vista, revela o contrário. Falta-lhe a plástica impecável, o desempeno, a estrutura corretíssima das organizações atléticas.";

fn main() {
    println!("| model | format | rms of the logits | CPU: max | rms | GPU: max | rms |");
    println!("|---|---|---|---|---|---|---|");
    for path in std::env::args().skip(1) {
        let source = ModelSource::open(path.as_ref()).unwrap();
        let exact = Model::load(path.as_ref()).unwrap();
        let tokens = exact.tokenizer().unwrap().encode(TEXT);
        let mut tensors = MemoryTensors::new();
        let specs = source.config().tensor_specs();
        for spec in source.tensors().in_order(&specs).specs() {
            let values = source.tensor(&spec.name).unwrap().to_vec();
            tensors.push(spec, values);
        }
        let config = source.config().clone();
        rows(&path, &exact, &tokens, &|format| {
            in_format(&config, &tensors, format)
        });
    }
    for d_model in [64, 96, 320] {
        for vocab in [257, 1003] {
            for layers in [1, 2, 5] {
                let config = config(vocab, d_model, layers, 4 * d_model);
                let tensors = random_tensors(&config, (d_model * vocab * layers) as u64);
                let config = ptbr_model::ArchConfig::Rwkv4(config);
                let exact = in_format(&config, &tensors, WeightFormat::F32);
                let name = format!("random, {d_model} × {layers}, {vocab} tokens");
                rows(&name, &exact, &random_text(64, vocab), &|format| {
                    in_format(&config, &tensors, format)
                });
            }
        }
    }
}

fn rows(
    name: &str,
    exact: &Arc<Model>,
    tokens: &[u16],
    stored: &dyn Fn(WeightFormat) -> Arc<Model>,
) {
    for format in WeightFormat::ALL {
        let model = stored(format);
        let cpu = difference(exact, &model, tokens);
        let gpu = on_gpu(&model).then(|| difference(exact, &model, tokens));
        let cells = |d: Option<Difference>| {
            d.map_or("| |".to_owned(), |d| {
                format!("{:.1e} | {:.1e} |", d.max, d.rms)
            })
        };
        println!(
            "| {name} | {format} | {:.2} | {} {}",
            cpu.logits_rms,
            cells(Some(cpu)),
            cells(gpu)
        );
    }
}

#[cfg(feature = "gpu")]
fn on_gpu(model: &Model) -> bool {
    model.use_gpu(ptbr_runtime::AdapterChoice::Any).unwrap();
    true
}

#[cfg(not(feature = "gpu"))]
fn on_gpu(_model: &Model) -> bool {
    false
}
