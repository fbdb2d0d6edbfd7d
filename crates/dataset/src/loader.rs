//! Batches of training sequences, computed ahead of time in a thread.

use std::ops::Range;
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

/// Which batches a loader delivers: of every `period` batches in a row those of `range`. All of them, unless several processes share a
/// run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSlice {
    /// Batches in a group, such as the micro-batches of an optimizer step.
    pub period: u64,
    /// Which of them, counted from the group's first.
    pub range: Range<u64>,
}

impl BatchSlice {
    /// Every batch.
    pub const ALL: Self = Self {
        period: 1,
        range: 0..1,
    };

    /// The share of `rank` where `world` processes deal `period` batches out among them: contiguous, no two shares differing by more
    /// than one batch.
    ///
    /// Fails where there are fewer batches than processes.
    pub fn of_rank(period: usize, rank: usize, world: usize) -> Result<Self, DatasetError> {
        let (period, rank, world) = (period as u64, rank as u64, world as u64);
        if world == 0 || rank >= world || period < world {
            return Err(DatasetError::Invalid {
                field: "batches of a group",
                value: period as usize,
                reason: "must be at least the number of processes that share them",
            });
        }
        // In u128: the product of two counts is not bounded by u64.
        let bound = |n: u64| (u128::from(period) * u128::from(n) / u128::from(world)) as u64;
        Ok(Self {
            period,
            range: bound(rank)..bound(rank + 1),
        })
    }

    /// How many of a group it is.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The index of batch number `n` of this slice, where the first group begins at `start`.
    fn index(&self, start: u64, n: u64) -> u64 {
        let (group, place) = (n / self.len(), n % self.len());
        start
            .wrapping_add(group.wrapping_mul(self.period))
            .wrapping_add(self.range.start + place)
    }
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
    slice: BatchSlice,
    /// Batches delivered.
    delivered: u64,
    ready: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl DataLoader {
    /// Starts the thread. Errors: a size of 0, a batch that does not fit in memory's addresses, a sequence longer than the data.
    pub fn new(dataset: Arc<MmapDataset>, config: LoaderConfig) -> Result<Self, DatasetError> {
        Self::sliced(dataset, config, BatchSlice::ALL)
    }

    /// The same, of the batches in `slice`, whose first group begins at `config.start`. An empty slice is an error too.
    pub fn sliced(
        dataset: Arc<MmapDataset>,
        config: LoaderConfig,
        slice: BatchSlice,
    ) -> Result<Self, DatasetError> {
        if slice.is_empty() {
            return Err(DatasetError::Invalid {
                field: "batches of a slice",
                value: 0,
                reason: "must be at least 1",
            });
        }
        let n_tokens = dataset.tokens().len();
        let sampler = WindowSampler::new(n_tokens, config.seq_len, config.seed);
        Self::start(dataset, config, slice, sampler.map(Order::Shuffled))
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
        Self::start(dataset, config, BatchSlice::ALL, sampler.map(Order::Lanes))
    }

    /// Starts the thread; an `order` of `None` is one that the data is too short for.
    fn start(
        dataset: Arc<MmapDataset>,
        config: LoaderConfig,
        slice: BatchSlice,
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
        let (of_thread, wanted) = (Arc::clone(&dataset), slice.clone());
        let thread = thread::Builder::new()
            .name("ptbr-data-loader".to_owned())
            .spawn(move || {
                let mut number = 0;
                // Sending fails once the loader is dropped.
                while sender
                    .send(batch_at(
                        &of_thread,
                        &order,
                        &config,
                        wanted.index(config.start, number),
                    ))
                    .is_ok()
                {
                    number += 1;
                }
            })
            .map_err(DatasetError::io("start a thread to read", dataset.path()))?;
        Ok(Self {
            dataset,
            order,
            config,
            slice,
            delivered: 0,
            ready: Some(ready),
            thread: Some(thread),
        })
    }

    /// The next batch; waits where the thread is not ready. There is always a next one, so this is no `Iterator`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Batch {
        let index = self.next_index();
        self.delivered += 1;
        // The thread ends only with the loader; were it gone, the same batch is computed here.
        let prepared = self.ready.as_ref().and_then(|ready| ready.recv().ok());
        prepared.unwrap_or_else(|| batch_at(&self.dataset, &self.order, &self.config, index))
    }

    /// Index of the batch that [`next`](Self::next) will give.
    pub fn next_index(&self) -> u64 {
        self.slice.index(self.config.start, self.delivered)
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
