//! Batches of training sequences, computed ahead of time in a thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::DatasetError;
use crate::lanes::LaneSampler;
use crate::reader::MmapDataset;
use crate::sampler::WindowSampler;

/// Batches that wait ready while the trainer computes.
const PREFETCHED: usize = 4;

/// What a loader delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Sequences in a batch.
    pub batch_size: usize,
    /// Tokens in a sequence.
    pub seq_len: usize,
    /// Seed of the order.
    pub seed: u64,
    /// Index of the first batch: 0, or the number of batches that a resumed run has consumed.
    pub start: u64,
}

/// Sequences side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Index of the batch from the start of the run.
    pub index: u64,
    /// Input tokens, `[batch_size, seq_len]` row-major.
    pub inputs: Vec<u16>,
    /// The token after each input, `[batch_size, seq_len]` row-major.
    pub targets: Vec<u16>,
    /// Sequences.
    pub batch_size: usize,
    /// Tokens in a sequence.
    pub seq_len: usize,
    /// Of each sequence, whether it goes on where its lane's last one ended; empty where sequences are shuffled.
    pub continues: Vec<bool>,
    /// Rows of `inputs` with the first token of a document, ascending; empty where sequences are shuffled: those read across.
    pub document_starts: Vec<u32>,
}

/// Which window of tokens a sequence is.
pub trait WindowOrder {
    /// Index of the first token of the window at `position`, counted through all batches.
    fn start_of(&self, position: u64) -> usize;

    /// Whether that window goes on where an earlier one ended; `None` in an order in which windows never do.
    fn continues(&self, _position: u64) -> Option<bool> {
        None
    }
}

impl WindowOrder for WindowSampler {
    fn start_of(&self, position: u64) -> usize {
        Self::start_of(self, position)
    }
}

impl WindowOrder for LaneSampler {
    fn start_of(&self, position: u64) -> usize {
        Self::start_of(self, position)
    }

    fn continues(&self, position: u64) -> Option<bool> {
        Some(Self::continues(self, position))
    }
}

/// The order of a loader.
#[derive(Debug, Clone, Copy)]
enum Order {
    Shuffled(WindowSampler),
    Lanes(LaneSampler),
}

impl Order {
    fn windows_per_epoch(&self) -> u64 {
        match self {
            Self::Shuffled(sampler) => sampler.windows_per_epoch(),
            Self::Lanes(sampler) => sampler.windows_per_epoch(),
        }
    }
}

impl WindowOrder for Order {
    fn start_of(&self, position: u64) -> usize {
        match self {
            Self::Shuffled(sampler) => sampler.start_of(position),
            Self::Lanes(sampler) => sampler.start_of(position),
        }
    }

    fn continues(&self, position: u64) -> Option<bool> {
        match self {
            Self::Shuffled(_) => None,
            Self::Lanes(sampler) => Some(sampler.continues(position)),
        }
    }
}

/// The batch `index` of a run: a pure function of its arguments. `order` must have been made for `dataset`'s number of tokens.
pub fn batch_at(
    dataset: &MmapDataset,
    order: &impl WindowOrder,
    config: &LoaderConfig,
    index: u64,
) -> Batch {
    let LoaderConfig {
        batch_size,
        seq_len,
        ..
    } = *config;
    let tokens = dataset.tokens();
    let mut inputs = Vec::with_capacity(batch_size * seq_len);
    let mut targets = Vec::with_capacity(batch_size * seq_len);
    let (mut continues, mut document_starts) = (Vec::new(), Vec::new());
    for row in 0..batch_size {
        let position = index
            .wrapping_mul(batch_size as u64)
            .wrapping_add(row as u64);
        let start = order.start_of(position);
        inputs.extend_from_slice(&tokens[start..start + seq_len]);
        targets.extend_from_slice(&tokens[start + 1..start + 1 + seq_len]);
        if let Some(goes_on) = order.continues(position) {
            continues.push(goes_on);
            // Where a document ends the next one starts.
            let ends = dataset.document_ends();
            let first = ends.partition_point(|end| *end < start as u64);
            let inside = ends[first..]
                .iter()
                .take_while(|end| **end < (start + seq_len) as u64);
            document_starts
                .extend(inside.map(|end| (row * seq_len + (*end as usize - start)) as u32));
        }
    }
    Batch {
        index,
        inputs,
        targets,
        batch_size,
        seq_len,
        continues,
        document_starts,
    }
}

/// Endless batches from `start` on, prepared by a thread that ends when the loader is dropped.
#[derive(Debug)]
pub struct DataLoader {
    dataset: Arc<MmapDataset>,
    order: Order,
    config: LoaderConfig,
    next_index: u64,
    ready: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl DataLoader {
    /// Starts the thread. Errors: a size of 0, a batch that does not fit in memory's addresses, a sequence longer than the data.
    pub fn new(dataset: Arc<MmapDataset>, config: LoaderConfig) -> Result<Self, DatasetError> {
        let n_tokens = dataset.tokens().len();
        let sampler = WindowSampler::new(n_tokens, config.seq_len, config.seed);
        Self::start(dataset, config, sampler.map(Order::Shuffled))
    }

    /// A loader whose sequences walk through the text: of every `groups` batches in a row each has lanes of its own, and the batch after them goes
    /// on where the first ended. Errors: as [`new`](Self::new); data too short for two sequences in every lane.
    pub fn lanes(
        dataset: Arc<MmapDataset>,
        config: LoaderConfig,
        groups: usize,
    ) -> Result<Self, DatasetError> {
        let (n_tokens, lanes) = (
            dataset.tokens().len(),
            config.batch_size.saturating_mul(groups),
        );
        let sampler = LaneSampler::new(n_tokens, config.seq_len, lanes, config.seed);
        if sampler.is_none() && config.seq_len > 0 && lanes > 0 && n_tokens > config.seq_len {
            return Err(DatasetError::TooManyLanes {
                path: dataset.path().to_owned(),
                tokens: n_tokens,
                seq_len: config.seq_len,
                lanes,
            });
        }
        Self::start(dataset, config, sampler.map(Order::Lanes))
    }

    /// Starts the thread; an `order` of `None` is one that the data is too short for.
    fn start(
        dataset: Arc<MmapDataset>,
        config: LoaderConfig,
        order: Option<Order>,
    ) -> Result<Self, DatasetError> {
        for (field, value) in [
            ("batch_size", config.batch_size),
            ("seq_len", config.seq_len),
        ] {
            if value == 0 {
                return Err(DatasetError::Invalid {
                    field,
                    value,
                    reason: "must be at least 1",
                });
            }
        }
        let Some(order) = order else {
            return Err(DatasetError::TooShort {
                path: dataset.path().to_owned(),
                tokens: dataset.tokens().len(),
                seq_len: config.seq_len,
            });
        };
        // Larger batches than this could only be a slip, and their buffers would be refused one by one.
        if config
            .batch_size
            .checked_mul(config.seq_len)
            .is_none_or(|tokens| tokens > 1 << 30)
        {
            return Err(DatasetError::Invalid {
                field: "batch_size",
                value: config.batch_size,
                reason: "a batch may hold at most 2^30 tokens",
            });
        }
        let (sender, ready) = sync_channel(PREFETCHED);
        let of_thread = Arc::clone(&dataset);
        let thread = thread::Builder::new()
            .name("ptbr-data-loader".to_owned())
            .spawn(move || {
                let mut index = config.start;
                // Sending fails once the loader is dropped.
                while sender
                    .send(batch_at(&of_thread, &order, &config, index))
                    .is_ok()
                {
                    index = index.wrapping_add(1);
                }
            })
            .map_err(DatasetError::io("start a thread to read", dataset.path()))?;
        Ok(Self {
            dataset,
            order,
            config,
            next_index: config.start,
            ready: Some(ready),
            thread: Some(thread),
        })
    }

    /// The next batch; waits where the thread is not ready. There is always a next one, so this is no `Iterator`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Batch {
        let index = self.next_index;
        self.next_index = index.wrapping_add(1);
        // The thread ends only with the loader; were it gone, the same batch is computed here.
        let prepared = self.ready.as_ref().and_then(|ready| ready.recv().ok());
        prepared.unwrap_or_else(|| batch_at(&self.dataset, &self.order, &self.config, index))
    }

    /// Index of the batch that [`next`](Self::next) will give.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Batches of one pass over the data, rounded up.
    pub fn batches_per_epoch(&self) -> u64 {
        self.order
            .windows_per_epoch()
            .div_ceil(self.config.batch_size as u64)
    }
}

impl Drop for DataLoader {
    fn drop(&mut self) {
        // First the receiver, so that a thread waiting to send wakes up and ends.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; a second one while dropping would abort.
            let _ = thread.join();
        }
    }
}
