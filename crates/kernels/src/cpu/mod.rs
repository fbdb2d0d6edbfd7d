//! The CPU twin of each shader: same file name, same argument order, same buffer layouts.
//!
//! Every twin comes twice: `*_plain` is the definition, one channel after the other; the one without suffix is what CPU training
//! and inference run, vectorised over channels and parallel over (sequence × block of channels). Its result does not depend on
//! the number of threads nor on how channels fall into blocks: every channel is computed by the same operations in the same order.

mod blocks;
mod exp;
mod simd;
mod wkv_backward;
mod wkv_forward;
mod wkv_step;

pub use exp::{exp_f32, sigmoid};
pub use wkv_backward::{wkv_backward, wkv_backward_plain};
pub use wkv_forward::{wkv_forward, wkv_forward_plain};
pub use wkv_step::{wkv_step, wkv_step_plain};
