//! Drives the built program as a user does, and compares what it prints and how it ends.
//!
//! Needs nothing but this repository: text comes from the sample inside the program, models are made on the spot.

mod bad_input;
mod help;
#[cfg(feature = "train")]
mod kill;
mod pipeline;
mod program;
mod samples;
#[cfg(feature = "train")]
mod training;
