//! What computes: one module a kind of processor, behind the one boundary of [`step`].

pub mod cpu;
mod step;

pub(crate) use step::{Executor, Part, Rows, StateSlot, Wanted, adapter_runs};
