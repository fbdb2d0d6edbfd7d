//! Several tokens in one submission: each step's logits are sampled where they are, and the token goes straight into the next step.

use super::GpuError;
use super::arena::buffer;
use super::pipelines::{Pipeline, kernel};
use super::plan::StepSizes;
use super::step::{ATTEMPTS, GpuEngine, Inner, Layout};
use crate::RuntimeError;
use crate::engine::Part;
use ptbr_kernels::cpu::{SampleParams, SampleSettings};
use ptbr_tokenizer::TokenId;
use std::sync::PoisonError;

/// How to draw.
pub(crate) struct Draws<'a> {
    pub settings: SampleSettings,
    /// Tokens so far.
    pub history: &'a [TokenId],
    /// How many of the last ones the penalty looks at; 0 is all, and whatever it is where there is no penalty.
    pub window: usize,
    /// 64 bits for each draw, as many as draws.
    pub random: &'a [u64],
}

/// Buffers of the sampler for a number of steps and a capacity of the history.
pub(super) struct Sampling {
    steps: usize,
    capacity: usize,
    pipeline: Pipeline,
    group: wgpu::BindGroup,
    history: wgpu::Buffer,
    settings: wgpu::Buffer,
    random: wgpu::Buffer,
    drawn: wgpu::Buffer,
}

impl Sampling {
    fn fits(&self, steps: usize, capacity: usize) -> bool {
        self.steps == steps && self.capacity == capacity
    }
}

impl GpuEngine {
    /// Reads the part's one token, draws the next, reads it, and so on; the tokens drawn, the last of which is not read. `None` for those that could not be drawn.
    ///
    /// Who drops this future while it waits, or gets an error, has lost the state: both slots of it have been written. A copy must be kept.
    pub(crate) async fn write(
        &self,
        mut part: Part<'_>,
        draws: &Draws<'_>,
    ) -> Result<Vec<Option<TokenId>>, RuntimeError> {
        let steps = draws.random.len();
        let total = draws.history.len().saturating_add(steps);
        let capacity = match (draws.settings.penalty == 1.0, draws.window) {
            (true, _) => 0,
            (false, 0) => total.next_power_of_two(),
            (false, window) => window.min(total).next_power_of_two(),
        };
        let parts = std::slice::from_mut(&mut part);
        let mut staging = None;
        // More than once only when other sessions draw with other sizes at the same time.
        for _ in 0..ATTEMPTS {
            self.prepare_sampling(steps, capacity).await?;
            staging = self
                .with_adapters(parts, &mut |inner, layout| {
                    let sampling = inner.sampling.as_ref();
                    let is_ready = sampling.is_some_and(|own| own.fits(steps, capacity));
                    Some(
                        is_ready
                            .then(|| self.submit_writing(inner, layout, draws, steps, capacity)),
                    )
                })
                .await?;
            if staging.is_some() {
                break;
            }
        }
        let staging = staging.ok_or_else(|| self.too_crowded())?;
        let mut drawn = vec![0u32; 1 + steps];
        self.staging.read(&self.device, staging, &mut drawn).await?;
        let slot = part.slot.gpu()?;
        (0..steps).for_each(|_| slot.swap());
        // NO_TOKEN is no token id.
        Ok(drawn[1..]
            .iter()
            .map(|&token| TokenId::try_from(token).ok())
            .collect())
    }

    /// Makes buffers and bind group of the sampler, unless they are there.
    async fn prepare_sampling(&self, steps: usize, capacity: usize) -> Result<(), GpuError> {
        let fits = |sampling: &Sampling| sampling.fits(steps, capacity);
        if self.lock().sampling.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let sampling = self
            .device
            .scoped(|| self.make_sampling(steps, capacity))
            .await?;
        self.lock().sampling = Some(sampling);
        Ok(())
    }

    fn make_sampling(&self, steps: usize, capacity: usize) -> Sampling {
        let device = &self.device;
        let pipeline = device
            .pipelines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(device, kernel("sample", "read"));
        let make = |label: &str, words: usize| buffer(device, label, words);
        let (history, settings) = (
            make("sample.history", 2 + capacity),
            make("sample.settings", 8),
        );
        let (random, drawn) = (
            make("sample.random", steps * 2),
            make("sample.drawn", 1 + steps),
        );
        let params = make("sample.params", 4);
        let words = SampleParams {
            vocab: self.sizes.vocab as u32,
            rows: 1,
            steps: steps as u32,
            capacity: capacity as u32,
        }
        .words();
        device
            .queue
            .write_buffer(&params, 0, bytemuck::cast_slice(&words));
        let buffers = [
            &self.arena.logits,
            &history,
            &settings,
            &random,
            &self.arena.rows,
            &self.arena.seqs,
            &drawn,
            &params,
        ];
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("sample"),
            layout: &pipeline.layout,
            entries: &entries,
        });
        Sampling {
            steps,
            capacity,
            pipeline,
            group,
            history,
            settings,
            random,
            drawn,
        }
    }

    fn submit_writing(
        &self,
        inner: &mut Inner,
        layout: &Layout,
        draws: &Draws<'_>,
        steps: usize,
        capacity: usize,
    ) -> wgpu::Buffer {
        let plan = self.plan(inner);
        let step: StepSizes = layout.sizes();
        plan.prepare(&self.device, step);
        self.write_layout(layout);
        let bytes = 4 * (1 + steps as u64);
        let staging = self.staging.take(&self.device, bytes);
        let mut encoder = self.encoder("write");
        let (Some(plan), Some(sampling)) = (&inner.plan, &inner.sampling) else {
            unreachable!("made by prepare and prepare_sampling");
        };
        let queue = &self.device.queue;
        queue.write_buffer(
            &sampling.history,
            0,
            bytemuck::cast_slice(&ring(draws, capacity)),
        );
        queue.write_buffer(&sampling.settings, 0, bytemuck::bytes_of(&draws.settings));
        queue.write_buffer(&sampling.random, 0, bytemuck::cast_slice(draws.random));
        queue.write_buffer(&sampling.drawn, 0, bytemuck::bytes_of(&0u32));
        for _ in 0..steps {
            plan.record(&mut encoder, step);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("sample"),
                timestamp_writes: None,
            });
            pass.set_pipeline(&sampling.pipeline.raw);
            pass.set_bind_group(0, &sampling.group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        encoder.copy_buffer_to_buffer(&sampling.drawn, 0, &staging, 0, bytes);
        queue.submit([encoder.finish()]);
        staging
    }
}

/// Number of tokens so far, window, ring of the last `capacity`: token number n is in place n % capacity.
fn ring(draws: &Draws<'_>, capacity: usize) -> Vec<u32> {
    let total = draws.history.len();
    let mut words = vec![0; 2 + capacity];
    (words[0], words[1]) = (
        total as u32,
        u32::try_from(draws.window).unwrap_or(u32::MAX),
    );
    for (number, &token) in draws
        .history
        .iter()
        .enumerate()
        .skip(total.saturating_sub(capacity))
    {
        words[2 + number % capacity] = u32::from(token);
    }
    words
}
