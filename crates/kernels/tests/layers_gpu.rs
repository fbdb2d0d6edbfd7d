//! The shaders between the products (`embed`, `layer_norm`, `ln_shift`, `wkv_gated`) against their twins on every adapter found. Needs a GPU adapter; a software one will do
//! (`apt-get install mesa-vulkan-drivers libvulkan1`). A missing adapter fails the tests.

mod common;

use common::gpu::{Gpu, adapters};
use common::matrix::Matrix;
use common::{POISON, Random};
use ptbr_kernels::cpu::{
    EmbedParams, LayerNormParams, LnShiftParams, NO_ADAPTER, Row, WkvGatedParams, embed,
    layer_norm, ln_shift, wkv_gated,
};
use ptbr_kernels::{EMPTY_PP, Sequence, table};
use ptbr_model::WeightFormat;

/// Largest error of a norm, relative to the size of what it adds up: sums of up to 768 terms of order 1 in f32, then a difference, a square root and a few products.
const NORM_TOLERANCE: f32 = 1e-5;
/// The same for WKV, whose exponentials WGSL allows to be off by (3 + 2·|x|)·2^-23 a step.
const WKV_TOLERANCE: f32 = 1e-4;
const EPS: f32 = 1e-5;
const WIDTHS: [usize; 4] = [64, 96, 320, 768];

fn floats(rng: &mut Random, count: usize, low: f32, high: f32) -> Vec<f32> {
    (0..count).map(|_| rng.range(low, high)).collect()
}

fn words(x: &[f32]) -> &[u32] {
    bytemuck::cast_slice(x)
}

/// Elements of order 1 and a mean that is not 0, as a residual stream has.
fn hidden(rng: &mut Random, rows: usize, channels: usize) -> Vec<f32> {
    let mut x = floats(rng, rows * channels, -1.5, 2.5);
    // A row that is nearly constant: eps matters.
    x[..channels].iter_mut().for_each(|x| *x = 0.7 + *x * 1e-3);
    x
}

/// The size of what a norm adds up: an element divided by the deviation, before the mean is taken off.
fn norm_terms(x: &[f32]) -> f32 {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
    x.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / (variance + EPS).sqrt()
}

/// Each element as the twin has it, to a tolerance relative to the size of what is added up, which `terms` knows; an element that the twin leaves alone holds its old
/// bits.
fn compare(
    what: &str,
    before: &[f32],
    found: &[u32],
    expected: &[f32],
    tolerance: f32,
    terms: impl Fn(usize) -> f32,
) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        if expected.to_bits() == before[i].to_bits() {
            assert_eq!(
                found,
                expected.to_bits(),
                "{what}: element {i} is not to be written"
            );
            continue;
        }
        let found = f32::from_bits(found);
        // Weights and biases are of order 1.
        assert!(
            (found - expected).abs() <= tolerance * (1.0 + terms(i)),
            "{what}: element {i} is {found:e}, the twin has {expected:e}"
        );
    }
}

fn poisoned(count: usize) -> Vec<f32> {
    vec![f32::from_bits(POISON); count]
}

#[test]
fn embeddings_agree_in_every_format_and_split_over_bindings() {
    let mut rng = Random::fresh("embed");
    for gpu in adapters() {
        for kernel in table::KERNELS.iter().filter(|k| k.name == "embed") {
            let format: WeightFormat = kernel.permutation.parse().expect("a format");
            for (channels, vocab, split, rows) in [
                (64, 257, 160, 33),
                (96, 257, 96, 7),
                (320, 1003, 512, 3),
                (768, 257, 257, 1),
            ] {
                let matrix = Matrix::random(&mut rng, format, vocab, channels);
                let norm = floats(&mut rng, 2 * channels, -1.0, 1.0);
                let batch: Vec<Row> = (0..rows)
                    .map(|n| Row {
                        // First and last token, those at the split, any.
                        token: match n {
                            0 => vocab - 1,
                            1 => 0,
                            2 => split - 1,
                            3 => split % vocab,
                            _ => rng.below(vocab),
                        } as u32,
                        sequence: POISON,
                        adapter: POISON,
                        logits: POISON,
                    })
                    .collect();
                let mut expected = poisoned(rows * channels);
                let mut found = words(&expected).to_vec();
                for (first, end) in [(0, split), (split, vocab)] {
                    if first == end {
                        continue;
                    }
                    let before = expected.clone();
                    let part = matrix.part(first, end);
                    let params = EmbedParams {
                        channels: channels as u32,
                        eps: EPS,
                        first_token: first as u32,
                        tokens: (end - first) as u32,
                    };
                    embed(part.data(), &batch, &norm, &mut expected, &params).expect("embed");
                    let params = params.words();
                    let mut contents = part.bindings();
                    contents.extend([bytemuck::cast_slice(&batch), words(&norm), &found, &params]);
                    let written = gpu.run_in_place(kernel, &contents, [rows as u32, 1, 1]);
                    let what = format!(
                        "embed {format} on {}, C {channels}, tokens {first}..{end}",
                        gpu.name
                    );
                    // What the first binding wrote is compared with the first binding's bits, so let the twin go on from them.
                    let mut merged = expected.clone();
                    for (i, merged) in merged.iter_mut().enumerate() {
                        if expected[i].to_bits() == before[i].to_bits() {
                            *merged = f32::from_bits(found[i]);
                        }
                    }
                    let old: Vec<f32> = bytemuck::cast_slice(&found).to_vec();
                    let terms = |i: usize| {
                        let token = batch[i / channels].token as usize * channels;
                        let mut embedding = vec![0.0; channels];
                        matrix.data().dequantize(token, &mut embedding);
                        norm_terms(&embedding)
                    };
                    compare(&what, &old, &written[0], &merged, NORM_TOLERANCE, terms);
                    found.clone_from(&written[0]);
                }
                assert!(
                    !found.contains(&POISON),
                    "every row's token is in some binding"
                );
            }
        }
    }
}

#[test]
fn norms_of_chosen_rows_agree() {
    let mut rng = Random::fresh("layer_norm");
    for gpu in adapters() {
        for (channels, rows) in WIDTHS.into_iter().zip([33, 7, 3, 257]) {
            let x = hidden(&mut rng, rows, channels);
            let norm = floats(&mut rng, 2 * channels, -1.0, 1.0);
            // In any order, one twice, not all.
            let mut chosen: Vec<u32> = (0..rows / 2).map(|_| rng.below(rows) as u32).collect();
            chosen.extend([0, rows as u32 - 1]);
            let before = poisoned(chosen.len() * channels);
            let mut expected = before.clone();
            let params = LayerNormParams {
                channels: channels as u32,
                eps: EPS,
            };
            layer_norm(&x, &norm, &chosen, &mut expected, &params).expect("layer_norm");
            let contents: [&[u32]; 5] = [
                words(&x),
                words(&norm),
                &chosen,
                words(&before),
                &params.words(),
            ];
            let found = gpu.run_in_place(
                &table::LAYER_NORM_READ,
                &contents,
                [chosen.len() as u32, 1, 1],
            );
            let what = format!("layer_norm on {}, C {channels}", gpu.name);
            let terms =
                |i: usize| norm_terms(&x[chosen[i / channels] as usize * channels..][..channels]);
            compare(&what, &before, &found[0], &expected, NORM_TOLERANCE, terms);
        }
    }
}

/// Sequences of these lengths one behind the other, numbered in any order; each reads a slot and writes another, and slot 0 is nobody's.
fn batch(rng: &mut Random, lengths: &[u32]) -> (Vec<Row>, Vec<Sequence>, usize) {
    let count = lengths.len();
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        order.swap(i, rng.below(i + 1));
    }
    let mut seqs: Vec<Sequence> = bytemuck::zeroed_vec(count);
    let mut rows = Vec::new();
    for (place, &number) in order.iter().enumerate() {
        seqs[number] = Sequence {
            first: rows.len() as u32,
            len: lengths[place],
            slot_in: 1 + place as u32,
            slot_out: 1 + (2 * count - 1 - place) as u32,
        };
        rows.extend((0..lengths[place]).map(|_| Row {
            token: POISON,
            sequence: number as u32,
            adapter: NO_ADAPTER,
            logits: POISON,
        }));
    }
    (rows, seqs, 2 * count + 1)
}

const BATCHES: [&[u32]; 5] = [&[1], &[1, 1, 1], &[4, 1, 2], &[1, 19, 1, 12], &[257]];

#[test]
fn norms_with_token_shift_agree() {
    let mut rng = Random::fresh("ln_shift");
    for gpu in adapters() {
        for lengths in BATCHES {
            for channels in WIDTHS {
                for mixes in [2, 3] {
                    check_ln_shift(&gpu, &mut rng, lengths, channels, mixes);
                }
            }
        }
    }
}

fn check_ln_shift(gpu: &Gpu, rng: &mut Random, lengths: &[u32], channels: usize, mixes: usize) {
    let (rows, seqs, slots) = batch(rng, lengths);
    let state_len = channels * (1 + rng.below(10));
    let first = rng.below(state_len / channels) * channels;
    let x = hidden(rng, rows.len(), channels);
    let norm = floats(rng, (2 + mixes) * channels, -1.0, 1.0);
    let state = floats(rng, slots * state_len, -3.0, 3.0);
    let out = poisoned(rows.len() * mixes * channels);
    let params = LnShiftParams {
        channels: channels as u32,
        eps: EPS,
        state_len: state_len as u32,
        first: first as u32,
        mixes: mixes as u32,
    };
    let (mut expected_state, mut expected) = (state.clone(), out.clone());
    ln_shift(
        &x,
        &norm,
        &rows,
        &seqs,
        &mut expected_state,
        &mut expected,
        &params,
    )
    .expect("ln_shift");
    let contents: [&[u32]; 7] = [
        words(&x),
        words(&norm),
        bytemuck::cast_slice(&rows),
        bytemuck::cast_slice(&seqs),
        words(&state),
        words(&out),
        &params.words(),
    ];
    let found = gpu.run_in_place(&table::LN_SHIFT_READ, &contents, [rows.len() as u32, 1, 1]);
    let what = format!(
        "ln_shift on {}, {lengths:?}, C {channels}, {mixes} mixes",
        gpu.name
    );
    let terms: Vec<f32> = x.chunks_exact(channels).map(norm_terms).collect();
    let of_state = |_| terms.iter().copied().fold(0.0, f32::max);
    let of_row = |i: usize| {
        let n = i / (mixes * channels);
        // What is before the first row is of order 1.
        terms[n].max(terms[n.saturating_sub(1)]).max(3.0)
    };
    let (name, before, expected_now) = (format!("{what}: state"), &state, &expected_state);
    compare(
        &name,
        before,
        &found[0],
        expected_now,
        NORM_TOLERANCE,
        of_state,
    );
    let name = format!("{what}: out");
    compare(&name, &out, &found[1], &expected, NORM_TOLERANCE, of_row);
}

#[test]
fn gated_wkv_agrees() {
    let mut rng = Random::fresh("wkv_gated");
    for gpu in adapters() {
        for lengths in BATCHES {
            for channels in WIDTHS {
                check_wkv_gated(&gpu, &mut rng, lengths, channels);
            }
        }
        // No row at all: the state goes through.
        check_wkv_gated(&gpu, &mut rng, &[0, 3, 0], 96);
    }
}

fn check_wkv_gated(gpu: &Gpu, rng: &mut Random, lengths: &[u32], channels: usize) {
    let (rows, seqs, slots) = batch(rng, lengths);
    let state_len = channels * (3 + rng.below(7));
    let first = rng.below(state_len / channels - 2) * channels;
    let mut wu: Vec<f32> = (0..channels).map(|_| -rng.range(-6.0, 0.5).exp()).collect();
    wu.extend(floats(rng, channels, -1.5, 1.5));
    // Key, value, and a receptance that closes and opens the gate all the way.
    let kvr: Vec<f32> = (0..rows.len() * 3 * channels)
        .map(|i| match i / channels % 3 {
            0 => rng.range(-4.0, 4.0),
            1 => rng.range(-2.0, 2.0),
            _ => rng.range(-30.0, 30.0),
        })
        .collect();
    let mut state = floats(rng, slots * state_len, 0.5, 3.0);
    // The slot that the first sequence reads has no history.
    let empty = seqs[0].slot_in as usize * state_len + first;
    state[empty..empty + 2 * channels].fill(0.0);
    state[empty + 2 * channels..empty + 3 * channels].fill(EMPTY_PP);
    let out = poisoned(rows.len().max(1) * channels);
    let params = WkvGatedParams {
        channels: channels as u32,
        state_len: state_len as u32,
        first: first as u32,
    };
    let (mut expected_state, mut expected) = (state.clone(), out.clone());
    wkv_gated(
        &wu,
        &kvr,
        &seqs,
        &mut expected_state,
        &mut expected,
        &params,
    )
    .expect("wkv_gated");
    let contents: [&[u32]; 6] = [
        words(&wu),
        words(&kvr),
        bytemuck::cast_slice(&seqs),
        words(&state),
        words(&out),
        &params.words(),
    ];
    let workgroups = [channels.div_ceil(64) as u32, seqs.len() as u32, 1];
    let found = gpu.run_in_place(&table::WKV_GATED_READ, &contents, workgroups);
    let what = format!("wkv_gated on {}, {lengths:?}, C {channels}", gpu.name);
    let (name, of_state) = (format!("{what}: state"), |i: usize| expected_state[i].abs());
    compare(
        &name,
        &state,
        &found[0],
        &expected_state,
        WKV_TOLERANCE,
        of_state,
    );
    // An output is a mean of values, which are of order 1.
    let name = format!("{what}: out");
    compare(&name, &out, &found[1], &expected, WKV_TOLERANCE, |_| 1.0);
}
