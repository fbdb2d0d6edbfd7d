//! Inference on the CPU in f32.
//!
//! A chunk of tokens passes the layers together: matrix products over the chunk, so that weights are read once for all of its tokens, with the WKV recurrence
//! of `ptbr-kernels` between them. One token is a chunk of one.
//!
//! Each token's numbers are computed by the same operations in the same order whatever the chunk, the thread count and the token's place in it: logits are
//! equal to the bit. Machines with AVX2 and with AVX-512 agree to the bit as well; one with neither agrees to rounding.

mod matmul;
mod ops;
mod parallel;
pub(crate) mod rwkv4;
mod work;

pub use matmul::Isa;
pub use work::Work;
