//! The engine: one model on one GPU, and its steps.

use super::GpuError;
use super::adapters::Bank;
use super::arena::{Arena, Sizes, buffer};
use super::check;
use super::device::{Device, GpuOptions};
use super::plan::{Plan, StepSizes};
use super::readback::Staging;
use super::slots::{Slot, SlotPool};
use super::weights::GpuWeights;
use super::write::Sampling;
use crate::LoadedAdapter;
use crate::RuntimeError;
use crate::engine::cpu::Work;
use crate::engine::{Part, Wanted};
use crate::model::Weights;
use crate::model::rwkv4::Rwkv4Weights;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One model on one GPU.
pub(crate) struct GpuEngine {
    pub(super) device: Arc<Device>,
    pub(super) sizes: Sizes,
    weights: GpuWeights,
    pub(super) arena: Arena,
    pub(super) staging: Staging,
    pool: Arc<SlotPool>,
    inner: Mutex<Inner>,
}

/// What changes while the engine runs.
pub(super) struct Inner {
    bank: Bank,
    state: wgpu::Buffer,
    /// One state on its way from slot to slot.
    transit: wgpu::Buffer,
    /// Slots that `state` holds.
    slots: usize,
    pub(super) plan: Option<Plan>,
    pub(super) sampling: Option<Sampling>,
}

/// Row of an adapter that is none; as in the shaders.
const NO_ADAPTER: u32 = u32::MAX;

impl GpuEngine {
    /// Opens a GPU, checks that it computes rightly, and uploads the model.
    pub(crate) async fn open(
        options: GpuOptions,
        weights: &Weights,
        model: &Rwkv4Weights,
    ) -> Result<Self, GpuError> {
        let device = Arc::new(Device::open(options).await?);
        check::known_answer(&device, &model.formats(weights)).await?;
        Self::new(device, weights, model).await
    }

    /// Uploads a model to an open device.
    pub(super) async fn new(
        device: Arc<Device>,
        weights: &Weights,
        model: &Rwkv4Weights,
    ) -> Result<Self, GpuError> {
        let sizes = Sizes {
            vocab: model.vocab_size,
            d_model: model.d_model,
            d_ffn: model.layers.first().map_or(0, |layer| layer.ffn_value.cols),
            layers: model.layers.len(),
            eps: model.eps,
            max_binding: usize::try_from(device.max_binding).unwrap_or(usize::MAX),
        };
        if sizes.max_slots() < 2 {
            return Err(GpuError::TooLarge {
                what: "the state of a session".to_owned(),
                bytes: sizes.state_len() as u64 * 8,
                limit: device.max_binding,
            });
        }
        let weights = GpuWeights::upload(&device, weights, model).await?;
        let arena = Arena::new(&device, &sizes).await?;
        let slots = 8.min(sizes.max_slots());
        let (state, transit, bank) = device
            .scoped(|| {
                (
                    buffer(&device, "state", slots * sizes.state_len()),
                    buffer(&device, "state in transit", sizes.state_len()),
                    Bank::new(&device, &sizes),
                )
            })
            .await?;
        Ok(Self {
            device,
            sizes,
            weights,
            arena,
            staging: Staging::default(),
            pool: Arc::default(),
            inner: Mutex::new(Inner {
                bank,
                state,
                transit,
                slots,
                plan: None,
                sampling: None,
            }),
        })
    }

    /// The adapter's name.
    pub(crate) fn name(&self) -> &str {
        &self.device.name
    }

    /// Most rows of a step.
    pub(crate) fn max_rows(&self) -> usize {
        self.sizes.max_rows()
    }

    /// Most rows of logits of a step.
    pub(crate) fn max_logits(&self) -> usize {
        self.sizes.max_logits()
    }

    /// Slots for one more session, whatever is in them. Fails with [`GpuError::TooLarge`] when a binding holds no more.
    pub(crate) fn new_slot(&self) -> Result<Slot, GpuError> {
        let most = self.sizes.max_slots() / 2;
        let slot = self.pool.take(most).ok_or_else(|| GpuError::TooLarge {
            what: format!("the state of one more than {most} sessions"),
            bytes: (most as u64 + 1) * self.sizes.state_len() as u64 * 8,
            limit: self.device.max_binding,
        })?;
        let needed = self.pool.used() * 2;
        let mut inner = self.lock();
        if needed > inner.slots {
            self.grow(&mut inner, needed);
        }
        Ok(slot)
    }

    /// Another slot with the same state.
    pub(crate) fn fork_slot(&self, from: &Slot) -> Result<Slot, GpuError> {
        let slot = self.new_slot()?;
        self.copy_state(from, &slot);
        Ok(slot)
    }

    /// Replaces a state by another's.
    pub(crate) fn copy_state(&self, from: &Slot, to: &Slot) {
        let inner = self.lock();
        let bytes = self.sizes.state_len() as u64 * 4;
        let mut encoder = self.encoder("copy state");
        // Not within one buffer: WebGPU forbids it.
        let from = u64::from(from.current()) * bytes;
        let to = u64::from(to.current()) * bytes;
        encoder.copy_buffer_to_buffer(&inner.state, from, &inner.transit, 0, bytes);
        encoder.copy_buffer_to_buffer(&inner.transit, 0, &inner.state, to, bytes);
        self.device.queue.submit([encoder.finish()]);
    }

    fn grow(&self, inner: &mut Inner, needed: usize) {
        let slots = needed
            .next_power_of_two()
            .min(self.sizes.max_slots() / 2 * 2);
        let state = buffer(&self.device, "state", slots * self.sizes.state_len());
        let mut encoder = self.encoder("grow");
        let bytes = (inner.slots * self.sizes.state_len()) as u64 * 4;
        encoder.copy_buffer_to_buffer(&inner.state, 0, &state, 0, bytes);
        self.device.queue.submit([encoder.finish()]);
        (inner.state, inner.slots, inner.plan) = (state, slots, None);
    }

    /// Replaces a state; `values` as `StateSpec` lays them out.
    pub(crate) fn upload_state(&self, slot: &Slot, values: &[f32]) {
        let at = u64::from(slot.current()) * self.sizes.state_len() as u64 * 4;
        self.device
            .queue
            .write_buffer(&self.lock().state, at, bytemuck::cast_slice(values));
    }

    /// Reads a state.
    pub(crate) async fn download_state(&self, slot: &Slot) -> Result<Vec<f32>, GpuError> {
        let bytes = self.sizes.state_len() as u64 * 4;
        let staging = self
            .device
            .scoped(|| {
                let staging = self.staging.take(&self.device, bytes);
                let mut encoder = self.encoder("download state");
                let at = u64::from(slot.current()) * bytes;
                encoder.copy_buffer_to_buffer(&self.lock().state, at, &staging, 0, bytes);
                self.device.queue.submit([encoder.finish()]);
                staging
            })
            .await?;
        let mut values = vec![0.0; self.sizes.state_len()];
        self.staging
            .read(&self.device, staging, &mut values)
            .await?;
        Ok(values)
    }

    /// Runs one step of at most [`GpuEngine::max_rows`] tokens; the wanted logits of all parts one after the other, at most [`GpuEngine::max_logits`] rows, `[rows, V]`.
    ///
    /// Fails with [`RuntimeError::Gpu`]; the states are then lost.
    pub(crate) async fn step(
        &self,
        parts: &mut [Part<'_>],
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        let adapters = self.residents(parts).await?;
        self.prepare().await?;
        let layout = Layout::new(parts, &adapters)?;
        // No error scope: a browser answers to one only when the GPU has caught up. What goes wrong here reaches the device's own handler.
        let staging = self.submit(&layout);
        for part in parts {
            part.slot.gpu()?.swap();
        }
        logits.resize(layout.chosen.len() * self.sizes.vocab, 0.0);
        match staging {
            Some(staging) => self.staging.read(&self.device, staging, logits).await?,
            None => self.device.check()?,
        }
        Ok(())
    }

    /// The number in the bank of each part's adapter; those that are not on the GPU yet go there.
    pub(super) async fn residents(&self, parts: &[Part<'_>]) -> Result<Vec<Option<u32>>, GpuError> {
        let wanted: Vec<&LoadedAdapter> = parts.iter().filter_map(|part| part.adapter).collect();
        if self.lock().bank.lacks(&wanted) {
            self.device
                .scoped(|| {
                    let mut inner = self.lock();
                    // Its buffers will be new.
                    inner.plan = None;
                    inner.bank.hold(&self.device, &self.sizes, &wanted)
                })
                .await??;
        }
        let inner = self.lock();
        Ok(parts
            .iter()
            .map(|part| inner.bank.number(part.adapter?))
            .collect())
    }

    fn submit(&self, layout: &Layout) -> Option<wgpu::Buffer> {
        let mut inner = self.lock();
        let plan = self.plan(&mut inner);
        let step = layout.sizes();
        plan.prepare(&self.device, step);
        self.write_layout(layout);
        let mut encoder = self.encoder("step");
        plan.record(&self.device, &mut encoder, step);
        let bytes = (layout.chosen.len() * self.sizes.vocab * 4) as u64;
        let staging = (bytes > 0).then(|| {
            let staging = self.staging.take(&self.device, bytes);
            encoder.copy_buffer_to_buffer(&self.arena.logits, 0, &staging, 0, bytes);
            staging
        });
        self.device.queue.submit([encoder.finish()]);
        staging
    }

    pub(super) fn write_layout(&self, layout: &Layout) {
        let queue = &self.device.queue;
        queue.write_buffer(&self.arena.rows, 0, bytemuck::cast_slice(&layout.rows));
        queue.write_buffer(&self.arena.seqs, 0, bytemuck::cast_slice(&layout.seqs));
        if !layout.chosen.is_empty() {
            queue.write_buffer(&self.arena.chosen, 0, bytemuck::cast_slice(&layout.chosen));
        }
    }

    /// Makes pipelines and bind groups, unless they are there.
    pub(super) async fn prepare(&self) -> Result<(), GpuError> {
        if self.lock().plan.is_some() {
            return self.device.check();
        }
        self.device
            .scoped(|| {
                self.plan(&mut self.lock());
            })
            .await
    }

    pub(super) fn plan<'a>(&self, inner: &'a mut Inner) -> &'a mut Plan {
        let Inner {
            bank, state, plan, ..
        } = inner;
        plan.get_or_insert_with(|| {
            let mut pipelines = self
                .device
                .pipelines
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Plan::new(
                &self.device,
                &mut pipelines,
                &self.sizes,
                &self.weights,
                &self.arena,
                state,
                bank.buffers(),
            )
        })
    }

    /// Dispatches of one step: without adapters, and with.
    pub(crate) fn dispatches(&self) -> [usize; 2] {
        let mut inner = self.lock();
        let plan = self.plan(&mut inner);
        [false, true].map(|adapters| plan.dispatches(adapters))
    }

    /// Adds what a step of these rows and rows of logits computes.
    pub(crate) fn count(&self, [rows, logits]: [usize; 2], work: &mut Work) {
        let [layers, head] = self.weights.sizes();
        for ([weights, bytes], tokens) in [(layers, rows), (head, logits)] {
            if tokens > 0 {
                work.add(weights, bytes, tokens as u64);
            }
        }
    }

    /// Takes the device away, as a driver does that resets.
    pub(crate) fn destroy(&self) {
        self.device.raw.destroy();
    }

    pub(super) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.device
            .raw
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a step tells the kernels.
pub(super) struct Layout {
    rows: Vec<[u32; 4]>,
    seqs: Vec<[u32; 4]>,
    chosen: Vec<u32>,
    adapters: bool,
}

impl Layout {
    pub(super) fn new(
        parts: &mut [Part<'_>],
        adapters: &[Option<u32>],
    ) -> Result<Self, RuntimeError> {
        let mut layout = Self {
            rows: Vec::new(),
            seqs: Vec::new(),
            chosen: Vec::new(),
            adapters: false,
        };
        for (part, adapter) in parts.iter_mut().zip(adapters) {
            let (first, seq) = (layout.rows.len() as u32, layout.seqs.len() as u32);
            let len = part.tokens.len() as u32;
            layout.adapters |= adapter.is_some();
            let adapter = adapter.unwrap_or(NO_ADAPTER);
            layout.rows.extend(
                part.tokens
                    .iter()
                    .map(|&token| [u32::from(token), seq, adapter, 0]),
            );
            let slot = part.slot.gpu()?;
            layout.seqs.push([first, len, slot.current(), slot.next()]);
            match part.wanted {
                Wanted::None => {}
                Wanted::Last => layout.chosen.push(first + len - 1),
                Wanted::All => layout.chosen.extend(first..first + len),
            }
        }
        Ok(layout)
    }

    pub(super) fn sizes(&self) -> StepSizes {
        StepSizes {
            rows: self.rows.len(),
            sequences: self.seqs.len(),
            logits: self.chosen.len(),
            adapters: self.adapters,
        }
    }
}
