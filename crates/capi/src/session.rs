//! Sessions: one text each, with its state.

use std::ffi::c_char;
use std::fs;
use std::path::Path;

use ptbr_runtime::Session;

use crate::error::{PtbrStatus, exclusive, free, handle, status, text};
use crate::model::PtbrModel;

/// What a model has read and written of one text.
pub struct PtbrSession {
    pub(crate) session: Session,
}

/// Begins a text. Returns null on an error.
///
/// # Safety
/// `model` is null or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_new(model: *const PtbrModel) -> *mut PtbrSession {
    handle(|| {
        // SAFETY: the caller's promise.
        let model = unsafe { model.as_ref() }.ok_or("the model is null")?;
        Ok(PtbrSession {
            session: Session::new(model.model.clone()),
        })
    })
}

/// Frees a session; null is fine.
///
/// # Safety
/// `session` is null or came from this library, was not freed, and is used by no other thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_free(session: *mut PtbrSession) {
    // SAFETY: the caller's promise.
    unsafe { free(session) }
}

/// Forgets everything read; the adapter stays.
///
/// # Safety
/// `session` is null or came from this library, was not freed, and is used by no other thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_reset(session: *mut PtbrSession) -> PtbrStatus {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { exclusive(session, "the session") }?;
        session.session.reset().map_err(|error| error.to_string())
    })
}

/// Tokens read so far; 0 for null.
///
/// # Safety
/// `session` is null or came from this library, was not freed, and is used by no other thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_position(session: *const PtbrSession) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { session.as_ref() }.map_or(0, |session| session.session.position())
}

/// Takes the adapter in a folder for the tokens to come, or none for null.
///
/// # Safety
/// `session` as above; `folder` is null or a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_set_adapter(
    session: *mut PtbrSession,
    folder: *const c_char,
) -> PtbrStatus {
    status(|| {
        // SAFETY: the caller's promise.
        let session = &mut unsafe { exclusive(session, "the session") }?.session;
        let adapter = match folder.is_null() {
            true => None,
            false => {
                // SAFETY: the caller's promise.
                let folder = unsafe { text(folder, "the folder") }?;
                let adapter = session.model().load_adapter(Path::new(folder));
                Some(adapter.map_err(|error| error.to_string())?)
            }
        };
        session
            .set_adapter(adapter.as_ref())
            .map_err(|error| error.to_string())
    })
}

/// Writes what the session remembers into a file.
///
/// # Safety
/// `session` as above; `path` is a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_save(
    session: *mut PtbrSession,
    path: *const c_char,
) -> PtbrStatus {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { exclusive(session, "the session") }?;
        // SAFETY: the caller's promise.
        let path = unsafe { text(path, "the path") }?;
        let state = session.session.state().map_err(|error| error.to_string())?;
        ptbr_model::write_whole_file(Path::new(path), &state.to_bytes())
            .map_err(|error| format!("{path}: {error}"))
    })
}

/// Goes on from what `ptbr_session_save` wrote, for the same model and adapter.
///
/// # Safety
/// `session` as above; `path` is a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_session_load(
    session: *mut PtbrSession,
    path: *const c_char,
) -> PtbrStatus {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { exclusive(session, "the session") }?;
        // SAFETY: the caller's promise.
        let path = unsafe { text(path, "the path") }?;
        let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        session
            .session
            .restore(&bytes)
            .map_err(|error| format!("{path}: {error}"))
    })
}
