//! A session's state: what the model remembers of the text so far.

use crate::RuntimeError;
use ptbr_kernels::EMPTY_PP;
use ptbr_model::{ArchConfig, RwkvConfig, hex, sha256, short_hex};
use std::sync::Arc;

/// One tensor of a state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// Its name, e.g. `blocks.3.aa`.
    pub name: String,
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
    /// The value of every element before the first token.
    pub initial: f32,
}

/// What a state of some architecture consists of, in order. To everything but that architecture's own code a state is a row of numbers described by this.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSpec {
    tensors: Vec<StateTensor>,
}

impl StateSpec {
    /// The state of a model of this configuration.
    pub fn new(config: &ArchConfig) -> Result<Self, RuntimeError> {
        match config {
            ArchConfig::Rwkv4(config) => Ok(Self::rwkv4(config)),
            other => Err(RuntimeError::Architecture { name: other.name() }),
        }
    }

    /// RWKV-4, each layer: the inputs of time mixing and channel mixing at the last token (after their layer norm), then WKV's numerator and denominator, both
    /// divided by `e^pp`, and pp. The last three are what the kernels take as one slot.
    fn rwkv4(config: &RwkvConfig) -> Self {
        let tensor = |layer: usize, (name, initial): (&str, f32)| StateTensor {
            name: format!("blocks.{layer}.{name}"),
            shape: vec![config.d_model],
            initial,
        };
        let layer = [
            ("att_x", 0.0),
            ("ffn_x", 0.0),
            ("aa", 0.0),
            ("bb", 0.0),
            ("pp", EMPTY_PP),
        ];
        Self {
            tensors: (0..config.n_layers)
                .flat_map(|index| layer.map(|part| tensor(index, part)))
                .collect(),
        }
    }

    /// The tensors, in the order in which their values lie.
    pub fn tensors(&self) -> &[StateTensor] {
        &self.tensors
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.tensors
            .iter()
            .map(|tensor| tensor.shape.iter().product::<usize>())
            .sum()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn initial(&self) -> Vec<f32> {
        self.tensors
            .iter()
            .flat_map(|tensor| std::iter::repeat_n(tensor.initial, tensor.shape.iter().product()))
            .collect()
    }
}

/// A state, bound to the model that made it. Cloning it forks the text.
#[derive(Clone, Debug, PartialEq)]
pub struct RwkvState {
    spec: Arc<StateSpec>,
    model_id: Arc<str>,
    position: u64,
    values: Vec<f32>,
}

const MAGIC: &[u8; 8] = b"PTBRSTAT";
const VERSION: u32 = 1;
/// Magic, version, length of the id, id (64 characters), position, number of values.
const HEADER: usize = 8 + 4 + 4 + 64 + 8 + 8;
const DIGEST: usize = 32;

impl RwkvState {
    /// Before the first token.
    pub(crate) fn new(spec: Arc<StateSpec>, model_id: Arc<str>) -> Self {
        Self {
            values: spec.initial(),
            spec,
            model_id,
            position: 0,
        }
    }

    /// Tokens read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The model that it belongs to.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// What its values mean.
    pub fn spec(&self) -> &StateSpec {
        &self.spec
    }

    /// The values, in the order of [`StateSpec::tensors`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.position = self.position.saturating_add(tokens as u64);
    }

    /// The state as a file: header (magic, version, model id, position, number of values), little-endian f32 values, SHA-256 of all before it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.values.len() * 4 + DIGEST);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.model_id.len() as u32).to_le_bytes());
        bytes.extend_from_slice(self.model_id.as_bytes());
        bytes.extend_from_slice(&self.position.to_le_bytes());
        bytes.extend_from_slice(&(self.values.len() as u64).to_le_bytes());
        for value in &self.values {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        let digest = sha256(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    /// Reads what [`RwkvState::to_bytes`] wrote, for the model that `like` belongs to.
    ///
    /// Fails with [`RuntimeError::StateOfAnotherModel`], or with [`RuntimeError::StateDamaged`] when a byte is wrong. Nothing is allocated before the length is
    /// known to be right.
    pub(crate) fn from_bytes(bytes: &[u8], like: &Self) -> Result<Self, RuntimeError> {
        let damaged = |what: &str| RuntimeError::StateDamaged {
            what: what.to_owned(),
        };
        let mut rest = bytes;
        if take::<8>(&mut rest) != Some(*MAGIC) {
            return Err(damaged("it does not begin as a state does"));
        }
        let version = take(&mut rest)
            .map(u32::from_le_bytes)
            .ok_or_else(|| damaged("it ends within its header"))?;
        if version != VERSION {
            return Err(damaged(&format!(
                "it has version {version}, and this program reads version {VERSION}"
            )));
        }
        let (body, digest) = bytes
            .split_at_checked(bytes.len().saturating_sub(DIGEST))
            .unwrap_or((bytes, &[]));
        if sha256(body) != digest {
            return Err(damaged(
                "its checksum does not match: a byte has changed, or it was cut short",
            ));
        }
        let mut header = || {
            let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
            let (id, tail) = rest.split_at_checked(length)?;
            rest = tail;
            let position = u64::from_le_bytes(take(&mut rest)?);
            let count = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
            let values = rest.get(..rest.len().checked_sub(DIGEST)?)?;
            (values.len() == count.checked_mul(4)?).then_some((id, position, values))
        };
        let (id, position, values) =
            header().ok_or_else(|| damaged("its length does not match its header"))?;
        if id != like.model_id.as_bytes() {
            let found = if id.is_ascii() {
                String::from_utf8_lossy(id).into_owned()
            } else {
                hex(id)
            };
            return Err(like.foreign(&found));
        }
        if values.len() != like.values.len() * 4 {
            return Err(damaged(&format!(
                "it holds {} values where the model has {}",
                values.len() / 4,
                like.values.len()
            )));
        }
        let values: Vec<f32> = values
            .as_chunks::<4>()
            .0
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(damaged("it holds NaN or infinity"));
        }
        Ok(Self {
            spec: Arc::clone(&like.spec),
            model_id: Arc::clone(&like.model_id),
            position,
            values,
        })
    }

    /// Whether both belong to one model.
    pub(crate) fn check_same_model(&self, other: &Self) -> Result<(), RuntimeError> {
        if self.model_id != other.model_id || self.values.len() != other.values.len() {
            Err(self.foreign(&other.model_id))
        } else {
            Ok(())
        }
    }

    fn foreign(&self, found: &str) -> RuntimeError {
        RuntimeError::StateOfAnotherModel {
            found: short_hex(found).to_owned(),
            model: short_hex(&self.model_id).to_owned(),
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}
