//! RWKV-4 as burn modules. Field names spell the official tensor names: `blocks.3.att.key.weight` is the path of that parameter.

mod carried;
mod channel_mixing;
mod head;
pub mod init;
mod initial_state;
mod layers;
mod lora;
mod orthogonal;
pub mod parameters;
mod segments;
mod time_mixing;

use std::ops::Range;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use ptbr_model::{Precision, RwkvConfig};

use crate::ops::dropout::{DropoutMask, add_dropped};
use crate::ops::head_loss::HeadOutput;

use carried::last_rows;
pub use carried::{CarriedLayer, Carry, LayerStart};
pub use channel_mixing::ChannelMixing;
pub use head::BLOCK_LOGITS;
pub use initial_state::{INITIAL_PP, LayerState};
pub use layers::{LayerNorm, Projection};
pub use lora::{LoraAdapter, initial_a};
pub use segments::BackwardOptions;
pub use time_mixing::TimeMixing;

/// The model: embedding, blocks, a last layer norm and the head.
#[derive(Module, Debug)]
pub struct Rwkv {
    /// `[V, C]`.
    pub emb: Projection,
    /// The layers.
    pub blocks: Vec<RwkvBlock>,
    /// Before the head.
    pub ln_out: LayerNorm,
    /// `[V, C]`, not tied to the embedding.
    pub head: Projection,
}

/// One layer: `x += att(ln1(x)); x += ffn(ln2(x))`; the first normalises the embedding before.
#[derive(Module, Debug)]
pub struct RwkvBlock {
    /// After the embedding, in layer 0 only.
    pub ln0: Option<LayerNorm>,
    /// Before time mixing.
    pub ln1: LayerNorm,
    /// Before channel mixing.
    pub ln2: LayerNorm,
    /// Time mixing.
    pub att: TimeMixing,
    /// Channel mixing.
    pub ffn: ChannelMixing,
    /// A trained memory that every window begins with; none in a model that begins empty.
    pub state: Option<LayerState>,
}

/// A batch of token windows of equal length, each starting without history but for a trained memory of the model or what `carry` says.
#[derive(Debug, Clone)]
pub struct Windows {
    /// `[B · T]`, window after window.
    pub inputs: Arc<Vec<u16>>,
    /// `[B · T]`: the token after each input.
    pub targets: Arc<Vec<u16>>,
    /// T.
    pub seq_len: usize,
    /// The states that the windows begin with, where they go on from others.
    pub carry: Option<Arc<Carry>>,
}

/// What one forward pass needs to know besides the tokens.
#[derive(Debug, Clone, Copy)]
pub struct ForwardOptions {
    /// Dropout probability of the two branches of each layer; 0 for evaluation.
    pub dropout: f64,
    /// Seed of the dropout masks.
    pub seed: u64,
    /// Index of the micro-batch since the start of the run: the masks are a function of (seed, this, layer).
    pub micro_batch: u64,
    /// L2Wrap coefficient; 0 for none.
    pub l2_wrap: f32,
    /// Number format of the matrix products; the CPU computes in f32 whatever it says.
    pub precision: Precision,
}

impl ForwardOptions {
    /// No dropout, no L2Wrap, and f32: what is judged are the weights as they are saved.
    pub const EVALUATION: Self = Self {
        dropout: 0.0,
        seed: 0,
        micro_batch: 0,
        l2_wrap: 0.0,
        precision: Precision::F32,
    };
}

impl RwkvBlock {
    /// What windows begin with here, this being layer number `layer`.
    fn start<'a>(&'a self, carry: Option<&'a Carry>, layer: usize) -> LayerStart<'a> {
        match (carry, &self.state) {
            (Some(carry), _) => carry.start(layer),
            (None, Some(state)) => LayerStart::Trained(state),
            (None, None) => LayerStart::Empty,
        }
    }
}

impl Rwkv {
    /// The loss of `windows`. Fails when a token does not exist.
    pub fn forward(
        &self,
        config: &RwkvConfig,
        windows: &Windows,
        options: ForwardOptions,
    ) -> HeadOutput {
        let hidden = self.hidden(config, windows, options);
        let (l2_wrap, precision) = (options.l2_wrap, options.precision);
        self.head.loss(hidden, &windows.targets, l2_wrap, precision)
    }

    /// The normalised rows before the head, `[B · T, C]`.
    pub fn hidden(
        &self,
        config: &RwkvConfig,
        windows: &Windows,
        options: ForwardOptions,
    ) -> Tensor<2> {
        let x = self.emb.rows(&windows.inputs, &self.device());
        let x = self.layers(0..self.blocks.len(), x, (config, windows), options);
        self.ln_out.forward(x, config.layer_norm_eps)
    }

    /// The residual stream `[B · T, C]` of `windows` through a range of layers.
    fn layers(
        &self,
        range: Range<usize>,
        mut x: Tensor<2>,
        (config, windows): (&RwkvConfig, &Windows),
        options: ForwardOptions,
    ) -> Tensor<2> {
        let (eps, precision) = (config.layer_norm_eps, options.precision);
        for (layer, block) in range.clone().zip(&self.blocks[range]) {
            let mask = |branch| {
                DropoutMask::new(
                    options.dropout,
                    options.seed,
                    options.micro_batch,
                    layer,
                    branch,
                )
            };
            if let Some(ln0) = &block.ln0 {
                x = ln0.forward(x, eps);
            }
            let (carry, seq_len) = (windows.carry.as_deref(), windows.seq_len);
            let last_of = |rows: &Tensor<2>| carry.map(|_| last_rows(rows, seq_len));
            let start = block.start(carry, layer);
            let normal = block.ln1.forward(x.clone(), eps);
            let att_x = last_of(&normal);
            let (mixed, wkv) = block.att.forward(normal, seq_len, start, precision);
            x = add_dropped(x, mixed, mask(0));
            let normal = block.ln2.forward(x.clone(), eps);
            let ffn_x = last_of(&normal);
            let mixed = block.ffn.forward(normal, seq_len, start, precision);
            x = add_dropped(x, mixed, mask(1));
            if let (Some(carry), Some(att_x), Some(ffn_x), Some(wkv)) = (carry, att_x, ffn_x, wkv) {
                carry.leave(layer, CarriedLayer { att_x, ffn_x, wkv });
            }
        }
        x
    }

    /// The matrix with this official name, without `.weight`: `blocks.3.att.key`, `head`. `None` for any other name.
    pub fn projection_mut(&mut self, name: &str) -> Option<&mut Projection> {
        match name {
            "emb" => return Some(&mut self.emb),
            "head" => return Some(&mut self.head),
            _ => {}
        }
        let (layer, part) = name.strip_prefix("blocks.")?.split_once('.')?;
        let block = self.blocks.get_mut(layer.parse::<usize>().ok()?)?;
        match part {
            "att.key" => Some(&mut block.att.key),
            "att.value" => Some(&mut block.att.value),
            "att.receptance" => Some(&mut block.att.receptance),
            "att.output" => Some(&mut block.att.output),
            "ffn.key" => Some(&mut block.ffn.key),
            "ffn.receptance" => Some(&mut block.ffn.receptance),
            "ffn.value" => Some(&mut block.ffn.value),
            _ => None,
        }
    }

    /// A model without parameters worth the name, to stand where one was moved out.
    pub(crate) fn empty() -> Self {
        let device = Device::flex();
        let vector = || Param::from_tensor(Tensor::zeros([1], &device));
        let matrix = || Projection::of_tensor(Param::from_tensor(Tensor::zeros([1, 1], &device)));
        Self {
            emb: matrix(),
            blocks: Vec::new(),
            ln_out: LayerNorm {
                weight: vector(),
                bias: vector(),
            },
            head: matrix(),
        }
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> Device {
        self.ln_out.weight.val().device()
    }
}
