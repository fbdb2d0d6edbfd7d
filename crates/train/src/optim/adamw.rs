//! AdamW with bias correction and decoupled weight decay (Loshchilov & Hutter 2019), learning-rate factors by parameter name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use ptbr_kernels::cpu::AdamwParams;
use ptbr_model::TrainingConfig;

use super::flat::{Flat, for_blocks};
use super::gradients::GradientSum;
use super::moments::{Kept, Moments, update_packed};
use super::muon::{Muon, MuonStep};
use crate::model::Rwkv;
use crate::model::init::split_layer;
use crate::model::parameters::Path;

/// The optimizer's state: moments by parameter name, and the momentum of what Muon moves.
#[derive(Debug, Clone, Default)]
pub struct AdamW {
    moments: BTreeMap<String, Moments>,
    /// Of the matrices that [`Optimizer::Muon`](ptbr_model::Optimizer::Muon) takes from AdamW.
    pub muon: Muon,
}

/// One update.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Learning rate of this step, before factors.
    pub learning_rate: f64,
    /// Every gradient is multiplied by this first: what [`GradientSum::unscale`] left.
    pub gradient_scale: f64,
    /// Updates made before this one.
    pub updates: u64,
}

/// The constants of an update of one parameter, in the precision that the loop uses.
fn constants(name: &str, rank: usize, config: &TrainingConfig, step: AdamWStep) -> AdamwParams {
    let (_, part) = split_layer(name);
    let factor = match part {
        "att.time_decay" => config.time_decay_lr_scale,
        "att.time_first" => config.time_first_lr_scale,
        _ => 1.0,
    };
    let rate = step.learning_rate * factor;
    // i32 holds more updates than any run makes; powi of larger ones is 0 all the same.
    let t = i32::try_from(step.updates.saturating_add(1)).unwrap_or(i32::MAX);
    // Vectors are gains, biases, decays and mixes: decay would pull them to values that mean something else than "small".
    let weight_decay = if rank >= 2 { config.weight_decay } else { 0.0 };
    AdamwParams {
        beta1: config.adam_beta1 as f32,
        beta2: config.adam_beta2 as f32,
        rate: (rate / (1.0 - config.adam_beta1.powi(t))) as f32,
        correction: (1.0 / (1.0 - config.adam_beta2.powi(t)).sqrt()) as f32,
        eps: config.adam_eps as f32,
        decay: (rate * weight_decay) as f32,
        gradient_scale: step.gradient_scale as f32,
    }
}

/// An update in f32 on the CPU.
fn update_host(c: &AdamwParams, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * c.gradient_scale;
        *m = c.beta1 * *m + (1.0 - c.beta1) * g;
        *v = c.beta2 * *v + (1.0 - c.beta2) * g * g;
        *p -= c.rate * *m / (v.sqrt() * c.correction + c.eps) + c.decay * *p;
    }
}

/// The same in tensor operations, for other devices.
fn update_device(
    c: &AdamwParams,
    p: Tensor<1>,
    (m, v): (Tensor<1>, Tensor<1>),
    g: Tensor<1>,
) -> [Tensor<1>; 3] {
    let g = match c.gradient_scale {
        1.0 => g,
        scale => g * scale,
    };
    let m = m * c.beta1 + g.clone() * (1.0 - c.beta1);
    let v = v * c.beta2 + g.square() * (1.0 - c.beta2);
    let change = m.clone() * c.rate / (v.clone().sqrt() * c.correction + c.eps);
    let p = p.clone() - (change + p * c.decay);
    [p, m, v]
}

impl AdamW {
    /// Applies `gradients`, which are used up, to `model`.
    ///
    /// On the CPU parameters and moments change in place: burn's mappers take a module by value, so it is moved out for the while;
    /// a second handle to a parameter would make each of them a copy.
    pub fn step(
        &mut self,
        model: &mut Rwkv,
        gradients: &mut GradientSum,
        config: &TrainingConfig,
        step: AdamWStep,
    ) {
        let taken = std::mem::replace(model, Rwkv::empty());
        *model = taken.map(&mut Update {
            path: Path::default(),
            optimizer: self,
            gradients,
            config,
            step,
        });
    }

    /// The moments of a parameter; `None` before its first update.
    pub fn moments(&self, name: &str) -> Option<&Moments> {
        self.moments.get(name)
    }

    /// Bytes that the moments take.
    pub fn bytes(&self) -> u64 {
        let both = |moments: &Moments| moments.m.len() + moments.v.len();
        let elements: usize = self.moments.values().map(both).sum();
        (elements * size_of::<f32>()) as u64
    }

    /// Puts the moments of a checkpoint in place.
    pub fn restore(&mut self, name: String, moments: Moments) {
        self.moments.insert(name, moments);
    }
}

struct Update<'a> {
    path: Path,
    optimizer: &'a mut AdamW,
    gradients: &'a mut GradientSum,
    config: &'a TrainingConfig,
    step: AdamWStep,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let Some(gradient) = self.gradients.take(name) else {
            return param;
        };
        let constants = constants(name, D, self.config, self.step);
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.dims(), tensor.device().inner());
        let parameter = Flat::of(tensor.inner());
        if self.config.optimizer.orthogonalises(name, D) {
            let (host, len) = (matches!(parameter, Flat::Host(_)), parameter.len());
            let zeros = || Flat::from_values(vec![0.0; len], &device, host);
            let step = MuonStep {
                shape: [shape[0], shape[D - 1]],
                learning_rate: self.step.learning_rate,
                weight_decay: self.config.weight_decay,
                gradient_scale: self.step.gradient_scale,
            };
            let muon = &mut self.optimizer.muon;
            let moved = muon.update(name, parameter, gradient, step, zeros);
            let tensor = Tensor::from_inner(moved.into_tensor(shape)).require_grad();
            return Param::from_mapped_value(id, tensor, mapper);
        }
        let packs = self.config.moments.packs(D, parameter.len() as u64);
        let kept = self.optimizer.moments.remove(name);
        let moments = kept.unwrap_or_else(|| Moments::zeros(&parameter, &device, packs));
        let (parameter, moments) = updated(&constants, parameter, moments, gradient);
        self.optimizer.moments.insert(name.to_owned(), moments);
        let tensor = Tensor::from_inner(parameter.into_tensor(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// A parameter and its moments after an update by `gradient`.
fn updated(
    constants: &AdamwParams,
    parameter: Flat,
    moments: Moments,
    gradient: Flat,
) -> (Flat, Moments) {
    let (m, v) = match (moments.m, moments.v) {
        (Kept::Packed(mut m), Kept::Packed(mut v)) => {
            let parameter = update_packed(parameter, (&mut m, &mut v), &gradient, constants);
            let (m, v) = (Kept::Packed(m), Kept::Packed(v));
            return (parameter, Moments { m, v });
        }
        (Kept::Full(m), Kept::Full(v)) => (m, v),
        _ => unreachable!("both moments of a parameter are packed, or none"),
    };
    match (parameter, m, v, gradient) {
        (Flat::Host(mut p), Flat::Host(mut m), Flat::Host(mut v), Flat::Host(g)) => {
            for_blocks((&mut p, &mut m, &mut v), &g, |p, m, v, g| {
                update_host(constants, p, m, v, g)
            });
            (Flat::Host(p), Moments::full(Flat::Host(m), Flat::Host(v)))
        }
        (Flat::Device(p), Flat::Device(m), Flat::Device(v), Flat::Device(g)) => {
            let [p, m, v] = update_device(constants, p, (m, v), g);
            (
                Flat::Device(p),
                Moments::full(Flat::Device(m), Flat::Device(v)),
            )
        }
        _ => unreachable!("a parameter, its gradient and its moments live on one device"),
    }
}
