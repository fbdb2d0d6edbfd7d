//! Documents of files, one after the other.

use std::path::Path;

use ptbr_model::DataSource;

use super::config::{DocumentUnit, SourceConfig, SourceKind};
use super::open::plain_name;
use super::statutes::without_notes;
use crate::clean::{BlankLines, CleanOptions, JoinLines, JsonFields, TextCleaner};
use crate::document::{Document, TextFile};
use crate::error::CorpusError;

/// A document and whatever else its JSON line says of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// The document.
    pub document: Document,
    /// Fields of the JSON line that are none of a document's.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Calls `take` with each document of `file`, as `source` says, `source.name` being its source. `part` may pick some of the file's documents by their number.
pub(crate) fn records_of(
    source: &SourceConfig,
    file: &TextFile,
    part: Option<&DataSource>,
    take: &mut dyn FnMut(Record) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let [from, to] = match part.filter(|part| part.documents_percent().is_some()) {
        None => [0, u64::MAX],
        Some(part) => {
            // A percentage is one of a number: read once to count.
            let mut documents = 0;
            all_records(source, file, &mut |_| {
                documents += 1;
                Ok(())
            })?;
            part.documents_of(documents)
        }
    };
    let mut number = 0;
    all_records(source, file, &mut |record| {
        let chosen = (from..to).contains(&number);
        number += 1;
        if chosen { take(record) } else { Ok(()) }
    })
}

fn all_records(
    source: &SourceConfig,
    file: &TextFile,
    take: &mut dyn FnMut(Record) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let options = CleanOptions {
        join_lines: match source.join_lines {
            true => JoinLines::Auto,
            false => JoinLines::Never,
        },
        blank_lines: match (source.kind, source.documents) {
            (SourceKind::Statutes, _) | (_, DocumentUnit::Files | DocumentUnit::Lines) => {
                BlankLines::Paragraphs
            }
            (_, DocumentUnit::Auto) => BlankLines::Auto,
            (_, DocumentUnit::BlankLines) => BlankLines::Documents,
        },
        ..CleanOptions::default()
    };
    let mut texts = TextCleaner::new(&options);
    if file.jsonl {
        let mut number = 0u64;
        return texts.json_documents(file, &mut |fields, text| {
            number += 1;
            take(of_json(source, file, number, fields, text))
        });
    }
    let title = Path::new(plain_name(&file.name))
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut number = 0u64;
    let mut one = |text: String| {
        number += 1;
        take(Record {
            document: Document {
                id: format!("{}#{number}", file.name),
                title: title.clone(),
                url: String::new(),
                source: source.name.clone(),
                text,
            },
            extra: serde_json::Map::new(),
        })
    };
    texts.text_documents(file, &mut |text| match (source.kind, source.documents) {
        (SourceKind::Statutes, _) if !source.amendment_notes => one(without_notes(text)),
        (_, DocumentUnit::Lines) => text.lines().try_for_each(|line| one(line.to_owned())),
        _ => one(text.to_owned()),
    })
}

fn of_json(
    source: &SourceConfig,
    file: &TextFile,
    number: u64,
    mut fields: JsonFields,
    text: String,
) -> Record {
    let mut string = |name: &str| match fields.shift_remove(name) {
        Some(serde_json::Value::String(value)) => value,
        Some(serde_json::Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let (mut id, title, url) = (string("id"), string("title"), string("url"));
    if id.is_empty() {
        id = format!("{}#{number}", file.name);
    }
    let read = string("source");
    fields.shift_remove("text");
    Record {
        document: Document {
            id,
            title,
            url,
            source: if source.kind == SourceKind::Wiki || read.is_empty() {
                source.name.clone()
            } else {
                read
            },
            text,
        },
        extra: fields,
    }
}
