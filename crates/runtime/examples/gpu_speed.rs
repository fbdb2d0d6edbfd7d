//! Tokens a second on a GPU, with random weights in memory: products of floats against products of integers, in turn:
//! `cargo run --release -p ptbr-runtime --features gpu --example gpu_speed -- [format,format…] [d_model] [layers] [rounds]`
//!
//! Unless they are named: int8 and int4, 4 layers of 512, 8,192 tokens, two rounds. Each line is the best of a few runs; `ptbr-slm benchmark` is the command with spread and memory.

use ptbr_model::{
    ArchConfig, ModelFileInfo, QuantizationPlan, RandomTensors, RwkvConfig, WeightFormat,
    model_file_bytes, model_id,
};
use ptbr_runtime::{AdapterChoice, GpuSettings, Model, Session};
use std::sync::Arc;
use std::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;

const VOCAB: usize = 8192;
const PROMPT: usize = 256;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let formats: Vec<WeightFormat> = match arguments.next() {
        Some(formats) => formats
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?,
        None => vec![WeightFormat::Int8, WeightFormat::Int4],
    };
    let mut number = |default: usize| {
        let given = arguments.next().map(|text| text.parse());
        given.unwrap_or(Ok(default))
    };
    let (d_model, layers, rounds) = (number(512)?, number(4)?, number(2)?);
    let config = ArchConfig::Rwkv4(RwkvConfig::new(VOCAB, d_model, layers, PROMPT));
    let tensors = RandomTensors::new(&config, 1);
    let id = model_id(&tensors)?;
    for format in formats {
        let info = ModelFileInfo::quantized(
            &QuantizationPlan::uniform(format),
            config.clone(),
            None,
            id.clone(),
        );
        let bytes = model_file_bytes(&info, &tensors)?;
        let mut models = Vec::new();
        for integer_dots in [false, true] {
            let model = Model::from_bytes("the random model", bytes.clone())?;
            let mut settings = GpuSettings::new(AdapterChoice::Any);
            settings.integer_dots = integer_dots;
            model.use_gpu_with(settings)?;
            models.push((integer_dots, model));
        }
        for _ in 0..rounds {
            for (integer_dots, model) in &models {
                let [decode, few, prefill] = measure(model)?;
                println!(
                    "{} {format} {layers} × {d_model}, products of {}: decode {decode:.1}, four sessions {few:.1}, prefill of {PROMPT} {prefill:.1} tok/s",
                    model.gpu_name().unwrap_or_default(),
                    if *integer_dots { "integers" } else { "floats" },
                );
            }
        }
    }
    Ok(())
}

/// Tokens a second of decoding, of decoding four sessions in one batch, and of prefill; the best of a few runs, because other programs can only make it slower.
fn measure(model: &Arc<Model>) -> Result<[f64; 3], Error> {
    let text: Vec<u16> = (0..PROMPT).map(|i| (i * 7919 % VOCAB) as u16).collect();
    let mut session = Session::new(Arc::clone(model));
    session.set_chunk_size(PROMPT);
    session.prefill(&text)?;
    let mut best = [0.0f64; 3];
    let mut note = |which: usize, tokens: usize, start: Instant| {
        best[which] = best[which].max(tokens as f64 / start.elapsed().as_secs_f64());
    };
    let mut batch = ptbr_runtime::Batch::new(Arc::clone(model));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(batch.join(Session::new(Arc::clone(model)))?);
    }
    for _ in 0..4 {
        let start = Instant::now();
        for &token in &text[..16] {
            session.decode(token)?;
        }
        note(0, 16, start);
        let start = Instant::now();
        for &token in &text[..8] {
            for &id in &ids {
                batch.feed(id, &[token])?;
            }
            batch.step()?;
        }
        note(1, 32, start);
        let start = Instant::now();
        session.prefill(&text)?;
        note(2, PROMPT, start);
    }
    Ok(best)
}
