//! WKV in CubeCL's Rust: what runs where burn compiles kernels to something else than WGSL (SPIR-V, MSL, CUDA, HIP), which refuses
//! the shaders of `shaders/`.
//!
//! The twin of `wkv_forward.wgsl` and `wkv_backward.wgsl`: the same bindings and layouts, the same order of operations; the formulas
//! and the reasons stand there. One unit walks one channel of one sequence.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use ptbr_kernels::{EMPTY_PP, GRAD_ROWS, NO_STATE};

use super::WkvBatch;

/// How often a CubeCL kernel was launched since the program started.
static LAUNCHES: AtomicU64 = AtomicU64::new(0);

/// How often WKV in CubeCL was launched since the program started. Tests use it to know that a run took the path it was meant to take.
pub fn cubecl_launches() -> u64 {
    LAUNCHES.load(Ordering::Relaxed)
}

/// Units of a cube: channels.
const CUBE_WIDTH: u32 = 64;

/// e^a and e^b, both divided by e^scale where scale is the larger of the two exponents.
#[derive(CubeType, Clone, Copy)]
struct Mix {
    a: f32,
    b: f32,
    scale: f32,
}

#[cube]
fn mix(a: f32, b: f32) -> Mix {
    let small = (-(a - b).abs()).exp();
    let first = a >= b;
    Mix {
        a: select(first, 1.0f32, small),
        b: select(first, small, 1.0f32),
        scale: select(first, a, b),
    }
}

#[cube(launch_unchecked)]
fn wkv_forward(
    wu: &[f32],       // [2, C]: w, u
    k: &[f32],        // [N, C]
    v: &[f32],        // [N, C]
    seqs: &[u32],     // [sequences, 4]: first row, length, slot in, slot out
    state_in: &[f32], // [S, 3, C]: aa, bb, pp
    out: &mut [f32],  // [N + 3·S, C]: y, then aa, bb, pp of each slot
    channels: u32,
    sequences: u32,
    rows: u32,
) {
    if ABSOLUTE_POS_X >= channels || ABSOLUTE_POS_Y >= sequences {
        terminate!();
    }
    let c = ABSOLUTE_POS_X as usize;
    let seq = ABSOLUTE_POS_Y as usize * 4;
    let (channels, rows) = (channels as usize, rows as usize);
    let length = seqs[seq + 1];
    let slot_in = seqs[seq + 2];
    let slot_out = seqs[seq + 3];
    let w = wu[c];
    let u = wu[channels + c];

    let mut aa = 0.0f32;
    let mut bb = 0.0f32;
    let mut pp = f32::new(EMPTY_PP);
    if slot_in != NO_STATE {
        let at = slot_in as usize * 3 * channels + c;
        aa = state_in[at];
        bb = state_in[at + channels];
        pp = state_in[at + 2 * channels];
    }
    let mut at = seqs[seq] as usize * channels + c;
    for _ in 0..length {
        let kt = k[at];
        let vt = v[at];
        let y = mix(pp, u + kt);
        out[at] = (y.a * aa + y.b * vt) / (y.a * bb + y.b);
        let m = mix(w + pp, kt);
        aa = m.a * aa + m.b * vt;
        bb = m.a * bb + m.b;
        pp = m.scale;
        at += channels;
    }
    if slot_out != NO_STATE {
        let last = (rows + slot_out as usize * 3) * channels + c;
        out[last] = aa;
        out[last + channels] = bb;
        out[last + 2 * channels] = pp;
    }
}

#[cube(launch_unchecked)]
fn wkv_backward(
    wu: &[f32],        // [2, C]: w, u
    k: &[f32],         // [N, C]
    v: &[f32],         // [N, C]
    seqs: &[u32],      // [sequences, 4]: first row, length, slot in, slot out
    state_in: &[f32],  // [S, 3, C]: aa, bb, pp
    grad_out: &[f32],  // [N + 3·S, C]: of y, then of aa, bb, pp of each slot
    grads: &mut [f32], // [2·N + 5·sequences, C]: gk, gv, then gw, gu, gaa, gbb, gpp
    channels: u32,
    sequences: u32,
    rows: u32,
) {
    if ABSOLUTE_POS_X >= channels || ABSOLUTE_POS_Y >= sequences {
        terminate!();
    }
    let c = ABSOLUTE_POS_X as usize;
    let seq = ABSOLUTE_POS_Y as usize * 4;
    let (channels, rows) = (channels as usize, rows as usize);
    let length = seqs[seq + 1];
    let slot_in = seqs[seq + 2];
    let slot_out = seqs[seq + 3];
    let w = wu[c];
    let u = wu[channels + c];
    let gv_offset = rows * channels;

    let mut start_aa = 0.0f32;
    let mut start_bb = 0.0f32;
    let mut start_pp = f32::new(EMPTY_PP);
    if slot_in != NO_STATE {
        let at = slot_in as usize * 3 * channels + c;
        start_aa = state_in[at];
        start_bb = state_in[at + channels];
        start_pp = state_in[at + 2 * channels];
    }

    // Pass 1: forward; leaves ln D_t in gk and y_t in gv.
    let mut aa = 0.0f32 + start_aa;
    let mut bb = 0.0f32 + start_bb;
    let mut pp = 0.0f32 + start_pp;
    let mut da = 0.0f32;
    let mut db = 0.0f32;
    let mut gw = 0.0f32;
    let mut gu = 0.0f32;
    // 1 + t of the key that is pp's maximum; 0: the initial pp.
    let mut winner = 0u32;
    let mut at = seqs[seq] as usize * channels + c;
    for t in 0..length {
        let kt = k[at];
        let vt = v[at];
        let o = mix(pp, u + kt);
        let denominator = o.a * bb + o.b;
        let y = (o.a * aa + o.b * vt) / denominator;
        let q = grad_out[at] / denominator;
        gw += o.a * q * (da - db * y);
        gu += o.b * q * (vt - y);
        grads[at] = o.scale + denominator.ln();
        grads[at + gv_offset] = y;

        let m = mix(w + pp, kt);
        da = m.a * (aa + da);
        db = m.a * (bb + db);
        winner = select(w + pp >= kt, winner, t + 1);
        aa = m.a * aa + m.b * vt;
        bb = m.a * bb + m.b;
        pp = m.scale;
        at += channels;
    }

    // The final state's gradient.
    let mut x = 0.0f32;
    let mut z = 0.0f32;
    let mut through_pp = 0.0f32;
    if slot_out != NO_STATE {
        let last = (rows + slot_out as usize * 3) * channels + c;
        x = grad_out[last];
        z = grad_out[last + channels];
        through_pp = grad_out[last + 2 * channels] - (x * aa + z * bb);
        gw += x * da + z * db + through_pp * f32::cast_from(length - winner);
    }
    let mut scale = -pp;

    // Pass 2: back, over the places that pass 1 wrote.
    for passed in 0..length {
        let t = length - passed;
        at -= channels;
        let kt = k[at];
        let vt = v[at];
        let g = grad_out[at];
        let log_d = grads[at];
        let y = grads[at + gv_offset];
        let now = g * (u + kt - log_d).exp();
        let later = (kt + scale).exp();
        grads[at] = now * (vt - y) + later * (x * vt + z) + select(winner == t, through_pp, 0.0f32);
        grads[at + gv_offset] = now + later * x;

        let m = mix(w + scale, -log_d);
        let q = g * m.b;
        x = m.a * x + q;
        z = m.a * z - q * y;
        scale = m.scale;
    }

    let back = (scale + start_pp).exp();
    let gaa = back * x;
    let gbb = back * z;
    let own = (2 * rows + ABSOLUTE_POS_Y as usize * 5) * channels + c;
    grads[own] = gw;
    grads[own + channels] = gu;
    grads[own + 2 * channels] = gaa;
    grads[own + 3 * channels] = gbb;
    grads[own + 4 * channels] =
        gaa * start_aa + gbb * start_bb + select(winner == 0, through_pp, 0.0f32);
}

/// wu, k, v, initial states → `[N + 3·S, C]`: y, then the final states. All contiguous, in the shapes of
/// [`WkvOps::wkv`](super::WkvOps::wkv).
pub(super) fn forward(batch: &WkvBatch, inputs: [&CubeTensor; 4]) -> CubeTensor {
    let [wu, k, v, state] = inputs;
    launch(batch, k, batch.out_rows(), |launch, seqs, out| {
        let [channels, sequences, rows] = launch.sizes;
        let (count, dim) = (launch.count, launch.dim);
        let [wu, k, v, state] = [wu, k, v, state].map(argument);
        // SAFETY: unchecked means that CubeCL adds no bounds checks. Units beyond the channels and sequences end at once; the sequences
        // lie within the rows and the slots within the states, as `WkvBatch` was made, and the buffers have the lengths of the
        // signature.
        unsafe {
            wkv_forward::launch_unchecked(
                &launch.client,
                count,
                dim,
                wu,
                k,
                v,
                seqs,
                state,
                out,
                channels,
                sequences,
                rows,
            );
        }
    })
}

/// wu, k, v, initial states, gradients of what [`forward`] made → `[2·N + 5·sequences, C]`, the packed gradients.
pub(super) fn backward(batch: &WkvBatch, inputs: [&CubeTensor; 5]) -> CubeTensor {
    let [wu, k, v, state, grad] = inputs;
    let out_rows = 2 * batch.dims.n + GRAD_ROWS * batch.sequences.len();
    launch(batch, k, out_rows, |launch, seqs, grads| {
        let [channels, sequences, rows] = launch.sizes;
        let (count, dim) = (launch.count, launch.dim);
        let [wu, k, v, state, grad] = [wu, k, v, state, grad].map(argument);
        // SAFETY: as in `forward`.
        unsafe {
            wkv_backward::launch_unchecked(
                &launch.client,
                count,
                dim,
                wu,
                k,
                v,
                seqs,
                state,
                grad,
                grads,
                channels,
                sequences,
                rows,
            );
        }
    })
}

/// Where and how large.
struct Launch {
    client: Client,
    count: CubeCount,
    dim: CubeDim,
    /// Channels, sequences, rows.
    sizes: [u32; 3],
}

/// Calls `kernel` with the launch, the sequences and a new buffer of `out_rows` rows on the device of `like`, which it returns.
fn launch(
    batch: &WkvBatch,
    like: &CubeTensor,
    out_rows: usize,
    kernel: impl FnOnce(Launch, BufferArg, BufferArg),
) -> CubeTensor {
    let (client, channels) = (like.client.clone(), batch.dims.c);
    let sequences = batch.sequences.len();
    let words: &[u32] = bytemuck::cast_slice(&batch.sequences);
    let out = client.empty(out_rows * channels * size_of::<f32>());
    // SAFETY: both lengths are those that the buffers were made with.
    let (seqs, grads) = unsafe {
        let seqs = client.create_from_slice(bytemuck::cast_slice(words));
        (
            BufferArg::from_raw_parts(seqs, words.len()),
            BufferArg::from_raw_parts(out.clone(), out_rows * channels),
        )
    };
    let launch = Launch {
        client: client.clone(),
        count: CubeCount::Static((channels as u32).div_ceil(CUBE_WIDTH), sequences as u32, 1),
        dim: CubeDim::new_1d(CUBE_WIDTH),
        sizes: [channels as u32, sequences as u32, batch.dims.n as u32],
    };
    kernel(launch, seqs, grads);
    LAUNCHES.fetch_add(1, Ordering::Relaxed);
    let shape = Shape::from(vec![out_rows, channels]);
    CubeTensor::new_contiguous(client, like.device.clone(), shape, out, DType::F32)
}

fn argument(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}
