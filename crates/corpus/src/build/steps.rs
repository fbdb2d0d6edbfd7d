//! The stages of a build, each found in the cache or done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ptbr_model::Split;
use ptbr_tokenizer::BpeTokenizer;

use super::config::BuildConfig;
use super::dedup::{DedupCounts, Input, deduplicate, output_file};
use super::filter::{FilterCounts, FilterStage, documents_file};
use super::stage::{self, Begin, Done, Key};
use super::tokens::{Part, TokenFile, learn_tokenizer, write_tokens};
use super::{BuildProgress, StageSummary};
use crate::document::{TextFile, list_text_files};
use crate::error::CorpusError;
use crate::filters::Filters;
use crate::process::{WikiOptions, process_wiki};
use crate::sources::{SourceConfig, SourceKind, files_of, list_dumps, records_of};

/// Counted up when a stage writes something else for the same input.
const VERSION: u32 = 1;

/// A build on its way through its stages.
pub(super) struct Build<'a> {
    pub config: &'a BuildConfig,
    pub root: &'a Path,
    pub cache: PathBuf,
    pub stages: Vec<StageSummary>,
    pub progress: &'a mut dyn FnMut(&BuildProgress<'_>),
}

/// The JSON lines that dumps were turned into, by the dump's name.
pub(super) type Dumps = BTreeMap<String, PathBuf>;

impl Build<'_> {
    fn note<T>(&mut self, stage: &str, done: &Done<T>) {
        self.stages.push(StageSummary {
            stage: stage.to_owned(),
            cached: done.cached,
            seconds: done.seconds,
        });
    }

    /// The files of a source's split, with the entry of the configuration that names each.
    fn files(
        &self,
        source: &SourceConfig,
        split: Split,
    ) -> Result<Vec<(TextFile, usize)>, CorpusError> {
        let list = match source.kind {
            SourceKind::Wiki => list_dumps,
            SourceKind::Text | SourceKind::Statutes => list_text_files,
        };
        let owner = format!("the source `{}`", source.name);
        let mut files: Vec<(TextFile, usize)> = Vec::new();
        for (at, named) in source.texts(split).iter().enumerate() {
            for file in files_of(&owner, self.root, named, list)? {
                // Named twice, a file is still one text.
                let percent = named.documents_percent();
                let twice = files.iter().any(|(other, entry)| {
                    other.name == file.name
                        && source.texts(split)[*entry].documents_percent() == percent
                });
                if !twice {
                    files.push((file, at));
                }
            }
        }
        Ok(files)
    }

    /// Turns the dumps of a source into JSON lines; nothing for other kinds.
    pub fn read_dumps(&mut self, source: &SourceConfig) -> Result<Dumps, CorpusError> {
        let mut dumps = Dumps::new();
        if source.kind != SourceKind::Wiki {
            return Ok(dumps);
        }
        for split in Split::ALL {
            for (file, _) in self.files(source, split)? {
                let name = format!("read {}", source.name);
                let options = WikiOptions {
                    namespaces: source.namespaces.clone(),
                    ..WikiOptions::default()
                };
                let mut key = Key::of("read", VERSION);
                key.file("dump", &file.path)?;
                key.value(&options)?;
                key.bytes(include_bytes!("../../../../configs/corpus/templates.toml"));
                let progress = &mut *self.progress;
                let done = stage::run(
                    &self.cache,
                    &format!("read-{}", source.name),
                    &key,
                    // `process_wiki` keeps a journal.
                    Begin::WhereItWas,
                    |folder| {
                        let summary = process_wiki(&file.path, folder, &options, &mut |at| {
                            progress(&BuildProgress {
                                stage: &name,
                                done: at.input_position,
                                total: at.input_bytes,
                            });
                        })?;
                        Ok(summary
                            .output
                            .file_name()
                            .map(|name| name.to_string_lossy().into_owned()))
                    },
                )?;
                self.note(&name, &done);
                if let Some(jsonl) = &done.result {
                    dumps.insert(file.name.clone(), done.path(jsonl));
                }
            }
        }
        Ok(dumps)
    }

    pub fn filter(
        &mut self,
        source: &SourceConfig,
        dumps: &Dumps,
    ) -> Result<Done<FilterCounts>, CorpusError> {
        let wrong = |reason| CorpusError::Config {
            path: PathBuf::from("the build"),
            reason,
        };
        let config = self.config.filters_of(source).map_err(wrong)?;
        let mut key = Key::of("filter", VERSION);
        // Its weight matters later, its filters are in `config`.
        let read_as = SourceConfig {
            weight: 1.0,
            filters: toml::Table::new(),
            ..source.clone()
        };
        key.value(&(&read_as, &config, self.config.tag_only, &self.config.split))?;
        key.bytes(include_bytes!("../../../../configs/corpus/languages.toml"));
        key.bytes(include_bytes!("../../../../configs/corpus/variants.toml"));
        let mut files = Vec::new();
        for split in Split::ALL {
            for (mut file, entry) in self.files(source, split)? {
                if let Some(jsonl) = dumps.get(&file.name) {
                    file.path = jsonl.clone();
                    file.jsonl = true;
                }
                key.file(&file.name, &file.path)?;
                files.push((split, file, &source.texts(split)[entry]));
            }
        }
        let filters = Filters::new(config)?;
        let (tag_only, split_options) = (self.config.tag_only, self.config.split);
        let name = format!("filter {}", source.name);
        let sizes = |file: &TextFile| std::fs::metadata(&file.path).map_or(0, |m| m.len());
        let total = files.iter().map(|(_, file, _)| sizes(file)).sum();
        let progress = &mut *self.progress;
        let done = stage::run(
            &self.cache,
            &format!("filter-{}", source.name),
            &key,
            Begin::Anew,
            |folder| {
                let mut stage = FilterStage::new(&filters, tag_only, split_options, folder);
                let mut read = 0;
                for (split, file, part) in &files {
                    records_of(source, file, Some(part), &mut |record| {
                        stage.push(*split, record)
                    })?;
                    read += sizes(file);
                    progress(&BuildProgress {
                        stage: &name,
                        done: read,
                        total,
                    });
                }
                stage.finish()
            },
        )?;
        self.note(&name, &done);
        Ok(done)
    }

    pub fn deduplicate(
        &mut self,
        filtered: &BTreeMap<String, Done<FilterCounts>>,
    ) -> Result<Done<BTreeMap<String, DedupCounts>>, CorpusError> {
        let mut key = Key::of("dedup", VERSION);
        let line_chars = self.config.split.min_held_out_line_chars;
        key.value(&(self.config.dedup, line_chars, self.config.tag_only))?;
        let mut inputs = Vec::new();
        let mut total = 0;
        for source in &self.config.sources {
            let Some(done) = filtered.get(&source.name) else {
                continue;
            };
            for split in Split::ALL {
                let name = documents_file(split);
                if let Some(file) = done.files.get(&name) {
                    key.value(&(&source.name, split, &file.sha256))?;
                    total += file.bytes;
                    inputs.push(Input {
                        source: source.name.clone(),
                        split,
                        path: done.path(&name),
                    });
                }
            }
        }
        let (options, tag_only) = (self.config.dedup, self.config.tag_only);
        let progress = &mut *self.progress;
        let done = stage::run(&self.cache, "dedup", &key, Begin::Anew, |folder| {
            let mut read = 0;
            deduplicate(
                &inputs,
                folder,
                options,
                line_chars,
                tag_only,
                &mut |bytes| {
                    read += bytes;
                    progress(&BuildProgress {
                        stage: "deduplicate",
                        done: read,
                        total,
                    });
                },
            )
        })?;
        self.note("deduplicate", &done);
        Ok(done)
    }

    /// The sources that have documents of a split, in their order.
    pub fn parts(&self, left: &Done<BTreeMap<String, DedupCounts>>, split: Split) -> Vec<Part> {
        let parts = self.config.sources.iter().filter_map(|source| {
            let name = output_file(&source.name, split);
            left.files.get(&name).filter(|file| file.bytes > 0)?;
            Some(Part {
                source: source.name.clone(),
                path: left.path(&name),
                weight: if split == Split::Train {
                    source.weight
                } else {
                    1.0
                },
            })
        });
        parts.collect()
    }

    fn key_of(
        &self,
        left: &Done<BTreeMap<String, DedupCounts>>,
        parts: &[Part],
        key: &mut Key,
    ) -> Result<(), CorpusError> {
        for part in parts {
            let name = part.path.file_name().unwrap_or_default().to_string_lossy();
            let sha256 = left.files.get(&*name).map(|file| &file.sha256);
            key.value(&(&part.source, part.weight, sha256))?;
        }
        Ok(())
    }

    pub fn tokenizer(
        &mut self,
        left: &Done<BTreeMap<String, DedupCounts>>,
        parts: &[Part],
    ) -> Result<BpeTokenizer, CorpusError> {
        // Learned from each document once, whatever its source weighs.
        let parts: Vec<Part> = parts
            .iter()
            .map(|part| Part {
                weight: 1.0,
                ..part.clone()
            })
            .collect();
        let mut key = Key::of("tokenizer", VERSION);
        key.value(&self.config.tokenizer)?;
        self.key_of(left, &parts, &mut key)?;
        let choice = &self.config.tokenizer;
        let total = bytes_of(&parts);
        let progress = &mut *self.progress;
        let done = stage::run(&self.cache, "tokenizer", &key, Begin::Anew, |folder| {
            let mut read = 0;
            let tokenizer = learn_tokenizer(&parts, choice, &mut |bytes| {
                read += bytes;
                progress(&BuildProgress {
                    stage: "tokenizer",
                    done: read,
                    total,
                });
            })?;
            tokenizer.save(&folder.join("tokenizer.json"))?;
            Ok(())
        })?;
        self.note("tokenizer", &done);
        Ok(BpeTokenizer::from_file(&done.path("tokenizer.json"))?)
    }

    pub fn token_files(
        &mut self,
        left: &Done<BTreeMap<String, DedupCounts>>,
        tokenizer: &BpeTokenizer,
        output: &Path,
    ) -> Result<Vec<TokenFile>, CorpusError> {
        let validation = self.parts(left, Split::Validation);
        let mut wanted = vec![
            ("train.bin".to_owned(), self.parts(left, Split::Train)),
            ("val.bin".to_owned(), validation.clone()),
        ];
        for source in &self.config.sources {
            let own = validation
                .iter()
                .filter(|part| part.source == source.name)
                .cloned();
            wanted.push((format!("val-{}.bin", source.name), own.collect()));
        }
        let marks = self.cache.join("tokens");
        let mut files = Vec::new();
        for (name, parts) in wanted {
            let mut key = Key::of("tokens", VERSION);
            key.bytes(&tokenizer.sha256());
            self.key_of(left, &parts, &mut key)?;
            let start = Instant::now();
            let (mut read, total) = (0, bytes_of(&parts));
            let progress = &mut *self.progress;
            let path = output.join(&name);
            let file = write_tokens(&path, &parts, tokenizer, &key, &marks, &mut |bytes| {
                read += bytes;
                progress(&BuildProgress {
                    stage: &name,
                    done: read,
                    total,
                });
            })?;
            if let Some(file) = file {
                self.stages.push(StageSummary {
                    stage: name,
                    cached: file.cached,
                    seconds: if file.cached {
                        0.0
                    } else {
                        start.elapsed().as_secs_f64()
                    },
                });
                files.push(file);
            }
        }
        Ok(files)
    }
}

/// About as many bytes as these documents have; their files hold a little more than their texts.
fn bytes_of(parts: &[Part]) -> u64 {
    let bytes =
        |part: &Part| std::fs::metadata(&part.path).map_or(0.0, |m| m.len() as f64 * part.weight);
    parts.iter().map(bytes).sum::<f64>() as u64
}
