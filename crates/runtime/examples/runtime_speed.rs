//! Tokens a second on the CPU, with random weights of a preset's shape (85m unless another is named), one thread and two:
//! `cargo run --release -p ptbr-runtime --example runtime_speed -- [preset] [threads,threads…]`

use ptbr_model::{ArchConfig, TensorSource, TensorSpec, preset};
use ptbr_runtime::{Model, Session};
use std::io;
use std::sync::Arc;
use std::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Random weights that are made as they are read, so that they exist once.
struct RandomWeights(Vec<TensorSpec>);

impl TensorSource for RandomWeights {
    fn specs(&self) -> Vec<TensorSpec> {
        self.0.clone()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let spec = self
            .0
            .iter()
            .find(|spec| spec.name == name)
            .ok_or(io::ErrorKind::NotFound)?;
        let bound = match spec.shape.as_slice() {
            [_, columns] => (3.0 / *columns as f32).sqrt(),
            _ => 1.0,
        };
        let mut seed = name.bytes().fold(1u32, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
        let mut left = spec.num_elements().unwrap_or(0);
        let mut piece = vec![0.0; 1 << 16];
        while left > 0 {
            let count = left.min(piece.len());
            for value in &mut piece[..count] {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0) * bound;
            }
            sink(&piece[..count])?;
            left -= count;
        }
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "85m".to_owned());
    let threads: Vec<usize> = arguments
        .next()
        .as_deref()
        .unwrap_or("1,2")
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let config = ArchConfig::Rwkv4(preset(&name)?);
    let model = Model::from_tensors(config.clone(), &RandomWeights(config.tensor_specs()), None)?;
    println!(
        "{name}: {} parameters, f32, {}",
        config.num_parameters(),
        model.instruction_set().name()
    );
    for threads in threads {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        pool.install(|| measure(&model, threads))?;
    }
    Ok(())
}

/// Best of a few runs each: other programs can only make it slower.
fn measure(model: &Arc<Model>, threads: usize) -> Result<(), Error> {
    let vocab = model.config().vocab_size();
    let text: Vec<u16> = (0..2200usize).map(|i| (i * 7919 % vocab) as u16).collect();
    let mut session = Session::new(Arc::clone(model));
    let mut decode_at = |position: usize| -> Result<f64, Error> {
        session.prefill(&text[session.position() as usize..position])?;
        let mut best = 0.0f64;
        for run in 0..5 {
            let start = Instant::now();
            for &token in &text[position + run * 16..position + run * 16 + 16] {
                session.decode(token)?;
            }
            best = best.max(16.0 / start.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let (early, late) = (decode_at(10)?, decode_at(2000)?);
    println!(
        "{threads} threads: decode at position 10 {early:.1} tok/s, at position 2000 {late:.1} tok/s"
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
