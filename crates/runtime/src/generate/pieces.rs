//! A continuation as an iterator over its text.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::{Continuation, GenerateOptions, StopReason};
use crate::engine::wait;
use crate::{RuntimeError, Session};

/// The text that [`pieces`] writes, in pieces of whole characters as it comes. Dropping it breaks off the writing; the session has then read what it has drawn.
pub struct Pieces<'session> {
    session: &'session mut Session,
    continuation: Continuation,
    /// Written in one step, and not taken yet.
    ready: VecDeque<String>,
    stop: Option<StopReason>,
    failed: bool,
}

/// Reads `prompt` after whatever the session has read, and writes its continuation, a piece each time the iterator is asked: [`generate`](super::generate()) for a `for` loop.
///
/// ```no_run
/// # use ptbr_runtime::{GenerateOptions, Model, Session, pieces};
/// let mut session = Session::new(Model::load("model.safetensors".as_ref())?);
/// for piece in pieces(&mut session, "O Brasil é", &GenerateOptions::default())?.take(20) {
///     print!("{}", piece?);
/// }
/// # Ok::<(), ptbr_runtime::RuntimeError>(())
/// ```
///
/// Fails as [`Continuation::new`] does.
pub fn pieces<'session>(
    session: &'session mut Session,
    prompt: &str,
    options: &GenerateOptions,
) -> Result<Pieces<'session>, RuntimeError> {
    session.check_wait()?;
    let continuation = Continuation::new(session, prompt, options)?;
    Ok(Pieces {
        session,
        continuation,
        ready: VecDeque::new(),
        stop: None,
        failed: false,
    })
}

impl Pieces<'_> {
    /// Why the writing ended; `None` while it has not.
    pub fn stop(&self) -> Option<StopReason> {
        self.stop
    }

    fn step(&mut self) -> Result<(), RuntimeError> {
        let ready = &mut self.ready;
        let mut on_piece = |piece: &str| {
            ready.push_back(piece.to_owned());
            ControlFlow::Continue(())
        };
        self.stop = wait(self.continuation.step(self.session, &mut on_piece))?;
        Ok(())
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<String, RuntimeError>;

    /// The next piece; after an error, none.
    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.stop.is_none() && !self.failed {
            if let Err(error) = self.step() {
                self.failed = true;
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        if self.stop.is_none() && !self.failed {
            self.continuation.interrupt();
            // Reads the last token drawn, or goes back to it. What fails here fails again, with a message, when the session is used next.
            let _ = self.step();
        }
    }
}
