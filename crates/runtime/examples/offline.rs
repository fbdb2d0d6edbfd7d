//! An offline program with its model compiled in: one file to ship, nothing to download.
//!
//! ```sh
//! cargo run --release -p ptbr-runtime --example offline -- "Era uma vez"
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use ptbr_runtime::{GenerateOptions, SamplerConfig, Session, include_model, pieces};

fn main() -> Result<(), Box<dyn Error>> {
    let prompt = std::env::args().nth(1).unwrap_or("Era uma vez".to_owned());
    let ready = write_on(&prompt, &mut stdout())?;
    eprintln!("ready after {:.1} ms", ready.as_secs_f64() * 1e3);
    Ok(())
}

/// Writes `prompt` and what the model makes of it; returns how long it took until it could begin.
pub fn write_on(prompt: &str, out: &mut dyn Write) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let model = include_model!("../../../web/models/machado-micro.int4.safetensors")?;
    let mut session = Session::new(model);
    let ready = start.elapsed();

    let options = GenerateOptions {
        max_tokens: 60,
        sampler: SamplerConfig {
            temperature: 0.8,
            top_p: 0.9,
            seed: 7,
            ..SamplerConfig::default()
        },
        add_bos: false,
        ..GenerateOptions::default()
    };
    write!(out, "{prompt}")?;
    for piece in pieces(&mut session, prompt, &options)? {
        write!(out, "{}", piece?)?;
        out.flush()?;
    }
    writeln!(out)?;
    Ok(ready)
}
