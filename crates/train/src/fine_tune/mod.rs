//! Tuning a model to a domain: few parameters are trained beside a base that stays as it is.

mod base;
mod result;
mod trained;

pub use base::BaseModel;
pub use result::{FineTuned, MergedModel};
pub use trained::{initial_values, trained_specs, tuned_model};
