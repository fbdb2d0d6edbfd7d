//! Time of the WKV twins in nanoseconds per (token · channel): `cargo run --release -p ptbr-kernels --example wkv_speed`.
//!
//! The best of many runs, on as many threads as rayon takes (`RAYON_NUM_THREADS`).

use std::time::{Duration, Instant};

use ptbr_kernels::{KernelError, Sequence, WkvDims, cpu};

fn main() -> Result<(), KernelError> {
    for (sequences, len, channels) in [(8, 256, 256), (1, 512, 768), (8, 1024, 768)] {
        let seqs: Vec<Sequence> = (0..sequences)
            .map(|i| Sequence {
                first: i * len,
                len,
                slot_in: i,
                slot_out: i,
            })
            .collect();
        let dims = WkvDims {
            n: (sequences * len) as usize,
            c: channels,
            slots: sequences as usize,
        };
        let wave = |n: usize, scale: f32| -> Vec<f32> {
            (0..n).map(|i| (i as f32 * 0.7311).sin() * scale).collect()
        };
        let mut wu = wave(dims.wu_len()?, 1.0);
        wu[..channels].iter_mut().for_each(|w| *w = -0.01 - w.abs());
        let (k, v) = (wave(dims.rows_len()?, 2.0), wave(dims.rows_len()?, 1.3));
        let state = vec![0.5; dims.state_len()?];
        let mut out = vec![0.0; dims.out_len()?];
        let mut grads = vec![0.0; dims.grads_len(seqs.len())?];
        let cotangent = wave(dims.out_len()?, 1.0);

        let work = (dims.n * channels) as f64;
        let report = |name: &str, time: Duration| {
            println!(
                "{name:<16} {sequences} x {len} x {channels}: {:.3} ns",
                time.as_nanos() as f64 / work
            );
        };
        report(
            "forward",
            best(|| cpu::wkv_forward(&wu, &k, &v, &seqs, &state, &mut out, dims))?,
        );
        report(
            "backward",
            best(|| cpu::wkv_backward(&wu, &k, &v, &seqs, &state, &cotangent, &mut grads, dims))?,
        );
        report(
            "forward plain",
            best(|| cpu::wkv_forward_plain(&wu, &k, &v, &seqs, &state, &mut out, dims))?,
        );
        report(
            "backward plain",
            best(|| {
                cpu::wkv_backward_plain(&wu, &k, &v, &seqs, &state, &cotangent, &mut grads, dims)
            })?,
        );
    }
    Ok(())
}

/// The shortest of the runs that fit half a second.
fn best(mut run: impl FnMut() -> Result<(), KernelError>) -> Result<Duration, KernelError> {
    let (begin, mut best) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}
