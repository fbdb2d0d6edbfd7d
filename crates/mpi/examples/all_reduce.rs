//! How long the sum of a gradient takes between these processes: what a model of so many parameters will wait for in every step.
//!
//! `mpirun -np 8 cargo run --release -p ptbr-mpi --features mpi --example all_reduce -- 141` (millions of parameters, several if need be)

use std::time::{Duration, Instant};

use ptbr_mpi::{Settings, connect};
use ptbr_train::collective::GroupOptions;

/// Times each sum is taken; the median counts.
const REPEATS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let group = connect(Settings {
        options: GroupOptions::default(),
        patience: Duration::from_secs(30),
        on_lost: Box::new(|lost| {
            eprintln!("{lost:?}");
            std::process::exit(2)
        }),
    })?;
    let place = group.place();
    let mut sizes = Vec::new();
    for size in std::env::args().skip(1) {
        sizes.push(size.parse::<f64>()?);
    }
    if sizes.is_empty() {
        sizes = vec![1.4, 6.5, 26.2, 141.0];
    }
    for millions in sizes {
        let len = (millions * 1e6) as usize;
        let mut values = vec![1.0f32; len];
        let mut seconds = Vec::new();
        for _ in 0..REPEATS {
            values.fill(1.0);
            group.barrier()?;
            let begun = Instant::now();
            group.all_reduce(&mut values)?;
            seconds.push(begun.elapsed().as_secs_f64());
        }
        if values.iter().any(|sum| *sum != place.world as f32) {
            return Err("a sum is wrong".into());
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[REPEATS / 2];
        if group.is_writer() {
            let bytes = (len * size_of::<f32>()) as f64;
            // What each process sends, and what it receives.
            let moved = 2.0 * bytes * (place.world - 1) as f64 / place.world as f64;
            println!(
                "{} ranks, {millions} million parameters, {:.1} MB: {:.4} s, {:.2} GB/s each way",
                place.world,
                bytes / 1e6,
                median,
                moved / median / 1e9
            );
        }
    }
    group.finish()?;
    Ok(())
}
