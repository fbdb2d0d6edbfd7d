//! `tokenizer.json`: reading it with every setting checked, and writing its one canonical form (the layout and order of the `tokenizers` library).

use std::collections::{HashMap, HashSet};
use std::fmt;

use rustc_hash::FxBuildHasher;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::error::quote;
use crate::{BpeVocab, MAX_VOCAB_SIZE, PtBrNormalizer, TokenId, TokenizerError};

/// Longest list of merges that is read; a vocabulary of 65,536 tokens has about as many.
const MAX_MERGES: usize = 4 * MAX_VOCAB_SIZE;
const TOO_MANY_TOKENS: &str = "too many tokens";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIn {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    decoder: Value,
    model: ModelIn,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddedToken {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelIn {
    /// Older files leave it out.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    dropout: Value,
    #[serde(default, rename = "unk_token")]
    _unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    // These two say what happens to a character without a token; here every byte has one.
    #[serde(default, rename = "fuse_unk")]
    _fuse_unk: bool,
    #[serde(default, rename = "byte_fallback")]
    _byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Tokens,
    merges: Merges,
}

/// Tokens in the order of the file, repetitions and all, so that these can be found.
struct Tokens(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TokensVisitor;
        impl<'de> Visitor<'de> for TokensVisitor {
            type Value = Tokens;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if tokens.len() == MAX_VOCAB_SIZE {
                        return Err(A::Error::custom(TOO_MANY_TOKENS));
                    }
                    tokens.push(entry);
                }
                Ok(Tokens(tokens))
            }
        }
        deserializer.deserialize_map(TokensVisitor)
    }
}

/// Merges as pairs; read from `["a", "b"]` and from the older `"a b"`.
struct Merges(Vec<(String, String)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum MergeIn {
    Pair(String, String),
    Text(String),
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergesVisitor;
        impl<'de> Visitor<'de> for MergesVisitor {
            type Value = Merges;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a list of merges, each [\"a\", \"b\"] or \"a b\"")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
                let mut merges = Vec::new();
                while let Some(merge) = list.next_element()? {
                    if merges.len() == MAX_MERGES {
                        return Err(A::Error::custom("too many merges"));
                    }
                    merges.push(match merge {
                        MergeIn::Pair(left, right) => (left, right),
                        MergeIn::Text(text) => match text.split_once(' ') {
                            Some((left, right)) if !right.contains(' ') => {
                                (left.to_owned(), right.to_owned())
                            }
                            _ => {
                                return Err(A::Error::custom(format_args!(
                                    "merge {} is `{text}`, not two tokens with a space between",
                                    merges.len()
                                )));
                            }
                        },
                    });
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(MergesVisitor)
    }
}

fn unsupported(field: &str, found: impl fmt::Display, supported: &'static str) -> TokenizerError {
    TokenizerError::Unsupported {
        field: field.to_owned(),
        found: quote(&found.to_string()),
        supported,
    }
}

/// Reads the contents of a `tokenizer.json`.
pub(crate) fn read(bytes: &[u8]) -> Result<(BpeVocab, PtBrNormalizer), TokenizerError> {
    let file: FileIn = serde_json::from_slice(bytes).map_err(|error| {
        let message = error.to_string();
        if message.starts_with(TOO_MANY_TOKENS) {
            TokenizerError::VocabularyTooLarge(MAX_VOCAB_SIZE + 1)
        } else {
            TokenizerError::Json(quote(&message))
        }
    })?;
    if let Some(version) = file.version.filter(|version| version != "1.0") {
        return Err(unsupported("version", version, "1.0"));
    }
    for (field, value) in [("truncation", &file.truncation), ("padding", &file.padding)] {
        if !value.is_null() {
            return Err(unsupported(field, value, "null"));
        }
    }
    check_byte_level("pre_tokenizer", &file.pre_tokenizer, true)?;
    check_byte_level("decoder", &file.decoder, false)?;
    if !file.post_processor.is_null() {
        // A ByteLevel post-processor moves offsets only.
        check_byte_level("post_processor", &file.post_processor, false)?;
    }
    check_model(&file.model)?;
    let normalizer = PtBrNormalizer::from_json(&file.normalizer)?;
    let mut tokens = file.model.vocab.0;
    let special_names = add_special_tokens(&mut tokens, file.added_tokens)?;
    Ok((
        BpeVocab::from_tokens(tokens, &special_names, &file.model.merges.0)?,
        normalizer,
    ))
}

/// Accepts `{"type": "ByteLevel"}` and, where text is split, only with the standard pattern and nothing put before the text.
fn check_byte_level(field: &str, value: &Value, splits: bool) -> Result<(), TokenizerError> {
    if value.get("type").and_then(Value::as_str) != Some("ByteLevel") {
        return Err(unsupported(
            field,
            value,
            "ByteLevel (a byte-level BPE tokenizer)",
        ));
    }
    let known = ["type", "add_prefix_space", "trim_offsets", "use_regex"];
    if let Some(other) = value
        .as_object()
        .and_then(|object| object.keys().find(|key| !known.contains(&key.as_str())))
    {
        return Err(unsupported(
            field,
            format_args!("a ByteLevel with `{other}`"),
            "a ByteLevel with add_prefix_space, trim_offsets and use_regex",
        ));
    }
    if splits {
        if value.get("add_prefix_space") != Some(&Value::Bool(false)) {
            return Err(unsupported(
                "pre_tokenizer.add_prefix_space",
                "not false",
                "false (decoding would not give the text back)",
            ));
        }
        if value
            .get("use_regex")
            .is_some_and(|regex| regex != &Value::Bool(true))
        {
            return Err(unsupported(
                "pre_tokenizer.use_regex",
                "not true",
                "true (words would not be split)",
            ));
        }
    }
    Ok(())
}

fn check_model(model: &ModelIn) -> Result<(), TokenizerError> {
    if let Some(kind) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return Err(unsupported("model.type", kind, "BPE"));
    }
    if !model.dropout.is_null() && model.dropout.as_f64() != Some(0.0) {
        return Err(unsupported(
            "model.dropout",
            &model.dropout,
            "null (ids would be random)",
        ));
    }
    for (field, value) in [
        (
            "continuing_subword_prefix",
            &model.continuing_subword_prefix,
        ),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            return Err(unsupported(
                &format!("model.{field}"),
                format_args!("`{value}`"),
                "null (not byte-level BPE)",
            ));
        }
    }
    if model.ignore_merges {
        return Err(unsupported("model.ignore_merges", "true", "false"));
    }
    Ok(())
}

/// Names of the special tokens; those that the model's own vocabulary lacks are added to it under their ids.
fn add_special_tokens(
    tokens: &mut Vec<(String, u32)>,
    added: Vec<AddedToken>,
) -> Result<HashSet<String, FxBuildHasher>, TokenizerError> {
    let known: HashMap<&str, u32, FxBuildHasher> = tokens
        .iter()
        .map(|(token, id)| (token.as_str(), *id))
        .collect();
    let mut missing = Vec::new();
    let mut names = HashSet::default();
    for token in added {
        let field = format!("added_tokens `{}`", quote(&token.content));
        if !token.special {
            return Err(unsupported(
                &field,
                "not special",
                "special tokens (others would be cut out of the text)",
            ));
        }
        if token.single_word || token.lstrip || token.rstrip {
            return Err(unsupported(
                &field,
                "one with single_word, lstrip or rstrip",
                "a special token without them",
            ));
        }
        match known.get(token.content.as_str()) {
            None => missing.push((token.content.clone(), token.id)),
            Some(&id) if id == token.id => {}
            Some(id) => {
                return Err(unsupported(
                    &field,
                    format_args!("id {} there and {id} in the vocabulary", token.id),
                    "one id for one token",
                ));
            }
        }
        names.insert(token.content);
    }
    tokens.extend(missing);
    Ok(names)
}

#[derive(Serialize)]
struct FileOut<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: (),
    decoder: Value,
    model: ModelOut<'a>,
}

#[derive(Serialize)]
struct ModelOut<'a> {
    r#type: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: VocabOut<'a>,
    merges: Vec<(String, String)>,
}

struct VocabOut<'a>(&'a BpeVocab);

impl Serialize for VocabOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for id in 0..=TokenId::MAX {
            let Some(text) = self.0.token_text(id) else {
                break;
            };
            map.serialize_entry(&text, &id)?;
        }
        map.end()
    }
}

/// Writes the canonical `tokenizer.json`, indented by two spaces.
pub(crate) fn write(vocab: &BpeVocab, normalizer: PtBrNormalizer) -> String {
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let text = |id| vocab.token_text(id).unwrap_or_default();
    let file = FileOut {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: vocab
            .specials()
            .iter()
            .map(|special| AddedToken {
                id: special.id.into(),
                content: special.content.clone(),
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special: true,
            })
            .collect(),
        normalizer: normalizer.to_json(),
        pre_tokenizer: byte_level.clone(),
        post_processor: (),
        decoder: byte_level,
        model: ModelOut {
            r#type: "BPE",
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: VocabOut(vocab),
            merges: vocab
                .merges()
                .iter()
                .map(|merge| (text(merge.left), text(merge.right)))
                .collect(),
        },
    };
    // Strings, numbers and lists in memory: there is nothing in this structure that JSON cannot hold.
    serde_json::to_string_pretty(&file).unwrap_or_default()
}
