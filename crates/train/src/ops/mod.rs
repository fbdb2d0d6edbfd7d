//! The operations that RWKV-4 is made of, each with a fused form for the CPU and a composed form in tensor operations elsewhere.

pub mod activation;
pub mod dropout;
pub mod embedding;
pub mod frozen;
pub mod gemm;
mod half;
pub mod head_loss;
pub mod host;
pub mod kernels;
pub mod layer_norm;
pub mod linear;
pub mod rows;
pub mod stored;
pub mod token_shift;
pub mod wkv;

#[cfg(test)]
mod tests;
