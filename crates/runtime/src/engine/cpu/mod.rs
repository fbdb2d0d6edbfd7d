//! Inference on the CPU: activations in f32, weights in whatever format the file has.
//!
//! The tokens of a step, of one text or of several, pass the layers together as rows: matrix products over all rows, so that weights are read once for all of them, with the WKV
//! recurrence of `ptbr-kernels` between them.
//!
//! Each token's numbers are computed by the same operations in the same order whatever the chunk, the company, the thread count and the token's place among the rows: logits are
//! equal to the bit. Machines with AVX2 and with AVX-512 agree to the bit as well; one with neither agrees to rounding.

mod matmul;
mod ops;
mod parallel;
pub(crate) mod rwkv4;
mod work;

pub use matmul::Isa;
pub use work::Work;
