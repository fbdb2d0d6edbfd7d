//! One recurrent step of RWKV-4 as an ONNX graph: token and state in, logits and state out.
//!
//! | input | | output | |
//! |---|---|---|---|
//! | `token` | int64 `[batch]` | `logits` | f32 `[batch, vocab]` |
//! | `att_x`, `ffn_x`, `aa`, `bb`, `pp` | f32 `[layers, batch, C]` | `next_att_x`, … `next_pp` | the same |
//!
//! A state begins with zeros, `pp` with -1e38. Weights are the model's tensors under their own names; the formulas are those of `crates/kernels` (`wkv_step.wgsl`).

use super::onnx::{FLOAT, Graph, INT64, Initializer};
use crate::format::WeightFormat;
use crate::rwkv4::RwkvConfig;
use crate::tensor::TensorSpec;

/// The tensors of a state, in the order in which the graph names them.
pub(super) const STATE: [&str; 5] = ["att_x", "ffn_x", "aa", "bb", "pp"];

/// The graph of a model whose matrices are stored as `dtype`; everything is computed in f32.
pub(super) fn build(config: &RwkvConfig, specs: &[TensorSpec], dtype: WeightFormat) -> Graph {
    let mut graph = Graph::new("rwkv4_step");
    let (layers, width) = (config.n_layers.to_string(), config.d_model.to_string());
    graph.input("token", INT64, &["batch"]);
    for name in STATE {
        graph.input(name, FLOAT, &[&layers, "batch", &width]);
    }
    graph.output("logits", FLOAT, &["batch", &config.vocab_size.to_string()]);
    for name in STATE {
        graph.output(&next(name), FLOAT, &[&layers, "batch", &width]);
    }
    for spec in specs {
        let (dtype, shape) = match spec.is_matrix() {
            true => (dtype, spec.shape.clone()),
            // `[1, 1, C]` would make three dimensions of a row.
            false => (
                WeightFormat::F32,
                spec.shape[spec.shape.len() - 1..].to_vec(),
            ),
        };
        graph.initializer(Initializer::weight(spec.clone(), shape, dtype));
    }
    graph.initializer(Initializer::float("one", 1.0));
    graph.initializer(Initializer::ints("first_axis", &[0]));

    let mut step = Step {
        graph,
        half: dtype == WeightFormat::F16,
        eps: config.layer_norm_eps as f32,
    };
    let row = step.graph.op("Gather", &["emb.weight", "token"], &[]);
    let row = step.as_f32(row);
    let mut x = step.layer_norm(&row, "blocks.0.ln0");
    let mut next_state: [Vec<String>; 5] = Default::default();
    for layer in 0..config.n_layers {
        let index = format!("layer_{layer}");
        step.graph
            .initializer(Initializer::int(&index, layer as i64));
        let state = STATE.map(|name| step.graph.op("Gather", &[name, &index], &[]));
        let [att_x, ffn_x, wkv @ ..] = &state;
        let (out, att_x, wkv) = step.time_mixing(&format!("blocks.{layer}"), &x, att_x, wkv);
        x = out;
        let (out, ffn_x) = step.channel_mixing(&format!("blocks.{layer}"), &x, ffn_x);
        x = out;
        let [aa, bb, pp] = wkv;
        for (all, one) in next_state.iter_mut().zip([att_x, ffn_x, aa, bb, pp]) {
            all.push(step.graph.op("Unsqueeze", &[&one, "first_axis"], &[]));
        }
    }
    let x = step.layer_norm(&x, "ln_out");
    let head = step.matrix("head.weight");
    step.graph
        .op_as("logits", "Gemm", &[&x, &head], &[("transB", 1)]);
    for (name, layers) in STATE.iter().zip(&next_state) {
        let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
        step.graph
            .op_as(&next(name), "Concat", &layers, &[("axis", 0)]);
    }
    step.graph
}

/// What the state tensor `name` is called behind the step.
pub(super) fn next(name: &str) -> String {
    format!("next_{name}")
}

struct Step {
    graph: Graph,
    half: bool,
    eps: f32,
}

impl Step {
    /// Returns the new residual stream, the layer's normed input and aa, bb, pp.
    fn time_mixing(
        &mut self,
        block: &str,
        x: &str,
        before: &str,
        wkv: &[String; 3],
    ) -> (String, String, [String; 3]) {
        let a = self.layer_norm(x, &format!("{block}.ln1"));
        let part = format!("{block}.att");
        let [k, v, r] = ["key", "value", "receptance"].map(|name| {
            let mixed = self.mix(&a, before, &format!("{part}.time_mix_{}", &name[..1]));
            self.product(&mixed, &format!("{part}.{name}.weight"))
        });
        let r = self.one("Sigmoid", &r);
        let [aa, bb, pp] = wkv;
        // y = (e^(pp-q) aa + e^(u+k-q) v) / (e^(pp-q) bb + e^(u+k-q)), q = max(pp, u+k)
        let first = self.two("Add", &format!("{part}.time_first"), &k);
        let (e1, e2, _) = self.scales(pp, &first);
        let (numerator, denominator) = self.sums(&e1, &e2, aa, bb, &v);
        let y = self.two("Div", &numerator, &denominator);
        // The same with the decay w = -e^time_decay in the place of nothing, and k in that of u+k: the next state.
        let decay = self.one("Exp", &format!("{part}.time_decay"));
        let decayed = self.two("Sub", pp, &decay);
        let (e1, e2, pp) = self.scales(&decayed, &k);
        let (aa, bb) = self.sums(&e1, &e2, aa, bb, &v);
        let gated = self.two("Mul", &r, &y);
        let out = self.product(&gated, &format!("{part}.output.weight"));
        (self.two("Add", x, &out), a, [aa, bb, pp])
    }

    /// Returns the new residual stream and the layer's normed input.
    fn channel_mixing(&mut self, block: &str, x: &str, before: &str) -> (String, String) {
        let b = self.layer_norm(x, &format!("{block}.ln2"));
        let part = format!("{block}.ffn");
        let [k, r] = ["key", "receptance"].map(|name| {
            let mixed = self.mix(&b, before, &format!("{part}.time_mix_{}", &name[..1]));
            self.product(&mixed, &format!("{part}.{name}.weight"))
        });
        let k = self.one("Relu", &k);
        let k = self.two("Mul", &k, &k);
        let v = self.product(&k, &format!("{part}.value.weight"));
        let r = self.one("Sigmoid", &r);
        let gated = self.two("Mul", &r, &v);
        (self.two("Add", x, &gated), b)
    }

    /// e^(a-q), e^(b-q) and q = max(a, b).
    fn scales(&mut self, a: &str, b: &str) -> (String, String, String) {
        let q = self.two("Max", a, b);
        let [e1, e2] = [a, b].map(|exponent| {
            let difference = self.two("Sub", exponent, &q);
            self.one("Exp", &difference)
        });
        (e1, e2, q)
    }

    /// e1 aa + e2 v, and e1 bb + e2.
    fn sums(&mut self, e1: &str, e2: &str, aa: &str, bb: &str, v: &str) -> (String, String) {
        let (old, new) = (self.two("Mul", e1, aa), self.two("Mul", e2, v));
        let numerator = self.two("Add", &old, &new);
        let old = self.two("Mul", e1, bb);
        (numerator, self.two("Add", &old, e2))
    }

    /// now · mix + before · (1 - mix).
    fn mix(&mut self, now: &str, before: &str, mix: &str) -> String {
        let rest = self.two("Sub", "one", mix);
        let (now, before) = (self.two("Mul", now, mix), self.two("Mul", before, &rest));
        self.two("Add", &now, &before)
    }

    fn layer_norm(&mut self, x: &str, name: &str) -> String {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let eps = self.eps;
        self.graph.layer_norm(&[x, &weight, &bias], eps)
    }

    /// x · Wᵀ, W `[out, in]`.
    fn product(&mut self, x: &str, matrix: &str) -> String {
        let matrix = self.matrix(matrix);
        self.graph.op("Gemm", &[x, &matrix], &[("transB", 1)])
    }

    fn matrix(&mut self, name: &str) -> String {
        self.as_f32(name.to_owned())
    }

    fn as_f32(&mut self, stored: String) -> String {
        match self.half {
            true => self.graph.op("Cast", &[&stored], &[("to", FLOAT)]),
            false => stored,
        }
    }

    fn one(&mut self, op: &str, x: &str) -> String {
        self.graph.op(op, &[x], &[])
    }

    fn two(&mut self, op: &str, a: &str, b: &str) -> String {
        self.graph.op(op, &[a, b], &[])
    }
}
