//! The sum of gradients over micro-batches.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use super::flat::Flat;
use crate::model::Rwkv;
use crate::model::parameters::Path;

/// Gradients by parameter name, added up over micro-batches.
#[derive(Debug, Default)]
pub struct GradientSum {
    pub(super) sums: BTreeMap<String, Flat>,
}

impl GradientSum {
    /// Adds the gradients of one backward pass, taking them out of `gradients`.
    pub fn add(&mut self, model: &Rwkv, gradients: Gradients) {
        model.visit(&mut Collector {
            path: Path::default(),
            gradients,
            sums: &mut self.sums,
        });
    }

    /// The gradient of one parameter; `None` when nothing reached it.
    pub(super) fn take(&mut self, name: &str) -> Option<Flat> {
        self.sums.remove(name)
    }

    /// The names of the parameters that have a gradient, in canonical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sums.keys().map(String::as_str)
    }

    /// The gradients in the order of their names.
    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Flat> {
        self.sums.values_mut()
    }

    /// Drops the gradients of the parameters whose name is not `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.sums.retain(|name, _| wanted(name));
    }

    /// The gradient of one parameter, read from its device; `None` when nothing reached it or it cannot be read.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let mut values = Vec::new();
        let copy = &mut |part: &[f32]| {
            values.extend_from_slice(part);
            Ok(())
        };
        self.sums.get(name)?.read(copy).ok()?;
        Some(values)
    }
}

struct Collector<'a> {
    path: Path,
    gradients: Gradients,
    sums: &'a mut BTreeMap<String, Flat>,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            let gradient = Flat::of(gradient);
            match self.sums.get_mut(self.path.name()) {
                Some(sum) => sum.add(gradient),
                None => {
                    self.sums.insert(self.path.name().to_owned(), gradient);
                }
            }
        }
    }
}
