//! What the environment says of the processes that were started together.

use std::fmt;

use thiserror::Error;

/// Who started the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpirun` of MPICH, Intel MPI and others with a process manager of that family.
    Mpich,
    /// `mpirun` of MVAPICH2.
    Mvapich,
    /// `srun`.
    Slurm,
    /// `torchrun`.
    Torchrun,
}

/// The variables in which a launcher says rank, world, rank on the machine and processes on the machine.
type Variables = (
    Launcher,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// In the order of trust: an `mpirun` inside a SLURM job sets its own and inherits those of the job. SLURM's number of tasks is that of
/// the step (`srun`), not of the job: a job's script sees that one too, and runs once.
const KNOWN: [Variables; 5] = [
    (
        Launcher::OpenMpi,
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    (
        Launcher::Mvapich,
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_SIZE",
        "MV2_COMM_WORLD_LOCAL_RANK",
        "MV2_COMM_WORLD_LOCAL_SIZE",
    ),
    (
        Launcher::Mpich,
        "PMI_RANK",
        "PMI_SIZE",
        "MPI_LOCALRANKID",
        "MPI_LOCALNRANKS",
    ),
    (
        Launcher::Slurm,
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        "SLURM_STEP_TASKS_PER_NODE",
    ),
    (
        Launcher::Torchrun,
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
    ),
];

impl Launcher {
    /// How to start `world` processes so that they find each other.
    pub fn advice(self, world: usize) -> String {
        match self {
            Self::Slurm => format!(
                "start them by `mpirun -np {world} ptbr-slm …` inside the job, or by `srun --mpi=pmix` where SLURM and MPI were built with PMIx"
            ),
            Self::Torchrun => format!(
                "torchrun starts processes that PyTorch connects; start them by `mpirun -np {world} ptbr-slm …`"
            ),
            _ => "the launcher and the MPI that the program was built with are of different kinds; use the `mpirun` of the same MPI"
                .to_owned(),
        }
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMpi => "mpirun (Open MPI)",
            Self::Mpich => "mpirun (MPICH)",
            Self::Mvapich => "mpirun (MVAPICH2)",
            Self::Slurm => "srun",
            Self::Torchrun => "torchrun",
        })
    }
}

/// What a launcher says of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Who says it.
    pub launcher: Launcher,
    /// Which process this is.
    pub rank: usize,
    /// How many were started.
    pub world: usize,
    /// Which of its machine's it is, where the launcher says so.
    pub local_rank: Option<usize>,
    /// How many its machine has, where the launcher says so.
    pub local_world: Option<usize>,
}

/// The environment contradicts itself.
#[derive(Debug, Error)]
#[error(
    "{launcher} says {variable}={value}, which is no number of a process; unset it to train by one process"
)]
pub struct LaunchError {
    /// Who set it.
    pub launcher: Launcher,
    /// The variable.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
}

impl Launch {
    /// Reads the environment of this process; `None` where no launcher has set anything.
    pub fn detect() -> Result<Option<Self>, LaunchError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same of any variables.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, LaunchError> {
        for (launcher, rank, world, local_rank, local_world) in KNOWN {
            let (Some(rank_text), Some(world_text)) = (variable(rank), variable(world)) else {
                continue;
            };
            let number = |variable, value: &str| {
                value.trim().parse::<usize>().map_err(|_| LaunchError {
                    launcher,
                    variable,
                    value: value.to_owned(),
                })
            };
            let launch = Self {
                launcher,
                rank: number(rank, &rank_text)?,
                world: number(world, &world_text)?,
                local_rank: variable(local_rank).and_then(|v| v.trim().parse().ok()),
                // SLURM writes lists such as `4(x2)`: not for us, MPI knows it.
                local_world: variable(local_world).and_then(|v| v.trim().parse().ok()),
            };
            if launch.rank >= launch.world {
                return Err(LaunchError {
                    launcher,
                    variable: rank,
                    value: rank_text,
                });
            }
            return Ok(Some(launch));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Launch>, LaunchError> {
        Launch::from_variables(|name| {
            let mut words = text.split_whitespace().filter_map(|w| w.split_once('='));
            words.find(|(n, _)| *n == name).map(|(_, v)| v.to_owned())
        })
    }

    fn expect(
        text: &str,
        launcher: Launcher,
        numbers: (usize, usize, Option<usize>, Option<usize>),
    ) {
        let launch = read(text).ok().flatten();
        let (rank, world, local_rank, local_world) = numbers;
        let expected = Launch {
            launcher,
            rank,
            world,
            local_rank,
            local_world,
        };
        assert_eq!(launch, Some(expected), "{text}");
    }

    #[test]
    fn every_launcher_is_understood() {
        let openmpi = "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2";
        expect(openmpi, Launcher::OpenMpi, (3, 8, Some(1), Some(2)));
        let mpich = "PMI_RANK=0 PMI_SIZE=4 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=4";
        expect(mpich, Launcher::Mpich, (0, 4, Some(0), Some(4)));
        let slurm = "SLURM_PROCID=5 SLURM_STEP_NUM_TASKS=8 SLURM_LOCALID=1 SLURM_STEP_TASKS_PER_NODE=4(x2) SLURM_NTASKS=8";
        expect(slurm, Launcher::Slurm, (5, 8, Some(1), None));
        let torchrun = "RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2";
        expect(torchrun, Launcher::Torchrun, (1, 2, Some(1), Some(2)));
        // mpirun inside a job of SLURM.
        let both = format!("{slurm} {openmpi}");
        expect(&both, Launcher::OpenMpi, (3, 8, Some(1), Some(2)));
    }

    #[test]
    fn a_process_by_itself_has_no_launcher() {
        assert!(matches!(read(""), Ok(None)));
        // The script of a SLURM job runs once, however many tasks the job may start.
        assert!(matches!(read("SLURM_PROCID=0 SLURM_NTASKS=4"), Ok(None)));
        assert!(matches!(read("RANK=1"), Ok(None)));
    }

    #[test]
    fn nonsense_is_named() {
        for text in [
            "RANK=x WORLD_SIZE=2",
            "RANK=2 WORLD_SIZE=2",
            "RANK=0 WORLD_SIZE=-1",
        ] {
            let message = read(text).map_or_else(|e| e.to_string(), |l| format!("{l:?}"));
            assert!(message.contains("torchrun says "), "{message}");
        }
    }
}
