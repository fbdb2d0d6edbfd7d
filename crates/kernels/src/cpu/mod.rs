//! The CPU twin of each shader: same file name, same argument order, same buffer layouts.
//!
//! The twins of WKV come twice: `*_plain` is the definition, one channel after the other; the one without suffix is what CPU training
//! and inference run, vectorised over channels and parallel over (sequence × block of channels). Its result does not depend on
//! the number of threads nor on how channels fall into blocks: every channel is computed by the same operations in the same order.
//!
//! Those of the runtime's GPU engine are definitions only, with sums in f64: the CPU engine has kernels of its own. So are those of mixed-precision training,
//! which a CPU does not gain from. `adamw_8bit` is its own definition and what CPU training runs.

mod activations;
mod adamw_8bit;
mod blocks;
mod elements;
mod embed;
mod exp;
mod f32_to_f16;
mod grad_stats;
mod grad_unscale;
mod layer_norm;
mod ln_shift;
mod lora_down;
mod matmul;
mod matmul_f16;
mod matvec;
mod moments_8bit;
mod project;
mod rows;
mod sample;
mod simd;
mod token_weight;
mod wkv_backward;
mod wkv_forward;
mod wkv_gated;
mod wkv_step;

pub use activations::round_to_bytes;
pub use adamw_8bit::{AdamwParams, PackedMoment, adamw_8bit};
pub use embed::{EmbedParams, embed};
pub use exp::{exp_f32, sigmoid};
pub use f32_to_f16::{f32_to_f16, f32_to_f16_params};
pub use grad_stats::{GradStats, GradStatsParams, grad_stats};
pub use grad_unscale::{grad_unscale, grad_unscale_params};
pub use layer_norm::{LayerNormParams, layer_norm};
pub use ln_shift::{LnShiftParams, ln_shift};
pub use lora_down::{LoraDownParams, LoraModule, lora_down};
pub use matmul::matmul;
pub use matmul_f16::{LinearProduct, MatmulF16Params, ProductOutput, matmul_f16};
pub use matvec::matvec;
pub use moments_8bit::{MOMENT_BLOCK, Moment, pack_moment, unpack_moment};
pub use project::{Outcome, ProjectParams};
pub use rows::{NO_ADAPTER, Row};
pub use sample::{NO_TOKEN, SampleParams, SampleSettings, sample};
pub use simd::{limit_vectors, vector_limit};
pub use token_weight::token_weight;
pub use wkv_backward::{wkv_backward, wkv_backward_plain};
pub use wkv_forward::{wkv_forward, wkv_forward_plain};
pub use wkv_gated::{WkvGatedParams, wkv_gated};
pub use wkv_step::{wkv_step, wkv_step_plain};
