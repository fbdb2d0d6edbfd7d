//! Tokens a second on a GPU, with random weights in memory: products of floats against products of integers, and four sessions whose tokens the CPU draws against four that draw together, in turn:
//! `cargo run --release -p ptbr-runtime --features gpu --example gpu_speed -- [format,format…] [d_model] [layers] [rounds]`
//!
//! Unless they are named: int8 and int4, 4 layers of 512, 8,192 tokens, two rounds. Each figure is the best of a few runs, and in brackets the processor time a token, where the system tells
//! it: of a software adapter that is what its work costs, however busy the machine is. `ptbr-slm benchmark` is the command with spread and memory.

use ptbr_model::{
    ArchConfig, ModelFileInfo, QuantizationPlan, RandomTensors, RwkvConfig, WeightFormat,
    model_file_bytes, model_id,
};
use ptbr_runtime::{
    AdapterChoice, Batch, Draw, GpuSettings, Model, Sampler, SamplerConfig, Session, SessionId,
};
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
                let [decode, drawn_here, drawn_there, prefill] = measure(model)?;
                println!(
                    "{} {format} {layers} × {d_model}, products of {}: decode {decode}, four sessions drawn from on the CPU {drawn_here}, on the GPU {drawn_there}, prefill of {PROMPT} {prefill}",
                    model.gpu_name().unwrap_or_default(),
                    if *integer_dots { "integers" } else { "floats" },
                );
            }
        }
    }
    Ok(())
}

/// What some work took, by token.
#[derive(Default)]
struct Speed {
    tokens_per_second: f64,
    processor: Option<f64>,
}

impl Speed {
    /// Runs `work`, which reads this many tokens, and keeps what is better than before: other programs can only make it slower.
    fn note(
        &mut self,
        tokens: usize,
        work: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (start, processor) = (Instant::now(), processor_seconds());
        work()?;
        let tokens = tokens as f64;
        let speed = tokens / start.elapsed().as_secs_f64();
        self.tokens_per_second = self.tokens_per_second.max(speed);
        if let (Some(from), Some(to)) = (processor, processor_seconds()) {
            let own = (to - from) / tokens;
            self.processor = Some(self.processor.map_or(own, |best| best.min(own)));
        }
        Ok(())
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} tok/s", self.tokens_per_second)?;
        match self.processor {
            Some(seconds) => write!(f, " ({:.1} ms)", 1e3 * seconds),
            None => Ok(()),
        }
    }
}

/// Processor time of this process, of all its threads: Linux says, in hundredths of a second.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name in brackets: user and system time are numbers 12 and 13.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// Decoding; decoding and drawing for four sessions in one batch, by the CPU and by the GPU; prefill.
fn measure(model: &Arc<Model>) -> Result<[Speed; 4], Error> {
    let text: Vec<u16> = (0..PROMPT).map(|i| (i * 7919 % VOCAB) as u16).collect();
    let mut session = Session::new(Arc::clone(model));
    session.set_chunk_size(PROMPT);
    session.prefill(&text)?;
    let mut batch = Batch::new(Arc::clone(model));
    let mut ids = Vec::new();
    for &token in &text[..4] {
        let id = batch.join(Session::new(Arc::clone(model)))?;
        batch.feed(id, &[token])?;
        ids.push(id);
    }
    let mut speeds: [Speed; 4] = std::array::from_fn(|_| Speed::default());
    for _ in 0..4 {
        speeds[0].note(32, || {
            for &token in &text[..32] {
                session.decode(token)?;
            }
            Ok(())
        })?;
        speeds[1].note(64, || {
            for _ in 0..16 {
                batch.step()?;
                draw(&mut batch, &ids, 1)?;
            }
            Ok(())
        })?;
        speeds[2].note(64, || {
            for _ in 0..4 {
                draw(&mut batch, &ids, 4)?;
            }
            Ok(())
        })?;
        speeds[3].note(PROMPT, || {
            session.prefill(&text)?;
            Ok(())
        })?;
    }
    Ok(speeds)
}

/// Up to `most` tokens for each session: on the GPU where one waits to be read, on the CPU where a step has read it.
fn draw(batch: &mut Batch, ids: &[SessionId], most: usize) -> Result<(), Error> {
    let mut samplers = Vec::new();
    for seed in 0..ids.len() as u64 {
        samplers.push(Sampler::new(SamplerConfig {
            temperature: 0.8,
            top_p: 0.9,
            seed,
            ..SamplerConfig::default()
        })?);
    }
    let mut draws: Vec<Draw<'_>> = ids
        .iter()
        .zip(&mut samplers)
        .map(|(&id, sampler)| Draw {
            id,
            sampler,
            history: &[],
            known: VOCAB,
        })
        .collect();
    for drawn in batch.write(&mut draws, most)? {
        drawn?;
    }
    Ok(())
}
