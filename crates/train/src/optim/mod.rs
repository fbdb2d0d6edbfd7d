//! From gradients to new parameters: accumulation, global norm, AdamW.

mod adamw;
mod flat;
mod gradients;
mod measure;

pub use adamw::{AdamW, AdamWStep, Moments};
pub use flat::Flat;
pub use gradients::GradientSum;
pub use measure::Measured;
