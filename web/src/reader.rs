//! A model file that the worker holds and this module reads from.

use js_sys::{Function, Uint8Array};
use ptbr_model::ReadAt;
use std::io;
use wasm_bindgen::{JsCast, JsValue};

#[cfg(target_feature = "atomics")]
compile_error!("JsReader is Send and Sync because the module has one thread");

/// Bytes that are fetched at once: each piece is in the worker's memory for a moment.
const PIECE: usize = 8 << 20;

/// Bytes behind a function `(offset, length) => Uint8Array`.
pub(crate) struct JsReader {
    read: Function,
    len: u64,
}

// SAFETY: the module is built without threads (checked above), so there is no other one to send it to or to share it with.
unsafe impl Send for JsReader {}
// SAFETY: as above.
unsafe impl Sync for JsReader {}

impl JsReader {
    pub(crate) fn new(read: Function, len: u64) -> Self {
        Self { read, len }
    }
}

impl ReadAt for JsReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        for piece in into.chunks_mut(PIECE) {
            // Exact below 2^53.
            let (from, count) = (JsValue::from(at as f64), JsValue::from(piece.len() as f64));
            let bytes = self
                .read
                .call2(&JsValue::NULL, &from, &count)
                .map_err(|error| io::Error::other(message(&error)))?;
            let bytes: Uint8Array = bytes
                .dyn_into()
                .map_err(|_| io::Error::other("the reader returned no bytes"))?;
            if bytes.length() as usize != piece.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.copy_to(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }
}

fn message(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => "the file cannot be read".to_owned(),
    }
}
