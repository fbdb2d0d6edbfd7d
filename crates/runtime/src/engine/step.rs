//! The boundary between sessions and what computes: a step takes several parts, each some tokens of one text, and runs all their rows together.
//!
//! Sessions and batches decide which tokens, in which order, and check them; an engine computes and knows neither texts nor schedules. States stay where the engine computes and
//! leave it only through [`StateSlot::download`].

use super::cpu::rwkv4::Scratch;
#[cfg(feature = "gpu")]
use super::gpu::{GpuEngine, Slot};
use crate::adapter::LoadedAdapter;
use crate::engine::cpu::Work;
use crate::session::MAX_ROWS;
use crate::{Model, RuntimeError};
use ptbr_tokenizer::TokenId;
use std::ops::Range;
#[cfg(feature = "gpu")]
use std::sync::Arc;

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
pub(crate) enum StateSlot {
    /// `[layers, 5, C]`
    Cpu(Vec<f32>),
    /// In the memory of this engine's GPU.
    #[cfg(feature = "gpu")]
    Gpu(Arc<GpuEngine>, Slot),
}

impl StateSlot {
    /// The values, in the order of `StateSpec`.
    pub(crate) async fn download(&self) -> Result<Vec<f32>, RuntimeError> {
        match self {
            Self::Cpu(values) => Ok(values.clone()),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, slot) => Ok(engine.download_state(slot).await?),
        }
    }

    /// Replaces the values by others, as many.
    pub(crate) fn upload(&mut self, values: &[f32]) {
        match self {
            Self::Cpu(own) => own.copy_from_slice(values),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, slot) => engine.upload_state(slot, values),
        }
    }

    /// Another slot with the same values.
    pub(crate) async fn duplicate(&self) -> Result<Self, RuntimeError> {
        match self {
            Self::Cpu(values) => Ok(Self::Cpu(values.clone())),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, slot) => {
                let slot = engine.fork_slot(slot).await?;
                Ok(Self::Gpu(Arc::clone(engine), slot))
            }
        }
    }

    /// The values where the CPU computes them. An executor sees to it that its slots are its own ([`Executor::adopt`]).
    pub(super) fn cpu(&mut self) -> &mut [f32] {
        match self {
            Self::Cpu(values) => values,
            #[cfg(feature = "gpu")]
            Self::Gpu(..) => &mut [],
        }
    }

    /// Where the GPU computes them.
    #[cfg(feature = "gpu")]
    pub(super) fn gpu(&mut self) -> Result<&mut Slot, RuntimeError> {
        match self {
            Self::Cpu(_) => Err(RuntimeError::SessionOfAnotherModel),
            Self::Gpu(_, slot) => Ok(slot),
        }
    }
}

/// What computes the steps of a session that is by itself, or of a batch.
pub(crate) enum Executor {
    /// The CPU engine, with its memory for activations.
    Cpu(Box<Scratch>),
    /// A GPU with the model in its memory, and what it has computed.
    #[cfg(feature = "gpu")]
    Gpu(Arc<GpuEngine>, Work),
}

impl Executor {
    /// The CPU engine. It takes memory with its first step.
    pub(crate) fn cpu() -> Self {
        Self::Cpu(Box::default())
    }

    /// Whether it is the CPU engine.
    pub(crate) fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu(_))
    }

    /// Another executor on the same device.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Cpu(_) => Self::cpu(),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, _) => Self::Gpu(Arc::clone(engine), Work::default()),
        }
    }

    /// A slot with these values.
    async fn slot(&self, values: Vec<f32>) -> Result<StateSlot, RuntimeError> {
        match self {
            Self::Cpu(_) => Ok(StateSlot::Cpu(values)),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, _) => {
                let slot = engine.new_slot().await?;
                engine.upload_state(&slot, &values);
                Ok(StateSlot::Gpu(Arc::clone(engine), slot))
            }
        }
    }

    /// Brings a state here that may be elsewhere.
    pub(crate) async fn adopt(&self, slot: &mut StateSlot) -> Result<(), RuntimeError> {
        let here = match (self, &*slot) {
            (Self::Cpu(_), StateSlot::Cpu(_)) => true,
            #[cfg(feature = "gpu")]
            (Self::Gpu(own, _), StateSlot::Gpu(engine, _)) => Arc::ptr_eq(own, engine),
            #[cfg(feature = "gpu")]
            _ => false,
        };
        if !here {
            *slot = self.slot(slot.download().await?).await?;
        }
        Ok(())
    }

    /// Reads every part's tokens and advances its state; `logits [rows wanted, V]` in the order of the parts. No more rows than [`Executor::max_rows`] says.
    ///
    /// On the CPU each row's numbers have the bits that it would have alone.
    pub(crate) async fn step(
        &mut self,
        model: &Model,
        parts: &mut [Part<'_>],
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        match self {
            Self::Cpu(scratch) => {
                model.check_weights()?;
                model.forward().step(parts, scratch, logits)
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, work) => {
                engine.step(parts, logits).await?;
                let counts = [Rows::Read, Rows::Wanted]
                    .map(|rows| parts.iter().map(|part| part.count(rows)).sum());
                engine.count(counts, work);
                Ok(())
            }
        }
    }

    /// Counts what so many sessions computed that wrote ahead for so many steps.
    #[cfg(feature = "gpu")]
    pub(crate) fn count_draws(&mut self, sessions: usize, steps: usize) {
        if let Self::Gpu(engine, work) = self {
            (0..steps).for_each(|_| engine.count([sessions; 2], work));
        }
    }

    /// Whether an adapter can be applied here.
    pub(crate) fn check_adapter(&self, adapter: &LoadedAdapter) -> Result<(), RuntimeError> {
        match self {
            Self::Cpu(_) => {
                let _ = adapter;
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(..) => Ok(super::gpu::check_adapter(adapter)?),
        }
    }

    /// Most numbers that the adapters of a step may have together.
    pub(crate) fn adapter_room(&self) -> usize {
        match self {
            Self::Cpu(_) => usize::MAX,
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, _) => engine.adapter_room(),
        }
    }

    /// Fails where the plain functions, which wait, are not allowed to: on a GPU in a browser. To be asked before anything is changed.
    pub(crate) fn check_wait(&self) -> Result<(), RuntimeError> {
        match self {
            #[cfg(all(feature = "gpu", target_arch = "wasm32"))]
            Self::Gpu(..) => Err(RuntimeError::WouldBlock),
            _ => Ok(()),
        }
    }

    /// Most rows of a step, and most of logits.
    pub(crate) fn max_rows(&self) -> [usize; 2] {
        match self {
            Self::Cpu(_) => [MAX_ROWS; 2],
            #[cfg(feature = "gpu")]
            Self::Gpu(engine, _) => [engine.max_rows(), engine.max_logits()],
        }
    }

    /// What has been computed so far.
    pub(crate) fn work(&self) -> Work {
        match self {
            Self::Cpu(scratch) => scratch.work(),
            #[cfg(feature = "gpu")]
            Self::Gpu(_, work) => *work,
        }
    }
}

/// Waits for a future of this module. With the CPU engine there is nothing to wait for; with a GPU, in a browser, nobody may: there the `async` functions are the ones to call.
pub(crate) fn wait<T>(
    future: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
        // Always on the CPU, and without memory for a waker.
        return result;
    }
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    return super::gpu::block_on(future);
    #[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
    Err(RuntimeError::WouldBlock)
}
