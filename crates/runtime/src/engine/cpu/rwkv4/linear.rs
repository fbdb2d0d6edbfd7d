//! A product with a matrix of the model, and what adapters add to it: `y = W·x + s · B·(A·x)` for the rows that have an adapter.
//!
//! A row's bits depend on nothing but the row; W's format plays no part.

use crate::adapter::Lora;
use crate::engine::cpu::Work;
use crate::engine::cpu::matmul::{Isa, Product, Workspace, matmul};
use crate::engine::cpu::ops;
use crate::engine::{Part, Rows, adapter_runs};
use crate::model::rwkv4::Rwkv4Matrix;
use ptbr_model::MatrixData;

/// Memory of products that follow each other, and what they have cost.
#[derive(Default)]
pub(super) struct Products {
    workspace: Workspace,
    /// `A·x`, `[rows of an adapter, rank]`.
    low: Vec<f32>,
    pub work: Work,
}

/// One matrix `[out, cols]` of the model.
pub(super) struct Linear<'a> {
    pub isa: Isa,
    pub weights: MatrixData<'a>,
    /// By what name adapters change it.
    pub matrix: Rwkv4Matrix,
    pub out: usize,
    pub cols: usize,
}

impl Linear<'_> {
    /// `output [N, out]` from `input [N, cols]`, N being the `rows` of all parts, at least one.
    pub(super) fn apply(
        &self,
        input: &[f32],
        parts: &[Part<'_>],
        rows: Rows,
        products: &mut Products,
        output: &mut Vec<f32>,
    ) {
        let n = parts.iter().map(|part| part.count(rows)).sum();
        output.resize(n * self.out, 0.0);
        products.work.count(self.weights, n);
        matmul(
            self.isa,
            Product {
                weights: self.weights,
                input,
                output,
                tokens: n,
            },
            &mut products.workspace,
        );
        for (run, adapter) in adapter_runs(parts, rows) {
            if let Some(lora) = adapter.lora(self.matrix) {
                let input = &input[run.start * self.cols..run.end * self.cols];
                let output = &mut output[run.start * self.out..run.end * self.out];
                self.add_change(lora, input, run.len(), products, output);
            }
        }
    }

    /// `output [n, out] += s · B·(A·input)`, input `[n, cols]`.
    fn add_change(
        &self,
        lora: Lora<'_>,
        input: &[f32],
        n: usize,
        products: &mut Products,
        output: &mut [f32],
    ) {
        let (a, b) = (MatrixData::F32(lora.a), MatrixData::F32(lora.b_turned));
        products.work.count(a, n);
        products.work.count(b, n);
        let low = &mut products.low;
        low.resize(n * lora.rank, 0.0);
        matmul(
            self.isa,
            Product {
                weights: a,
                input,
                output: low,
                tokens: n,
            },
            &mut products.workspace,
        );
        low.iter_mut().for_each(|value| *value *= lora.scale);
        ops::add_combination(output, low, lora.b_turned, lora.rank);
    }
}
