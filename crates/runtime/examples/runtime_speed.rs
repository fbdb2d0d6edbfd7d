//! Tokens a second on the CPU, with random weights of a preset's shape (85m unless another is named) in memory, in every number format, on one thread and two:
//! `cargo run --release -p ptbr-runtime --example runtime_speed -- [preset] [threads,threads…] [format,format…] [instructions]`
//!
//! `instructions` is one of the names of `Isa`: `avx2` shows on a machine with AVX-512 how one without would do, as far as its memory is the same.
//!
//! Decoding is measured at position 10 and at position 2,000, since it must not matter; prefill with chunks of several sizes. Best of a few runs each. `ptbr-slm benchmark`
//! is the command with bandwidth, spread and memory.

use ptbr_model::{
    ArchConfig, ModelFileInfo, QuantizationPlan, RandomTensors, WeightFormat, model_file_bytes,
    model_id, preset,
};
use ptbr_runtime::engine::cpu::Isa;
use ptbr_runtime::{Model, Session};
use std::sync::Arc;
use std::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "85m".to_owned());
    let threads = arguments.next().unwrap_or_else(|| "1,2".to_owned());
    let threads: Vec<usize> = threads
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let formats: Vec<WeightFormat> = match arguments.next() {
        Some(formats) => formats
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?,
        None => WeightFormat::ALL.to_vec(),
    };
    let isa = match arguments.next() {
        Some(wanted) => Isa::all()
            .into_iter()
            .find(|isa| isa.name() == wanted)
            .ok_or_else(|| format!("this machine has no {wanted}"))?,
        None => Isa::detect(),
    };
    let config = ArchConfig::Rwkv4(preset(&name)?);
    let tensors = RandomTensors::new(&config, 1);
    let id = model_id(&tensors)?;
    for format in formats {
        let plan = QuantizationPlan::uniform(format);
        let info = ModelFileInfo::quantized(&plan, config.clone(), None, id.clone());
        let bytes = model_file_bytes(&info, &tensors)?;
        let mut model = Model::from_bytes("the random model", bytes)?;
        Arc::get_mut(&mut model)
            .ok_or("nobody else has the model yet")?
            .set_instruction_set(isa);
        println!(
            "{name}: {} parameters, {format}, {}",
            config.num_parameters(),
            model.instruction_set().name()
        );
        for &threads in &threads {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()?;
            pool.install(|| measure(&model, threads))?;
        }
    }
    Ok(())
}

/// Best of a few runs each: other programs can only make it slower.
fn measure(model: &Arc<Model>, threads: usize) -> Result<(), Error> {
    let vocab = model.config().vocab_size();
    let text: Vec<u16> = (0..2200usize).map(|i| (i * 7919 % vocab) as u16).collect();
    let mut session = Session::new(Arc::clone(model));
    let mut decode_at = |position: usize| -> Result<(f64, f64), Error> {
        session.prefill(&text[session.position() as usize..position])?;
        let before = session.work();
        let mut best = 0.0f64;
        for run in 0..5 {
            let start = Instant::now();
            for &token in &text[position + run * 16..position + run * 16 + 16] {
                session.decode(token)?;
            }
            best = best.max(16.0 / start.elapsed().as_secs_f64());
        }
        Ok((
            best,
            session.work().since(before).weight_bytes as f64 / 80.0,
        ))
    };
    let ((early, bytes), (late, _)) = (decode_at(10)?, decode_at(2000)?);
    println!(
        "{threads} threads: decode at position 10 {early:.1} tok/s ({:.1} MB a token, {:.1} GB/s), at position 2000 {late:.1} tok/s",
        bytes / 1e6,
        bytes * early / 1e9
    );
    for chunk in [16, 64, 256] {
        let mut best = 0.0f64;
        for _ in 0..3 {
            let mut session = Session::new(Arc::clone(model));
            session.set_chunk_size(chunk);
            let start = Instant::now();
            session.prefill(&text[..256])?;
            best = best.max(256.0 / start.elapsed().as_secs_f64());
        }
        println!("{threads} threads: prefill of 256 tokens in chunks of {chunk:3} {best:.1} tok/s");
    }
    Ok(())
}
