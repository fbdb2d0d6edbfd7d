//! Compute kernels: the WGSL of `shaders/`, checked and reflected at build time, and the CPU twin of each.
//!
//! # WKV
//! Per channel, with `w < 0` the logarithm of the decay per step and `u` the bonus of the current token, the true state is
//! a numerator `A = aa·e^pp` and a denominator `B = bb·e^pp`:
//! ```text
//! y_t = (A_{t-1} + e^{u+k_t} v_t) / (B_{t-1} + e^{u+k_t})
//! A_t = e^w A_{t-1} + e^{k_t} v_t        B_t = e^w B_{t-1} + e^{k_t}
//! ```
//! `pp` is the largest exponent seen, so nothing overflows. `w = -exp(time_decay)`; the chain rule to `time_decay` is the caller's.
//!
//! Sequences are ragged ([`Sequence`]); the buffers of the shaders and of [`cpu`] have the same layout:
//! ```text
//! wu [2, C]   k, v [N, C]   state_in [S, 3, C] (aa, bb, pp)   out, grad_out [N + 3·S, C] (y, then aa, bb, pp of each slot)
//! grads [2·N + 5·sequences, C] (gk, gv, then gw, gu, gaa, gbb, gpp of each sequence)
//! ```
//! Rows and slots that no sequence names are left as they were.
#![deny(missing_docs)]

pub mod cpu;
mod error;
mod kernel;
mod known_answer;
mod sequence;
pub mod table;

pub use error::KernelError;
pub use kernel::{Access, Binding, Element, Kernel, Scalar};
pub use known_answer::{WKV_KNOWN_ANSWER, WkvKnownAnswer};
pub use sequence::{EMPTY_PP, GRAD_ROWS, NO_STATE, STATE_ROWS, Sequence, WkvDims};
