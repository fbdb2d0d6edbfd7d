//! Token files and the order in which training reads them.
//!
//! A token file `x.bin` is a 256-byte header and little-endian u16 tokens; `x.idx` beside it holds where documents end. It is written once in a stream
//! ([`TokenizedDatasetWriter`]) and mapped for training ([`MmapDataset`]). Which tokens batch number `i` holds is a pure function of the seed and `i`
//! ([`WindowSampler`]), so a run resumes at any batch without any saved generator; [`DataLoader`] computes the same batches ahead of time in a thread.
#![deny(missing_docs)]

#[cfg(target_endian = "big")]
compile_error!("token files are mapped as little-endian u16: this needs a little-endian machine");

mod error;
mod header;
mod lanes;
mod loader;
mod permutation;
mod reader;
mod sampler;
mod validation;
mod writer;

pub use error::DatasetError;
pub use header::{HEADER_BYTES, TokenFileHeader};
pub use lanes::LaneSampler;
pub use loader::{Batch, BatchSlice, DataLoader, LoaderConfig, WindowOrder, batch_at};
pub use permutation::permute;
pub use reader::MmapDataset;
pub use sampler::WindowSampler;
pub use validation::{ValidationWindow, ValidationWindows, validation_windows};
pub use writer::{TokenizedDatasetWriter, index_path};
