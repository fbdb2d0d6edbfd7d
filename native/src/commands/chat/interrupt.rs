//! Ctrl-C: stops the writing while the model writes, and the program otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// What the handler and the program tell each other.
#[derive(Debug, Default)]
struct Flags {
    writing: AtomicBool,
    stop: AtomicBool,
}

/// Watches for Ctrl-C (and SIGTERM, which is taken alike).
#[derive(Debug)]
pub struct Interrupt {
    flags: Arc<Flags>,
}

impl Interrupt {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system does not let a handler be set.
    pub fn watch() -> Result<Self> {
        let flags = Arc::new(Flags::default());
        let seen = Arc::clone(&flags);
        ctrlc::set_handler(move || {
            let writing = seen.writing.load(Ordering::SeqCst);
            // While nothing is written, or when the first one was not heeded: as without a handler, 128 + SIGINT.
            if !writing || seen.stop.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        .context("cannot watch for Ctrl-C")?;
        Ok(Self { flags })
    }

    /// Calls `write`, which ends early when [`is_asked_to_stop`](Self::is_asked_to_stop).
    pub fn while_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.flags.stop.store(false, Ordering::SeqCst);
        self.flags.writing.store(true, Ordering::SeqCst);
        let written = write();
        self.flags.writing.store(false, Ordering::SeqCst);
        written
    }

    /// Whether Ctrl-C was pressed since the writing began.
    pub fn is_asked_to_stop(&self) -> bool {
        self.flags.stop.load(Ordering::SeqCst)
    }
}
