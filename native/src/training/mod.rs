//! What `train`, `resume`, `finetune` and `demo` share: flags, the run itself, and what is shown of it.

mod allocator;
mod console;
mod flags;
mod interrupt;
mod memory_budget;
mod memory_flags;
mod run;

pub use console::{Console, SampleFlags, SampleText};
pub use flags::Hyperparameters;
pub use interrupt::stop_on_ctrl_c;
pub use memory_budget::{MemoryBudget, MemorySize, settings};
pub use memory_flags::MemoryFlags;
pub use run::{Plan, TrainingResult, make_folder, open_data, resume, run_to_its_end, train};
