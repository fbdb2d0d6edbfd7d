//! What Adam's moments are kept in while a model is trained.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tensor::TensorSpec;

/// Number format of Adam's two moments. Checkpoints hold them in f32 whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MomentFormat {
    /// Eight bytes a parameter.
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// Two bytes a parameter and a scale for each block of 256 (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"); vectors and small
    /// matrices stay in f32.
    #[serde(rename = "8bit")]
    EightBit,
}

/// Matrices with fewer elements keep f32: they take next to nothing.
const SMALLEST: u64 = 4096;

impl MomentFormat {
    /// Whether the moments of a parameter of this rank and size are kept in bytes.
    pub fn packs(self, rank: usize, elements: u64) -> bool {
        self == Self::EightBit && rank == 2 && elements >= SMALLEST
    }

    /// Bytes of both moments of a parameter.
    pub(crate) fn bytes(self, spec: &TensorSpec) -> u64 {
        let elements = spec
            .shape
            .iter()
            .fold(1u64, |product, n| product.saturating_mul(*n as u64));
        match self.packs(spec.shape.len(), elements) {
            true => elements
                .saturating_mul(2)
                .saturating_add(elements.div_ceil(256).saturating_mul(8)),
            false => elements.saturating_mul(8),
        }
    }
}

impl fmt::Display for MomentFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::EightBit => "8bit",
        })
    }
}
