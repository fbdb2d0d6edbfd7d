//! `adapters evaluate`: the model alone and with each adapter, on each kind of text.

mod table;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use ptbr_model::Split;
use ptbr_runtime::{EvalMetrics, LoadedAdapter, Model, RuntimeError, Session, evaluate_session};
use ptbr_tokenizer::{BpeTokenizer, TokenId};
use serde_json::{Value, json};

use crate::Outcome;
use crate::adapters::{adapters_in, find, folder_of, is_adapter, load, name_of};
use crate::commands::evaluate::read_tokens;
use crate::documents;
use crate::domains::DomainOptions;
use crate::loading;
use crate::options::{Common, EngineOptions};
use crate::ui::{self, Ui};

/// A part of the domains' texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What adapters learned from
    Train,
    /// By which the best of a run was chosen
    Validation,
    /// Held out
    Test,
}

impl Part {
    fn split(self) -> Split {
        match self {
            Self::Train => Split::Train,
            Self::Validation => Split::Validation,
            Self::Test => Split::Test,
        }
    }
}

/// Measure every adapter on every kind of text
///
/// Prints one table of bits per byte: a row for the model alone and one for each adapter, a column for each text, the best of
/// each column marked with a star. The model is loaded once. The texts are the held-out texts of domains, files, or both.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm adapters evaluate --model run --data-root texts\n  \
                  ptbr-slm adapters evaluate --model run --domain legal,medical --data-root texts --max-tokens 20000\n  \
                  ptbr-slm adapters evaluate --model run --adapters legal downloads/cooking --data laws=laws.txt --data recipes=recipes.txt"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// The adapters: names in the model's folder `adapters`, folders, or folders that hold some [default: all of the model]
    #[arg(long, value_name = "NAME|FOLDER", num_args = 1..)]
    pub adapters: Vec<String>,
    /// A text of your own, and what its column is called; may be given several times
    #[arg(long, value_name = "NAME=FILE")]
    pub data: Vec<String>,
    /// Which part of the domains' texts
    #[arg(long, value_enum, default_value_t = Part::Test)]
    pub split: Part,
    /// Predict at most this many tokens of each text, in pieces from all over it; 0 predicts all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_tokens: u64,
    #[command(flatten)]
    domains: DomainOptions,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    common: Common,
}

/// A column.
struct Text {
    name: String,
    tokens: Vec<TokenId>,
}

/// A row: the model alone, or with an adapter.
struct Row {
    name: Option<String>,
    path: Option<PathBuf>,
    adapter: Option<Arc<LoadedAdapter>>,
    /// By column.
    metrics: Vec<EvalMetrics>,
}

/// Runs the command.
///
/// # Errors
/// When the model, an adapter or a text cannot be read, or they do not belong together.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    // What is cheap to get wrong is looked at before the model is loaded.
    let files = named_files(&args.data)?;
    let folders = adapter_folders(args)?;
    let model = loading::model(&args.model, args.engine.device, &ui)?;
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    let texts = texts(args, &files, tokenizer, &ui)?;
    let mut rows = vec![Row {
        name: None,
        path: None,
        adapter: None,
        metrics: Vec::new(),
    }];
    for folder in folders {
        rows.push(Row {
            name: Some(name_of(&folder)),
            adapter: Some(load(&model, &folder, &ui)?),
            path: Some(folder),
            metrics: Vec::new(),
        });
    }
    let start = Instant::now();
    measure(&model, &mut rows, &texts, &ui)?;
    for line in table::lines(&texts, &rows) {
        ui.line(line)?;
    }
    ui.note(format!("in {}", ui::duration(start.elapsed())));
    ui.result(&result(&texts, &rows))?;
    Ok(Outcome::Done)
}

/// Fills in every row: one session, the adapter switched between texts.
fn measure(model: &Arc<Model>, rows: &mut [Row], texts: &[Text], ui: &Ui) -> Result<()> {
    let each: usize = texts.iter().map(|text| text.tokens.len() - 1).sum();
    let bar = ui.count_bar((each * rows.len()) as u64, "evaluating");
    let mut session = Session::new(Arc::clone(model));
    for row in rows {
        session.set_adapter(row.adapter.as_ref())?;
        for text in texts {
            session.reset()?;
            let before = bar.position();
            let metrics = evaluate_session(&mut session, &text.tokens, &mut |done, _| {
                bar.set_position(before + done);
                ControlFlow::Continue(())
            })
            .with_context(|| format!("cannot measure on {}", text.name))?;
            row.metrics.push(metrics);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The folders of the adapters, each once.
fn adapter_folders(args: &Args) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if args.adapters.is_empty() {
        folders = adapters_in(&folder_of(&args.model))?;
        if folders.is_empty() {
            bail!(
                "there are no adapters in {}; name some with --adapters",
                folder_of(&args.model).display()
            );
        }
    }
    for named in &args.adapters {
        let inside = adapters_in(named.as_ref())?;
        let found = if inside.is_empty() || is_adapter(named.as_ref()) {
            vec![find(named, Some(&args.model))?]
        } else {
            inside
        };
        for folder in found {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    Ok(folders)
}

/// `--data NAME=FILE` taken apart.
fn named_files(data: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for given in data {
        let Some((name, file)) = given
            .split_once('=')
            .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        else {
            bail!(
                "--data {given}: give what the text is called and where it is, like recipes=recipes.txt"
            );
        };
        if files.iter().any(|(known, _)| known == name) {
            bail!("--data calls two texts `{name}`");
        }
        files.push((name.to_owned(), file.into()));
    }
    Ok(files)
}

/// The columns: domains, then files. Without a word about either, all domains.
fn texts(
    args: &Args,
    files: &[(String, PathBuf)],
    tokenizer: &BpeTokenizer,
    ui: &Ui,
) -> Result<Vec<Text>> {
    let split = args.split.split();
    let domains = &args.domains;
    let only_files = !files.is_empty() && domains.domain.is_empty() && domains.data_root.is_none();
    let mut texts = Vec::new();
    if !only_files {
        let registry = domains.registry()?;
        let root = domains.data_root()?;
        for domain in domains.chosen(&registry)? {
            let tokens = documents::tokens_of_domain(domain, &root, split, tokenizer, ui)?;
            texts.push(Text {
                name: domain.name().to_owned(),
                tokens: sample(tokens, args.max_tokens),
            });
        }
    }
    for (name, file) in files {
        if texts.iter().any(|text| text.name == *name) {
            bail!("--data calls a text `{name}`, as a domain is called; give it another name");
        }
        texts.push(Text {
            name: name.clone(),
            tokens: sample(read_tokens(file, false, tokenizer, 0, ui)?, args.max_tokens),
        });
    }
    match texts.iter().find(|text| text.tokens.len() < 2) {
        Some(text) => bail!("{} has too little text to measure on", text.name),
        None => Ok(texts),
    }
}

/// Tokens in a piece of [`sample`]: long enough that what a piece begins without is a small part of it.
const PIECE: usize = 1024;

/// Of a text of more than `most` tokens to be predicted, as many in pieces at equal distances, the first at its beginning and the last at its end: a long text is rarely of one kind from end
/// to end. 0 keeps all.
fn sample(tokens: Vec<TokenId>, most: u64) -> Vec<TokenId> {
    // The first token is predicted by nothing.
    let wanted = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    if most == 0 || tokens.len() <= wanted {
        return tokens;
    }
    let pieces = wanted.div_ceil(PIECE);
    let gaps = tokens.len() - wanted;
    // A part of a length; through u128, so that none is too large.
    let part = |length: usize, number: usize, of: usize| {
        (length as u128 * number as u128 / of.max(1) as u128) as usize
    };
    let mut kept = Vec::with_capacity(wanted);
    for piece in 0..pieces {
        let [from, to] = [piece, piece + 1].map(|number| part(wanted, number, pieces));
        let passed_over = part(gaps, piece, pieces - 1);
        kept.extend_from_slice(&tokens[passed_over + from..passed_over + to]);
    }
    kept
}

/// What `--json` prints.
fn result(texts: &[Text], rows: &[Row]) -> Value {
    let names = |row: &Row| -> Value {
        texts
            .iter()
            .zip(&row.metrics)
            .map(|(text, metrics)| (text.name.clone(), json!(metrics)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let best: serde_json::Map<String, Value> = texts
        .iter()
        .enumerate()
        .map(|(column, text)| {
            (
                text.name.clone(),
                json!(rows[table::best(rows, column)].name),
            )
        })
        .collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "adapter": row.name,
                "path": row.path,
                "id": row.adapter.as_ref().map(|adapter| adapter.id()),
                "texts": names(row),
            })
        })
        .collect();
    json!({ "rows": rows, "best": best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_from_all_over_and_never_twice() {
        let text: Vec<TokenId> = (0..60_000).collect();
        assert_eq!(sample(text.clone(), 0), text);
        assert_eq!(sample(text.clone(), 59_999), text);
        assert_eq!(sample(text.clone(), 99), text[..100]);
        for most in [1_023u64, 1_024, 3_000, 20_000, 59_998] {
            let kept = sample(text.clone(), most);
            assert_eq!(kept.len() as u64, most + 1);
            assert_eq!(kept[0], 0);
            assert!(kept.is_sorted_by(|a, b| a < b), "{most}");
            if most > 1_023 {
                assert_eq!(kept.last(), text.last(), "{most}");
            }
        }
    }

    #[test]
    fn texts_have_a_name_and_a_file() -> Result<()> {
        let files =
            |data: &[&str]| named_files(&data.iter().map(|&d| d.to_owned()).collect::<Vec<_>>());
        let [(name, path)] = &files(&["leis=a=b.txt"])?[..] else {
            bail!("one text");
        };
        assert_eq!(
            (name.as_str(), path.as_path()),
            ("leis", "a=b.txt".as_ref())
        );
        for wrong in [&["leis.txt"][..], &["=a"], &["a="], &["a=b", "a=c"]] {
            assert!(files(wrong).is_err(), "{wrong:?}");
        }
        Ok(())
    }
}
