//! `demo`: the whole way from raw text to a model that writes, on text inside the program.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_corpus::{BlankLines, CleanOptions, WikiOptions, read_documents};
use ptbr_dataset::MmapDataset;
use ptbr_model::{Recipe, TrainingConfig, WeightFormat};
use ptbr_runtime::SamplerConfig;
use ptbr_train::collective::ProcessGroup;
use serde_json::{Value, json};

use crate::Outcome;
use crate::commands::{
    clean_corpus, evaluate, generate, process_wiki, quantize, tokenize, train_tokenizer,
};
use crate::demo::{self, DemoFolder};
use crate::loading;
use crate::options::{Common, Device, EngineDevice};
use crate::training::{self, MemoryBudget, Plan, SampleText};
use crate::ui::{self, Ui};

/// Small enough to learn well from 800 KB, large enough for the common words to be whole: 3.1 bytes a token.
const VOCAB_SIZE: usize = 2_048;

/// Every such document is held out: 5 % of them.
const HELD_OUT: usize = 20;

const PROMPT: &str = "Naquela noite,";

/// Go the whole way on text inside the program, in about three minutes
///
/// Cleans a small dump and three novels, learns a tokenizer, trains the preset nano on the best device, measures it on
/// chapters that were held out, rounds its weights to eight bits, and lets it write. Everything it makes stays in the output folder.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm demo --output demo-output")]
pub struct Args {
    /// The folder for everything that the demo makes; that of an earlier demo is used again
    #[arg(long, value_name = "DIR", default_value = "demo-output")]
    pub output: PathBuf,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    #[command(flatten)]
    common: Common,
}

/// Prints a headline before each step, and its result and time after it.
struct Steps {
    ui: Ui,
    number: usize,
    start: Instant,
    results: Vec<Value>,
}

impl Steps {
    const COUNT: usize = 9;

    fn begin(&mut self, headline: &str) -> Result<()> {
        self.number += 1;
        self.start = Instant::now();
        self.ui
            .line(format!("[{}/{}] {headline}", self.number, Self::COUNT))?;
        Ok(())
    }

    fn end(&mut self, name: &str, result: &str) -> Result<()> {
        let time = self.start.elapsed();
        self.ui
            .line(format!("      {result}  ({})", ui::duration(time)))?;
        self.results
            .push(json!({ "step": name, "result": result, "seconds": time.as_secs_f64() }));
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// When the folder cannot be written or one of the steps fails.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let begun = Instant::now();
    let folder = DemoFolder::prepare(&args.output)?;
    let mut steps = Steps {
        ui,
        number: 0,
        start: begun,
        results: Vec::new(),
    };

    steps.begin("process-wiki: a small dump to text")?;
    demo::write(&folder.dump(), demo::WIKI_DUMP)?;
    let wiki = process_wiki::process(
        &folder.dump(),
        &folder.raw_texts(),
        &WikiOptions::default(),
        &ui,
    )?;
    let left_out = wiki.pages_seen - wiki.pages_kept;
    steps.end(
        "process-wiki",
        &format!(
            "{} articles kept of {} pages; {left_out} redirects, talk pages and the like left out",
            wiki.pages_kept, wiki.pages_seen
        ),
    )?;

    steps.begin("clean-corpus: those articles and three novels")?;
    demo::write(
        &folder.raw_texts().join("literature.txt"),
        demo::literature()?.as_bytes(),
    )?;
    let options = CleanOptions {
        blank_lines: BlankLines::Documents,
        ..CleanOptions::default()
    };
    clean_corpus::clean(&folder.raw_texts(), &folder.texts(), &options, &ui)?;
    let split = Split::make(&folder)?;
    steps.end(
        "clean-corpus",
        &format!(
            "{} documents to learn from, {} held out",
            split.train_documents, split.held_out_documents
        ),
    )?;

    steps.begin("train-tokenizer: on the training text alone")?;
    let tokenizer_path = folder.data().join("tokenizer.json");
    let (tokenizer, learned) = train_tokenizer::learn(
        std::slice::from_ref(&split.train),
        &tokenizer_path,
        VOCAB_SIZE,
        2,
        &ui,
    )?;
    steps.end(
        "train-tokenizer",
        &format!(
            "{} tokens from {}",
            ui::thousands(learned.vocab_size as u64),
            learned.read
        ),
    )?;

    steps.begin("tokenize: training and held-out text")?;
    let (train_bin, held_out_bin) = (
        folder.data().join("train.bin"),
        folder.data().join("held-out.bin"),
    );
    let train_tokens = tokenize::write(
        std::slice::from_ref(&split.train),
        &tokenizer,
        &train_bin,
        &ui,
    )?;
    let held_out = tokenize::write(
        std::slice::from_ref(&split.held_out),
        &tokenizer,
        &held_out_bin,
        &ui,
    )?;
    steps.end(
        "tokenize",
        &format!(
            "{} tokens, {} held out ({:.2} bytes a token)",
            ui::thousands(train_tokens.tokens),
            ui::thousands(held_out.tokens),
            train_tokens.bytes_per_token
        ),
    )?;

    steps.begin("train: nano")?;
    let trained = training::train(
        &Plan {
            data: &train_bin,
            val: Some(&held_out_bin),
            raw: false,
            tokenizer: &tokenizer,
            tokenizer_path: &tokenizer_path,
            output: &folder.run(),
            model_size: "nano",
            device: args.device,
            group: ProcessGroup::solo(),
            training: training_config(),
            memory: MemoryBudget { memory: None },
            sample: SampleText {
                prompt: PROMPT.to_owned(),
                tokens: 24,
            },
            // A step of seven: its lines stay between those of the others.
            plain: true,
            val_dir: None,
        },
        &ui,
    )?;
    steps.end("train", &trained.in_short())?;
    if trained.stats.stopped_by_user {
        ui.next(&format!(
            "ptbr-slm resume --output {}",
            folder.run().display()
        ));
        return Ok(Outcome::No);
    }

    steps.begin("evaluate: on the held-out text")?;
    let model = loading::model(&folder.run(), EngineDevice::Auto, &ui)?;
    let metrics = evaluate::measure(&model, MmapDataset::open(&held_out_bin)?.tokens(), &ui)?;
    steps.end(
        "evaluate",
        &format!(
            "{:.4} bits per byte, perplexity {:.1}",
            metrics.bits_per_byte, metrics.perplexity
        ),
    )?;

    steps.begin("quantize: int8")?;
    let quantized = folder.quantized();
    let [before, after] = quantize::to_file(&folder.run(), WeightFormat::Int8, &quantized)?;
    let model = loading::model(&quantized, EngineDevice::Auto, &ui)?;
    let rounded = evaluate::measure(&model, MmapDataset::open(&held_out_bin)?.tokens(), &ui)?;
    steps.end(
        "quantize",
        &format!(
            "{} instead of {}, perplexity {:+.2} %",
            ui::bytes(after),
            ui::bytes(before),
            100.0 * (rounded.perplexity / metrics.perplexity - 1.0)
        ),
    )?;

    steps.begin("generate: a hundred and fifty tokens, from the int8 file")?;
    ui.text(&format!("      {PROMPT}"))?;
    let sampler = SamplerConfig {
        temperature: 0.7,
        top_p: 0.85,
        seed: 1,
        ..SamplerConfig::default()
    };
    let written = generate::continue_text(&model, PROMPT, 150, sampler, &mut |piece| {
        ui.text(&piece.replace('\n', "\n      "))
    })?;
    ui.line("")?;
    steps.end(
        "generate",
        &format!("{:.0} tokens a second", written.tokens_per_second),
    )?;

    steps.begin("check: are these words, and are they its own?")?;
    let training_text = split.training_text()?;
    let check = demo::check(&written.text, &training_text);
    steps.end("check", &format!(
        "{:.0} % of the words of four letters and more occur in the training text; the longest copied span has {} words",
        100.0 * check.known_share(),
        check.longest_copy
    ))?;

    ui.line(format!(
        "done in {}: validation {:.4} bits per byte",
        ui::duration(begun.elapsed()),
        metrics.bits_per_byte
    ))?;
    ui.result(&json!({
        "steps": steps.results,
        "validation": metrics,
        "quantized": rounded,
        "text": written,
        "known_words": check.known_share(),
        "longest_copy": check.longest_copy,
        "seconds": begun.elapsed().as_secs_f64(),
    }))?;
    let run = folder.run();
    ui.next(&format!(
        "ptbr-slm generate --model {} --prompt \"Capitu\" --max-tokens 200",
        quantized.display()
    ));
    ui.next(&format!("ptbr-slm info {}", run.display()));
    ui.next("ptbr-slm train --help");
    Ok(if check.passes() {
        Outcome::Done
    } else {
        Outcome::No
    })
}

/// The demo's own hyper-parameters: about two minutes of training on two cores.
fn training_config() -> TrainingConfig {
    TrainingConfig {
        learning_rate: 2e-3,
        max_steps: 600,
        batch_size: 16,
        seq_len: 128,
        gradient_accumulation_steps: 1,
        warmup_steps: 30,
        save_every: 300,
        eval_every: 150,
        log_every: 50,
        ..TrainingConfig::for_recipe(Recipe::Rwkv4)
    }
}

/// Training and held-out text: decided before anything learns from either.
struct Split {
    train: PathBuf,
    held_out: PathBuf,
    train_documents: usize,
    held_out_documents: usize,
}

impl Split {
    /// Holds out every [`HELD_OUT`]th document of the cleaned text.
    fn make(folder: &DemoFolder) -> Result<Self> {
        let mut parts = [Vec::new(), Vec::new()];
        let mut counts = [0, 0];
        for (index, document) in read_documents(&folder.texts())?.enumerate() {
            let part = usize::from(index % HELD_OUT == HELD_OUT / 2);
            serde_json::to_writer(&mut parts[part], &document?)?;
            parts[part].write_all(b"\n")?;
            counts[part] += 1;
        }
        let split = Self {
            train: folder.data().join("train.jsonl"),
            held_out: folder.data().join("held-out.jsonl"),
            train_documents: counts[0],
            held_out_documents: counts[1],
        };
        demo::write(&split.train, &parts[0])?;
        demo::write(&split.held_out, &parts[1])?;
        Ok(split)
    }

    fn training_text(&self) -> Result<String> {
        let mut text = String::new();
        for document in read_documents(&self.train)? {
            text.push_str(&document?.text);
            text.push('\n');
        }
        Ok(text)
    }
}
