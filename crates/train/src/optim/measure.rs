//! What a step asks of its gradients before it applies them: their global norm, and whether all of them are finite. On a GPU the answer
//! and the losses of the micro-batches come back in one read: every read waits for the device.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::server::Handle;
use ptbr_kernels::cpu::{GradStats, GradStatsParams, grad_unscale_params};
use ptbr_kernels::table;

use super::flat::{Flat, sum_of_squares};
use super::gradients::GradientSum;
use crate::ops::head_loss::LossReport;
use crate::ops::kernels::{filled, launch, runs_wgsl, sized, upload};

/// The answers.
#[derive(Debug, Clone)]
pub struct Measured {
    /// One report a micro-batch.
    pub reports: Vec<LossReport>,
    /// The norm of all gradients together; not finite when an element is not, or a sum of squares.
    pub norm: f64,
}

impl GradientSum {
    /// The norm of all gradients times `unscale`, in the order of their names, and what `reports` (each `[2]`) hold.
    ///
    /// On the CPU squares are summed in f64; on a GPU by `shaders/grad_stats.wgsl`, or by tensor operations where WGSL does not run.
    pub fn measure(&self, unscale: f64, reports: Vec<Tensor<1>>) -> Measured {
        let mut on_host = 0.0;
        let mut on_device = Vec::new();
        for gradient in self.sums.values() {
            match gradient {
                Flat::Host(elements) => on_host += sum_of_squares(elements),
                Flat::Device(tensor) => on_device.push(cube(tensor.clone())),
            }
        }
        if on_device.is_empty() {
            let reports = reports.into_iter();
            return Measured {
                reports: reports.map(|r| LossReport::of(&read(r))).collect(),
                norm: on_host.sqrt() * unscale,
            };
        }
        let (micro_batches, mut all) = (reports.len(), reports);
        let by_kernel = runs_wgsl(&on_device[0].client);
        if by_kernel {
            all.push(stats(&on_device, unscale));
        } else {
            let squares = |t| (Tensor::<1>::from_primitive::<CubeBackend>(t) * unscale).square();
            all.extend(on_device.into_iter().map(|t| squares(t).sum()));
        }
        let values = read(Tensor::cat(all, 0));
        let (reports, squares) = values.split_at(values.len().min(micro_batches * LossReport::LEN));
        let norm = match by_kernel {
            true => GradStats::norm(bytemuck::cast_slice(squares)).unwrap_or(f64::NAN),
            false => squares.iter().map(|s| f64::from(*s)).sum::<f64>().sqrt(),
        };
        // A device that could not be read gave nothing at all.
        let norm = if values.is_empty() { f64::NAN } else { norm };
        Measured {
            reports: reports
                .chunks(LossReport::LEN)
                .map(LossReport::of)
                .collect(),
            norm,
        }
    }

    /// Multiplies the gradients that lie on a GPU by `factor`, in place. Returns what is left to multiply by: 1 there, and `factor` on
    /// the CPU, where the optimizer does it in its own pass over the gradient.
    pub fn unscale(&mut self, factor: f64) -> f64 {
        let (mut left, mut uploaded) = (factor, None);
        // By value: a second handle would make each product a copy.
        for (name, gradient) in std::mem::take(&mut self.sums) {
            let gradient = match gradient {
                Flat::Host(_) => gradient,
                Flat::Device(tensor) => {
                    left = 1.0;
                    Flat::Device(multiplied(tensor, factor as f32, &mut uploaded))
                }
            };
            self.sums.insert(name, gradient);
        }
        left
    }
}

/// Sum of squares and number of elements that are not finite, for each block of each gradient: `[2 · slots]`, in one buffer.
fn stats(gradients: &[CubeTensor], unscale: f64) -> Tensor<1> {
    let (client, device) = (&gradients[0].client, &gradients[0].device);
    let mut slots = 0;
    let mut launches = Vec::with_capacity(gradients.len());
    for gradient in gradients {
        let params = GradStatsParams {
            elements: u32::try_from(gradient.meta.num_elements()).unwrap_or(u32::MAX),
            first_slot: slots,
            unscale: unscale as f32,
        };
        slots += params.slots();
        launches.push(params);
    }
    let out = client.empty(slots as usize * size_of::<GradStats>());
    for (gradient, params) in gradients.iter().zip(launches) {
        let gradient = into_contiguous(gradient.clone());
        let buffers = [&gradient.handle, &out];
        let workgroups = [params.slots(), 1, 1];
        let kernel = &table::GRAD_STATS_READ_WRITE;
        launch(client, kernel, &buffers, &params.words(), workgroups);
    }
    let shape = Shape::from(vec![2 * slots as usize]);
    Tensor::from_primitive::<CubeBackend>(filled(client, device, shape, out, DType::F32))
}

/// A gradient on a GPU times `factor`, which is uploaded once.
fn multiplied(gradient: Tensor<1>, factor: f32, uploaded: &mut Option<Handle>) -> Tensor<1> {
    let gradient = into_contiguous(cube(gradient));
    if !runs_wgsl(&gradient.client) || !gradient.handle.can_mut() {
        return Tensor::from_primitive::<CubeBackend>(gradient) * factor;
    }
    let factor = uploaded.get_or_insert_with(|| upload(&gradient.client, &[factor]));
    let params = sized(grad_unscale_params(gradient.meta.num_elements()));
    let buffers = [&gradient.handle, &*factor];
    let workgroups = [params[1], 1, 1];
    let kernel = &table::GRAD_UNSCALE_READ_WRITE;
    launch(&gradient.client, kernel, &buffers, &params, workgroups);
    Tensor::from_primitive::<CubeBackend>(gradient)
}

/// The tensor as burn's GPU backend has it.
fn cube(tensor: Tensor<1>) -> CubeTensor {
    match tensor.try_into_primitive::<CubeBackend>() {
        Ok(primitive) => primitive,
        Err(_) => unreachable!("a gradient lies on the CPU backend or on the GPU backend"),
    }
}

/// The elements of a tensor; none when its device cannot be read.
fn read(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_default()
}
