//! RWKV-4's tensors as the engine uses them.

use super::{Matrix, Weights};
use crate::RuntimeError;
use ptbr_model::RwkvConfig;
#[cfg(feature = "gpu")]
use ptbr_model::WeightFormat;

/// A matrix that an adapter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rwkv4Matrix {
    /// One of a layer's.
    Layer(usize, LayerMatrix),
    /// The head.
    Head,
}

/// The matrices of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerMatrix {
    AttKey,
    AttValue,
    AttReceptance,
    AttOutput,
    FfnKey,
    FfnReceptance,
    FfnValue,
}

impl LayerMatrix {
    /// Each with its official name, in the order of their numbers.
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::AttKey, "att.key"),
        (Self::AttValue, "att.value"),
        (Self::AttReceptance, "att.receptance"),
        (Self::AttOutput, "att.output"),
        (Self::FfnKey, "ffn.key"),
        (Self::FfnReceptance, "ffn.receptance"),
        (Self::FfnValue, "ffn.value"),
    ];
}

/// A layer norm.
pub(crate) struct Norm {
    /// `[C]`
    pub weight: Vec<f32>,
    /// `[C]`
    pub bias: Vec<f32>,
}

/// One block; C = d_model, F = d_ffn. Vectors are `[C]`.
pub(crate) struct Layer {
    pub ln1: Norm,
    pub ln2: Norm,
    /// `[2, C]`: `-exp(time_decay)`, `time_first`.
    pub wu: Vec<f32>,
    pub att_mix_k: Vec<f32>,
    pub att_mix_v: Vec<f32>,
    pub att_mix_r: Vec<f32>,
    /// `[C, C]`, as the next three.
    pub att_key: Matrix,
    pub att_value: Matrix,
    pub att_receptance: Matrix,
    pub att_output: Matrix,
    pub ffn_mix_k: Vec<f32>,
    pub ffn_mix_r: Vec<f32>,
    /// `[F, C]`
    pub ffn_key: Matrix,
    /// `[C, C]`
    pub ffn_receptance: Matrix,
    /// `[C, F]`
    pub ffn_value: Matrix,
}

/// A whole model.
pub(crate) struct Rwkv4Weights {
    pub vocab_size: usize,
    pub d_model: usize,
    pub eps: f32,
    /// `[V, C]`
    pub embedding: Matrix,
    pub ln0: Norm,
    pub layers: Vec<Layer>,
    pub ln_out: Norm,
    /// `[V, C]`
    pub head: Matrix,
}

impl Rwkv4Weights {
    /// All matrices.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let layers = self.layers.iter().flat_map(|layer| {
            [
                &layer.att_key,
                &layer.att_value,
                &layer.att_receptance,
                &layer.att_output,
                &layer.ffn_key,
                &layer.ffn_receptance,
                &layer.ffn_value,
            ]
        });
        layers.chain([&self.embedding, &self.head])
    }

    /// Their number formats, each once.
    #[cfg(feature = "gpu")]
    pub(crate) fn formats(&self) -> Vec<WeightFormat> {
        let mut formats: Vec<WeightFormat> = self.matrices().map(|matrix| matrix.format).collect();
        formats.sort_unstable();
        formats.dedup();
        formats
    }

    /// Finds the tensors by their official names; `weights` has been checked against `config`.
    pub(crate) fn new(config: &RwkvConfig, weights: &Weights) -> Result<Self, RuntimeError> {
        let norm = |name: &str| {
            Ok::<_, RuntimeError>(Norm {
                weight: weights.vector(&format!("{name}.weight"))?,
                bias: weights.vector(&format!("{name}.bias"))?,
            })
        };
        let layer = |index: usize| {
            let norm = |name: &str| norm(&format!("blocks.{index}.{name}"));
            let vector = |name: &str| weights.vector(&format!("blocks.{index}.{name}"));
            let matrix = |name: &str, cols: usize| {
                weights.locate(&format!("blocks.{index}.{name}.weight"), cols)
            };
            let mut wu = vector("att.time_decay")?;
            // Once per load, so the library's exponential, which is nearer to exact than the vector one.
            wu.iter_mut().for_each(|decay| *decay = -decay.exp());
            wu.extend(vector("att.time_first")?);
            Ok::<_, RuntimeError>(Layer {
                ln1: norm("ln1")?,
                ln2: norm("ln2")?,
                wu,
                att_mix_k: vector("att.time_mix_k")?,
                att_mix_v: vector("att.time_mix_v")?,
                att_mix_r: vector("att.time_mix_r")?,
                att_key: matrix("att.key", config.d_model)?,
                att_value: matrix("att.value", config.d_model)?,
                att_receptance: matrix("att.receptance", config.d_model)?,
                att_output: matrix("att.output", config.d_model)?,
                ffn_mix_k: vector("ffn.time_mix_k")?,
                ffn_mix_r: vector("ffn.time_mix_r")?,
                ffn_key: matrix("ffn.key", config.d_model)?,
                ffn_receptance: matrix("ffn.receptance", config.d_model)?,
                ffn_value: matrix("ffn.value", config.d_ffn)?,
            })
        };
        Ok(Self {
            vocab_size: config.vocab_size,
            d_model: config.d_model,
            eps: config.layer_norm_eps as f32,
            embedding: weights.locate("emb.weight", config.d_model)?,
            ln0: norm("blocks.0.ln0")?,
            layers: (0..config.n_layers).map(layer).collect::<Result<_, _>>()?,
            ln_out: norm("ln_out")?,
            head: weights.locate("head.weight", config.d_model)?,
        })
    }
}
