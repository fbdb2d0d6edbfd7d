//! From gradients to new parameters: accumulation, global norm, AdamW.

mod adamw;
mod flat;
mod gradients;
mod measure;
mod moments;

pub use adamw::{AdamW, AdamWStep};
pub use flat::Flat;
pub use gradients::GradientSum;
pub use measure::Measured;
pub use moments::{Kept, Moments, Packed};
