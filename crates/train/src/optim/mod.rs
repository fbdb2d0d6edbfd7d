//! From gradients to new parameters: accumulation, global norm, AdamW, Muon.

mod adamw;
mod flat;
mod gradients;
mod muon;

pub use adamw::{AdamW, AdamWStep, Moments};
pub use flat::Flat;
pub use gradients::GradientSum;
pub use muon::Muon;
