//! The boundary between sessions and what computes: a step takes several parts, each some tokens of one text, and runs all their rows together.
//!
//! Sessions and batches decide which tokens, in which order, and check them; an engine computes and knows neither texts nor schedules. States stay where the engine computes and
//! leave it only through [`StateSlot::download`].

use super::cpu::rwkv4::Scratch;
use crate::adapter::LoadedAdapter;
use crate::engine::cpu::Work;
use crate::{Model, RuntimeError};
use ptbr_tokenizer::TokenId;
use std::ops::Range;

/// Which logits a part wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None: more of the text is to come.
    None,
    /// Those after its last token.
    Last,
    /// Those after each token.
    All,
}

/// One text's tokens in a step.
pub(crate) struct Part<'a> {
    /// At least one; each in the model's vocabulary.
    pub tokens: &'a [TokenId],
    /// Read before the first token and written after the last.
    pub slot: &'a mut StateSlot,
    /// Changes the weights for these tokens alone.
    pub adapter: Option<&'a LoadedAdapter>,
    pub wanted: Wanted,
}

/// Rows of a step's buffers: those of activations, or those of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// One for each token read.
    Read,
    /// One for each token whose logits are wanted.
    Wanted,
}

impl Part<'_> {
    /// How many rows are its own.
    pub(crate) fn count(&self, rows: Rows) -> usize {
        match (rows, self.wanted) {
            (Rows::Wanted, Wanted::None) => 0,
            (Rows::Wanted, Wanted::Last) => 1,
            (Rows::Wanted, Wanted::All) | (Rows::Read, _) => self.tokens.len(),
        }
    }
}

/// The stretches of rows that belong to neighbouring parts with one adapter. A batch orders its parts so that each adapter has one stretch.
pub(crate) fn adapter_runs<'p>(
    parts: &'p [Part<'_>],
    rows: Rows,
) -> impl Iterator<Item = (Range<usize>, &'p LoadedAdapter)> {
    let address = |part: &Part<'_>| part.adapter.map(std::ptr::from_ref);
    let mut first = 0;
    parts
        .chunk_by(move |a, b| address(a) == address(b))
        .filter_map(move |run| {
            let start = first;
            first += run.iter().map(|part| part.count(rows)).sum::<usize>();
            let adapter = run[0].adapter.filter(|_| first > start)?;
            Some((start..first, adapter))
        })
}

/// What a text's state is to the engine that computes it: five vectors a layer, in the order of `StateSpec`.
#[derive(Clone)]
pub(crate) enum StateSlot {
    /// `[layers, 5, C]`
    Cpu(Vec<f32>),
}

impl StateSlot {
    /// The values, in the order of `StateSpec`.
    pub(crate) fn download(&self) -> Result<Vec<f32>, RuntimeError> {
        let Self::Cpu(values) = self;
        Ok(values.clone())
    }

    /// Replaces the values by others, as many.
    pub(crate) fn upload(&mut self, values: &[f32]) -> Result<(), RuntimeError> {
        let Self::Cpu(own) = self;
        own.copy_from_slice(values);
        Ok(())
    }

    /// Another slot with the same values.
    pub(crate) fn duplicate(&self) -> Result<Self, RuntimeError> {
        Ok(self.clone())
    }

    /// The values where they are computed.
    pub(super) fn cpu(&mut self) -> &mut [f32] {
        let Self::Cpu(values) = self;
        values
    }
}

/// What computes the steps of a session that is by itself, or of a batch.
pub(crate) enum Executor {
    /// The CPU engine, with its memory for activations.
    Cpu(Box<Scratch>),
}

impl Executor {
    /// The CPU engine. It takes memory with its first step.
    pub(crate) fn cpu() -> Self {
        Self::Cpu(Box::default())
    }

    /// Another executor on the same device.
    pub(crate) fn another(&self) -> Self {
        let Self::Cpu(_) = self;
        Self::cpu()
    }

    /// A slot with these values.
    pub(crate) fn slot(&self, values: Vec<f32>) -> StateSlot {
        let Self::Cpu(_) = self;
        StateSlot::Cpu(values)
    }

    /// Reads every part's tokens and advances its state; `logits [rows wanted, V]` in the order of the parts.
    ///
    /// Each row's numbers have the bits that it would have alone.
    pub(crate) fn step(
        &mut self,
        model: &Model,
        parts: &mut [Part<'_>],
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        let Self::Cpu(scratch) = self;
        model.forward().step(parts, scratch, logits)
    }

    /// What has been computed so far.
    pub(crate) fn work(&self) -> Work {
        let Self::Cpu(scratch) = self;
        scratch.work()
    }
}
