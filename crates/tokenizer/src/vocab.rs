//! The vocabulary: what each token id stands for and which merges build it.

use std::collections::{HashMap, HashSet};

use rustc_hash::FxBuildHasher;

use crate::error::quote;
use crate::{MAX_VOCAB_SIZE, SPECIAL_TOKENS, TokenId, TokenizerError, byte_alphabet};

/// One merge: two neighbouring tokens that become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// The token on the left.
    pub left: TokenId,
    /// The token on the right.
    pub right: TokenId,
    /// The token that replaces both.
    pub result: TokenId,
}

/// A special token: a mark that stands for no text, such as `[EOS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its id.
    pub id: TokenId,
    /// Its name as it is shown and stored.
    pub content: String,
}

/// A checked byte-level BPE vocabulary: ids without gaps, a token for every byte, merges that name existing tokens only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpeVocab {
    /// The bytes of all tokens, one after the other; a special token has none.
    bytes: Vec<u8>,
    /// Where each token starts in `bytes`, and the end: one more than there are tokens.
    starts: Vec<u32>,
    /// By id.
    specials: Vec<SpecialToken>,
    /// In order of rank, the strongest first.
    merges: Vec<Merge>,
    /// The token of each single byte.
    byte_ids: [TokenId; 256],
    /// Ids of [`SPECIAL_TOKENS`].
    roles: [TokenId; 5],
}

impl BpeVocab {
    /// Checks and builds a vocabulary from what a `tokenizer.json` holds: tokens with ids (byte-level text, or a special token's name), the special
    /// tokens' names, and merges as pairs of tokens.
    pub(crate) fn from_tokens(
        tokens: Vec<(String, u32)>,
        special_names: &HashSet<String, FxBuildHasher>,
        merges: &[(String, String)],
    ) -> Result<Self, TokenizerError> {
        let tokens = in_id_order(tokens)?;
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        let mut specials = Vec::new();
        let mut byte_ids = [None; 256];
        let mut ids = HashMap::with_capacity_and_hasher(tokens.len(), FxBuildHasher);
        for (index, token) in tokens.iter().enumerate() {
            let id = TokenId::try_from(index)
                .map_err(|_| TokenizerError::VocabularyTooLarge(tokens.len()))?;
            if ids.insert(token.as_str(), id).is_some() {
                return Err(TokenizerError::DuplicateToken {
                    token: quote(token),
                });
            }
            if special_names.contains(token) {
                specials.push(SpecialToken {
                    id,
                    content: token.clone(),
                });
            } else {
                let decoded = byte_alphabet::decode(token).map_err(|character| {
                    TokenizerError::NotByteLevel {
                        token: quote(token),
                        id: u32::from(id),
                        character,
                    }
                })?;
                if let [byte] = decoded[..] {
                    byte_ids[usize::from(byte)] = Some(id);
                }
                bytes.extend_from_slice(&decoded);
            }
            starts.push(
                u32::try_from(bytes.len())
                    .map_err(|_| TokenizerError::VocabularyTooLarge(tokens.len()))?,
            );
        }
        let mut roles = [0; 5];
        for (role, token) in roles.iter_mut().zip(SPECIAL_TOKENS) {
            let found = specials.iter().find(|special| special.content == token);
            *role = found.ok_or(TokenizerError::MissingSpecial { token })?.id;
        }
        let mut known_bytes = [0; 256];
        for (byte, (slot, id)) in (0..=255_u8).zip(known_bytes.iter_mut().zip(byte_ids)) {
            *slot = id.ok_or(TokenizerError::MissingByte { byte })?;
        }
        let merges = check_merges(merges, &ids, &specials)?;
        Ok(Self {
            bytes,
            starts,
            specials,
            merges,
            byte_ids: known_bytes,
            roles,
        })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Always false: a vocabulary holds at least the 256 bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of text that a token stands for: none for a special token, `None` for an id outside the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        let index = usize::from(id);
        let start = *self.starts.get(index)? as usize;
        let end = *self.starts.get(index + 1)? as usize;
        self.bytes.get(start..end)
    }

    /// A token as `tokenizer.json` writes it: in the byte alphabet, or the name of a special token.
    pub fn token_text(&self, id: TokenId) -> Option<String> {
        match self.special(id) {
            Some(special) => Some(special.content.clone()),
            None => self.token_bytes(id).map(byte_alphabet::encode),
        }
    }

    /// The special token with this id, if it is one.
    pub fn special(&self, id: TokenId) -> Option<&SpecialToken> {
        let index = self
            .specials
            .binary_search_by_key(&id, |special| special.id)
            .ok()?;
        self.specials.get(index)
    }

    /// All special tokens, by id.
    pub fn specials(&self) -> &[SpecialToken] {
        &self.specials
    }

    /// All merges, the strongest first.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// The token of each single byte.
    pub(crate) fn byte_ids(&self) -> &[TokenId; 256] {
        &self.byte_ids
    }

    /// Ids of `[PAD] [UNK] [BOS] [EOS] [SEP]`.
    pub(crate) fn roles(&self) -> &[TokenId; 5] {
        &self.roles
    }
}

/// The tokens by id, when the ids run from 0 without a gap or a repetition.
fn in_id_order(tokens: Vec<(String, u32)>) -> Result<Vec<String>, TokenizerError> {
    let count = tokens.len();
    if count > MAX_VOCAB_SIZE {
        return Err(TokenizerError::VocabularyTooLarge(count));
    }
    let mut by_id: Vec<Option<String>> = vec![None; count];
    for (token, id) in tokens {
        match by_id.get_mut(id as usize) {
            Some(slot @ None) => *slot = Some(token),
            Some(Some(first)) => {
                return Err(TokenizerError::DuplicateId {
                    id,
                    first: quote(first),
                    second: quote(&token),
                });
            }
            None if id as usize >= MAX_VOCAB_SIZE => {
                return Err(TokenizerError::VocabularyTooLarge(
                    (id as usize).saturating_add(1),
                ));
            }
            // An id past the end leaves a gap below it, which is found next.
            None => {}
        }
    }
    match by_id.iter().position(Option::is_none) {
        Some(id) => Err(TokenizerError::MissingId { id, tokens: count }),
        None => Ok(by_id.into_iter().flatten().collect()),
    }
}

fn check_merges(
    merges: &[(String, String)],
    ids: &HashMap<&str, TokenId, FxBuildHasher>,
    specials: &[SpecialToken],
) -> Result<Vec<Merge>, TokenizerError> {
    let mut seen = HashMap::with_capacity_and_hasher(merges.len(), FxBuildHasher);
    let mut checked = Vec::with_capacity(merges.len());
    let mut joined = String::new();
    for (index, (left, right)) in merges.iter().enumerate() {
        let bad = |problem| TokenizerError::BadMerge {
            index,
            left: quote(left),
            right: quote(right),
            problem,
        };
        let left_id = *ids
            .get(left.as_str())
            .ok_or_else(|| bad("its left part is not in the vocabulary"))?;
        let right_id = *ids
            .get(right.as_str())
            .ok_or_else(|| bad("its right part is not in the vocabulary"))?;
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let result = *ids
            .get(joined.as_str())
            .ok_or_else(|| bad("what it makes is not in the vocabulary"))?;
        let is_special = |id| {
            specials
                .binary_search_by_key(&id, |special| special.id)
                .is_ok()
        };
        if is_special(left_id) || is_special(right_id) || is_special(result) {
            return Err(bad(
                "it takes or makes a special token, which text must never become",
            ));
        }
        if left.is_empty() || right.is_empty() {
            return Err(bad("one of its parts is empty"));
        }
        if seen.insert((left_id, right_id), index).is_some() {
            return Err(bad("it is listed twice"));
        }
        checked.push(Merge {
            left: left_id,
            right: right_id,
            result,
        });
    }
    Ok(checked)
}
