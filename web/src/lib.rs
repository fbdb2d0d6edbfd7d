//! The runtime as a WebAssembly module for the worker of the npm package (`web/package`), which is its only user: what crosses the border is plain (numbers, text, bytes), and whatever a page
//! may want beyond that is JavaScript.
//!
//! A model file stays outside and is read (`reader`) tensor by tensor. The module has one thread. Only the worker's side may wait, so what computes on a GPU is `async`; objects must not be
//! used again before such a call has ended.
#![cfg(target_arch = "wasm32")]
#![deny(missing_docs)]

mod error;
mod model;
mod reader;
mod saved;
mod session;

pub use error::last_panic;
pub use model::{WebAdapter, WebModel};
pub use session::{WebSession, WebStep};

use wasm_bindgen::prelude::wasm_bindgen;

/// Run once, when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    error::remember_panics();
}
