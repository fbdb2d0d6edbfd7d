//! The engine: one model on one GPU, and its steps.

use super::GpuError;
use super::adapters::Bank;
use super::arena::{Arena, Sizes, buffer};
use super::check;
use super::device::{Device, GpuOptions};
use super::plan::{Plan, StepSizes};
use super::readback::Staging;
use super::slots::SlotPool;
use super::weights::GpuWeights;
use super::write::Sampling;
use crate::LoadedAdapter;
use crate::RuntimeError;
use crate::engine::cpu::Work;
use crate::engine::{Part, Wanted};
use crate::model::Weights;
use crate::model::rwkv4::Rwkv4Weights;
use ptbr_kernels::Sequence;
use ptbr_kernels::cpu::{NO_ADAPTER, Row};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One model on one GPU.
pub(crate) struct GpuEngine {
    pub(super) device: Arc<Device>,
    pub(super) sizes: Sizes,
    weights: GpuWeights,
    pub(super) arena: Arena,
    pub(super) staging: Staging,
    pub(super) pool: Arc<SlotPool>,
    inner: Mutex<Inner>,
}

/// What changes while the engine runs.
pub(super) struct Inner {
    pub(super) bank: Bank,
    pub(super) state: wgpu::Buffer,
    /// One state on its way from slot to slot.
    pub(super) transit: wgpu::Buffer,
    /// Slots that `state` holds.
    pub(super) slots: usize,
    pub(super) plan: Option<Plan>,
    pub(super) sampling: Option<Sampling>,
}

/// How often a step is prepared anew because other sessions needed the room.
pub(super) const ATTEMPTS: usize = 64;

impl GpuEngine {
    /// Opens a GPU, checks that it computes rightly, and uploads the model.
    pub(crate) async fn open(
        options: GpuOptions,
        weights: &Weights,
        model: &Rwkv4Weights,
    ) -> Result<Self, RuntimeError> {
        let device = Arc::new(Device::open(options).await?);
        check::known_answer(&device, &model.formats()).await?;
        Self::new(device, weights, model).await
    }

    /// Uploads a model to an open device.
    pub(super) async fn new(
        device: Arc<Device>,
        weights: &Weights,
        model: &Rwkv4Weights,
    ) -> Result<Self, RuntimeError> {
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
            }
            .into());
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

    /// Most numbers that resident adapters may have together.
    pub(crate) fn adapter_room(&self) -> usize {
        self.sizes.max_binding / 4
    }

    /// Most rows of logits of a step.
    pub(crate) fn max_logits(&self) -> usize {
        self.sizes.max_logits()
    }

    /// Runs one step of at most [`GpuEngine::max_rows`] tokens; the wanted logits of all parts one after the other, at most [`GpuEngine::max_logits`] rows, `[rows, V]`.
    ///
    /// Fails with [`RuntimeError::Gpu`]; unless the device is lost the states are those of before.
    pub(crate) async fn step(
        &self,
        parts: &mut [Part<'_>],
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        let (rows, staging) = self
            .with_adapters(parts, &mut |inner, layout| {
                Some((layout.chosen.len(), self.submit(inner, layout)))
            })
            .await?;
        logits.resize(rows * self.sizes.vocab, 0.0);
        if let Some(staging) = staging {
            self.staging.read(&self.device, staging, logits).await?;
        }
        // Without logits nothing was waited for: in a browser what the device has against this step is found out with the next.
        if rows > 0 || cfg!(not(target_arch = "wasm32")) {
            settle(parts).await?;
        }
        // Not before: who drops this future while it waits finds the state of before.
        for part in parts {
            part.slot.gpu()?.swap();
        }
        Ok(())
    }

    /// Sees to it that the parts' adapters, pipelines and bind groups are there, and calls `submit` while nobody else can change them. Again when it answers `None`, for something of its own that
    /// is not there.
    ///
    /// What the device has against it is owed to the first part's slot: [`settle`] tells.
    pub(super) async fn with_adapters<T>(
        &self,
        parts: &mut [Part<'_>],
        submit: &mut dyn FnMut(&mut Inner, &Layout) -> Option<T>,
    ) -> Result<T, RuntimeError> {
        for _ in 0..ATTEMPTS {
            self.bring_adapters(parts).await?;
            self.prepare().await?;
            // Since then another session may have brought adapters of its own, for which these had to go.
            let mut inner = self.lock();
            let Some(adapters) = inner.bank.numbers(parts) else {
                continue;
            };
            if inner.plan.is_none() {
                continue;
            }
            let layout = Layout::new(parts, &adapters)?;
            let (submitted, verdict) = self.device.watch(|| submit(&mut inner, &layout));
            if let Some(part) = parts.first_mut() {
                part.slot.gpu()?.owe(verdict);
            }
            if let Some(submitted) = submitted {
                self.device.check()?;
                return Ok(submitted);
            }
        }
        Err(self.too_crowded().into())
    }

    /// Sessions took the room from each other more often than chance explains.
    pub(super) fn too_crowded(&self) -> GpuError {
        GpuError::TooLarge {
            what: "what the sessions that compute at the same time need on the GPU".to_owned(),
            bytes: self.device.max_binding + 1,
            limit: self.device.max_binding,
        }
    }

    /// Brings those of the parts' adapters to the GPU that are not there yet.
    async fn bring_adapters(&self, parts: &[Part<'_>]) -> Result<(), GpuError> {
        let wanted: Vec<&LoadedAdapter> = parts.iter().filter_map(|part| part.adapter).collect();
        if !self.lock().bank.lacks(&wanted) {
            return Ok(());
        }
        let held = self
            .device
            .scoped(|| {
                let mut inner = self.lock();
                // Its buffers will be new.
                inner.plan = None;
                inner.bank.hold(&self.device, &self.sizes, &wanted)
            })
            .await;
        if held.is_err() {
            // Its buffers may be none: better an empty bank, which every session fills again.
            let mut inner = self.lock();
            inner.plan = None;
            inner.bank = Bank::new(&self.device, &self.sizes);
        }
        held?
    }

    fn submit(&self, inner: &mut Inner, layout: &Layout) -> Option<wgpu::Buffer> {
        let plan = self.plan(inner);
        let step = layout.sizes();
        plan.prepare(&self.device, step);
        self.write_layout(layout);
        let mut encoder = self.encoder("step");
        plan.record(&mut encoder, step);
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
    async fn prepare(&self) -> Result<(), GpuError> {
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

/// What the device had against the work on these parts' states.
pub(super) async fn settle(parts: &mut [Part<'_>]) -> Result<(), RuntimeError> {
    for part in parts {
        part.slot.gpu()?.settle().await?;
    }
    Ok(())
}

/// What a step tells the kernels.
pub(super) struct Layout {
    rows: Vec<Row>,
    seqs: Vec<Sequence>,
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
            layout.rows.extend(part.tokens.iter().map(|&token| Row {
                token: u32::from(token),
                sequence: seq,
                adapter,
                logits: 0,
            }));
            let slot = part.slot.gpu()?;
            layout.seqs.push(Sequence {
                first,
                len,
                slot_in: slot.current(),
                slot_out: slot.next(),
            });
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
