//! From gradients to new parameters: accumulation, global norm, AdamW, Muon.

mod adamw;
mod flat;
mod gradients;
mod measure;
mod moments;
mod muon;

pub use adamw::{AdamW, AdamWStep};
pub use flat::Flat;
pub use gradients::GradientSum;
pub use measure::Measured;
pub use moments::{Kept, Moments, Packed};
pub use muon::Muon;
