//! The engine against the model's definition in f64, written from the formulas and sharing no code with it. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{
    Noise, config, model_file_in, model_in, random_adapter, random_model, random_tensors,
};
use ptbr_model::{Adapter, MemoryTensors, ModelSource, RwkvConfig, WeightFormat};
use ptbr_runtime::Session;
use std::ops::ControlFlow;

/// A vector per token.
type Rows = Vec<Vec<f64>>;

struct Oracle<'a> {
    config: &'a RwkvConfig,
    tensors: &'a MemoryTensors,
    /// Merged into the weights: `W + s · B·A`.
    adapter: Option<&'a Adapter>,
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
        let mut w = self.get(name);
        self.merge(name, &mut w);
        x.iter()
            .map(|x| {
                w.chunks(x.len())
                    .map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
                    .collect()
            })
            .collect()
    }

    fn merge(&self, name: &str, w: &mut [f64]) {
        let Some(adapter) = self.adapter else { return };
        let scale = adapter.config.alpha / adapter.config.rank as f64;
        let target = name.trim_end_matches(".weight");
        for module in adapter.modules.iter().filter(|m| m.target == target) {
            for (row, b) in w
                .chunks_mut(module.in_features)
                .zip(module.b.chunks(adapter.config.rank))
            {
                for (b, a) in b.iter().zip(module.a.chunks(module.in_features)) {
                    for (w, a) in row.iter_mut().zip(a) {
                        *w += scale * f64::from(*b) * f64::from(*a);
                    }
                }
            }
        }
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

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            assert!(a.is_finite() && b.is_finite(), "{a} {b}");
            (a - b).abs()
        })
        .fold(0.0, f64::max)
}

/// Largest difference between the engine's logits and the oracle's, and the rms of the latter.
fn compare(config: &RwkvConfig, seed: u64, adapter: Option<&Adapter>) -> (f64, f64) {
    let tensors = random_tensors(config, seed);
    let tokens = Noise(99).tokens(37, config.vocab_size);
    let expected = Oracle {
        config,
        tensors: &tensors,
        adapter,
    }
    .logits(&tokens);
    let mut session = Session::new(random_model(config, seed));
    if let Some(adapter) = adapter {
        let loaded = session.model().add_adapter(adapter.clone()).unwrap();
        session.set_adapter(Some(&loaded)).unwrap();
    }
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
    let rms = (squares / (config.vocab_size * tokens.len()) as f64).sqrt();
    println!(
        "V {} C {} L {} F {}: logits of rms {rms:.3}, largest difference {worst:.2e}",
        config.vocab_size, config.d_model, config.n_layers, config.d_ffn
    );
    (worst, rms)
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
        let (worst, rms) = compare(&config, seed as u64, None);
        assert!(rms > 0.3, "logits of rms {rms} would hide a difference");
        assert!(worst <= 1e-4, "{config:?}: {worst}");
    }
}

#[test]
fn an_adapter_computes_what_merged_weights_would() {
    let config = config(257, 96, 2, 160);
    // Ranks beside the vector widths, and one by one every matrix that can be changed: any that is left out, or mistaken for another, is seen.
    let mut cases: Vec<(usize, Vec<&str>)> = [1, 3, 4, 16, 33].map(|rank| (rank, vec![])).into();
    for part in [
        "att.key",
        "att.value",
        "att.receptance",
        "att.output",
        "ffn.key",
        "ffn.receptance",
        "ffn.value",
        "head",
        "blocks.1.",
    ] {
        cases.push((4, vec![part]));
    }
    for (rank, parts) in cases {
        let adapter = random_adapter(&config, rank, &parts, 5);
        assert!(!adapter.modules.is_empty());
        let (worst, _) = compare(&config, 3, Some(&adapter));
        assert!(worst <= 1e-4, "rank {rank}, {parts:?}: {worst}");
        let plain = Oracle {
            config: &config,
            tensors: &random_tensors(&config, 3),
            adapter: None,
        };
        let changed = Oracle {
            adapter: Some(&adapter),
            ..plain
        };
        let tokens = Noise(99).tokens(8, config.vocab_size);
        let (before, after) = (plain.logits(&tokens), changed.logits(&tokens));
        let change = largest_difference(&before[7], &after[7]);
        assert!(
            change > 0.05,
            "{parts:?} changes too little to be missed: {change}"
        );
    }
}

/// Above rounded weights the adapter is the same: merging it into what the weights are after rounding gives what it computes at run time, but for the rounding of activations that a
/// format's products do.
#[test]
fn an_adapter_above_rounded_weights_computes_what_merged_weights_would() {
    let config = config(257, 96, 2, 160);
    let adapter = random_adapter(&config, 4, &[], 5);
    let tokens = Noise(99).tokens(37, config.vocab_size);
    for format in WeightFormat::ALL {
        let model = model_in(&config, 3, format);
        let tensors = rounded(&config, 3, format);
        let oracle = |adapter: Option<&Adapter>| {
            let oracle = Oracle {
                config: &config,
                tensors: &tensors,
                adapter,
            };
            oracle.logits(&tokens).pop().unwrap()
        };
        let difference = |adapter: Option<&Adapter>| {
            let mut session = Session::new(model.clone());
            let loaded = adapter.map(|adapter| model.add_adapter(adapter.clone()).unwrap());
            session.set_adapter(loaded.as_ref()).unwrap();
            let got = session.prefill(&tokens).unwrap();
            let got: Vec<f64> = got.iter().map(|&logit| f64::from(logit)).collect();
            largest_difference(&got, &oracle(adapter))
        };
        let (plain, adapted) = (difference(None), difference(Some(&adapter)));
        let change = largest_difference(&oracle(None), &oracle(Some(&adapter)));
        println!("{format}: {plain:.2e} without, {adapted:.2e} with the adapter");
        assert!(adapted <= 3.0 * plain + 1e-4, "{format}: {plain} {adapted}");
        assert!(change > 10.0 * adapted, "{format}: a change of {change}");
    }
}

/// The weights as a model file of this format means them.
fn rounded(config: &RwkvConfig, seed: u64, format: WeightFormat) -> MemoryTensors {
    let mut tensors = random_tensors(config, seed);
    let file = ModelSource::from_bytes("rounded", model_file_in(config, seed, format)).unwrap();
    for spec in config.tensor_specs().iter().filter(|spec| spec.is_matrix()) {
        let matrix = file.matrix(&spec.name).unwrap();
        matrix.dequantize(0, tensors.get_mut(&spec.name).unwrap());
    }
    tensors
}
