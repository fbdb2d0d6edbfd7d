//! Every fused operation against its composed form, output and gradients, on the CPU backend.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData, activation};
use ptbr_model::Precision;

use super::activation::{gate, relu_squared};
use super::dropout::mix64;
use super::embedding::embedding;
use super::head_loss::{head_loss, loss_of_logits};
use super::layer_norm::{layer_norm, layer_norm_composed};
use super::linear::linear;
use super::token_shift::{Before, token_shift, token_shift_composed};

fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers in ±`scale`, the same at every run.
fn values(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    (0..count as u64)
        .map(|i| ((mix64(seed ^ mix64(i)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale)
        .collect()
}

fn leaf<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let data = TensorData::new(values(shape.iter().product(), seed, 1.5), shape);
    Tensor::from_data(data, &device()).require_grad()
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32 elements")
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected
        .iter()
        .fold(0.0f32, |m, x| m.max(x.abs()))
        .max(1e-3);
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 2e-5 * size, "{what}[{i}]: {f} is not {e}");
    }
}

/// Compares two forms of a function of a matrix and other leaves: the output, and the gradient of a random weighting of it.
macro_rules! compare {
    ($name:expr, [$($leaf:ident: $make:expr),+], $fused:expr, $composed:expr) => {{
        let mut results = Vec::new();
        for fused in [true, false] {
            $(let $leaf = $make;)+
            let out = if fused { $fused } else { $composed };
            let shape = out.dims();
            let weights = TensorData::new(values(shape.iter().product(), 99, 1.0), shape);
            let mut all = vec![vector(out.clone())];
            let grads = (out * Tensor::from_data(weights, &device())).sum().backward();
            $(all.push(vector($leaf.grad(&grads).expect("a gradient")));)+
            results.push(all);
        }
        for (part, (found, expected)) in results[0].iter().zip(&results[1]).enumerate() {
            assert_close(&format!("{} part {part}", $name), found, expected);
        }
    }};
}

#[test]
fn layer_norm_matches_its_definition() {
    for (n, c) in [(1, 1), (3, 5), (70, 96)] {
        compare!(
            format!("layer norm {n}×{c}"),
            [x: leaf([n, c], 1), w: leaf([c], 2), b: leaf([c], 3)],
            layer_norm(x.clone(), w.clone(), b.clone(), 1e-5),
            layer_norm_composed(x.clone(), w.clone(), b.clone(), 1e-5)
        );
    }
}

#[test]
fn token_shift_matches_its_definition() {
    for (batch, seq_len, c) in [(1, 1, 3), (3, 1, 4), (2, 7, 5), (3, 40, 33)] {
        compare!(
            format!("token shift {batch}×{seq_len}×{c}"),
            [x: leaf([batch * seq_len, c], 1), mix: leaf([c], 2)],
            token_shift(x.clone(), mix.clone(), Before::Nothing, seq_len),
            token_shift_composed(x.clone(), mix.clone(), Before::Nothing, seq_len)
        );
        let start = |s: &Tensor<1>| Before::Row(s.clone());
        compare!(
            format!("token shift from a row {batch}×{seq_len}×{c}"),
            [x: leaf([batch * seq_len, c], 1), mix: leaf([c], 2), s: leaf([c], 3)],
            token_shift(x.clone(), mix.clone(), start(&s), seq_len),
            token_shift_composed(x.clone(), mix.clone(), start(&s), seq_len)
        );
        // Some rows in the middle have nothing before them, and so has the second sequence.
        let fresh = Arc::new(
            (0..batch * seq_len)
                .map(|n| n % 5 == 3 || n == seq_len)
                .collect::<Vec<bool>>(),
        );
        let rows = |s: &Tensor<2>| Before::Rows(s.clone(), Arc::clone(&fresh));
        compare!(
            format!("token shift from rows {batch}×{seq_len}×{c}"),
            [x: leaf([batch * seq_len, c], 1), mix: leaf([c], 2), s: leaf([batch, c], 3)],
            token_shift(x.clone(), mix.clone(), rows(&s), seq_len),
            token_shift_composed(x.clone(), mix.clone(), rows(&s), seq_len)
        );
    }
}

#[test]
fn linear_matches_a_product() {
    for (n, i, o) in [(1, 1, 1), (5, 7, 3), (130, 64, 96)] {
        compare!(
            format!("linear {n}×{i}×{o}"),
            [x: leaf([n, i], 1), w: leaf([o, i], 2)],
            linear(x.clone(), w.clone(), Precision::F32),
            x.clone().matmul(w.clone().transpose())
        );
    }
}

#[test]
fn activations_match_their_definitions() {
    compare!(
        "gate",
        [r: leaf([70, 300], 1), y: leaf([70, 300], 2)],
        gate(r.clone(), y.clone()),
        activation::sigmoid(r.clone()) * y.clone()
    );
    compare!("relu²", [x: leaf([70, 300], 1)], relu_squared(x.clone()), activation::relu(x.clone()).square());
}

#[test]
fn embedding_adds_the_gradients_of_repeated_tokens() {
    let tokens = Arc::new(vec![3u16, 0, 3, 3, 6, 1]);
    let ids = || Tensor::<1, burn::tensor::Int>::from_data([3, 0, 3, 3, 6, 1], &device());
    compare!("embedding", [w: leaf([7, 5], 1)], embedding(w.clone(), &tokens), w.clone().select(0, ids()));
}

#[test]
fn head_loss_matches_its_definition_with_and_without_l2_wrap() {
    for (n, c, v, l2) in [(1, 4, 3, 0.0), (9, 6, 50, 0.0), (9, 6, 50, 1e-2)] {
        let targets = Arc::new((0..n).map(|i| (i * 7 % v) as u16).collect::<Vec<u16>>());
        compare!(
            format!("head loss {n}×{c}×{v}, {l2}"),
            [x: leaf([n, c], 1), w: leaf([v, c], 2)],
            // The composed objective includes the penalty's value; the fused one only its gradient.
            head_loss(x.clone(), w.clone(), &targets, l2, Precision::F32).objective * 1.0,
            {
                let out = loss_of_logits(x.clone().matmul(w.clone().transpose()), &targets, l2);
                let loss = out.read().loss as f32;
                out.objective.clone() - out.objective.detach() + loss
            }
        );
        let (x, w) = (leaf([n, c], 1), leaf([v, c], 2));
        let (fused, composed) = (
            head_loss(x.clone(), w.clone(), &targets, l2, Precision::F32).read(),
            loss_of_logits(x.matmul(w.transpose()), &targets, l2).read(),
        );
        assert!(
            (fused.loss - composed.loss).abs() < 1e-5,
            "{fused:?} {composed:?}"
        );
        assert_eq!(fused.correct, composed.correct);
    }
}
