//! States as files.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `PTBRSTAT` |
//! | 4 | version, u32: 2 (1 has no adapter and lacks the next but one) |
//! | 4 + 64 | length of the model id, u32; the id |
//! | 4 + 0 or 64 | length of the adapter id, u32, 0 for none; the id |
//! | 8 | tokens read, u64: at most 2^62 |
//! | 8 | number of values, u64 |
//! | 4 each | the values, f32 |
//! | 32 | SHA-256 of all before it |

use super::RwkvState;
use crate::{Model, RuntimeError};
use ptbr_model::{hex, sha256, short_hex};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"PTBRSTAT";
/// What is written.
const VERSION: u32 = 2;
/// What is still read.
const WITHOUT_ADAPTER: u32 = 1;
/// All but the ids and the values.
const FIXED: usize = 8 + 4 + 4 + 4 + 8 + 8 + DIGEST;
const DIGEST: usize = 32;
/// Tokens that a state may have read: no text is as long, and whoever counts on from here never overflows.
const MAX_POSITION: u64 = 1 << 62;
/// Hexadecimal digits of an id.
const ID: usize = 64;

/// The fields between the version and the digest.
struct Fields<'a> {
    model_id: &'a [u8],
    adapter_id: &'a [u8],
    position: u64,
    values: &'a [u8],
}

impl RwkvState {
    /// The state as a file; `docs/file-formats.md` describes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let adapter_id = self.adapter_id().unwrap_or_default();
        let length = FIXED + self.model_id.len() + adapter_id.len() + self.values.len() * 4;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for id in [&self.model_id, adapter_id] {
            bytes.extend_from_slice(&(id.len() as u32).to_le_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes.extend_from_slice(&self.position.to_le_bytes());
        bytes.extend_from_slice(&(self.values.len() as u64).to_le_bytes());
        for value in &self.values {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        let digest = sha256(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    /// Reads what [`RwkvState::to_bytes`] wrote for `model`, with whichever adapter: [`RwkvState::adapter_id`] names it.
    ///
    /// Fails with [`RuntimeError::StateOfAnotherModel`], or with [`RuntimeError::StateDamaged`] when a byte is wrong. Nothing is allocated before the length is
    /// known to be right.
    pub fn from_bytes(bytes: &[u8], model: &Model) -> Result<Self, RuntimeError> {
        let version = version(bytes)?;
        let (body, digest) = bytes
            .split_at_checked(bytes.len().saturating_sub(DIGEST))
            .unwrap_or((bytes, &[]));
        if sha256(body) != digest {
            return Err(damaged(
                "its checksum does not match: a byte has changed, or it was cut short",
            ));
        }
        let fields =
            fields(body, version).ok_or_else(|| damaged("its length does not match its header"))?;
        if fields.model_id != model.model_id().as_bytes() {
            return Err(RuntimeError::StateOfAnotherModel {
                found: short_hex(&readable(fields.model_id)).to_owned(),
                model: short_hex(model.model_id()).to_owned(),
            });
        }
        if fields.position > MAX_POSITION {
            return Err(damaged(&format!(
                "it claims to have read {} tokens",
                fields.position
            )));
        }
        let spec = model.shared_state_spec();
        if fields.values.len() != spec.len() * 4 {
            return Err(damaged(&format!(
                "it holds {} values where the model has {}",
                fields.values.len() / 4,
                spec.len()
            )));
        }
        let values: Vec<f32> = fields
            .values
            .as_chunks::<4>()
            .0
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(damaged("it holds NaN or infinity"));
        }
        Ok(Self {
            spec: Arc::clone(spec),
            model_id: Arc::clone(model.shared_id()),
            adapter_id: adapter_id(fields.adapter_id)?,
            position: fields.position,
            values,
        })
    }
}

fn version(bytes: &[u8]) -> Result<u32, RuntimeError> {
    let mut rest = bytes;
    if take::<8>(&mut rest) != Some(*MAGIC) {
        return Err(damaged("it does not begin as a state does"));
    }
    let version = take(&mut rest)
        .map(u32::from_le_bytes)
        .ok_or_else(|| damaged("it ends within its header"))?;
    if (WITHOUT_ADAPTER..=VERSION).contains(&version) {
        Ok(version)
    } else {
        Err(damaged(&format!(
            "it has version {version}, and this program reads versions {WITHOUT_ADAPTER} to {VERSION}"
        )))
    }
}

/// The fields of everything before the digest; `None` when the lengths do not add up.
fn fields(body: &[u8], version: u32) -> Option<Fields<'_>> {
    let mut rest = body.get(MAGIC.len() + 4..)?;
    let model_id = take_counted(&mut rest)?;
    let adapter_id = match version {
        WITHOUT_ADAPTER => &[],
        _ => take_counted(&mut rest)?,
    };
    let position = u64::from_le_bytes(take(&mut rest)?);
    let count = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
    (rest.len() == count.checked_mul(4)?).then_some(Fields {
        model_id,
        adapter_id,
        position,
        values: rest,
    })
}

fn adapter_id(bytes: &[u8]) -> Result<Option<Arc<str>>, RuntimeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match std::str::from_utf8(bytes) {
        Ok(id) if id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(Some(id.into()))
        }
        _ => Err(damaged("the adapter that it names has no proper id")),
    }
}

fn readable(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if text.is_ascii() => text.to_owned(),
        _ => hex(id),
    }
}

fn damaged(what: &str) -> RuntimeError {
    RuntimeError::StateDamaged {
        what: what.to_owned(),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

/// Bytes after their number.
fn take_counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_le_bytes(take(bytes)?)).ok()?;
    let (first, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(first)
}
