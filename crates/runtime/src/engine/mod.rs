//! What computes: one module a kind of processor.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
