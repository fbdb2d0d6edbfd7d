//! One module a command: its flags, one call into a crate, and what it prints.

pub mod adapters;
pub mod audit_corpus;
pub mod benchmark;
pub mod build_dataset;
pub mod chat;
pub mod clean_corpus;
#[cfg(feature = "train")]
pub mod demo;
pub mod domains;
pub mod evaluate;
pub mod export;
pub mod filter_corpus;
#[cfg(feature = "train")]
pub mod finetune;
pub mod generate;
pub mod import;
pub mod info;
pub mod logits;
pub mod process_wiki;
pub mod quantize;
#[cfg(feature = "train")]
pub mod resume;
pub mod serve;
pub mod shell_files;
#[cfg(feature = "train")]
pub mod test_gpu;
#[cfg(feature = "train")]
mod test_gpu_memory;
pub mod test_model;
pub mod tokenize;
#[cfg(feature = "train")]
pub mod train;
pub mod train_tokenizer;
