//! What `train`, `resume`, `finetune` and `demo` share: flags, the run itself, and what is shown of it.

mod allocator;
mod console;
mod dashboard;
mod distributed;
mod flags;
mod interrupt;
mod memory_budget;
mod memory_flags;
pub mod metrics;
pub mod nonsense;
mod run;
mod run_file;
mod screen;
mod validation;

pub use allocator::keep_freed_memory;
pub use console::{Console, DisplayFlags, SampleFlags, SampleText};
pub use distributed::{DistributedFlags, end_if_shared};
pub use flags::{Hyperparameters, OptimizerName, model_config};
pub use interrupt::{SAVING, Stop, stop_on_ctrl_c};
pub use memory_budget::{MemoryBudget, MemorySize, settings};
pub use memory_flags::{MemoryFlags, MomentName};
pub use run::{Plan, TrainingResult, make_folder, open_data, resume, run_to_its_end, train};
pub use run_file::RunFile;
