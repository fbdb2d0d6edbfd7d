//! The trainer's side of a transport: operations run in a thread of their own, so that the next piece is made while the last one is on
//! its way.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Collective, CollectiveError, Place, Progress, reduce_values};

/// How processes share a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupOptions {
    /// Each process keeps the optimizer's moments of its own tensors only, and sends the others what it makes of them (ZeRO stage 1,
    /// Rajbhandari et al. 2020).
    pub shard_optimizer: bool,
}

/// The processes of a run as one of them sees them. Without others ([`ProcessGroup::solo`]) every operation returns at once.
#[derive(Debug)]
pub struct ProcessGroup {
    place: Place,
    options: GroupOptions,
    progress: Arc<Progress>,
    link: Option<Mutex<Link>>,
}

/// The way to the thread that runs the operations.
#[derive(Debug)]
struct Link {
    jobs: Sender<Job>,
    answers: Receiver<Result<Answer, CollectiveError>>,
    /// Time that the trainer has waited for answers.
    waited: Duration,
}

enum Job {
    Reduce {
        buffer: Vec<f32>,
        shards: Arc<[Range<usize>]>,
        /// Whether every rank wants all sums, or only its own.
        gather: bool,
    },
    Gather {
        buffer: Vec<u8>,
        shards: Vec<Range<usize>>,
    },
    Broadcast {
        buffer: Vec<u8>,
        root: usize,
    },
    Barrier,
    Finish,
}

enum Answer {
    Numbers(Vec<f32>),
    Bytes(Vec<u8>),
}

impl Job {
    fn run(self, collective: &mut dyn Collective) -> Result<Answer, CollectiveError> {
        match self {
            Self::Reduce {
                mut buffer,
                shards,
                gather,
            } => {
                collective.reduce_scatter(&mut buffer, &shards)?;
                if gather {
                    let bytes =
                        |s: &Range<usize>| size_of::<f32>() * s.start..size_of::<f32>() * s.end;
                    let shards: Vec<_> = shards.iter().map(bytes).collect();
                    collective.all_gather(bytemuck::cast_slice_mut(&mut buffer), &shards)?;
                }
                Ok(Answer::Numbers(buffer))
            }
            Self::Gather { mut buffer, shards } => {
                collective.all_gather(&mut buffer, &shards)?;
                Ok(Answer::Bytes(buffer))
            }
            Self::Broadcast { mut buffer, root } => {
                collective.broadcast(&mut buffer, root)?;
                Ok(Answer::Bytes(buffer))
            }
            Self::Barrier => {
                collective.barrier()?;
                Ok(Answer::Bytes(Vec::new()))
            }
            Self::Finish => {
                collective.finish()?;
                Ok(Answer::Bytes(Vec::new()))
            }
        }
    }
}

impl ProcessGroup {
    /// A process that trains by itself.
    pub fn solo() -> Arc<Self> {
        Arc::new(Self {
            place: Place::SOLO,
            options: GroupOptions::default(),
            progress: Arc::default(),
            link: None,
        })
    }

    /// Starts the thread of a transport, which `connect` makes there: an MPI library may want all calls from the thread that made the
    /// first. It is told where this process's progress can be read.
    pub fn start<C: Collective>(
        options: GroupOptions,
        connect: impl FnOnce(Arc<Progress>) -> Result<C, CollectiveError> + Send + 'static,
    ) -> Result<Arc<Self>, CollectiveError> {
        let progress = Arc::<Progress>::default();
        let (jobs, work) = channel::<Job>();
        let (answer, answers) = channel();
        let (say_place, place) = channel();
        let of_thread = Arc::clone(&progress);
        let body = move || {
            let mut collective = match connect(of_thread) {
                Ok(collective) => collective,
                Err(error) => {
                    let _ = say_place.send(Err(error));
                    return;
                }
            };
            let _ = say_place.send(Ok(collective.place()));
            // Both ends of the channels live as long as the group does.
            while let Ok(job) = work.recv() {
                let is_last = matches!(job, Job::Finish);
                if answer.send(job.run(&mut collective)).is_err() || is_last {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("ptbr-collective".to_owned());
        thread
            .spawn(body)
            .map_err(|source| CollectiveError::Transport {
                rank: 0,
                operation: "start a thread to talk",
                reason: source.to_string(),
            })?;
        let place = place
            .recv()
            .unwrap_or(Err(CollectiveError::Disconnected { rank: 0 }))?;
        let link = Link {
            jobs,
            answers,
            waited: Duration::ZERO,
        };
        Ok(Arc::new(Self {
            place,
            options,
            progress,
            link: (place.world > 1).then(|| Mutex::new(link)),
        }))
    }

    /// Which process this is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether there are others.
    pub fn has_others(&self) -> bool {
        self.link.is_some()
    }

    /// Whether this process writes what the run leaves behind.
    pub fn is_writer(&self) -> bool {
        self.place.rank == 0
    }

    /// Whether each process keeps only a share of the optimizer's state.
    pub fn shards_optimizer(&self) -> bool {
        self.options.shard_optimizer && self.has_others()
    }

    /// Runs `work`, for which the others may have to wait longer than for a step.
    pub fn while_busy<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.progress.is_busy();
        self.progress.set_busy(true);
        let result = work();
        self.progress.set_busy(before);
        result
    }

    /// Says whether the others may from now on have to wait for this process longer than for a step.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.progress.set_busy(busy);
    }

    /// Adds up `values` over all processes, in the buckets in which gradients are added up.
    pub fn all_reduce(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
        if self.has_others() {
            reduce_values(self, values)?;
        }
        Ok(())
    }

    /// Begins to add up `buffer` over all processes; [`finish_reduce`](Self::finish_reduce) returns it. Several may be on their way.
    pub(crate) fn begin_reduce(
        &self,
        buffer: Vec<f32>,
        shards: &Arc<[Range<usize>]>,
        gather: bool,
    ) -> Result<(), CollectiveError> {
        self.send(Job::Reduce {
            buffer,
            shards: Arc::clone(shards),
            gather,
        })
    }

    /// The buffer whose sum was begun first.
    pub(crate) fn finish_reduce(&self) -> Result<Vec<f32>, CollectiveError> {
        match self.receive()? {
            Answer::Numbers(buffer) => Ok(buffer),
            Answer::Bytes(_) => Err(self.disconnected()),
        }
    }

    /// The records of all processes, by rank; all have the length of `mine`.
    pub fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let Place { rank, world, .. } = self.place;
        if !self.has_others() {
            return Ok(vec![mine.to_vec()]);
        }
        let len = mine.len();
        let shards: Vec<_> = (0..world).map(|r| r * len..(r + 1) * len).collect();
        let mut buffer = vec![0; world * len];
        buffer[shards[rank].clone()].copy_from_slice(mine);
        let all = self.exchange(Job::Gather { buffer, shards })?;
        Ok(all.chunks_exact(len.max(1)).map(<[u8]>::to_vec).collect())
    }

    /// The numbers of all processes, by rank; all have as many as `mine`.
    pub(crate) fn gather_f64<const N: usize>(
        &self,
        mine: [f64; N],
    ) -> Result<Vec<[f64; N]>, CollectiveError> {
        let records = self.gather(bytemuck::cast_slice(&mine))?;
        let numbers = |record: Vec<u8>| {
            let values: Vec<f64> = bytemuck::pod_collect_to_vec(&record);
            std::array::from_fn(|i| values.get(i).copied().unwrap_or(f64::NAN))
        };
        Ok(records.into_iter().map(numbers).collect())
    }

    /// `buffer` as `root` has it; all have its length.
    pub fn broadcast(&self, buffer: Vec<u8>, root: usize) -> Result<Vec<u8>, CollectiveError> {
        if !self.has_others() {
            return Ok(buffer);
        }
        self.exchange(Job::Broadcast { buffer, root })
    }

    /// `numbers` as `root` has them; all have as many.
    pub(crate) fn broadcast_f32(
        &self,
        numbers: &[f32],
        root: usize,
    ) -> Result<Vec<f32>, CollectiveError> {
        let bytes = bytemuck::cast_slice(numbers).to_vec();
        Ok(bytemuck::pod_collect_to_vec(&self.broadcast(bytes, root)?))
    }

    /// Returns when every process has come here.
    pub fn barrier(&self) -> Result<(), CollectiveError> {
        if self.has_others() {
            self.exchange(Job::Barrier)?;
        }
        Ok(())
    }

    /// The run is over: every process calls this once, after everything else. A process that fails does not: it ends, and the others
    /// are told so by whoever watches them.
    pub fn finish(&self) -> Result<(), CollectiveError> {
        if self.has_others() {
            self.exchange(Job::Finish)?;
        }
        Ok(())
    }

    /// The time that this process has waited for others since it was last asked.
    pub(crate) fn take_waited(&self) -> Duration {
        let Some(link) = &self.link else {
            return Duration::ZERO;
        };
        let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut link.waited)
    }

    fn exchange(&self, job: Job) -> Result<Vec<u8>, CollectiveError> {
        self.send(job)?;
        match self.receive()? {
            Answer::Bytes(bytes) => Ok(bytes),
            Answer::Numbers(_) => Err(self.disconnected()),
        }
    }

    fn send(&self, job: Job) -> Result<(), CollectiveError> {
        let link = self.link.as_ref().ok_or_else(|| self.disconnected())?;
        let link = link.lock().unwrap_or_else(PoisonError::into_inner);
        self.progress.begin();
        link.jobs.send(job).map_err(|_| self.disconnected())
    }

    fn receive(&self) -> Result<Answer, CollectiveError> {
        let link = self.link.as_ref().ok_or_else(|| self.disconnected())?;
        let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let answer = link.answers.recv().map_err(|_| self.disconnected())?;
        link.waited += begun.elapsed();
        answer
    }

    fn disconnected(&self) -> CollectiveError {
        CollectiveError::Disconnected {
            rank: self.place.rank,
        }
    }
}
