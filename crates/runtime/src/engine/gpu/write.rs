//! Several tokens in one submission: each step's logits are sampled where they are, and the token goes straight into the next step, for any number of sessions at once.

use super::GpuError;
use super::arena::buffer;
use super::pipelines::{Pipeline, kernel};
use super::step::{ATTEMPTS, GpuEngine, Inner, Layout, settle};
use crate::RuntimeError;
use crate::engine::Part;
use ptbr_kernels::cpu::{SampleParams, SampleSettings};
use ptbr_tokenizer::TokenId;
use std::sync::PoisonError;

/// How one session draws.
pub(crate) struct Draws<'a> {
    pub settings: SampleSettings,
    /// Tokens so far.
    pub history: &'a [TokenId],
    /// How many of the last ones the penalty looks at; 0 is all, and whatever it is where there is no penalty.
    pub window: usize,
    /// 64 bits for each draw, as many as draws.
    pub random: Vec<u64>,
}

impl Draws<'_> {
    /// Tokens that the penalty may come to look at.
    fn looked_at(&self) -> usize {
        let total = self.history.len().saturating_add(self.random.len());
        match (self.settings.penalty == 1.0, self.window) {
            (true, _) => 0,
            (false, 0) => total,
            (false, window) => window.min(total),
        }
    }
}

/// What the sampler's buffers must have room for: rows, steps, and tokens of a history.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Room {
    rows: usize,
    steps: usize,
    capacity: usize,
}

impl Room {
    /// For these draws, one row each.
    fn of(draws: &[Draws<'_>]) -> Self {
        let capacity = draws.iter().map(Draws::looked_at).max().unwrap_or(0);
        Self {
            rows: draws.len(),
            steps: draws.iter().map(|d| d.random.len()).max().unwrap_or(0),
            // Histories grow: not a new buffer for every token.
            capacity: match capacity {
                0 => 0,
                capacity => capacity.next_power_of_two(),
            },
        }
    }

    /// Words of histories, settings, random bits and what is drawn.
    fn words(self) -> [usize; 4] {
        [
            self.rows.saturating_mul(self.capacity.saturating_add(2)),
            self.rows * SETTINGS,
            self.rows * self.steps * 2,
            self.rows * (1 + self.steps),
        ]
    }
}

/// Words of a row's settings.
const SETTINGS: usize = size_of::<SampleSettings>() / 4;

/// Buffers of the sampler.
pub(super) struct Sampling {
    /// Words that [`Room::words`] counts.
    words: [usize; 4],
    pipeline: Pipeline,
    group: wgpu::BindGroup,
    history: wgpu::Buffer,
    settings: wgpu::Buffer,
    random: wgpu::Buffer,
    drawn: wgpu::Buffer,
    params: wgpu::Buffer,
}

impl Sampling {
    fn fits(&self, room: Room) -> bool {
        self.words
            .iter()
            .zip(room.words())
            .all(|(own, wanted)| *own >= wanted)
    }
}

impl GpuEngine {
    /// Whether the histories of so many draws fit in a binding.
    pub(crate) fn can_draw(&self, draws: &[Draws<'_>]) -> bool {
        let [history, ..] = Room::of(draws).words();
        history <= self.sizes.max_binding / 4
    }

    /// Reads each part's one token, draws the next, reads it, and so on, all parts together; the tokens drawn for each, the last of which is not read. `None` in place of the tokens of a part
    /// where one could not be drawn. No more parts than [`GpuEngine::max_logits`], all with as many draws.
    ///
    /// Who drops this future while it waits, or gets an error, has lost the states, and likewise that of a part without tokens: both slots of it have been written. Copies must be kept.
    pub(crate) async fn write(
        &self,
        parts: &mut [Part<'_>],
        draws: &[Draws<'_>],
    ) -> Result<Vec<Option<Vec<TokenId>>>, RuntimeError> {
        let room = Room::of(draws);
        let mut staging = None;
        // More than once only when other sessions draw with other sizes at the same time.
        for _ in 0..ATTEMPTS {
            self.prepare_sampling(room).await?;
            staging = self
                .with_adapters(parts, &mut |inner, layout| {
                    let sampling = inner.sampling.as_ref();
                    let is_ready = sampling.is_some_and(|own| own.fits(room));
                    Some(is_ready.then(|| self.submit_writing(inner, layout, draws, room)))
                })
                .await?;
            if staging.is_some() {
                break;
            }
        }
        let staging = staging.ok_or_else(|| self.too_crowded())?;
        let [.., words] = room.words();
        let mut drawn = vec![0u32; words];
        self.staging.read(&self.device, staging, &mut drawn).await?;
        settle(parts).await?;
        let tokens = |row: usize| {
            let of_row = drawn[room.rows..].iter().skip(row).step_by(room.rows);
            // NO_TOKEN is no token id.
            of_row.map(|&token| TokenId::try_from(token).ok()).collect()
        };
        for part in parts {
            let slot = part.slot.gpu()?;
            (0..room.steps).for_each(|_| slot.swap());
        }
        Ok((0..room.rows).map(tokens).collect())
    }

    /// Makes buffers and bind group of the sampler, unless they are there.
    async fn prepare_sampling(&self, room: Room) -> Result<(), GpuError> {
        let mut words = room.words();
        if let Some(sampling) = &self.lock().sampling {
            if sampling.fits(room) {
                return Ok(());
            }
            // No smaller than what others need, or they would take it from each other.
            words = std::array::from_fn(|i| words[i].max(sampling.words[i]));
        }
        let sampling = self.device.scoped(|| self.make_sampling(words)).await?;
        self.lock().sampling = Some(sampling);
        Ok(())
    }

    fn make_sampling(&self, words: [usize; 4]) -> Sampling {
        let device = &self.device;
        let pipeline = device
            .pipelines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(device, kernel("sample", "read"));
        let make = |label: &str, words: usize| buffer(device, label, words);
        let history = make("sample.history", words[0]);
        let settings = make("sample.settings", words[1]);
        let random = make("sample.random", words[2]);
        let drawn = make("sample.drawn", words[3]);
        let params = make("sample.params", 4);
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
            words,
            pipeline,
            group,
            history,
            settings,
            random,
            drawn,
            params,
        }
    }

    fn submit_writing(
        &self,
        inner: &mut Inner,
        layout: &Layout,
        draws: &[Draws<'_>],
        room: Room,
    ) -> wgpu::Buffer {
        let step = layout.sizes();
        self.plan(inner).prepare(&self.device, step);
        self.write_layout(layout);
        let [.., words] = room.words();
        let bytes = 4 * words as u64;
        let staging = self.staging.take(&self.device, bytes);
        let mut encoder = self.encoder("write");
        let (Some(plan), Some(sampling)) = (&inner.plan, &inner.sampling) else {
            unreachable!("made by prepare and prepare_sampling");
        };
        self.tell_sampler(sampling, draws, room);
        for _ in 0..room.steps {
            plan.record(&mut encoder, step);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("sample"),
                timestamp_writes: None,
            });
            pass.set_pipeline(&sampling.pipeline.raw);
            pass.set_bind_group(0, &sampling.group, &[]);
            pass.dispatch_workgroups(room.rows as u32, 1, 1);
        }
        encoder.copy_buffer_to_buffer(&sampling.drawn, 0, &staging, 0, bytes);
        self.device.queue.submit([encoder.finish()]);
        staging
    }

    /// Writes everything that the sampler reads.
    fn tell_sampler(&self, sampling: &Sampling, draws: &[Draws<'_>], room: Room) {
        let write = |buffer: &wgpu::Buffer, words: &[u32]| {
            let bytes = bytemuck::cast_slice(words);
            self.device.queue.write_buffer(buffer, 0, bytes);
        };
        let params = SampleParams {
            vocab: self.sizes.vocab as u32,
            rows: room.rows as u32,
            steps: room.steps as u32,
            capacity: room.capacity as u32,
        };
        write(&sampling.params, &params.words());
        let rings: Vec<u32> = draws
            .iter()
            .flat_map(|draws| ring(draws, room.capacity))
            .collect();
        write(&sampling.history, &rings);
        let settings: Vec<SampleSettings> = draws.iter().map(|draws| draws.settings).collect();
        write(&sampling.settings, bytemuck::cast_slice(&settings));
        // [steps, rows]: lower, upper word.
        let random: Vec<u32> = (0..room.steps)
            .flat_map(|step| draws.iter().map(move |draws| draws.random[step]))
            .flat_map(|bits| [bits as u32, (bits >> 32) as u32])
            .collect();
        write(&sampling.random, &random);
        write(&sampling.drawn, &vec![0; room.rows]);
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
