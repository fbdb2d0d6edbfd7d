//! The engine against the model's definition in f64, written from the formulas and sharing no code with it. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, config, random_model, random_tensors};
use ptbr_model::{MemoryTensors, RwkvConfig};
use ptbr_runtime::Session;
use std::ops::ControlFlow;

/// A vector per token.
type Rows = Vec<Vec<f64>>;

struct Oracle<'a> {
    config: &'a RwkvConfig,
    tensors: &'a MemoryTensors,
}

impl Oracle<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        self.tensors
            .get(name)
            .unwrap()
            .iter()
            .map(|&x| f64::from(x))
            .collect()
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let w = self.get(name);
        x.iter()
            .map(|x| {
                w.chunks(x.len())
                    .map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
                    .collect()
            })
            .collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let (w, b) = (
            self.get(&format!("{name}.weight")),
            self.get(&format!("{name}.bias")),
        );
        x.iter()
            .map(|x| {
                let n = x.len() as f64;
                let mean = x.iter().sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let deviation = (variance + self.config.layer_norm_eps).sqrt();
                x.iter()
                    .zip(w.iter().zip(&b))
                    .map(|(x, (w, b))| (x - mean) / deviation * w + b)
                    .collect()
            })
            .collect()
    }

    fn shift(&self, name: &str, x: &Rows) -> Rows {
        let mix = self.get(name);
        let zero = vec![0.0; mix.len()];
        (0..x.len())
            .map(|t| {
                let before = if t == 0 { &zero } else { &x[t - 1] };
                x[t].iter()
                    .zip(before)
                    .zip(&mix)
                    .map(|((now, before), mix)| now * mix + before * (1.0 - mix))
                    .collect()
            })
            .collect()
    }

    /// WKV by its definition: each token sums over all before it.
    fn wkv(&self, layer: usize, k: &Rows, v: &Rows) -> Rows {
        let decay = self.get(&format!("blocks.{layer}.att.time_decay"));
        let first = self.get(&format!("blocks.{layer}.att.time_first"));
        let mut y = vec![vec![0.0; decay.len()]; k.len()];
        for c in 0..decay.len() {
            let w = -decay[c].exp();
            for t in 0..k.len() {
                let mut numerator = (first[c] + k[t][c]).exp() * v[t][c];
                let mut denominator = (first[c] + k[t][c]).exp();
                for i in 0..t {
                    let weight = ((t - 1 - i) as f64 * w + k[i][c]).exp();
                    numerator += weight * v[i][c];
                    denominator += weight;
                }
                y[t][c] = numerator / denominator;
            }
        }
        y
    }

    fn logits(&self, tokens: &[u16]) -> Rows {
        let emb = self.get("emb.weight");
        let c = self.config.d_model;
        let mut x: Rows = tokens
            .iter()
            .map(|&token| emb[usize::from(token) * c..][..c].to_vec())
            .collect();
        x = self.norm("blocks.0.ln0", &x);
        for layer in 0..self.config.n_layers {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            let a = self.norm(&name("ln1"), &x);
            let k = self.linear(
                &name("att.key.weight"),
                &self.shift(&name("att.time_mix_k"), &a),
            );
            let v = self.linear(
                &name("att.value.weight"),
                &self.shift(&name("att.time_mix_v"), &a),
            );
            let r = self.linear(
                &name("att.receptance.weight"),
                &self.shift(&name("att.time_mix_r"), &a),
            );
            let gated = zip(&r, &self.wkv(layer, &k, &v), |r, y| y * sigmoid(r));
            x = zip(
                &x,
                &self.linear(&name("att.output.weight"), &gated),
                |x, y| x + y,
            );

            let b = self.norm(&name("ln2"), &x);
            let k = self.linear(
                &name("ffn.key.weight"),
                &self.shift(&name("ffn.time_mix_k"), &b),
            );
            let k: Rows = k
                .iter()
                .map(|k| k.iter().map(|k| k.max(0.0).powi(2)).collect())
                .collect();
            let r = self.linear(
                &name("ffn.receptance.weight"),
                &self.shift(&name("ffn.time_mix_r"), &b),
            );
            let gated = zip(&r, &self.linear(&name("ffn.value.weight"), &k), |r, y| {
                y * sigmoid(r)
            });
            x = zip(&x, &gated, |x, y| x + y);
        }
        self.linear("head.weight", &self.norm("ln_out", &x))
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn zip(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    a.iter()
        .zip(b)
        .map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect())
        .collect()
}

#[test]
fn logits_are_those_of_the_definition() {
    for (seed, (vocab, d_model, layers, d_ffn)) in [
        (257, 64, 1, 256),
        (1003, 96, 2, 384),
        (64, 32, 3, 160),
        (257, 320, 5, 1280),
        (1003, 64, 5, 96),
    ]
    .into_iter()
    .enumerate()
    {
        let config = config(vocab, d_model, layers, d_ffn);
        let tensors = random_tensors(&config, seed as u64);
        let tokens = Noise(99).tokens(37, vocab);
        let expected = Oracle {
            config: &config,
            tensors: &tensors,
        }
        .logits(&tokens);
        let mut session = Session::new(random_model(&config, seed as u64));
        session.set_chunk_size(11);
        let (mut worst, mut squares) = (0.0f64, 0.0);
        session
            .prefill_all(&tokens, &mut |t, logits| {
                for (got, expected) in logits.iter().zip(&expected[t]) {
                    worst = worst.max((f64::from(*got) - expected).abs());
                    squares += expected * expected;
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        let rms = (squares / (vocab * tokens.len()) as f64).sqrt();
        println!(
            "V {vocab} C {d_model} L {layers} F {d_ffn}: logits of rms {rms:.3}, largest difference {worst:.2e}"
        );
        assert!(rms > 0.3, "logits of rms {rms} would hide a difference");
        assert!(worst <= 1e-4, "V {vocab} C {d_model} L {layers}: {worst}");
    }
}
