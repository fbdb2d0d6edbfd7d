//! `ptbr-runtime` for C: load a model, write text, remember and go on. `include/ptbr_slm.h` is generated from here.
//!
//! - **Handles** are opaque. What a `…_open` or `…_new` returns is freed by its `…_free`, which takes null; a model may be freed before its sessions.
//! - **Errors**: functions that can fail return null or a status other than 0, and [`ptbr_last_error`] says why: a sentence for the calling thread, valid until that
//!   thread's next call of this library.
//! - **Threads**: a model may be used by any number of threads at once. A session may be used by one thread at a time, whichever; two sessions of one model by two threads.
//! - **No panic crosses the boundary**: it would be an error with the status `PTBR_STATUS_PANIC`, and the session it happened in should be freed.
//! - **Texts** are UTF-8, and end with a zero byte where no length is given.
#![deny(missing_docs)]

mod error;
mod model;
mod session;
mod write;

pub use error::{PtbrStatus, ptbr_last_error};
pub use model::{
    PtbrModel, ptbr_model_free, ptbr_model_from_bytes, ptbr_model_id, ptbr_model_open, ptbr_version,
};
pub use session::{
    PtbrSession, ptbr_session_free, ptbr_session_load, ptbr_session_new, ptbr_session_position,
    ptbr_session_reset, ptbr_session_save, ptbr_session_set_adapter,
};
pub use write::{PtbrOnPiece, PtbrOptions, ptbr_options_default, ptbr_write};
