//! From what a launcher started to one group.

use std::sync::Arc;
use std::time::Duration;

use ptbr_train::collective::{CollectiveError, GroupOptions, ProcessGroup};
use thiserror::Error;

use crate::{Launch, LaunchError, Launcher, LostRank};

/// How the processes work together.
pub struct Settings {
    /// How they share the run.
    pub options: GroupOptions,
    /// How long others may wait for a rank, beyond the longest wait that ended well.
    pub patience: Duration,
    /// Called in a thread of its own when a rank is lost, and is to end this process: the others cannot go on either, and a thread that
    /// waits in MPI cannot be called back. `None` where rank 0 has found it out and says so itself.
    pub on_lost: Box<dyn FnOnce(Option<LostRank>) + Send>,
}

/// Processes that cannot become a group.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The environment contradicts itself.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// This build knows no MPI.
    #[error(
        "{launcher} started {world} processes, and this program was built without MPI: each would train by itself and write the same folder; build it with `cargo build --release --features mpi`, or start one process"
    )]
    WithoutMpi {
        /// Who started them.
        launcher: Launcher,
        /// How many.
        world: usize,
    },
    /// MPI does not see the processes that the launcher started.
    #[error("{launcher} started {world} processes, and MPI sees {seen}: {advice}")]
    NotConnected {
        /// Who started them.
        launcher: Launcher,
        /// How many.
        world: usize,
        /// How many MPI sees.
        seen: usize,
        /// What to do.
        advice: String,
    },
    /// The transport does not work.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
}

/// The group of the processes that the launcher of this one started; a group of one where there was none.
///
/// Fails where there are several and they cannot talk to each other.
pub fn connect(settings: Settings) -> Result<Arc<ProcessGroup>, ConnectError> {
    match Launch::detect()? {
        Some(launch) if launch.world > 1 => several(launch, settings),
        _ => Ok(ProcessGroup::solo()),
    }
}

#[cfg(not(feature = "mpi"))]
fn several(launch: Launch, _settings: Settings) -> Result<Arc<ProcessGroup>, ConnectError> {
    Err(ConnectError::WithoutMpi {
        launcher: launch.launcher,
        world: launch.world,
    })
}

#[cfg(feature = "mpi")]
fn several(launch: Launch, settings: Settings) -> Result<Arc<ProcessGroup>, ConnectError> {
    let options = settings.options;
    let group = ProcessGroup::start(options, move |progress| {
        crate::transport::MpiTransport::connect(launch, settings, progress)
    })?;
    let seen = group.place().world;
    if seen != launch.world {
        return Err(ConnectError::NotConnected {
            launcher: launch.launcher,
            world: launch.world,
            seen,
            advice: launch.launcher.advice(launch.world),
        });
    }
    Ok(group)
}
