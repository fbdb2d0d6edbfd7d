//! Time mixing: `x += Wo·(σ(r) ⊙ wkv(k, v))`.

use super::layout::Shifted;
use super::linear::Products;
use super::scratch::Branch;
use super::{Forward, Scratch};
use crate::RuntimeError;
use crate::engine::cpu::ops;
use crate::engine::cpu::parallel::join;
use crate::engine::{Part, Rows};
use crate::model::Matrix;
use crate::model::rwkv4::{Layer, LayerMatrix};

impl Forward<'_> {
    /// One layer's time mixing for every row of the step.
    pub(super) fn time_mixing(
        &self,
        index: usize,
        layer: &Layer,
        parts: &mut [Part<'_>],
        scratch: &mut Scratch,
    ) -> Result<(), RuntimeError> {
        let Scratch {
            layout,
            x,
            normed,
            branches,
            k,
            v,
            r,
            wkv,
        } = scratch;
        let ln1 = &layer.ln1;
        normed.resize(x.len(), 0.0);
        ops::layer_norm(x, &ln1.weight, &ln1.bias, self.model.eps, normed);
        layout.exchange(
            parts,
            index,
            Shifted::TimeMixing,
            normed,
            self.model.d_model,
        );
        let (layout, normed, shared) = (&*layout, &**normed, &*parts);
        let project = |mix: &[f32],
                       weights: &Matrix,
                       name: LayerMatrix,
                       branch: &mut Branch,
                       output: &mut Vec<f32>| {
            layout.token_shift(normed, mix, &mut branch.mixed);
            let linear = self.linear(weights, index, name);
            linear.apply(
                &branch.mixed,
                shared,
                Rows::Read,
                &mut branch.products,
                output,
            );
        };
        let [for_k, for_v, for_r] = branches;
        join(
            || {
                project(
                    &layer.att_mix_k,
                    &layer.att_key,
                    LayerMatrix::AttKey,
                    for_k,
                    k,
                )
            },
            || {
                join(
                    || {
                        project(
                            &layer.att_mix_v,
                            &layer.att_value,
                            LayerMatrix::AttValue,
                            for_v,
                            v,
                        )
                    },
                    || {
                        project(
                            &layer.att_mix_r,
                            &layer.att_receptance,
                            LayerMatrix::AttReceptance,
                            for_r,
                            r,
                        );
                        ops::sigmoid(r);
                    },
                )
            },
        );
        ops::multiply(r, wkv.run(&layer.wu, k, v, parts, index)?);
        let products: &mut Products = &mut for_k.products;
        self.linear(&layer.att_output, index, LayerMatrix::AttOutput)
            .apply(r, parts, Rows::Read, products, k);
        ops::add(x, k);
        Ok(())
    }
}
