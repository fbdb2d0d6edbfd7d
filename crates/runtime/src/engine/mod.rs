//! What computes: one module a kind of processor, behind the one boundary of `step`.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
mod step;

pub(crate) use step::{Executor, Part, Rows, StateSlot, Wanted, adapter_runs, wait};
