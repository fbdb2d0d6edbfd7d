//! The head and its loss where they end a step. The CPU's fused operation makes logits in blocks by itself; on other devices the blocks of
//! rows are made here, each with a backward pass of its own, so that the logits `[N, V]` never exist whole.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Gradients, Tensor};
use ptbr_model::{Precision, RwkvConfig};

use super::segments::pull_back;
use super::{ForwardOptions, Rwkv, Windows};
use crate::ops::head_loss::PendingReport;
use crate::ops::host::is_host;
use crate::optim::GradientSum;

/// Elements of logits in a block on a GPU, unless another number is asked for: 64 MiB, half of the smallest limit of a binding, and 524
/// rows of a vocabulary of 32,000. Every block adds to the gradient of the head `[V, C]`, which is a pass over it: for fewer rows that would
/// weigh beside their products.
pub const BLOCK_LOGITS: usize = 16 << 20;

/// What the backward pass of the head needs to know besides the rows.
#[derive(Clone, Copy)]
pub(super) struct HeadBackward<'a> {
    /// `[N]`.
    pub targets: &'a Arc<Vec<u16>>,
    pub l2_wrap: f32,
    pub precision: Precision,
    pub loss_scale: f64,
    pub block_logits: usize,
}

impl Rwkv {
    /// The loss of `windows`, for a model without autodiff; on a GPU from `block_logits` elements of logits at a time, [`BLOCK_LOGITS`] being a
    /// good number.
    pub fn loss(
        &self,
        config: &RwkvConfig,
        windows: &Windows,
        block_logits: usize,
    ) -> PendingReport {
        let options = ForwardOptions::EVALUATION;
        let hidden = self.hidden(config, windows, options);
        if is_host(&hidden.device()) {
            return self
                .head
                .loss(hidden, &windows.targets, 0.0, options.precision)
                .report;
        }
        let n = windows.targets.len();
        PendingReport::of_blocks(self.row_blocks(n, block_logits).map(|rows| {
            let targets = Arc::new(windows.targets[rows.clone()].to_vec());
            let share = rows.len() as f64 / n as f64;
            let output =
                self.head
                    .loss(hidden.clone().slice(rows), &targets, 0.0, options.precision);
            (output.report, share)
        }))
    }

    /// The gradients of the loss of `hidden` `[N, C]`: those that end here are added to `gradients`, those before are returned, when there
    /// are any.
    pub(super) fn backward_from_head(
        &self,
        hidden: Tensor<2>,
        head: HeadBackward<'_>,
        gradients: &mut GradientSum,
    ) -> (PendingReport, Option<Gradients>) {
        if is_host(&hidden.device()) {
            let output = self
                .head
                .loss(hidden, head.targets, head.l2_wrap, head.precision);
            let objective = scaled(output.objective, head.loss_scale);
            return (output.report, Some(objective.backward()));
        }
        let n = head.targets.len();
        let rows_are_tracked = hidden.is_tracked();
        let mut reports = Vec::new();
        let mut of_hidden = Vec::new();
        for rows in self.row_blocks(n, head.block_logits) {
            let targets = Arc::new(head.targets[rows.clone()].to_vec());
            let share = rows.len() as f64 / n as f64;
            let block = Tensor::from_inner(hidden.clone().inner().slice(rows))
                .set_require_grad(rows_are_tracked);
            let output = self
                .head
                .loss(block.clone(), &targets, head.l2_wrap, head.precision);
            // The mean over a block's rows is its share of the mean over all.
            let objective = scaled(output.objective, head.loss_scale * share);
            let mut found = objective.backward();
            of_hidden.extend(block.grad_remove(&mut found));
            gradients.add(self, found);
            reports.push((output.report, share));
        }
        let found = rows_are_tracked.then(|| pull_back(hidden, Tensor::cat(of_hidden, 0)));
        (PendingReport::of_blocks(reports), found)
    }

    /// `n` rows in blocks of at most so many logits, and at least a row.
    fn row_blocks(&self, n: usize, logits: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let [vocabulary, _] = self.head.dims();
        let rows = (logits / vocabulary.max(1)).max(1);
        (0..n)
            .step_by(rows)
            .map(move |first| first..n.min(first + rows))
    }
}

/// The objective times `factor`.
fn scaled(objective: Tensor<1>, factor: f64) -> Tensor<1> {
    if factor == 1.0 {
        return objective;
    }
    objective * factor
}
