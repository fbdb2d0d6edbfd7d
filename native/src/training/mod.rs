//! What `train`, `resume` and `demo` share: flags, the run itself, and what is shown of it.

mod allocator;
mod console;
mod flags;
mod interrupt;
mod run;

pub use console::{SampleFlags, SampleText};
pub use flags::Hyperparameters;
pub use run::{Plan, make_folder, resume, train};
