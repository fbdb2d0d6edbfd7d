//! Channel mixing: `x += σ(r) ⊙ (Wv·max(0, k)²)`.

use super::layout::Shifted;
use super::{Forward, Scratch};
use crate::engine::cpu::ops;
use crate::engine::cpu::parallel::join;
use crate::engine::{Part, Rows};
use crate::model::rwkv4::{Layer, LayerMatrix};

impl Forward<'_> {
    /// One layer's channel mixing for every row of the step.
    pub(super) fn channel_mixing(
        &self,
        index: usize,
        layer: &Layer,
        parts: &mut [Part<'_>],
        scratch: &mut Scratch,
    ) {
        let Scratch {
            layout,
            x,
            normed,
            branches,
            k,
            v,
            r,
            ..
        } = scratch;
        let ln2 = &layer.ln2;
        ops::layer_norm(x, &ln2.weight, &ln2.bias, self.model.eps, normed);
        layout.exchange(
            parts,
            index,
            Shifted::ChannelMixing,
            normed,
            self.model.d_model,
        );
        let (layout, normed, parts) = (&*layout, &**normed, &*parts);
        let [for_k, _, for_r] = branches;
        join(
            || {
                layout.token_shift(normed, &layer.ffn_mix_k, &mut for_k.mixed);
                self.linear(&layer.ffn_key, index, LayerMatrix::FfnKey)
                    .apply(&for_k.mixed, parts, Rows::Read, &mut for_k.products, k);
                ops::relu_squared(k);
            },
            || {
                layout.token_shift(normed, &layer.ffn_mix_r, &mut for_r.mixed);
                self.linear(&layer.ffn_receptance, index, LayerMatrix::FfnReceptance)
                    .apply(&for_r.mixed, parts, Rows::Read, &mut for_r.products, r);
                ops::sigmoid(r);
            },
        );
        self.linear(&layer.ffn_value, index, LayerMatrix::FfnValue)
            .apply(k, parts, Rows::Read, &mut for_k.products, v);
        ops::add_product(x, r, v);
    }
}
