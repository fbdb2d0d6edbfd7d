//! MPI moves the bytes; what they add up to is decided in [`ptbr_train::collective`].

use std::ops::Range;
use std::sync::Arc;

use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use mpi::{Count, Threading, datatype::Partition, datatype::PartitionMut};
use ptbr_train::collective::{Collective, CollectiveError, Place, Progress, sum_in_rank_order};

use crate::roll_call::RollCall;
use crate::{Launch, Member, Settings};

/// The processes that one `mpirun` started. Lives in the one thread that calls MPI.
pub(crate) struct MpiTransport {
    place: Place,
    world: SimpleCommunicator,
    roll_call: Option<RollCall>,
    /// Finalises MPI when it is dropped, which waits for all ranks: only at the end of a run that went well.
    universe: Option<Universe>,
    /// The pieces of all ranks, kept from one bucket to the next.
    received: Vec<f32>,
}

/// Counts and first places of ranges, as MPI wants them.
fn counts(ranges: &[Range<usize>]) -> Option<(Vec<Count>, Vec<Count>)> {
    let number = |n: usize| Count::try_from(n).ok();
    let counts = ranges
        .iter()
        .map(|r| number(r.len()))
        .collect::<Option<_>>();
    let places = ranges
        .iter()
        .map(|r| number(r.start))
        .collect::<Option<_>>();
    counts.zip(places)
}

impl MpiTransport {
    /// Starts MPI and the watch over the ranks.
    pub fn connect(
        launch: Launch,
        settings: Settings,
        progress: Arc<Progress>,
    ) -> Result<Self, CollectiveError> {
        let failed = |reason: String| CollectiveError::Transport {
            rank: launch.rank,
            operation: "connect",
            reason,
        };
        // Every call comes from this thread.
        let (universe, threading) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| failed("MPI was started before".to_owned()))?;
        if threading < Threading::Funneled {
            return Err(failed("this MPI does not work beside threads".to_owned()));
        }
        let world = universe.world();
        let (rank, size) = (world.rank(), world.size());
        let machine = world.split_shared(rank);
        let place = Place {
            rank: rank as usize,
            world: size as usize,
            // A launcher may give each process a machine of its own to see (a container): then it knows better.
            local_rank: launch.local_rank.unwrap_or(machine.rank() as usize),
            local_world: launch.local_world.unwrap_or(machine.size() as usize),
        };
        let mut transport = Self {
            place,
            world,
            roll_call: None,
            universe: Some(universe),
            received: Vec::new(),
        };
        if place.world > 1 && place.world == launch.world {
            let members = transport.members()?;
            let roll_call = RollCall::begin(&mut transport, members, settings, progress)?;
            transport.roll_call = Some(roll_call);
        }
        Ok(transport)
    }

    /// Who everyone is.
    fn members(&mut self) -> Result<Vec<Member>, CollectiveError> {
        const NAME: usize = 124;
        let mut mine = [0u8; NAME + 4];
        let host = mpi::environment::processor_name().unwrap_or_default();
        let len = host.len().min(NAME);
        mine[..len].copy_from_slice(&host.as_bytes()[..len]);
        mine[NAME..].copy_from_slice(&std::process::id().to_le_bytes());
        let (rank, world) = (self.place.rank, self.place.world);
        let len = mine.len();
        let shards: Vec<_> = (0..world).map(|r| r * len..(r + 1) * len).collect();
        let mut all = vec![0; world * len];
        all[shards[rank].clone()].copy_from_slice(&mine);
        self.all_gather(&mut all, &shards)?;
        let member = |(rank, record): (usize, &[u8])| {
            let (name, pid) = record.split_at(NAME);
            let name = String::from_utf8_lossy(name);
            Member {
                rank,
                host: name.trim_end_matches('\0').to_owned(),
                pid: pid.try_into().map_or(0, u32::from_le_bytes),
            }
        };
        Ok(all.chunks_exact(len).enumerate().map(member).collect())
    }

    fn too_large(&self) -> CollectiveError {
        CollectiveError::Transport {
            rank: self.place.rank,
            operation: "exchange a message",
            reason: "it has more than 2^31 elements".to_owned(),
        }
    }
}

// What MPI itself finds wrong ends the process, and through the launcher the run: the handler that MPI starts with.
impl Collective for MpiTransport {
    fn place(&self) -> Place {
        self.place
    }

    fn reduce_scatter(
        &mut self,
        buffer: &mut [f32],
        shards: &[Range<usize>],
    ) -> Result<(), CollectiveError> {
        let mine = shards[self.place.rank].clone();
        let arriving: Vec<_> = (0..self.place.world)
            .map(|rank| rank * mine.len()..(rank + 1) * mine.len())
            .collect();
        let (Some(leave), Some(arrive)) = (counts(shards), counts(&arriving)) else {
            return Err(self.too_large());
        };
        let total = self.place.world * mine.len();
        if self.received.len() < total {
            self.received.resize(total, 0.0);
        }
        let received = &mut self.received[..total];
        let from = Partition::new(&*buffer, leave.0, leave.1);
        let mut to = PartitionMut::new(received, arrive.0, arrive.1);
        self.world.all_to_all_varcount_into(&from, &mut to);
        sum_in_rank_order(&self.received[..total], &mut buffer[mine]);
        Ok(())
    }

    fn all_gather(
        &mut self,
        buffer: &mut [u8],
        shards: &[Range<usize>],
    ) -> Result<(), CollectiveError> {
        let (counts, places) = counts(shards).ok_or_else(|| self.too_large())?;
        let mine = buffer[shards[self.place.rank].clone()].to_vec();
        let mut all = PartitionMut::new(buffer, counts, places);
        self.world.all_gather_varcount_into(&mine[..], &mut all);
        Ok(())
    }

    fn broadcast(&mut self, buffer: &mut [u8], root: usize) -> Result<(), CollectiveError> {
        if Count::try_from(buffer.len()).is_err() {
            return Err(self.too_large());
        }
        let root = self.world.process_at_rank(root as i32);
        root.broadcast_into(buffer);
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.world.barrier();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CollectiveError> {
        self.world.barrier();
        if let Some(roll_call) = self.roll_call.take() {
            roll_call.leave();
        }
        self.universe = None;
        Ok(())
    }
}

impl Drop for MpiTransport {
    fn drop(&mut self) {
        // After a failure nobody waits for the others, and MPI's own end would.
        std::mem::forget(self.universe.take());
    }
}
