//! Ranks that are threads of one process: what the other transports are tested against.

use std::ops::Range;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};

use super::{Collective, CollectiveError, Place, sum_in_rank_order};

/// What the threads share.
#[derive(Debug)]
struct Table {
    barrier: Barrier,
    /// What each rank has laid down for the others.
    slots: Vec<Mutex<Vec<u8>>>,
}

impl Table {
    fn slot(&self, rank: usize) -> MutexGuard<'_, Vec<u8>> {
        self.slots[rank]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One rank of a group of threads.
#[derive(Debug)]
pub struct InProcess {
    place: Place,
    table: Arc<Table>,
}

impl InProcess {
    /// All ranks of a group of `world` threads.
    pub fn ranks(world: usize) -> Vec<Self> {
        let table = Arc::new(Table {
            barrier: Barrier::new(world),
            slots: (0..world).map(|_| Mutex::default()).collect(),
        });
        let place = |rank| Place {
            rank,
            world,
            local_rank: rank,
            local_world: world,
        };
        (0..world)
            .map(|rank| Self {
                place: place(rank),
                table: Arc::clone(&table),
            })
            .collect()
    }

    /// Lays `bytes` down, waits for the others, looks at what they laid down, and waits until all have looked.
    fn meet(&self, bytes: &[u8], mut look: impl FnMut(&Table)) {
        self.table.slot(self.place.rank).clone_from(&bytes.to_vec());
        self.table.barrier.wait();
        look(&self.table);
        self.table.barrier.wait();
    }
}

impl Collective for InProcess {
    fn place(&self) -> Place {
        self.place
    }

    fn reduce_scatter(
        &mut self,
        buffer: &mut [f32],
        shards: &[Range<usize>],
    ) -> Result<(), CollectiveError> {
        let mine = shards[self.place.rank].clone();
        let laid_down = buffer.to_vec();
        let sum = &mut buffer[mine.clone()];
        self.meet(bytemuck::cast_slice(&laid_down), |table| {
            let bytes = size_of::<f32>() * mine.start..size_of::<f32>() * mine.end;
            let pieces: Vec<f32> = (0..self.place.world)
                .flat_map(|rank| bytemuck::pod_collect_to_vec(&table.slot(rank)[bytes.clone()]))
                .collect();
            sum_in_rank_order(&pieces, sum);
        });
        Ok(())
    }

    fn all_gather(
        &mut self,
        buffer: &mut [u8],
        shards: &[Range<usize>],
    ) -> Result<(), CollectiveError> {
        let laid_down = buffer[shards[self.place.rank].clone()].to_vec();
        self.meet(&laid_down, |table| {
            for (rank, shard) in shards.iter().enumerate() {
                buffer[shard.clone()].copy_from_slice(&table.slot(rank));
            }
        });
        Ok(())
    }

    fn broadcast(&mut self, buffer: &mut [u8], root: usize) -> Result<(), CollectiveError> {
        let laid_down = if self.place.rank == root {
            buffer.to_vec()
        } else {
            Vec::new()
        };
        self.meet(&laid_down, |table| {
            buffer.copy_from_slice(&table.slot(root))
        });
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.table.barrier.wait();
        Ok(())
    }
}
