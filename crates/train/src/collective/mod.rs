//! Training by several processes at once, each on a part of every step's batches: who they are, and how they add up what they found.
//!
//! | file | question |
//! |---|---|
//! | `mod.rs` | what must a transport between processes be able to do? |
//! | `group.rs` | how does the trainer talk to the others while it goes on computing? |
//! | `in_process.rs` | the transport between threads of one process, for tests |
//! | `layout.rs` | which piece of which tensor is in which message, and who adds it up? |
//! | `gradients.rs` | how do the gradients of all become their sum? |
//!
//! This crate knows no MPI: that is `ptbr-mpi`, an implementation of [`Collective`] that only moves bytes. Sums are taken here, in the
//! order of the ranks, so that a run gives the same bits every time and on every transport.

mod gradients;
mod group;
mod in_process;
mod layout;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;

pub(crate) use gradients::{reduce_owned, reduce_shared, reduce_values};
pub use group::{GroupOptions, ProcessGroup};
pub use in_process::InProcess;
pub(crate) use layout::owners;

/// Which of how many processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// This process, from 0. Rank 0 writes what the run leaves behind.
    pub rank: usize,
    /// Processes in the run.
    pub world: usize,
    /// This process among those of its machine.
    pub local_rank: usize,
    /// Processes on its machine.
    pub local_world: usize,
}

impl Place {
    /// A process that trains by itself.
    pub const SOLO: Self = Self {
        rank: 0,
        world: 1,
        local_rank: 0,
        local_world: 1,
    };
}

/// What can go wrong between processes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// The transport failed.
    #[error("rank {rank} cannot {operation} with the other processes: {reason}")]
    Transport {
        /// This process.
        rank: usize,
        /// What it was doing.
        operation: &'static str,
        /// The transport's words.
        reason: String,
    },
    /// The thread that talks to the others has ended.
    #[error(
        "rank {rank} has lost its connection to the other processes; the last checkpoint is whole, go on with `resume`"
    )]
    Disconnected {
        /// This process.
        rank: usize,
    },
    /// The processes do not do the same thing.
    #[error(
        "rank {other} does not agree with rank 0 on {what}: do all processes run the same program with the same arguments, and do they see the same files?"
    )]
    Disagreement {
        /// Who differs.
        other: usize,
        /// In what.
        what: String,
    },
    /// There is not enough to do.
    #[error(
        "{world} processes cannot share {micro_batches} micro-batches a step: start at most {micro_batches}, or give a new run a larger --gradient-accumulation-steps and a smaller --batch-size"
    )]
    TooManyProcesses {
        /// Processes.
        world: usize,
        /// Micro-batches of an optimizer step.
        micro_batches: usize,
    },
}

/// What a transport between processes must be able to do. Every process calls the same operations in the same order with shards of the
/// same sizes.
pub trait Collective {
    /// Which process this is.
    fn place(&self) -> Place;

    /// Adds up `buffer` over all processes, element by element in the order of the ranks ([`sum_in_rank_order`]). Afterwards
    /// `buffer[shards[rank]]` holds the sum; the rest is of no use. `shards[r]` is the part that rank r adds up; they do not overlap.
    fn reduce_scatter(
        &mut self,
        buffer: &mut [f32],
        shards: &[Range<usize>],
    ) -> Result<(), CollectiveError>;

    /// Gives every process the others' parts of `buffer`: each contributes `buffer[shards[rank]]`.
    fn all_gather(
        &mut self,
        buffer: &mut [u8],
        shards: &[Range<usize>],
    ) -> Result<(), CollectiveError>;

    /// Gives every process the `buffer` of `root`; all have its length.
    fn broadcast(&mut self, buffer: &mut [u8], root: usize) -> Result<(), CollectiveError>;

    /// Returns when every process has come here.
    fn barrier(&mut self) -> Result<(), CollectiveError>;

    /// The run is over: called once, by every process, after everything else.
    fn finish(&mut self) -> Result<(), CollectiveError> {
        self.barrier()
    }
}

/// `sum = pieces[0] + pieces[1] + …`, from left to right for every element: the one order in which gradients of processes are added,
/// whatever carries them. `pieces` holds the pieces of all ranks one after the other, each as long as `sum`.
pub fn sum_in_rank_order(pieces: &[f32], sum: &mut [f32]) {
    let len = sum.len();
    if len == 0 {
        return;
    }
    let mut pieces = pieces.chunks_exact(len);
    if let Some(first) = pieces.next() {
        sum.copy_from_slice(first);
    }
    for piece in pieces {
        sum.iter_mut().zip(piece).for_each(|(s, p)| *s += p);
    }
}

/// What a watcher in another thread may know of this process: whether the others wait for it.
#[derive(Debug)]
pub struct Progress {
    begun: AtomicU64,
    busy: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            begun: AtomicU64::new(0),
            // Until the first step: reading data and building the model take each process its own time.
            busy: AtomicBool::new(true),
        }
    }
}

impl Progress {
    /// Collective operations that this process has begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether it does something that the others may have to wait for: reading data, writing a checkpoint.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Counts an operation that begins.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Says whether the others may have to wait.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }
}
