//! The WKV shaders against their CPU twins on every adapter found. Needs a GPU adapter; a software one will do
//! (`apt-get install mesa-vulkan-drivers libvulkan1`). A missing adapter fails the tests.

mod common;

use common::gpu::{Gpu, adapters};
use common::{Case, Numbers, Random};
use ptbr_kernels::{Kernel, WKV_KNOWN_ANSWER, WkvKnownAnswer, cpu, table};
use ptbr_model::half_of;

/// Rounding of a few terms of order 1.
const FLOOR: f32 = 1e-6;
/// The same where exponents reach 80, whose own rounding of 80·2^-24 is the relative error of their exponential.
const FLOOR_AT_80: f32 = 5e-6;

/// Forward and backward, by access of the inputs.
const PAIRS: [(Kernel, Kernel); 2] = [
    (table::WKV_FORWARD_READ, table::WKV_BACKWARD_READ),
    (
        table::WKV_FORWARD_READ_WRITE,
        table::WKV_BACKWARD_READ_WRITE,
    ),
];

/// The same for k and v in f16.
const HALVES: [(Kernel, Kernel); 1] = [(
    table::WKV_FORWARD_HALVES_READ_WRITE,
    table::WKV_BACKWARD_HALVES_READ_WRITE,
)];

/// Every permutation against the twins, which take the rounded k and v in f32 where the shaders take halves.
fn compare(gpu: &Gpu, case: &Case, floor: f32) {
    let words = bytemuck::cast_slice::<f32, u32>;
    compare_with(gpu, &PAIRS, case, [words(&case.k), words(&case.v)], floor);
    let halves = [&case.k, &case.v].map(|x| {
        let mut halves = vec![0; x.len().div_ceil(2)];
        cpu::f32_to_f16(x, &mut halves).expect("packed");
        halves
    });
    let [k, v] = [0, 1].map(|i| {
        let unpacked = (0..case.k.len()).map(|at| half_of(&halves[i], at));
        unpacked.collect()
    });
    let rounded = Case {
        k,
        v,
        ..case.clone()
    };
    compare_with(gpu, &HALVES, &rounded, [&halves[0], &halves[1]], floor);
}

/// `kernels` on a case whose k and v they read as `inputs`.
fn compare_with(
    gpu: &Gpu,
    kernels: &[(Kernel, Kernel)],
    case: &Case,
    inputs: [&[u32]; 2],
    floor: f32,
) {
    let [k_words, v_words] = inputs;
    let (mut out, mut grads) = (case.poisoned_out(), case.poisoned_grads());
    let Case {
        dims,
        wu,
        k,
        v,
        seqs,
        state_in,
        grad_out,
    } = case;
    cpu::wkv_forward(wu, k, v, seqs, state_in, &mut out, *dims).expect("forward");
    cpu::wkv_backward(wu, k, v, seqs, state_in, grad_out, &mut grads, *dims).expect("backward");

    let words = bytemuck::cast_slice::<f32, u32>;
    let params = dims.params(seqs.len()).expect("small");
    let workgroups = dims.workgroups(seqs.len()).expect("small");
    let sequences = bytemuck::cast_slice(seqs);
    for (forward, backward) in kernels {
        let inputs = [
            words(wu),
            k_words,
            v_words,
            sequences,
            words(state_in),
            &params,
        ];
        let found = gpu.run(forward, &inputs, &[out.len()], workgroups);
        compare_columns(gpu, forward, case, &found[0], &out, floor);

        let inputs = [
            words(wu),
            k_words,
            v_words,
            sequences,
            words(state_in),
            words(grad_out),
            &params,
        ];
        let found = gpu.run(backward, &inputs, &[grads.len()], workgroups);
        compare_columns(gpu, backward, case, &found[0], &grads, floor);
    }
}

/// Each row within 1e-4 of the largest value that the same quantity takes in the channel, or within `floor` where terms of order 1
/// cancel; what is not written still holds the poison.
fn compare_columns(
    gpu: &Gpu,
    kernel: &Kernel,
    case: &Case,
    found: &[f32],
    expected: &[f32],
    floor: f32,
) {
    let (width, n) = (case.dims.c, case.dims.n);
    let grads = kernel.name == "wkv_backward";
    case.assert_written(
        &format!("{} {} on {}", kernel.name, kernel.permutation, gpu.name),
        found,
        grads,
    );
    let written = case.rows_written(grads);
    // Rows of one kind: y | aa, bb, pp, and gk | gv | gw, gu, gaa, gbb, gpp.
    let kind = |row: usize| match grads {
        false if row < n => 0,
        false => 1 + (row - n) % 3,
        true if row < 2 * n => row / n,
        true => 2 + (row - 2 * n) % 5,
    };
    for c in 0..width {
        let mut largest = [0.0f32; 7];
        for row in (0..written.len()).filter(|&row| written[row]) {
            // Untouched exponents of -1e38 must pass exactly and say nothing about the scale of the others.
            let size = expected[row * width + c].abs();
            if size < 1e30 {
                largest[kind(row)] = largest[kind(row)].max(size);
            }
        }
        for row in (0..written.len()).filter(|&row| written[row]) {
            let (a, b) = (found[row * width + c], expected[row * width + c]);
            assert!(
                (a - b).abs() <= floor + 1e-4 * largest[kind(row)],
                "{} {} on {}: row {row} channel {c} is {a:e}, the twin has {b:e}",
                kernel.name,
                kernel.permutation,
                gpu.name
            );
        }
    }
}

#[test]
fn shaders_agree_with_their_twins() {
    let mut rng = Random::fresh("gpu");
    for gpu in adapters() {
        compare(
            &gpu,
            &Case::random(&mut rng, &[0, 1, 7, 1030, 0, 33], 67, Numbers::Usual),
            FLOOR,
        );
        compare(
            &gpu,
            &Case::random(&mut rng, &[5, 2, 8], 1, Numbers::Usual),
            FLOOR,
        );
        compare(
            &gpu,
            &Case::random(&mut rng, &[16, 16, 16, 16], 128, Numbers::Usual),
            FLOOR,
        );
        compare(
            &gpu,
            &Case::random(&mut rng, &[0], 65, Numbers::Usual),
            FLOOR,
        );
    }
}

#[test]
fn shaders_agree_at_extreme_keys_and_decays() {
    let mut rng = Random::fresh("gpu, extreme");
    for gpu in adapters() {
        compare(
            &gpu,
            &Case::random(&mut rng, &[0, 1, 7, 130, 3], 70, Numbers::Extreme),
            FLOOR_AT_80,
        );
    }
}

#[test]
fn shaders_give_the_known_answer() {
    let known = WKV_KNOWN_ANSWER;
    let params = known.dims.params(known.seqs.len()).expect("small");
    let workgroups = known.dims.workgroups(known.seqs.len()).expect("small");
    let words = bytemuck::cast_slice::<f32, u32>;
    let [wu, k, v, state_in, grad_out] =
        [known.wu, known.k, known.v, known.state_in, known.grad_out].map(words);
    let seqs = bytemuck::cast_slice(known.seqs);
    for gpu in adapters() {
        for (forward, backward) in &PAIRS {
            let out = gpu.run(
                forward,
                &[wu, k, v, seqs, state_in, &params],
                &[known.out.len()],
                workgroups,
            );
            let inputs = [wu, k, v, seqs, state_in, grad_out, &params];
            let grads = gpu.run(backward, &inputs, &[known.grads.len()], workgroups);
            let errors = (
                WkvKnownAnswer::error(&out[0], known.out),
                WkvKnownAnswer::error(&grads[0], known.grads),
            );
            println!(
                "{}, {}: forward {:e}, backward {:e}",
                gpu.name, forward.permutation, errors.0, errors.1
            );
            assert!(
                errors.0 <= WkvKnownAnswer::TOLERANCE && errors.1 <= WkvKnownAnswer::TOLERANCE,
                "{errors:?}"
            );
        }
    }
}
