//! The CubeCL twin of WKV against the CPU's, and against the WGSL where the adapter takes it. Needs an adapter; a software one will do.

use std::sync::Arc;

use burn::tensor::{Device, DeviceKind, Tensor, TensorData};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use ptbr_kernels::{GRAD_ROWS, NO_STATE, STATE_ROWS, Sequence, WkvDims, cpu};

use super::{WkvBackwardOps, WkvBatch, WkvOps, cubecl_twin};
use crate::ops::dropout::mix64;
use crate::ops::kernels::runs_wgsl;

/// Numbers in ±`scale`, the same at every run.
fn values(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    (0..count as u64)
        .map(|i| ((mix64(seed ^ mix64(i)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale)
        .collect()
}

fn on_gpu(values: &[f32], width: usize) -> CubeTensor {
    let data = TensorData::new(values.to_vec(), [values.len() / width, width]);
    Tensor::<2>::from_data(data, &Device::wgpu(DeviceKind::DefaultDevice))
        .try_into_primitive::<CubeBackend>()
        .expect("a tensor of the GPU backend")
}

fn read(tensor: CubeTensor) -> Vec<f32> {
    let tensor = Tensor::<2>::from_primitive::<CubeBackend>(tensor);
    tensor.into_data().try_into_vec().expect("f32 elements")
}

/// The largest difference, relative to the largest element of the same row kind: `kind` names the quantity that a row holds.
fn difference(found: &[f32], expected: &[f32], width: usize, kind: impl Fn(usize) -> usize) -> f32 {
    assert_eq!(found.len(), expected.len());
    let (mut largest, mut worst) = ([1e-3f32; 8], [0.0f32; 8]);
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let kind = kind(i / width);
        // An untouched exponent of -1e38 passes exactly and says nothing about the scale of the others.
        if e.abs() < 1e30 {
            largest[kind] = largest[kind].max(e.abs());
        }
        worst[kind] = worst[kind].max((f - e).abs());
        assert!(f.is_finite(), "row {} is {f}", i / width);
    }
    let relative = worst.iter().zip(largest).map(|(w, l)| w / l);
    relative.fold(0.0, f32::max)
}

/// Ragged sequences over all rows, one of them empty: some with a state to begin with, some whose final state is kept.
fn batch(lengths: &[u32], channels: usize) -> WkvBatch {
    let mut first = 0;
    let sequences: Vec<Sequence> = (0u32..)
        .zip(lengths)
        .map(|(i, len)| {
            let slot = |wanted: bool, slot| if wanted { slot } else { NO_STATE };
            let sequence = Sequence {
                first,
                len: *len,
                slot_in: slot(i % 3 != 1, (i + 1) % lengths.len() as u32),
                slot_out: slot(i % 2 == 0, i),
            };
            first += len;
            sequence
        })
        .collect();
    WkvBatch {
        dims: WkvDims {
            n: first as usize,
            c: channels,
            slots: lengths.len(),
        },
        sequences: Arc::new(sequences),
    }
}

#[test]
fn the_cubecl_twin_computes_what_the_other_two_do() {
    for (lengths, channels, keys) in [
        (&[5, 0, 33, 1, 7][..], 67, 2.0),
        (&[9, 2], 1, 2.0),
        (&[16, 16, 16], 128, 2.0),
        (&[20, 3, 11], 65, 60.0),
    ] {
        let batch = batch(lengths, channels);
        let WkvDims { n, slots, .. } = batch.dims;
        let mut wu = values(2 * channels, 1, 1.0);
        wu[..channels].iter_mut().for_each(|w| *w = -w.abs() * 4.0);
        let (k, v) = (values(n * channels, 2, keys), values(n * channels, 3, 1.5));
        let mut state = values(slots * STATE_ROWS * channels, 4, 1.5);
        for slot in state.chunks_exact_mut(STATE_ROWS * channels) {
            // A denominator is positive.
            slot[channels..2 * channels]
                .iter_mut()
                .for_each(|b| *b = b.abs() + 0.1);
        }
        let grad = values(batch.out_rows() * channels, 5, 1.0);

        let on = |values: &[f32]| on_gpu(values, channels);
        let (gwu, gk, gv, gstate, ggrad) = (on(&wu), on(&k), on(&v), on(&state), on(&grad));
        let forward = cubecl_twin::forward(&batch, [&gwu, &gk, &gv, &gstate]);
        let backward = cubecl_twin::backward(&batch, [&gwu, &gk, &gv, &gstate, &ggrad]);
        let (found, found_grads) = (read(forward), read(backward));

        let mut out = vec![0.0; found.len()];
        let mut grads = vec![0.0; found_grads.len()];
        let (sequences, dims) = (&batch.sequences, batch.dims);
        cpu::wkv_forward(&wu, &k, &v, sequences, &state, &mut out, dims).expect("forward");
        cpu::wkv_backward(&wu, &k, &v, sequences, &state, &grad, &mut grads, dims)
            .expect("backward");
        // Slots that no sequence writes are nobody's.
        let unwritten = |row: usize| row >= n && (row - n) / STATE_ROWS % 2 == 1;
        let written = |all: &[f32]| -> Vec<f32> {
            let rows = all.chunks_exact(channels).enumerate();
            let kept = rows.filter(|(row, _)| !unwritten(*row));
            kept.flat_map(|(_, row)| row.to_vec()).collect()
        };
        let of_out = |row: usize| {
            if row < n {
                0
            } else {
                1 + (row - n) % STATE_ROWS
            }
        };
        let of_grads = |row: usize| {
            if row < 2 * n {
                row / n
            } else {
                2 + (row - 2 * n) % GRAD_ROWS
            }
        };
        let label = format!("{lengths:?} × {channels}, keys to {keys}");
        // Rounding of an exponent of 60 is 60·2^-24 of the exponential.
        let bound = if keys > 10.0 { 1e-4 } else { 1e-5 };
        let differences = [
            difference(&written(&found), &written(&out), channels, of_out),
            difference(&found_grads, &grads, channels, of_grads),
        ];
        println!("{label}: to the CPU's {differences:?}");
        assert!(
            differences.iter().all(|d| *d < bound),
            "{label}: {differences:?}"
        );

        if runs_wgsl(&gk.client) {
            let wgsl = CubeBackend::wkv(
                gwu.clone(),
                gk.clone(),
                gv.clone(),
                gstate.clone(),
                batch.clone(),
            );
            let wgsl_grads = CubeBackend::wkv_backward(gwu, gk, gv, gstate, ggrad, batch.clone());
            let (of_k, rest) = found_grads.split_at(n * channels);
            let (of_v, of_sequences) = rest.split_at(n * channels);
            let (of_wu, of_state) = summed(&batch, of_sequences);
            let differences = [
                difference(&written(&found), &written(&read(wgsl)), channels, of_out),
                difference(of_k, &read(wgsl_grads.k), channels, |_| 0),
                difference(of_v, &read(wgsl_grads.v), channels, |_| 0),
                difference(&of_wu, &read(wgsl_grads.wu), channels, |row| row),
                difference(&of_state, &read(wgsl_grads.state), channels, |row| {
                    row % STATE_ROWS
                }),
            ];
            println!("{label}: to the WGSL's {differences:?}");
            assert!(
                differences.iter().all(|d| *d < 1e-6),
                "{label}: {differences:?}"
            );
        }
    }
}

/// The gradients of the sequences, gw, gu, gaa, gbb, gpp of each, added up: of wu `[2, C]`, and of the slots that they began with
/// `[S, 3, C]`.
fn summed(batch: &WkvBatch, of_sequences: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let WkvDims { c, slots, .. } = batch.dims;
    let (mut wu, mut state) = (vec![0.0; 2 * c], vec![0.0; slots * STATE_ROWS * c]);
    let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
    for (sequence, rows) in batch
        .sequences
        .iter()
        .zip(of_sequences.chunks_exact(GRAD_ROWS * c))
    {
        add(&mut wu, &rows[..2 * c]);
        if sequence.slot_in != NO_STATE {
            let at = sequence.slot_in as usize * STATE_ROWS * c;
            add(&mut state[at..at + STATE_ROWS * c], &rows[2 * c..]);
        }
    }
    (wu, state)
}
