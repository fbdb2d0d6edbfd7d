//! Training by several processes: their flags, how they become a group, and how this one ends when another is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use ptbr_mpi::{LostRank, Settings, connect};
use ptbr_train::collective::{GroupOptions, Place, ProcessGroup};
use ptbr_train::device::adapters;

use crate::ui::Ui;

/// Flags of a run that several processes may share.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Several processes (mpirun -np N ptbr-slm ...)")]
pub struct DistributedFlags {
    /// Each process keeps the optimizer's state of a part of the parameters only (ZeRO stage 1)
    #[arg(long)]
    pub shard_optimizer: bool,
    /// Seconds that the others wait for a process, beyond the longest wait so far, before the run ends
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub collective_timeout: u64,
}

/// Whether there are other processes: then the end of this one does not wait for them.
static HAS_OTHERS: AtomicBool = AtomicBool::new(false);

impl DistributedFlags {
    /// The group of the processes that were started with this one, and where this one writes: all but rank 0 are silent.
    ///
    /// # Errors
    /// When there are several and they cannot reach each other, or the program was built without MPI.
    pub fn connect(&self, ui: Ui) -> Result<(Arc<ProcessGroup>, Ui)> {
        if self.collective_timeout == 0 {
            bail!("--collective-timeout 0 would end the run at once; give it seconds");
        }
        let group = connect(Settings {
            options: GroupOptions {
                shard_optimizer: self.shard_optimizer,
            },
            patience: Duration::from_secs(self.collective_timeout),
            on_lost: Box::new(end_without),
        })?;
        let place = group.place();
        if !group.has_others() {
            return Ok((group, ui));
        }
        HAS_OTHERS.store(true, Ordering::SeqCst);
        let threads = share_cores(place)?;
        let ui = if group.is_writer() { ui } else { ui.silent() };
        ui.line(format!(
            "processes {}, {} on this machine with {threads} threads each",
            place.world, place.local_world
        ))?;
        Ok((group, ui))
    }
}

/// Says on which adapter this process trains, where processes share one.
pub fn note_shared_adapter(place: Place, ui: &Ui) {
    let all = adapters();
    let hardware = all.iter().filter(|adapter| adapter.is_hardware).count();
    let usable = if hardware > 0 { hardware } else { all.len() };
    if place.local_world > usable {
        ui.note(format!(
            "note: {} processes share {usable} adapters of this machine, which makes them slower, not faster",
            place.local_world
        ));
    }
}

/// Gives this process its part of the machine's cores; returns how many threads it computes with.
///
/// RAYON_NUM_THREADS goes first. Otherwise the cores are divided by the processes of the machine; a launcher may have bound the process to
/// fewer.
fn share_cores(place: Place) -> Result<usize> {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        let share = (cores().unwrap_or(allowed) / place.local_world.max(1)).max(1);
        if allowed < share && place.rank == 0 {
            eprintln!(
                "note: the launcher binds each process to {allowed} of its {share} cores; `mpirun --bind-to none` gives it all"
            );
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(share.min(allowed))
            .build_global()
            .context("cannot divide the cores among the processes")?;
    }
    Ok(rayon::current_num_threads())
}

/// The machine's cores, whatever this process is bound to.
#[cfg(unix)]
fn cores() -> Option<usize> {
    // SAFETY: asks for a number; no memory is passed.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(online).ok().filter(|cores| *cores > 0)
}

#[cfg(not(unix))]
fn cores() -> Option<usize> {
    None
}

/// Ends this process because another is lost, which rank 0 has said already where it is not told here.
fn end_without(lost: Option<LostRank>) {
    if let Some(lost) = lost {
        eprintln!("error: {lost}");
    }
    end_at_once(2);
}

/// Ends the process in spite of a thread that may be waiting for the others for ever: with an exit status, and without what libraries do
/// at a usual exit, MPI among them. Outputs are replaced by renaming, so nothing is left half written.
fn end_at_once(status: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process; nothing runs after it.
    unsafe {
        libc::_exit(status)
    }
    #[cfg(not(unix))]
    std::process::exit(status)
}

/// Called after an error was printed: where there are other processes, ends this one without waiting for them.
pub fn end_if_shared(status: i32) {
    if HAS_OTHERS.load(Ordering::SeqCst) {
        end_at_once(status);
    }
}
