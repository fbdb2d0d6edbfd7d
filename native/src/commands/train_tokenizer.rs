//! `train-tokenizer`: learns a vocabulary from text.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_tokenizer::{BpeTokenizer, BpeTrainer, BpeTrainerConfig, Tokenizer};
use serde::Serialize;

use crate::Outcome;
use crate::documents;
use crate::options::Common;
use crate::ui::{self, Ui};

/// Learn a vocabulary from text
///
/// Byte-level BPE, stored as a Hugging Face tokenizer.json. The result depends on the text and the flags alone, not on the
/// number of threads. Text that will be used to judge a model should not be among the input.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm train-tokenizer --input texts --output tokenizer.json --vocab-size 32000"
)]
pub struct Args {
    /// Text to learn from: .txt files (a blank line between documents), .jsonl files, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub input: Vec<PathBuf>,
    /// Where to write the tokenizer
    #[arg(long, value_name = "FILE.json")]
    pub output: PathBuf,
    /// Number of tokens, special tokens and single bytes included (261 to 65,536)
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    pub vocab_size: usize,
    /// A pair of tokens seen less often than this is never merged
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub min_frequency: u64,
    #[command(flatten)]
    common: Common,
}

/// What `train-tokenizer --json` prints.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub output: PathBuf,
    pub vocab_size: usize,
    #[serde(flatten)]
    pub read: documents::Count,
    pub sha256: String,
    pub seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When the text cannot be read, holds nothing, or the vocabulary size is out of range.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let (_, summary) = learn(
        &args.input,
        &args.output,
        args.vocab_size,
        args.min_frequency,
        &ui,
    )?;
    ui.line(format!(
        "{}: {} tokens learned from {}, in {:.1} s",
        summary.output.display(),
        ui::thousands(summary.vocab_size as u64),
        summary.read,
        summary.seconds,
    ))?;
    ui.result(&summary)?;
    ui.next(&format!(
        "ptbr-slm tokenize --input TEXT --tokenizer {} --output train.bin",
        args.output.display()
    ));
    Ok(Outcome::Done)
}

/// Learns a vocabulary from every document of `inputs` and writes it to `output`.
///
/// # Errors
/// As [`run`].
pub fn learn(
    inputs: &[PathBuf],
    output: &Path,
    vocab_size: usize,
    min_frequency: u64,
    ui: &Ui,
) -> Result<(BpeTokenizer, Summary)> {
    let start = Instant::now();
    let mut trainer = BpeTrainer::new(BpeTrainerConfig {
        vocab_size,
        min_frequency,
        ..Default::default()
    });
    let count = documents::for_each_batch(inputs, ui, "reading", |batch| {
        let texts: Vec<&str> = batch
            .iter()
            .map(|document| document.text.as_str())
            .collect();
        trainer.feed_batch(&texts);
        Ok(())
    })?;
    let bar = ui.count_bar(vocab_size as u64, "merging");
    let tokenizer = trainer.train(&mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    tokenizer.save(output)?;
    let summary = Summary {
        output: output.to_owned(),
        vocab_size: tokenizer.vocab_size(),
        read: count,
        sha256: ui::hex(&tokenizer.sha256()),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((tokenizer, summary))
}
