//! Inference: a loaded [`Model`], a [`Session`] that reads and writes text with it, a [`Sampler`] that picks the next token; a [`Batch`] for many sessions at once, and adapters
//! ([`LoadedAdapter`]) that change what a session computes without changing the model.
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
//! | to | use |
//! |---|---|
//! | load | [`Model::load`] (a path), [`Model::from_bytes`] (in memory), [`include_model!`] (compiled into the program) |
//! | write, called for every piece | [`generate`]; the callback breaks off |
//! | write, as an iterator | [`pieces`](pieces()); dropping it breaks off |
//! | write a step at a time, or where nobody may wait | [`Continuation`] |
//! | write many texts at once | [`Batch`] |
//! | remember | [`Session::state`], [`RwkvState::to_bytes`], [`Session::restore`] |
//!
//! A model may be used by any number of threads at once, and is dropped with its last session; a session belongs to one thread at a time, and may move.
//!
//! A session is stateful: it holds five vectors a layer ([`RwkvState`] is a copy of them) and neither its memory nor the cost of a token grows with the text. The weights of a
//! model are mapped into memory and used where they lie; sessions share them.
//!
//! **Same bits.** Logits do not depend on how a text is cut into chunks, on the other sessions of a batch, nor on the number of threads: every sum is taken in one fixed order. See
//! [`engine::cpu`].
#![deny(missing_docs)]

mod adapter;
mod adapter_bank;
mod adapter_choice;
mod batch;
mod embed;
pub mod engine;
mod error;
mod evaluate;
mod generate;
mod model;
mod prefix_cache;
mod sampler;
mod session;
mod state;
#[cfg(test)]
mod testing;

pub use adapter::LoadedAdapter;
pub use adapter_bank::DomainAdapterBank;
pub use adapter_choice::{AdapterVerdict, MIN_LEAD, choose_adapter, choose_adapter_async};
pub use batch::{Batch, DEFAULT_MAX_ROWS, Draw, SessionId};
#[cfg(feature = "gpu")]
pub use engine::gpu::{AdapterChoice, GpuError, GpuSettings};
pub use error::RuntimeError;
pub use evaluate::{EvalMetrics, evaluate, evaluate_session};
pub use generate::{
    Continuation, GenerateOptions, Generation, Pieces, StopReason, generate, generate_after,
    generate_async, pieces,
};
pub use model::Model;
pub use prefix_cache::{CachedPrefix, PrefixCache};
pub use sampler::{Sampler, SamplerConfig};
pub use session::{DEFAULT_CHUNK, Session};
pub use state::{RwkvState, StateSpec, StateTensor};
