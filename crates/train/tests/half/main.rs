//! Training in f16 on a GPU adapter (a software one will do). Needs an adapter.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod memory;
mod operations;
mod runs;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The tests of this program take turns: some count the launches of kernels, which belong to the whole process.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    common::adapter();
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
