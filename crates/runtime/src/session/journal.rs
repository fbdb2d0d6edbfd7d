//! What a session has read since its state was last in the computer's own memory: enough to read it again when a GPU is lost.

use crate::engine::{Executor, StateSlot};
use crate::{LoadedAdapter, RuntimeError};
use ptbr_tokenizer::TokenId;
use std::sync::Arc;

/// Tokens after which the state is copied to the computer's own memory: a copy costs less than a token, reading a thousand again less than a second.
const LONGEST: usize = 1024;

/// The last known state, and what was read after it. Empty with the CPU engine, whose states cannot get lost.
#[derive(Clone, Default)]
pub(super) struct Journal {
    base: Option<Vec<f32>>,
    /// Stretches of tokens, each read with one adapter or none.
    entries: Vec<(Option<Arc<LoadedAdapter>>, Vec<TokenId>)>,
    tokens: usize,
}

impl Journal {
    /// The last known state, if there was ever need to know one.
    pub(super) fn base(&self) -> Option<&[f32]> {
        self.base.as_deref()
    }

    /// What was read after it.
    pub(super) fn entries(&self) -> &[(Option<Arc<LoadedAdapter>>, Vec<TokenId>)] {
        &self.entries
    }

    /// The state is `values` now.
    pub(super) fn restart(&mut self, values: &[f32]) {
        if let Some(base) = &mut self.base {
            base.copy_from_slice(values);
        }
        self.entries.clear();
        self.tokens = 0;
    }

    /// Before a state leaves the computer's own memory for a GPU: a copy stays.
    pub(super) fn keep(&mut self, slot: &StateSlot, executor: &Executor) {
        if let (StateSlot::Cpu(values), false) = (slot, executor.is_cpu()) {
            *self = Self {
                base: Some(values.clone()),
                ..Self::default()
            };
        }
    }

    /// Before a step: takes a copy of a state on a GPU when there is none, or the last one is long ago.
    pub(super) async fn prepare(&mut self, slot: &StateSlot) -> Result<(), RuntimeError> {
        if matches!(slot, StateSlot::Cpu(_)) {
            *self = Self::default();
        } else if self.base.is_none() || self.tokens >= LONGEST {
            self.base = Some(slot.download().await?);
            self.entries.clear();
            self.tokens = 0;
        }
        Ok(())
    }

    /// After a step.
    pub(super) fn note(&mut self, tokens: &[TokenId], adapter: Option<&Arc<LoadedAdapter>>) {
        if self.base.is_none() {
            return;
        }
        self.tokens += tokens.len();
        let same = |own: &Option<Arc<LoadedAdapter>>| match (own, adapter) {
            (None, None) => true,
            (Some(own), Some(adapter)) => Arc::ptr_eq(own, adapter),
            _ => false,
        };
        match self.entries.last_mut() {
            Some((own, text)) if same(own) => text.extend_from_slice(tokens),
            _ => self.entries.push((adapter.cloned(), tokens.to_vec())),
        }
    }
}
