//! Drives the built program as a user does, and compares what it prints and how it ends.
//!
//! Needs nothing but this repository: text comes from the sample inside the program, models are made on the spot.

mod adapters;
mod audit;
mod bad_input;
mod benchmark;
mod chat;
mod corpus;
#[cfg(all(feature = "train", target_os = "linux"))]
mod dashboard;
#[cfg(feature = "train")]
mod demo;
mod domains;
#[cfg(feature = "train")]
mod find_lr;
#[cfg(feature = "train")]
mod finetune;
#[cfg(feature = "train")]
mod gpu;
mod help;
mod interop;
#[cfg(feature = "train")]
mod kill;
#[cfg(all(feature = "train", target_os = "linux"))]
mod memory;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod mpi;
mod onnx;
mod pipeline;
#[cfg(feature = "train")]
mod plot;
mod program;
mod quantize;
mod samples;
mod serve;
mod shards;
#[cfg(feature = "train")]
mod training;
#[cfg(all(feature = "train", feature = "gpu"))]
mod tuned_logits;
