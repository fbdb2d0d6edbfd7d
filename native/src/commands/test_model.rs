//! `test-model`: a first look at what a model writes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde::Serialize;

use crate::Outcome;
use crate::commands::generate::{self, Sampling};
use crate::loading;
use crate::options::{Common, EngineOptions};

/// Prompts on everyday subjects, in the manner of encyclopedias, news and stories.
const PROMPTS: [&str; 6] = [
    "O Brasil é",
    "A língua portuguesa",
    "Era uma vez",
    "Naquela manhã, quando saiu de casa,",
    "A capital do país",
    "— Que queres? perguntou",
];

/// Let a model write on a few prompts, and measure the texts
///
/// Shows each text with simple measures: how many words, how many of them different, how often a run of three words comes
/// again, tokens a second. They find a model that repeats itself or writes nothing; reading finds the rest.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm test-model --model run --prompts prompts.txt")]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// A text file with a prompt on each line, instead of the built-in Portuguese prompts
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Tokens to write for each prompt
    #[arg(long, value_name = "N", default_value_t = 80)]
    pub max_tokens: usize,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    pub sampling: Sampling,
    #[command(flatten)]
    common: Common,
}

/// One text and its measures.
#[derive(Debug, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    text: generate::Summary,
    #[serde(flatten)]
    measures: Measures,
}

/// Simple measures of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measures {
    /// Runs of letters.
    pub words: usize,
    /// Different words over words, 0 to 1.
    pub distinct: f64,
    /// The share of runs of three words that had come before in the text, 0 to 1.
    pub repetition: f64,
}

/// Runs the command.
///
/// # Errors
/// When the model or the prompts cannot be read, or a sampling value is out of range.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let prompts = match &args.prompts {
        Some(path) => read_prompts(path)?,
        None => PROMPTS.map(str::to_owned).to_vec(),
    };
    let model = loading::model(&args.model, args.engine.device, &ui)?;
    let mut samples = Vec::with_capacity(prompts.len());
    for prompt in &prompts {
        ui.text(prompt)?;
        let text = generate::continue_text(
            &model,
            prompt,
            args.max_tokens,
            args.sampling.config(),
            &mut |piece| ui.text(piece),
        )?;
        let measures = measure(&text.text);
        ui.line(format!(
            "\n  [{} words, {:.0} % different, {:.0} % repeated, {:.1} tokens a second]\n",
            measures.words,
            100.0 * measures.distinct,
            100.0 * measures.repetition,
            text.tokens_per_second
        ))?;
        samples.push(Sample { text, measures });
    }
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
    let (repetition, speed) = (
        mean(|s| s.measures.repetition),
        mean(|s| s.text.tokens_per_second),
    );
    ui.line(format!(
        "{} texts: {:.0} % repeated, {speed:.1} tokens a second",
        samples.len(),
        100.0 * repetition
    ))?;
    ui.result(&serde_json::json!({
        "samples": samples,
        "repetition": repetition,
        "tokens_per_second": speed,
    }))?;
    Ok(Outcome::Done)
}

fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the prompts in {}", path.display()))?;
    let prompts: Vec<String> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if prompts.is_empty() {
        bail!("{} holds no prompt; write one on each line", path.display());
    }
    Ok(prompts)
}

fn measure(text: &str) -> Measures {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let share = |part: usize, whole: usize| {
        if whole == 0 {
            0.0
        } else {
            part as f64 / whole as f64
        }
    };
    let mut seen = HashSet::new();
    let runs = words.windows(3);
    let total = runs.len();
    let repeated = runs.filter(|run| !seen.insert(*run)).count();
    let distinct: HashSet<&String> = words.iter().collect();
    Measures {
        words: words.len(),
        distinct: share(distinct.len(), words.len()),
        repetition: share(repeated, total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_is_counted_in_runs_of_three() {
        let fresh = measure("um dois três quatro");
        assert_eq!(
            fresh,
            Measures {
                words: 4,
                distinct: 1.0,
                repetition: 0.0
            }
        );
        let again = measure("a casa é a casa é a casa é");
        assert_eq!((again.words, again.distinct), (9, 3.0 / 9.0));
        // Seven runs, three of them different.
        assert!((again.repetition - 4.0 / 7.0).abs() < 1e-12);
        assert_eq!(measure("").repetition, 0.0);
    }

    #[test]
    fn prompts_are_lines() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("p.txt");
        std::fs::write(&file, "O Brasil\n\nA língua\n")?;
        assert_eq!(read_prompts(&file)?, ["O Brasil", "A língua"]);
        std::fs::write(&file, "\n")?;
        assert!(read_prompts(&file).is_err_and(|e| e.to_string().contains("holds no prompt")));
        Ok(())
    }
}
