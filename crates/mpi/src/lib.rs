//! Training by many processes on many machines: the transport of [`ptbr_train::collective`] over MPI, what launchers say of a process,
//! and the watch that ends a run when one of its processes is lost.
//!
//! | file | question |
//! |---|---|
//! | `launch.rs` | how many processes did the launcher start, and which is this? |
//! | `connect.rs` | how do they become one group? |
//! | `transport.rs` | how does MPI move the bytes? (feature `mpi`) |
//! | `roll_call.rs` | is everyone still there? |
//! | `judge.rs` | who of them is lost? |
//!
//! Without the feature `mpi` nothing of MPI is needed to build, and [`connect`] refuses to be one of several processes.
#![deny(missing_docs)]

mod connect;
mod judge;
mod launch;
mod roll_call;
#[cfg(feature = "mpi")]
mod transport;

pub use connect::{ConnectError, Settings, connect};
pub use judge::{Cause, Judge, LostRank, Member};
pub use launch::{Launch, LaunchError, Launcher};
pub use roll_call::RollCall;
