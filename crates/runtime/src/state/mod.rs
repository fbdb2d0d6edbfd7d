//! A session's state: what the model remembers of the text so far.

mod file;
mod spec;

use crate::adapter::LoadedAdapter;
use crate::{Model, RuntimeError};
use ptbr_model::short_hex;
pub use spec::{StateSpec, StateTensor};
use std::sync::Arc;

/// A copy of a session's state, bound to the model that made it and to the adapter that it was made with. Giving it to another session forks the text.
#[derive(Clone, Debug, PartialEq)]
pub struct RwkvState {
    spec: Arc<StateSpec>,
    model_id: Arc<str>,
    adapter_id: Option<Arc<str>>,
    position: u64,
    values: Vec<f32>,
}

impl RwkvState {
    /// A state of `model` with this adapter, after `position` tokens.
    pub(crate) fn new(
        model: &Model,
        adapter: Option<&LoadedAdapter>,
        position: u64,
        values: Vec<f32>,
    ) -> Self {
        Self {
            spec: Arc::clone(model.shared_state_spec()),
            model_id: Arc::clone(model.shared_id()),
            adapter_id: adapter.map(|adapter| Arc::clone(adapter.shared_id())),
            position,
            values,
        }
    }

    /// A state that was made by other means than reading: `values` in the order of [`StateSpec::tensors`], as if no token had been read.
    ///
    /// Fails with [`RuntimeError::StateDamaged`] when there are more or fewer than the model has, or one is NaN or infinite.
    pub fn from_values(model: &Model, values: Vec<f32>) -> Result<Self, RuntimeError> {
        let damaged = |what: String| Err(RuntimeError::StateDamaged { what });
        let expected = model.state_spec().len();
        if values.len() != expected {
            return damaged(format!(
                "it holds {} values where the model has {expected}",
                values.len()
            ));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return damaged("it holds NaN or infinity".to_owned());
        }
        Ok(Self::new(model, None, 0, values))
    }

    /// Tokens read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The model that it belongs to.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// The adapter that it was made with: [`LoadedAdapter::id`].
    pub fn adapter_id(&self) -> Option<&str> {
        self.adapter_id.as_deref()
    }

    /// What its values mean.
    pub fn spec(&self) -> &StateSpec {
        &self.spec
    }

    /// The values, in the order of [`StateSpec::tensors`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same memory, declared to go on with another adapter or with none: the deliberate way past [`RuntimeError::StateOfAnotherAdapter`]. What was read stays as the first adapter
    /// understood it.
    pub fn with_adapter(mut self, adapter: Option<&LoadedAdapter>) -> Self {
        self.adapter_id = adapter.map(|adapter| Arc::clone(adapter.shared_id()));
        self
    }

    /// Bytes of its values.
    pub(crate) fn num_bytes(&self) -> usize {
        self.values.len() * 4
    }

    pub(crate) fn shared_adapter_id(&self) -> Option<&Arc<str>> {
        self.adapter_id.as_ref()
    }

    pub(crate) fn shared_model_id(&self) -> &Arc<str> {
        &self.model_id
    }

    /// Whether a session of `model` with this adapter may go on from it.
    pub(crate) fn check(
        &self,
        model: &Model,
        adapter: Option<&LoadedAdapter>,
    ) -> Result<(), RuntimeError> {
        if *self.model_id != *model.model_id() || self.values.len() != model.state_spec().len() {
            return Err(RuntimeError::StateOfAnotherModel {
                found: short_hex(&self.model_id).to_owned(),
                model: short_hex(model.model_id()).to_owned(),
            });
        }
        let wanted = adapter.map(LoadedAdapter::id);
        if self.adapter_id() != wanted {
            return Err(RuntimeError::StateOfAnotherAdapter {
                found: described(self.adapter_id()),
                wanted: described(wanted),
            });
        }
        Ok(())
    }
}

fn described(adapter: Option<&str>) -> String {
    adapter.map_or_else(
        || "no adapter".to_owned(),
        |id| format!("the adapter {}", short_hex(id)),
    )
}
