//! Ctrl-C: once saves and stops, twice aborts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// A flag that the first Ctrl-C (or SIGTERM) sets; the second ends the program at once.
///
/// # Errors
/// When the system does not let a handler be set, or one was set before.
pub fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            // What 128 + SIGINT says to a shell. The last checkpoint is whole: checkpoints appear by renaming.
            std::process::exit(130);
        }
        eprintln!(
            "\nstopping after this step and saving; press Ctrl-C again to stop at once and lose it"
        );
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}
