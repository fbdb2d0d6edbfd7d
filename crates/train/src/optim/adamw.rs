//! AdamW with bias correction and decoupled weight decay (Loshchilov & Hutter 2019), learning-rate factors by parameter name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use ptbr_model::TrainingConfig;

use super::flat::{Flat, for_blocks};
use super::gradients::GradientSum;
use crate::model::Rwkv;
use crate::model::init::split_layer;
use crate::model::parameters::Path;

/// The moments of one parameter.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Running mean of the gradient.
    pub m: Flat,
    /// Running mean of its square.
    pub v: Flat,
}

/// The optimizer's state: moments by parameter name.
#[derive(Debug, Default)]
pub struct AdamW {
    moments: BTreeMap<String, Moments>,
}

/// One update.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Learning rate of this step, before factors.
    pub learning_rate: f64,
    /// Every gradient is multiplied by this first: clipping and the mean over micro-batches.
    pub gradient_scale: f64,
    /// Updates made before this one.
    pub updates: u64,
}

/// The constants of an update of one parameter, in the precision that the loop uses.
#[derive(Debug, Clone, Copy)]
struct Constants {
    beta1: f32,
    beta2: f32,
    /// `learning rate / (1 - beta1^t)`.
    rate: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    correction: f32,
    eps: f32,
    /// `learning rate · weight decay`.
    decay: f32,
    scale: f32,
}

impl Constants {
    fn of(name: &str, rank: usize, config: &TrainingConfig, step: AdamWStep) -> Self {
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
        Self {
            beta1: config.adam_beta1 as f32,
            beta2: config.adam_beta2 as f32,
            rate: (rate / (1.0 - config.adam_beta1.powi(t))) as f32,
            correction: (1.0 / (1.0 - config.adam_beta2.powi(t)).sqrt()) as f32,
            eps: config.adam_eps as f32,
            decay: (rate * weight_decay) as f32,
            scale: step.gradient_scale as f32,
        }
    }

    fn update_host(self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * self.scale;
            *m = self.beta1 * *m + (1.0 - self.beta1) * g;
            *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
            *p -= self.rate * *m / (v.sqrt() * self.correction + self.eps) + self.decay * *p;
        }
    }

    fn update_device(
        self,
        p: Tensor<1>,
        moments: (Tensor<1>, Tensor<1>),
        g: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        let g = g * self.scale;
        let m = moments.0 * self.beta1 + g.clone() * (1.0 - self.beta1);
        let v = moments.1 * self.beta2 + g.square() * (1.0 - self.beta2);
        let change = m.clone() * self.rate / (v.clone().sqrt() * self.correction + self.eps);
        let p = p.clone() - (change + p * self.decay);
        [p, m, v]
    }
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
        let constants = Constants::of(name, D, self.config, self.step);
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.dims(), tensor.device());
        let parameter = Flat::of(tensor.inner());
        let moments = self.optimizer.moments.remove(name).unwrap_or_else(|| {
            let zeros = || {
                let host = matches!(parameter, Flat::Host(_));
                Flat::from_values(vec![0.0; parameter.len()], &device.clone().inner(), host)
            };
            Moments {
                m: zeros(),
                v: zeros(),
            }
        });
        let (parameter, moments) = match (parameter, moments.m, moments.v, gradient) {
            (Flat::Host(mut p), Flat::Host(mut m), Flat::Host(mut v), Flat::Host(g)) => {
                for_blocks((&mut p, &mut m, &mut v), &g, |p, m, v, g| {
                    constants.update_host(p, m, v, g)
                });
                (
                    Flat::Host(p),
                    Moments {
                        m: Flat::Host(m),
                        v: Flat::Host(v),
                    },
                )
            }
            (Flat::Device(p), Flat::Device(m), Flat::Device(v), Flat::Device(g)) => {
                let [p, m, v] = constants.update_device(p, (m, v), g);
                (
                    Flat::Device(p),
                    Moments {
                        m: Flat::Device(m),
                        v: Flat::Device(v),
                    },
                )
            }
            _ => unreachable!("a parameter, its gradient and its moments live on one device"),
        };
        self.optimizer.moments.insert(name.to_owned(), moments);
        let tensor = Tensor::from_inner(parameter.into_tensor(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
