//! The adapters of a model's domains, by name, all resident at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use ptbr_tokenizer::TokenId;

use crate::{AdapterVerdict, LoadedAdapter, Model, RuntimeError, choose_adapter};

/// Adapters by the names of their domains. They are small beside the model's weights, so all stay in memory, and a session changes from one to another between two tokens
/// ([`Session::set_adapter`](crate::Session::set_adapter)). Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct DomainAdapterBank {
    adapters: BTreeMap<String, Arc<LoadedAdapter>>,
}

impl DomainAdapterBank {
    /// A bank without adapters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an adapter in; returns the one that had the name before, which the sessions that use it go on using.
    pub fn insert(
        &mut self,
        domain: impl Into<String>,
        adapter: Arc<LoadedAdapter>,
    ) -> Option<Arc<LoadedAdapter>> {
        self.adapters.insert(domain.into(), adapter)
    }

    /// Takes an adapter out; its memory is freed when no session uses it any more.
    pub fn remove(&mut self, domain: &str) -> Option<Arc<LoadedAdapter>> {
        self.adapters.remove(domain)
    }

    /// The adapter of a domain.
    pub fn get(&self, domain: &str) -> Option<&Arc<LoadedAdapter>> {
        self.adapters.get(domain)
    }

    /// Names and adapters, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Arc<LoadedAdapter>)> {
        self.adapters
            .iter()
            .map(|(domain, adapter)| (domain.as_str(), adapter))
    }

    /// Number of adapters.
    pub fn len(&self) -> usize {
        self.adapters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty()
    }

    /// [`choose_adapter`] among all of them; the verdict's numbers are places in [`DomainAdapterBank::iter`].
    pub fn choose(
        &self,
        model: &Arc<Model>,
        tokens: &[TokenId],
    ) -> Result<AdapterVerdict, RuntimeError> {
        let candidates: Vec<_> = self.adapters.values().cloned().collect();
        choose_adapter(model, &candidates, tokens)
    }
}
