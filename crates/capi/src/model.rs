//! Models: shared, and read only.

use std::ffi::{CString, c_char};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use ptbr_runtime::Model;

use crate::error::{free, handle, text};

/// A loaded model with its tokenizer.
pub struct PtbrModel {
    pub(crate) model: Arc<Model>,
    id: CString,
}

impl PtbrModel {
    fn new(model: Arc<Model>) -> Result<Self, String> {
        if model.tokenizer().is_none() {
            return Err("the model carries no tokenizer".to_owned());
        }
        let id = CString::new(model.model_id()).map_err(|error| error.to_string())?;
        Ok(Self { model, id })
    }
}

/// Loads a model file, a checkpoint folder or a training output folder. Weights are mapped, not copied: the file must not be changed while the model lives.
///
/// Returns null on an error.
///
/// # Safety
/// `path` is a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_model_open(path: *const c_char) -> *mut PtbrModel {
    handle(|| {
        // SAFETY: the caller's promise.
        let path = unsafe { text(path, "the path") }?;
        let model = Model::load(Path::new(path)).map_err(|error| error.to_string())?;
        PtbrModel::new(model)
    })
}

/// Loads a model file that is in memory; the bytes are copied, and are the caller's again when this returns.
///
/// Returns null on an error.
///
/// # Safety
/// `bytes` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_model_from_bytes(bytes: *const u8, length: usize) -> *mut PtbrModel {
    handle(|| {
        if bytes.is_null() || length > isize::MAX as usize {
            return Err("the bytes are null".to_owned());
        }
        // SAFETY: not null, and the rest is the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
        let model = Model::from_bytes("the model in memory", bytes.to_vec())
            .map_err(|error| error.to_string())?;
        PtbrModel::new(model)
    })
}

/// Frees a model; null is fine. Its sessions go on.
///
/// # Safety
/// `model` is null or came from this library, was not freed, and is used by no other thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_model_free(model: *mut PtbrModel) {
    // SAFETY: the caller's promise.
    unsafe { free(model) }
}

/// Id of the model's weights: 64 hexadecimal digits, valid as long as the model. Null for null.
///
/// # Safety
/// `model` is null or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_model_id(model: *const PtbrModel) -> *const c_char {
    // SAFETY: the caller's promise.
    match unsafe { model.as_ref() } {
        Some(model) => model.id.as_ptr(),
        None => ptr::null(),
    }
}

/// The library's version.
#[unsafe(no_mangle)]
pub extern "C" fn ptbr_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
