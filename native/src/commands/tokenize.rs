//! `tokenize`: text to a token file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_dataset::TokenizedDatasetWriter;
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde::Serialize;

use crate::Outcome;
use crate::documents::{self, Count};
use crate::options::Common;
use crate::ui::{self, Ui};

/// Turn text into a token file
///
/// Every document's tokens are followed by [EOS]. The token file remembers the tokenizer's hash, and training refuses it
/// with another tokenizer. The ends of the documents go into a second file of the same name that ends in .idx.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm tokenize --input texts --tokenizer tokenizer.json --output train.bin"
)]
pub struct Args {
    /// Text: .txt files (a blank line between documents), .jsonl files, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub input: Vec<PathBuf>,
    /// The tokenizer.json to use
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: PathBuf,
    /// The token file to write
    #[arg(long, value_name = "FILE.bin")]
    pub output: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What `tokenize --json` prints.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub output: PathBuf,
    pub tokens: u64,
    #[serde(flatten)]
    pub read: Count,
    pub bytes_per_token: f64,
    pub tokenizer_sha256: String,
    pub seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When the tokenizer or the text cannot be read, or the token file cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let tokenizer = BpeTokenizer::from_file(&args.tokenizer)?;
    let summary = write(&args.input, &tokenizer, &args.output, &ui)?;
    ui.line(format!(
        "{}: {} tokens from {} ({:.2} bytes a token), in {:.1} s",
        summary.output.display(),
        ui::thousands(summary.tokens),
        summary.read,
        summary.bytes_per_token,
        summary.seconds,
    ))?;
    ui.result(&summary)?;
    ui.next(&format!(
        "ptbr-slm train --data {} --tokenizer {} --output run --model-size micro --max-steps 1000",
        args.output.display(),
        args.tokenizer.display()
    ));
    Ok(Outcome::Done)
}

/// Encodes every document of `inputs`, each followed by `[EOS]`, into the token file `output`.
///
/// # Errors
/// As [`run`].
pub fn write(
    inputs: &[PathBuf],
    tokenizer: &BpeTokenizer,
    output: &Path,
    ui: &Ui,
) -> Result<Summary> {
    let start = Instant::now();
    let sha256 = tokenizer.sha256();
    let eos = tokenizer.eos_id();
    let mut writer = TokenizedDatasetWriter::create(output, tokenizer.vocab_size(), sha256)?;
    let mut tokens = 0u64;
    let read = documents::for_each_batch(inputs, ui, "tokenizing", |batch| {
        let texts: Vec<&str> = batch
            .iter()
            .map(|document| document.text.as_str())
            .collect();
        for mut ids in tokenizer.encode_batch(&texts) {
            ids.push(eos);
            tokens += ids.len() as u64;
            writer.push_document(&ids)?;
        }
        Ok(())
    })?;
    writer.finish()?;
    Ok(Summary {
        output: output.to_owned(),
        tokens,
        read,
        bytes_per_token: read.bytes as f64 / tokens.max(1) as f64,
        tokenizer_sha256: ui::hex(&sha256),
        seconds: start.elapsed().as_secs_f64(),
    })
}
