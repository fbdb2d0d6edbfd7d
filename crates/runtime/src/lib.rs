//! Inference: a loaded [`Model`], a [`Session`] that reads and writes text with it, a [`Sampler`] that picks the next token.
//!
//! ```no_run
//! use ptbr_runtime::{GenerateOptions, Model, Session, generate};
//! use std::ops::ControlFlow;
//!
//! let model = Model::load("runs/meu-modelo".as_ref())?;
//! let mut session = Session::new(model);
//! generate(&mut session, "O Brasil é", &GenerateOptions::default(), &mut |piece| {
//!     print!("{piece}");
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), ptbr_runtime::RuntimeError>(())
//! ```
//!
//! A session is stateful: it holds five vectors a layer ([`RwkvState`]) and neither its memory nor the cost of a token grows with the text. The weights of a
//! model are mapped into memory and used where they lie; sessions share them.
//!
//! **Same bits.** Logits do not depend on how a text is cut into chunks, nor on the number of threads: every sum is taken in one fixed order. See
//! [`engine::cpu`].
#![deny(missing_docs)]

pub mod engine;
mod error;
mod evaluate;
mod generate;
mod model;
mod sampler;
mod session;
mod state;
#[cfg(test)]
mod testing;

pub use error::RuntimeError;
pub use evaluate::{EvalMetrics, evaluate};
pub use generate::{GenerateOptions, Generation, StopReason, generate};
pub use model::Model;
pub use sampler::{Sampler, SamplerConfig};
pub use session::{DEFAULT_CHUNK, Session};
pub use state::{RwkvState, StateSpec, StateTensor};
