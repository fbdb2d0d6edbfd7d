//! A session saved by a page: its state together with the logits after it, so that the text can be continued without another word.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `PTBRWEB1` |
//! | 4 | number of logits, u32; 0 when there were none |
//! | 4 each | the logits, f32 |
//! | the rest | the state as the runtime writes it, with its own checksum |

use ptbr_runtime::{RuntimeError, RwkvState, Session};

const MAGIC: &[u8; 8] = b"PTBRWEB1";

/// What a session remembers.
pub(crate) async fn save(session: &Session) -> Result<Vec<u8>, RuntimeError> {
    let state = session.state_async().await?.to_bytes();
    let logits = session.logits().unwrap_or_default();
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + logits.len() * 4 + state.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(logits.len() as u32).to_le_bytes());
    for logit in logits {
        bytes.extend_from_slice(&logit.to_le_bytes());
    }
    bytes.extend_from_slice(&state);
    Ok(bytes)
}

/// Goes back to it. A bare state, as native programs save it, will do too.
pub(crate) fn load(session: &mut Session, bytes: &[u8]) -> Result<(), RuntimeError> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return session.restore(bytes);
    };
    let (logits, state) = split(rest).ok_or_else(|| RuntimeError::StateDamaged {
        what: "it is shorter than its header says".to_owned(),
    })?;
    let state = RwkvState::from_bytes(state, session.model())?;
    if logits.is_empty() {
        return session.set_state(&state);
    }
    session.set_state_with_logits(&state, &logits)
}

/// Logits and state.
fn split(bytes: &[u8]) -> Option<(Vec<f32>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*count))
        .ok()?
        .checked_mul(4)?;
    let (logits, state) = rest.split_at_checked(len)?;
    let (logits, _) = logits.as_chunks::<4>();
    let logits = logits.iter().map(|logit| f32::from_le_bytes(*logit));
    Some((logits.collect(), state))
}
