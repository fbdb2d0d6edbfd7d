//! What windows begin with: nothing, a trained memory, or what the windows before them ended with.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, Tensor};
use ptbr_kernels::{EMPTY_PP, STATE_ROWS};

use super::LayerState;
use crate::ops::token_shift::Before;
use crate::ops::wkv::WkvBatch;

/// The state of one layer in each lane of a batch, outside autodiff: gradients end at the window that a state came from.
#[derive(Debug, Clone)]
pub struct CarriedLayer {
    /// Input of time mixing before the next token, `[B, C]`.
    pub att_x: Tensor<2>,
    /// Input of channel mixing before the next token, `[B, C]`.
    pub ffn_x: Tensor<2>,
    /// aa, bb, pp of each lane, `[3 · B, C]`.
    pub wkv: Tensor<2>,
}

impl CarriedLayer {
    /// The states of `lanes` lanes that have read nothing, on `device` (without autodiff).
    pub fn empty(lanes: usize, channels: usize, device: &Device) -> Self {
        let zeros = || Tensor::zeros([lanes, channels], device);
        let one = [0.0, 0.0, EMPTY_PP].map(|value| Tensor::full([1, channels], value, device));
        Self {
            att_x: zeros(),
            ffn_x: zeros(),
            wkv: Tensor::cat(one.to_vec(), 0).repeat_dim(0, lanes),
        }
    }

    /// As one tensor `[5 · B, C]`: the two inputs, then the states of WKV.
    pub fn rows(&self) -> Tensor<2> {
        let Self { att_x, ffn_x, wkv } = self.clone();
        Tensor::cat(vec![att_x, ffn_x, wkv], 0)
    }

    /// What [`rows`](Self::rows) made of `lanes` lanes.
    pub fn from_rows(rows: Tensor<2>, lanes: usize) -> Self {
        let part = |first: usize, count: usize| rows.clone().slice(first..first + count);
        Self {
            att_x: part(0, lanes),
            ffn_x: part(lanes, lanes),
            wkv: part(2 * lanes, STATE_ROWS * lanes),
        }
    }
}

/// The states that the windows of one batch begin with, and the place where those that they end with are left.
#[derive(Debug)]
pub struct Carry {
    start: Vec<CarriedLayer>,
    /// Of each row `[B · T]`, whether it begins without history.
    fresh: Arc<Vec<bool>>,
    end: Mutex<Vec<Option<CarriedLayer>>>,
}

impl Carry {
    /// Windows that begin with `start`, a state a layer; the rows that `fresh` (`[B · T]`) marks begin without history all the same: the
    /// first of a document, and the first of a window that follows nothing.
    pub fn new(start: Vec<CarriedLayer>, fresh: Vec<bool>) -> Self {
        Self {
            end: Mutex::new(vec![None; start.len()]),
            start,
            fresh: Arc::new(fresh),
        }
    }

    /// What layer number `layer` begins with.
    pub(super) fn start(&self, layer: usize) -> LayerStart<'_> {
        LayerStart::Carried(&self.start[layer], &self.fresh)
    }

    /// Leaves what layer number `layer` ends with. A layer that runs twice, forward and once more for its gradients, leaves the same.
    pub(super) fn leave(&self, layer: usize, state: CarriedLayer) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end[layer] = Some(state);
    }

    /// The states that the windows ended with, once all layers have run; `None` before.
    pub fn end(&self) -> Option<Vec<CarriedLayer>> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.iter().cloned().collect()
    }
}

/// What the windows of a batch begin with in one layer.
#[derive(Debug, Clone, Copy)]
pub enum LayerStart<'a> {
    /// An empty state.
    Empty,
    /// One trained memory, the same for all of them.
    Trained(&'a LayerState),
    /// Each with the state of its lane, but for the rows `[N]` that begin without history.
    Carried(&'a CarriedLayer, &'a Arc<Vec<bool>>),
}

impl LayerStart<'_> {
    /// What stands before the first row of each window in the input of time mixing.
    pub(super) fn att_x(&self, device: &Device) -> Before {
        match self {
            Self::Empty => Before::Nothing,
            Self::Trained(state) => Before::Row(state.att_x.val()),
            Self::Carried(state, fresh) => {
                Before::Rows(on(device, &state.att_x), Arc::clone(fresh))
            }
        }
    }

    /// What stands before the first row of each window in the input of channel mixing.
    pub(super) fn ffn_x(&self, device: &Device) -> Before {
        match self {
            Self::Empty => Before::Nothing,
            Self::Trained(state) => Before::Row(state.ffn_x.val()),
            Self::Carried(state, fresh) => {
                Before::Rows(on(device, &state.ffn_x), Arc::clone(fresh))
            }
        }
    }

    /// The sequences of WKV, and the states that they begin with; `None` when all begin empty.
    pub(super) fn wkv(
        &self,
        (windows, seq_len, channels): (usize, usize, usize),
        device: &Device,
    ) -> (WkvBatch, Option<Tensor<2>>) {
        match self {
            Self::Empty => (WkvBatch::rectangle(windows, seq_len, channels), None),
            Self::Trained(state) => {
                let batch = WkvBatch::rectangle_from_state(windows, seq_len, channels);
                (batch, Some(state.wkv()))
            }
            Self::Carried(state, fresh) => {
                let batch = WkvBatch::carried(windows, seq_len, channels, fresh);
                (batch, Some(on(device, &state.wkv)))
            }
        }
    }
}

/// A tensor outside autodiff for computing on `device`, which may be inside.
fn on(device: &Device, tensor: &Tensor<2>) -> Tensor<2> {
    match device.is_autodiff() {
        true => Tensor::from_inner(tensor.clone()),
        false => tensor.clone(),
    }
}

/// The last row of each window of x `[B · T, C]`, outside autodiff: `[B, C]`.
pub(super) fn last_rows(x: &Tensor<2>, seq_len: usize) -> Tensor<2> {
    let [rows, channels] = x.dims();
    let windows = x.clone().reshape([rows / seq_len, seq_len, channels]);
    let last = windows
        .slice([0..rows / seq_len, seq_len - 1..seq_len])
        .reshape([rows / seq_len, channels]);
    outside(last)
}

/// A tensor without what it was computed from.
pub(super) fn outside(tensor: Tensor<2>) -> Tensor<2> {
    match tensor.device().is_autodiff() {
        true => tensor.inner(),
        false => tensor,
    }
}
