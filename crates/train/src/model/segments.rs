//! The backward pass by segments: gradient checkpointing, and a head whose logits are never whole.
//!
//! burn's own checkpointing is a strategy of the device that decides operation by operation and keeps every matrix product; what fills the
//! memory of a step is whole layers. So the cut is made here. The forward pass runs without autodiff and keeps the rows that enter each
//! segment of layers. The last segment then runs with autodiff up to the loss and back; its gradients are added to the sum and forgotten,
//! but for that of the rows that entered it. This is the gradient of the segment before, which runs forward once more, now with autodiff:
//! dropout masks are functions of their place, so it computes what it computed before. And so on to the embedding.
//!
//! Every segment keeps the operations and the order of the whole: on the CPU the gradients have the same bits with any segments.

use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use ptbr_model::RwkvConfig;

use super::head::HeadBackward;
use super::{ForwardOptions, Rwkv, RwkvBlock, Windows};
use crate::ops::head_loss::PendingReport;
use crate::optim::GradientSum;

/// How the gradients of a micro-batch are found.
#[derive(Debug, Clone, Copy)]
pub struct BackwardOptions<'a> {
    /// The layers in segments, as [`GradientCheckpointing::segments`](ptbr_model::GradientCheckpointing::segments) gives them; one that
    /// holds all layers keeps everything and computes nothing twice.
    pub segments: &'a [Range<usize>],
    /// The objective, and with it every gradient, is multiplied by this; 1 but for f16's loss scaling.
    pub loss_scale: f64,
    /// Elements of logits that a GPU makes at a time, [`BLOCK_LOGITS`](super::BLOCK_LOGITS) being a good number; the CPU's fused head has
    /// its own.
    pub block_logits: usize,
}

impl Rwkv {
    /// Adds the gradients of the loss of `windows` to `gradients`; what is reported about the loss is still on its device.
    pub fn backward(
        &self,
        config: &RwkvConfig,
        windows: &Windows,
        options: ForwardOptions,
        backward: BackwardOptions<'_>,
        gradients: &mut GradientSum,
    ) -> PendingReport {
        let run = |range: Range<usize>, x| self.layers(range, x, (config, windows), options);
        let trained = self.first_trained_layer();
        let (earlier, last) = match backward.segments.split_last() {
            Some((last, earlier)) => (earlier, last.clone()),
            None => (backward.segments, 0..self.blocks.len()),
        };
        let mut inputs = self.segment_inputs(earlier, windows, (config, options));

        let input = self.input_of(&last, inputs.pop().flatten(), trained, windows);
        let hidden = run(last, input.clone());
        let hidden = self.ln_out.forward(hidden, config.layer_norm_eps);
        let head = HeadBackward {
            targets: &windows.targets,
            l2_wrap: options.l2_wrap,
            precision: options.precision,
            loss_scale: backward.loss_scale,
            block_logits: backward.block_logits,
        };
        let (report, mut found) = self.backward_from_head(hidden, head, gradients);
        let mut gradient = found.as_mut().and_then(|found| input.grad_remove(found));
        drop(input);
        if let Some(found) = found {
            gradients.add(self, found);
        }

        for range in earlier.iter().rev() {
            // Nothing is trained before here.
            let Some(of_output) = gradient.take() else {
                break;
            };
            let input = self.input_of(range, inputs.pop().flatten(), trained, windows);
            let output = run(range.clone(), input.clone());
            let mut found = pull_back(output, of_output);
            gradient = input.grad_remove(&mut found);
            drop(input);
            gradients.add(self, found);
        }
        report
    }

    /// The rows `[B · T, C]` that enter each segment after the first of `segments`, and those after the last; `None` for the first, whose
    /// rows are those of the embedding.
    fn segment_inputs(
        &self,
        segments: &[Range<usize>],
        windows: &Windows,
        (config, options): (&RwkvConfig, ForwardOptions),
    ) -> Vec<Option<Tensor<2>>> {
        let mut inputs = vec![None];
        if segments.is_empty() {
            return inputs;
        }
        // Handles of the same parameters, without autodiff.
        let plain = self.valid();
        let mut x = plain.emb.rows(&windows.inputs, &plain.device());
        for range in segments {
            x = plain.layers(range.clone(), x, (config, windows), options);
            inputs.push(Some(x.clone()));
        }
        inputs
    }

    /// What enters a segment: rows that want a gradient where something before the segment is trained.
    fn input_of(
        &self,
        segment: &Range<usize>,
        rows: Option<Tensor<2>>,
        first_trained: usize,
        windows: &Windows,
    ) -> Tensor<2> {
        match rows {
            None => self.emb.rows(&windows.inputs, &self.device()),
            Some(rows) => Tensor::from_inner(rows).set_require_grad(first_trained < segment.start),
        }
    }

    /// The first layer with something to train, or before which something is.
    fn first_trained_layer(&self) -> usize {
        let is_trained = |module: &dyn Fn(&mut AnyTrained)| {
            let mut any = AnyTrained(false);
            module(&mut any);
            any.0
        };
        if is_trained(&|any| self.emb.visit(any)) {
            return 0;
        }
        let trained = |block: &RwkvBlock| is_trained(&|any| block.visit(any));
        self.blocks
            .iter()
            .position(trained)
            .unwrap_or(self.blocks.len())
    }
}

/// The gradients of everything that `output` was made of, from the gradient of `output`.
pub(super) fn pull_back(output: Tensor<2>, gradient: Tensor<2>) -> Gradients {
    // The derivative of Σ y·g by y is g, to the last bit.
    (output * Tensor::from_inner(gradient)).sum().backward()
}

/// Whether a parameter of what is visited is trained.
struct AnyTrained(bool);

impl ModuleVisitor for AnyTrained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 |= param.is_require_grad();
    }
}
