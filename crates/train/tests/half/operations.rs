//! The operations of f16 training against their definition in f64.

use burn::tensor::{DType, Device, DeviceKind, Tensor, TensorData};
use ptbr_model::Precision;
use ptbr_train::ops::linear::{linear, linear_to_kernel};
use ptbr_train::ops::wkv::{WkvBatch, wkv, wkv_with_state};

use crate::turn;

/// Numbers in ±1, the same at every run.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32 elements")
}

/// Σ_r a[m, r] · b[r, c] in f64 for every (m, c), and the sum of the magnitudes; `a` and `b` as functions of their indices.
fn product(
    [rows, terms, columns]: [usize; 3],
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<(f64, f64)> {
    let sum = |at: usize| {
        let products =
            (0..terms).map(|r| f64::from(a(at / columns, r)) * f64::from(b(r, at % columns)));
        products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()))
    };
    (0..rows * columns).map(sum).collect()
}

/// Rounding two operands to f16 changes a product by 2^-11 each, relative to it, at most; what the sum in f32 adds is far below.
fn assert_rounded(what: &str, found: &[f32], expected: &[(f64, f64)]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut largest = 0.0f64;
    for (i, (found, (sum, size))) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - sum).abs();
        assert!(
            error <= size * 2f64.powi(-10) * 1.01 + 1e-7,
            "{what}[{i}]: {found}, in f64 {sum}"
        );
        largest = largest.max(error);
    }
    // As close as f32 would be no product of f16.
    assert!(largest > 1e-5, "{what}: {largest:e}");
}

#[test]
fn a_product_in_f16_and_both_gradients_are_those_of_f64_but_for_rounding() {
    let _turn = turn();
    let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
    // [N, I, O]: even, odd in each dimension, and a head of an odd vocabulary.
    for [n, i, o] in [[33, 130, 134], [5, 7, 3], [6, 3, 64], [40, 64, 261]] {
        let what = format!("{n}×{i}×{o}");
        let (x, w, dy) = (values(n * i, 1), values(o * i, 2), values(n * o, 3));
        let leaf = |values: &[f32], shape| tensor(values, shape, &device).require_grad();
        let (tx, tw) = (leaf(&x, [n, i]), leaf(&w, [o, i]));
        let y = linear(tx.clone(), tw.clone(), Precision::F16);
        let grads = (y.clone() * tensor(&dy, [n, o], &device)).sum().backward();
        let found = [
            vector(y),
            vector(tx.grad(&grads).expect("a gradient of x")),
            vector(tw.grad(&grads).expect("a gradient of W")),
        ];
        let expected = [
            product([n, i, o], |m, r| x[m * i + r], |r, c| w[c * i + r]),
            product([n, o, i], |m, r| dy[m * o + r], |r, c| w[r * i + c]),
            product([o, n, i], |m, r| dy[r * o + m], |r, c| x[r * i + c]),
        ];
        for (part, (found, expected)) in ["y", "dx", "dW"].iter().zip(found.iter().zip(&expected)) {
            assert_rounded(&format!("{what}, {part}"), found, expected);
        }
    }
}

#[test]
fn only_what_is_trained_gets_a_gradient() {
    let _turn = turn();
    let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
    let (x, w) = (values(6 * 8, 1), values(4 * 8, 2));
    for trained in [[true, false], [false, true]] {
        let leaf =
            |values, shape, tracked| tensor(values, shape, &device).set_require_grad(tracked);
        let (x, w) = (leaf(&x, [6, 8], trained[0]), leaf(&w, [4, 8], trained[1]));
        let grads = linear(x.clone(), w.clone(), Precision::F16)
            .sum()
            .backward();
        let found = [x.grad(&grads).is_some(), w.grad(&grads).is_some()];
        assert_eq!(found, trained);
    }
}

/// The matrix of ones on the diagonal: a product with it rounds to f16 and does nothing else.
fn identity(channels: usize, device: &Device) -> Tensor<2> {
    Tensor::eye(channels, device)
}

#[test]
fn wkv_of_f16_is_that_of_the_rounded_numbers_in_f32() {
    let _turn = turn();
    let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
    let (windows, seq_len, channels) = (3, 17, 70);
    let shape = [windows * seq_len, channels];
    let numbers = |seed| values(shape[0] * shape[1], seed);
    let weights = tensor(&numbers(5), shape, &device);
    let w = || {
        -tensor(&values(channels, 3), [1, channels], &device)
            .reshape([channels])
            .exp()
    };
    let u = || tensor(&values(channels, 4), [1, channels], &device).reshape([channels]);
    let mut results = Vec::new();
    for packed in [true, false] {
        let leaf = |seed| {
            // Multiples of 2^-8 in ±1 are numbers of f16, and twice as many digits are left for what is made of them.
            let rounded = numbers(seed)
                .into_iter()
                .map(|x| (x * 256.0).round() / 256.0);
            let rounded: Vec<f32> = rounded.collect();
            tensor(&rounded, shape, &device).require_grad()
        };
        let (k, v) = (leaf(1), leaf(2));
        let input = |x: &Tensor<2>| match packed {
            true => linear_to_kernel(x.clone(), identity(channels, &device), Precision::F16),
            false => x.clone(),
        };
        let (in_k, in_v) = (input(&k), input(&v));
        let dtype = if packed { DType::F16 } else { DType::F32 };
        assert_eq!([in_k.dtype(), in_v.dtype()], [dtype; 2]);
        let batch = WkvBatch::rectangle(windows, seq_len, channels);
        let y = wkv(w(), u(), in_k, in_v, batch);
        let grads = (y.clone() * weights.clone()).sum().backward();
        let grad = |x: Tensor<2>| vector(x.grad(&grads).expect("a gradient"));
        results.push([vector(y), grad(k), grad(v)]);
    }
    let tolerances = [("y", 1e-6), ("dk", 1e-3), ("dv", 1e-3)];
    for ((what, tolerance), (found, expected)) in
        tolerances.iter().zip(results[0].iter().zip(&results[1]))
    {
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            // A gradient goes through one rounding more, that of the product's own gradient.
            assert!(
                (f - e).abs() <= tolerance * (e.abs() + 1e-2),
                "{what}[{i}]: {f}, {e} in f32"
            );
        }
    }
}

#[test]
#[should_panic(expected = "a cast is missing in the trainer")]
fn halves_where_f32_is_read_are_noticed() {
    let _turn = turn();
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let rows = tensor(&values(6 * 4, 1), [6, 4], &device);
    let halves = linear_to_kernel(rows.clone(), identity(4, &device), Precision::F16);
    let vector = || Tensor::zeros([4], &device);
    let state = halves.slice([0..3, 0..4]);
    let batch = WkvBatch::rectangle_from_state(2, 3, 4);
    let _ = wkv_with_state(vector(), vector(), rows.clone(), rows, state, batch);
}
