//! Memory for one step's activations; kept between steps, so that decoding allocates nothing.

use super::layout::Layout;
use super::linear::Products;
use super::wkv::WkvMemory;
use crate::engine::cpu::Work;

/// See the module. N rows, C = d_model, F = d_ffn.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) layout: Layout,
    /// Residual stream `[N, C]`.
    pub(super) x: Vec<f32>,
    /// After a layer norm `[N, C]`.
    pub(super) normed: Vec<f32>,
    /// Three products that may run side by side.
    pub(super) branches: [Branch; 3],
    /// Keys `[N, C]`, in channel mixing `[N, F]`.
    pub(super) k: Vec<f32>,
    /// Values `[N, C]`.
    pub(super) v: Vec<f32>,
    /// Receptances `[N, C]`.
    pub(super) r: Vec<f32>,
    pub(super) wkv: WkvMemory,
}

/// What one of several products at a time needs for itself.
#[derive(Default)]
pub(super) struct Branch {
    /// Token shifts `[N, C]`: the product's input.
    pub mixed: Vec<f32>,
    pub products: Products,
}

impl Scratch {
    /// What the products have cost.
    pub(crate) fn work(&self) -> Work {
        self.branches.iter().fold(Work::default(), |sum, branch| {
            sum.plus(branch.products.work)
        })
    }
}
