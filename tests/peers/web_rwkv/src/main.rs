//! web-rwkv on the first adapter that it finds: the logits of some tokens, or tokens a second.
//!
//! ```text
//! web-rwkv-peer MODEL.st f16|int8|nf4 logits 5,17,42
//! web-rwkv-peer MODEL.st f16|int8|nf4 speed PROMPT_TOKENS WRITTEN_TOKENS RUNS
//! ```

use std::time::Instant;

use anyhow::{Context, Result};
use half::f16;
use safetensors::SafeTensors;
use web_rwkv::context::{ContextBuilder, InstanceExt};
use web_rwkv::runtime::infer::{Rnn, RnnInput, RnnInputBatch, RnnOption};
use web_rwkv::runtime::loader::Loader;
use web_rwkv::runtime::model::{ContextAutoLimits, ModelBuilder, Quant};
use web_rwkv::runtime::softmax::softmax_one;
use web_rwkv::runtime::{Runtime, TokioRuntime, v4};
use web_rwkv::wgpu::{Instance, PowerPreference};

/// Its own recommendation; a multiple of 32 takes its tiled products.
const CHUNK: usize = 128;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let arg = |index: usize| args.get(index).context("see the head of main.rs");
    let file = std::fs::File::open(arg(1)?)?;
    // SAFETY: nobody writes to the file meanwhile.
    let data = unsafe { memmap2::Mmap::map(&file)? };
    let tensors = SafeTensors::deserialize(&data)?;
    let info = Loader::info(&tensors)?;
    let adapter = Instance::default()
        .adapter(PowerPreference::HighPerformance)
        .await?;
    eprintln!("{}", adapter.get_info().name);
    let context = ContextBuilder::new(adapter)
        .auto_limits(&info)
        .build()
        .await?;
    let quant = match arg(2)?.as_str() {
        "int8" => Some(Quant::Int8),
        "nf4" => Some(Quant::NF4),
        _ => None,
    };
    let layers = (0..info.num_layer).filter_map(|layer| Some((layer, quant?)));
    let model = ModelBuilder::new(&context, tensors)
        .quant(layers.collect())
        .build_v4()
        .await?;
    let runtime: Box<dyn Runtime<Rnn>> =
        Box::new(TokioRuntime::new(v4::Bundle::<f16>::new(model, 1)).await);

    if arg(3)? == "logits" {
        let tokens: Vec<u32> = arg(4)?
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let mut input = RnnInput::new(vec![RnnInputBatch::new(tokens, RnnOption::Last)], CHUNK);
        loop {
            let (rest, output) = runtime.infer(input).await?;
            input = rest;
            if output[0].0.size() > 0 {
                println!("{:?}", output[0].0.clone().to_vec());
                return Ok(());
            }
        }
    }
    let [prompt, written, runs] = [arg(4)?, arg(5)?, arg(6)?].map(|text| text.parse::<usize>());
    let (prompt, written, runs) = (prompt?, written?, runs?);
    // The first run compiles pipelines and is not shown.
    for run in 0..=runs {
        let tokens: Vec<u32> = (0..prompt)
            .map(|i| (i * 7919 % info.num_vocab) as u32)
            .collect();
        let mut input = RnnInput::new(vec![RnnInputBatch::new(tokens, RnnOption::Last)], CHUNK);
        let start = Instant::now();
        loop {
            let (rest, output) = runtime.infer(input).await?;
            input = rest;
            if output[0].0.size() > 0 {
                softmax_one(&context, output[0].0.clone()).await?;
                break;
            }
        }
        let prefill = prompt as f64 / start.elapsed().as_secs_f64();
        let mut input = RnnInput::new(vec![RnnInputBatch::new(vec![0u32], RnnOption::Last)], CHUNK);
        let start = Instant::now();
        for _ in 0..written {
            let (rest, output) = runtime.infer(input).await?;
            input = rest;
            let probabilities = softmax_one(&context, output[0].0.clone()).await?.to_vec();
            let best = (0u32..).zip(&probabilities).max_by(|a, b| a.1.total_cmp(b.1));
            input.batches[0].push(best.map_or(0, |best| best.0));
        }
        if run > 0 {
            let decode = written as f64 / start.elapsed().as_secs_f64();
            println!("prefill {prefill:.1} tok/s, decode {decode:.1} tok/s");
        }
    }
    Ok(())
}
