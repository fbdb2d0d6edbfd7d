//! The command line as clap sees it: one variant a command.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::Outcome;
use crate::commands::{
    adapters, audit_corpus, benchmark, build_dataset, chat, clean_corpus, domains, evaluate,
    export, filter_corpus, generate, import, info, logits, process_wiki, quantize, serve,
    shell_files, test_model, tokenize, train_tokenizer,
};
#[cfg(feature = "train")]
use crate::commands::{demo, find_lr, finetune, plot, resume, test_gpu, train};

/// Train and run small RWKV language models of Brazilian Portuguese.
///
/// Text goes through five steps: process-wiki and clean-corpus make clean text, train-tokenizer and tokenize turn it into
/// a token file, train makes a model of it, and generate writes with the model. `demo` does all of it, in minutes, on text
/// that is inside the program.
#[derive(Debug, Parser)]
#[command(
    name = "ptbr-slm",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit status: 0 done, 1 the answer is no, 2 an error.\n\n\
                  Examples:\n  ptbr-slm demo\n  ptbr-slm train --help"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command, in the order in which they are used.
#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, for the length of the program"
)]
pub enum Command {
    #[cfg(feature = "train")]
    Demo(demo::Args),
    ProcessWiki(process_wiki::Args),
    CleanCorpus(clean_corpus::Args),
    FilterCorpus(filter_corpus::Args),
    AuditCorpus(audit_corpus::Args),
    BuildDataset(build_dataset::Args),
    TrainTokenizer(train_tokenizer::Args),
    Tokenize(tokenize::Args),
    #[cfg(feature = "train")]
    FindLr(find_lr::Args),
    #[cfg(feature = "train")]
    Train(train::Args),
    #[cfg(feature = "train")]
    Resume(resume::Args),
    #[cfg(feature = "train")]
    Finetune(finetune::Args),
    #[cfg(feature = "train")]
    Plot(plot::Args),
    Domains(domains::Args),
    Evaluate(evaluate::Args),
    Quantize(quantize::Args),
    Generate(generate::Args),
    Chat(chat::Args),
    TestModel(test_model::Args),
    Adapters(adapters::Args),
    Logits(logits::Args),
    Import(import::Args),
    Export(export::Args),
    Benchmark(benchmark::Args),
    Serve(serve::Args),
    Info(info::Args),
    #[cfg(feature = "train")]
    TestGpu(test_gpu::Args),
    ShellFiles(shell_files::Args),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever the command reports; `main` prints the chain.
    pub fn run(self) -> Result<Outcome> {
        match self {
            #[cfg(feature = "train")]
            Self::Demo(args) => demo::run(&args),
            Self::ProcessWiki(args) => process_wiki::run(&args),
            Self::CleanCorpus(args) => clean_corpus::run(&args),
            Self::FilterCorpus(args) => filter_corpus::run(&args),
            Self::AuditCorpus(args) => audit_corpus::run(&args),
            Self::BuildDataset(args) => build_dataset::run(&args),
            Self::TrainTokenizer(args) => train_tokenizer::run(&args),
            Self::Tokenize(args) => tokenize::run(&args),
            #[cfg(feature = "train")]
            Self::FindLr(args) => find_lr::run(&args),
            #[cfg(feature = "train")]
            Self::Train(args) => train::run(&args),
            #[cfg(feature = "train")]
            Self::Resume(args) => resume::run(&args),
            #[cfg(feature = "train")]
            Self::Finetune(args) => finetune::run(&args),
            #[cfg(feature = "train")]
            Self::Plot(args) => plot::run(&args),
            Self::Domains(args) => domains::run(&args),
            Self::Evaluate(args) => evaluate::run(&args),
            Self::Quantize(args) => quantize::run(&args),
            Self::Generate(args) => generate::run(&args),
            Self::Chat(args) => chat::run(&args),
            Self::TestModel(args) => test_model::run(&args),
            Self::Adapters(args) => adapters::run(&args),
            Self::Logits(args) => logits::run(&args),
            Self::Import(args) => import::run(&args),
            Self::Export(args) => export::run(&args),
            Self::Benchmark(args) => benchmark::run(&args),
            Self::Serve(args) => serve::run(&args),
            Self::Info(args) => info::run(&args),
            #[cfg(feature = "train")]
            Self::TestGpu(args) => test_gpu::run(&args),
            Self::ShellFiles(args) => shell_files::run(&args),
        }
    }
}
