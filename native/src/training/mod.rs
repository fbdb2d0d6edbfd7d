//! What `train`, `resume`, `finetune` and `demo` share: flags, the run itself, and what is shown of it.

mod allocator;
mod console;
mod distributed;
mod flags;
mod interrupt;
mod run;

pub use console::{Console, SampleFlags, SampleText};
pub use distributed::{DistributedFlags, end_if_shared};
pub use flags::Hyperparameters;
pub use interrupt::stop_on_ctrl_c;
pub use run::{Plan, TrainingResult, make_folder, open_data, resume, run_to_its_end, train};
