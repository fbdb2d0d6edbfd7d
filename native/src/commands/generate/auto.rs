//! `generate --adapter auto`: the adapter under which the prompt is most likely.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use ptbr_runtime::{AdapterVerdict, LoadedAdapter, MIN_LEAD, Model, Session, choose_adapter};
use ptbr_tokenizer::TokenId;
use serde::Serialize;

use crate::adapters::{adapters_in, folder_of, load, name_of};
use crate::ui::Ui;

/// Which adapter was taken, and why: key `choice` of `generate --json`.
#[derive(Debug, Serialize)]
pub struct Choice {
    /// Its name; null is the model alone.
    pub adapter: Option<String>,
    /// Tokens of the prompt that were predicted: all but the first.
    pub predicted_tokens: usize,
    /// By how many nats the prompt is more likely with the best adapter than with the model alone.
    pub lead: f64,
    /// `−ln p` of the prompt in nats, the model alone.
    pub base_loss: f64,
    /// The same with each adapter.
    pub candidates: Vec<Candidate>,
}

/// An adapter that was tried.
#[derive(Debug, Serialize)]
pub struct Candidate {
    /// Its name.
    pub adapter: String,
    /// Its id.
    pub id: String,
    /// `−ln p` of the prompt in nats.
    pub loss: f64,
}

/// Tries every adapter of the model at `path` on the prompt; a session that has read it with the best, or with none.
///
/// # Errors
/// When there are no adapters that can be used, or the prompt is empty.
pub fn choose(
    model: &Arc<Model>,
    path: &Path,
    prompt: &[TokenId],
    ui: &Ui,
) -> Result<(Session, Choice)> {
    if prompt.is_empty() {
        bail!(
            "an adapter is chosen by the prompt, and it is empty; give a --prompt, or name an adapter"
        );
    }
    let (names, adapters) = candidates(model, path, ui)?;
    let verdict = choose_adapter(model, &adapters, prompt)?;
    ui.note(explain(&verdict, &names));
    let candidates =
        names
            .iter()
            .zip(&adapters)
            .zip(&verdict.candidates)
            .map(|((name, adapter), &loss)| Candidate {
                adapter: name.clone(),
                id: adapter.id().to_owned(),
                loss,
            });
    let choice = Choice {
        adapter: verdict.chosen.map(|number| names[number].clone()),
        predicted_tokens: verdict.predicted,
        lead: verdict.lead().unwrap_or(0.0),
        base_loss: verdict.base,
        candidates: candidates.collect(),
    };
    Ok((verdict.session, choice))
}

/// The model's adapters that can be used where it runs; the others are named and left out.
fn candidates(
    model: &Arc<Model>,
    path: &Path,
    ui: &Ui,
) -> Result<(Vec<String>, Vec<Arc<LoadedAdapter>>)> {
    let folder = folder_of(path);
    let (mut names, mut adapters) = (Vec::new(), Vec::new());
    for found in adapters_in(&folder)? {
        let usable = load(model, &found, ui).and_then(|adapter| {
            Session::new(Arc::clone(model)).set_adapter(Some(&adapter))?;
            Ok(adapter)
        });
        match usable {
            Ok(adapter) => {
                names.push(name_of(&found));
                adapters.push(adapter);
            }
            Err(error) => ui.note(format!("warning: left out: {error:#}")),
        }
    }
    if adapters.is_empty() {
        bail!(
            "there are no adapters to choose from in {}",
            folder.display()
        );
    }
    Ok((names, adapters))
}

/// What was taken and why, for people.
fn explain(verdict: &AdapterVerdict, names: &[String]) -> String {
    if verdict.predicted == 0 {
        return "adapter: none; a prompt of one token says nothing about its kind".to_owned();
    }
    let lead = verdict.lead().unwrap_or(0.0);
    let tokens = match verdict.predicted {
        1 => "1 token".to_owned(),
        n => format!("{n} tokens"),
    };
    match verdict.chosen {
        Some(number) => format!(
            "adapter: {}; it makes the prompt likelier than the model alone by {lead:.2} nats over {tokens}{}",
            names[number],
            runner_up(verdict, names, number)
        ),
        None if lead > 0.0 => format!(
            "adapter: none; the best makes the prompt likelier by only {lead:.2} nats over {tokens}, and less than {MIN_LEAD} is chance: a longer prompt says more"
        ),
        None => "adapter: none; the prompt is likeliest with the model alone".to_owned(),
    }
}

/// The second best adapter, where there is one.
fn runner_up(verdict: &AdapterVerdict, names: &[String], chosen: usize) -> String {
    let best = verdict.candidates[chosen];
    let second = (0..names.len())
        .filter(|&number| number != chosen)
        .min_by(|&a, &b| verdict.candidates[a].total_cmp(&verdict.candidates[b]));
    match second {
        Some(second) => format!(
            ", than with {} by {:.2}",
            names[second],
            verdict.candidates[second] - best
        ),
        None => String::new(),
    }
}
