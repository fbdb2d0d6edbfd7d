//! What a step dispatches: made once, with every bind group, and run again for each step.
//!
//! A layer is seven dispatches, with adapters eleven:
//! ```text
//! ln_shift   [lora_down]   key, value, receptance in one   wkv_gated   [lora_down]   output, added to x
//! ln_shift   [lora_down]   key², σ(receptance) in one                  [lora_down]   value, gated and added to x
//! ```

use super::arena::{Arena, STATE_VECTORS, Sizes};
use super::device::Device;
use super::pipelines::{Pipeline, Pipelines, Shape, Sums, kernel};
use super::weights::{GpuWeights, Stack};
use ptbr_kernels::Kernel;
use ptbr_kernels::cpu::{Outcome, ProjectParams};

/// Words that a dispatch's parameters may take: bindings begin at multiples of 256 bytes.
const PARAMS_STRIDE: usize = 64;

/// How many workgroups.
#[derive(Clone, Copy)]
enum Grid {
    /// x = rows, y given.
    Rows(u32),
    /// x given, y = sequences.
    Sequences(u32),
    /// x = rows whose logits are wanted.
    Chosen,
    /// A product of as many rows as the step (or as many as logits are wanted), each of the lengths divided into tiles of its own.
    Product {
        parts: [u32; 3],
        params: ProjectParams,
        sums: Sums,
        head: bool,
    },
}

struct Op {
    label: String,
    pipelines: [Option<Pipeline>; 3],
    group: wgpu::BindGroup,
    grid: Grid,
    /// Where its parameters are, in words.
    params: usize,
    /// Only runs when a row has an adapter.
    adapters: bool,
}

/// Buffers of the adapters' bank.
pub(super) struct AdapterBuffers {
    /// `[adapters, modules]` of (A, B, rank, scale)
    pub table: wgpu::Buffer,
    pub bank: wgpu::Buffer,
    /// `[N, 3, 2 + rank]`
    pub low: wgpu::Buffer,
    /// Largest rank; 0 when there is no adapter.
    pub rank: usize,
    /// Modules of an adapter: 7 a layer, then the head.
    pub modules: usize,
}

/// Modules of a layer in an adapter's table, in this order: att key, value, receptance, output; ffn key, receptance, value.
pub(super) const LAYER_MODULES: usize = 7;

/// What a step consists of.
pub(super) struct Plan {
    ops: Vec<Op>,
    /// Where the dispatches of the head begin.
    head: usize,
    params: Vec<u32>,
    params_buffer: wgpu::Buffer,
    /// What the parameters were written for: rows, logits, adapters.
    written_for: Option<(usize, usize, bool)>,
    low_words: u32,
}

/// Sizes of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepSizes {
    pub rows: usize,
    pub sequences: usize,
    pub logits: usize,
    pub adapters: bool,
}

impl Plan {
    /// Makes pipelines and bind groups. Errors reach the caller's error scope.
    pub(super) fn new(
        device: &Device,
        pipelines: &mut Pipelines,
        sizes: &Sizes,
        weights: &GpuWeights,
        arena: &Arena,
        state: &wgpu::Buffer,
        adapters: &AdapterBuffers,
    ) -> Self {
        let mut maker = Maker {
            device,
            pipelines,
            drafts: Vec::new(),
            params: Vec::new(),
            adapters,
        };
        maker.layers(sizes, weights, arena, state);
        let head = maker.drafts.len();
        maker.head(sizes, weights, arena);
        let Maker { drafts, params, .. } = maker;
        let params_buffer = super::arena::buffer(device, "params", params.len());
        let ops = drafts
            .into_iter()
            .map(|draft| draft.bind(device, &params_buffer))
            .collect();
        Self {
            ops,
            head,
            params,
            params_buffer,
            written_for: None,
            low_words: if adapters.rank == 0 {
                0
            } else {
                adapters.rank as u32 + 2
            },
        }
    }

    /// Dispatches of one step.
    pub(super) fn dispatches(&self, adapters: bool) -> usize {
        self.ops
            .iter()
            .filter(|op| adapters || !op.adapters)
            .count()
    }

    /// Writes the parameters that depend on the step, when they differ from the last one's.
    pub(super) fn prepare(&mut self, device: &Device, step: StepSizes) {
        let key = (step.rows, step.logits, step.adapters);
        if self.written_for == Some(key) {
            return;
        }
        for op in &self.ops {
            if let Grid::Product {
                head, params, sums, ..
            } = op.grid
            {
                let rows = if head { step.logits } else { step.rows };
                let has_low = step.adapters && !head;
                let words = ProjectParams {
                    rows: rows as u32,
                    low_words: if has_low { self.low_words } else { 0 },
                    workgroup_rows: Shape::of(rows).tile(sums).0,
                    ..params
                }
                .words();
                self.params[op.params..op.params + words.len()].copy_from_slice(&words);
            }
        }
        device.queue.write_buffer(
            &self.params_buffer,
            0,
            bytemuck::cast_slice(self.params.as_slice()),
        );
        self.written_for = Some(key);
    }

    /// Records a step.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder, step: StepSizes) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("step"),
            timestamp_writes: None,
        });
        for (index, op) in self.ops.iter().enumerate() {
            if (op.adapters && !step.adapters) || (index >= self.head && step.logits == 0) {
                continue;
            }
            let (x, y, shape) = match op.grid {
                Grid::Rows(y) => (step.rows as u32, y, Shape::One),
                Grid::Sequences(x) => (x, step.sequences as u32, Shape::One),
                Grid::Chosen => (step.logits as u32, 1, Shape::One),
                Grid::Product {
                    parts,
                    params,
                    sums,
                    head,
                } => {
                    let inputs = if head { step.logits } else { step.rows };
                    let shape = Shape::of(inputs);
                    let (tile_rows, tile_inputs) = shape.tile(sums);
                    let x: u32 = match shape {
                        Shape::Many => parts.iter().map(|part| part.div_ceil(tile_rows)).sum(),
                        _ => params.weight_rows.div_ceil(tile_rows),
                    };
                    (x, (inputs as u32).div_ceil(tile_inputs), shape)
                }
            };
            let Some(pipeline) = &op.pipelines[shape as usize] else {
                continue;
            };
            pass.push_debug_group(&op.label);
            pass.set_pipeline(&pipeline.raw);
            pass.set_bind_group(0, &op.group, &[]);
            pass.dispatch_workgroups(x, y, 1);
            pass.pop_debug_group();
        }
    }
}

/// An op before its parameters have a buffer.
struct Draft<'a> {
    label: String,
    kernel: &'static Kernel,
    pipelines: [Option<Pipeline>; 3],
    buffers: Vec<&'a wgpu::Buffer>,
    grid: Grid,
    params: usize,
    adapters: bool,
}

impl Draft<'_> {
    fn bind(self, device: &Device, params: &wgpu::Buffer) -> Op {
        let params_binding = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: params,
            offset: self.params as u64 * 4,
            size: std::num::NonZeroU64::new(PARAMS_STRIDE as u64 * 4),
        });
        let resources = self
            .buffers
            .iter()
            .map(|buffer| buffer.as_entire_binding())
            .chain([params_binding]);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        debug_assert_eq!(entries.len(), self.kernel.bindings.len());
        let layout = self.pipelines.iter().flatten().next();
        let Some(pipeline) = layout else {
            unreachable!("a draft has a pipeline");
        };
        let group = device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&self.label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        Op {
            label: self.label,
            pipelines: self.pipelines,
            group,
            grid: self.grid,
            params: self.params,
            adapters: self.adapters,
        }
    }
}

struct Maker<'a> {
    device: &'a Device,
    pipelines: &'a mut Pipelines,
    drafts: Vec<Draft<'a>>,
    params: Vec<u32>,
    adapters: &'a AdapterBuffers,
}

/// One product: everything about it that the stack does not say.
struct ProductSpec<'a> {
    label: String,
    input: &'a wgpu::Buffer,
    input_stride: usize,
    out: &'a wgpu::Buffer,
    out_stride: usize,
    outcome: Outcome,
    /// Its first module in an adapter's table.
    module: usize,
    head: bool,
}

impl<'a> Maker<'a> {
    fn layers(
        &mut self,
        sizes: &Sizes,
        weights: &'a GpuWeights,
        arena: &'a Arena,
        state: &'a wgpu::Buffer,
    ) {
        let (c, f) = (sizes.d_model, sizes.d_ffn);
        let eps = sizes.eps.to_bits();
        let state_len = sizes.state_len() as u32;
        for piece in &weights.embedding.pieces {
            let params = [c as u32, eps, piece.first_row as u32, piece.rows as u32];
            let buffers: Vec<_> = std::iter::once(&piece.values)
                .chain(&piece.scales)
                .chain([&arena.rows, &weights.embedding_norm, &arena.x])
                .collect();
            let kernel = kernel("embed", piece.format.name());
            self.push("embed", kernel, buffers, &params, Grid::Rows(1));
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            let label = |name: &str| format!("blocks.{index}.{name}");
            let at = |vector: usize| ((index * STATE_VECTORS + vector) * c) as u32;
            let module = index * LAYER_MODULES;
            let params = [c as u32, eps, state_len, at(0), 3];
            self.push(
                &label("att.ln_shift"),
                kernel("ln_shift", "read"),
                vec![
                    &arena.x,
                    &layer.att_norm,
                    &arena.rows,
                    &arena.seqs,
                    state,
                    &arena.mixed,
                ],
                &params,
                Grid::Rows(1),
            );
            self.product(
                &layer.att_in,
                ProductSpec {
                    label: label("att.in"),
                    input: &arena.mixed,
                    input_stride: 3 * c,
                    out: &arena.kvr,
                    out_stride: 3 * c,
                    outcome: Outcome::Store,
                    module,
                    head: false,
                },
                arena,
            );
            self.push(
                &label("att.wkv"),
                kernel("wkv_gated", "read"),
                vec![&layer.wu, &arena.kvr, &arena.seqs, state, &arena.att],
                &[c as u32, state_len, at(2)],
                Grid::Sequences((c as u32).div_ceil(64)),
            );
            self.product(
                &layer.att_out,
                ProductSpec {
                    label: label("att.output"),
                    input: &arena.att,
                    input_stride: c,
                    out: &arena.x,
                    out_stride: c,
                    outcome: Outcome::Add,
                    module: module + 3,
                    head: false,
                },
                arena,
            );
            let params = [c as u32, eps, state_len, at(1), 2];
            self.push(
                &label("ffn.ln_shift"),
                kernel("ln_shift", "read"),
                vec![
                    &arena.x,
                    &layer.ffn_norm,
                    &arena.rows,
                    &arena.seqs,
                    state,
                    &arena.mixed,
                ],
                &params,
                Grid::Rows(1),
            );
            self.product(
                &layer.ffn_in,
                ProductSpec {
                    label: label("ffn.in"),
                    input: &arena.mixed,
                    input_stride: 2 * c,
                    out: &arena.ffn,
                    out_stride: f + c,
                    outcome: Outcome::Activate,
                    module: module + 4,
                    head: false,
                },
                arena,
            );
            self.product(
                &layer.ffn_out,
                ProductSpec {
                    label: label("ffn.value"),
                    input: &arena.ffn,
                    input_stride: f + c,
                    out: &arena.x,
                    out_stride: c,
                    outcome: Outcome::AddGated,
                    module: module + 6,
                    head: false,
                },
                arena,
            );
        }
    }

    fn head(&mut self, sizes: &Sizes, weights: &'a GpuWeights, arena: &'a Arena) {
        let c = sizes.d_model;
        self.push(
            "ln_out",
            kernel("layer_norm", "read"),
            vec![&arena.x, &weights.head_norm, &arena.chosen, &arena.head_in],
            &[c as u32, sizes.eps.to_bits()],
            Grid::Chosen,
        );
        self.product(
            &weights.head,
            ProductSpec {
                label: "head".to_owned(),
                input: &arena.head_in,
                input_stride: c,
                out: &arena.logits,
                out_stride: sizes.vocab,
                outcome: Outcome::Store,
                module: sizes.layers * LAYER_MODULES,
                head: true,
            },
            arena,
        );
    }

    fn product(&mut self, stack: &'a Stack, spec: ProductSpec<'a>, arena: &'a Arena) {
        let adapters = self.adapters;
        let [bound1, bound2] = stack.bounds;
        let parts = [0, bound1, bound2]
            .iter()
            .filter(|&&first| first < stack.rows)
            .count();
        // The head's rows are not the step's, so its adapters' rows would be others: the head has none.
        if !spec.head {
            let params = [
                stack.cols,
                spec.input_stride,
                parts,
                adapters.rank + 2,
                adapters.modules,
                spec.module,
            ]
            .map(|word| word as u32);
            self.push(
                &format!("{} lora_down", spec.label),
                kernel("lora_down", "read"),
                vec![
                    spec.input,
                    &arena.rows,
                    &adapters.table,
                    &adapters.bank,
                    &adapters.low,
                ],
                &params,
                Grid::Rows(parts as u32),
            );
            if let Some(draft) = self.drafts.last_mut() {
                draft.adapters = true;
            }
        }
        for piece in &stack.pieces {
            // What depends on the step is written before each: see `Plan::prepare`.
            let params = ProjectParams {
                rows: 0,
                weight_rows: piece.rows as u32,
                cols: stack.cols as u32,
                parts_at: stack.bounds.map(|bound| bound as u32),
                input_stride: spec.input_stride as u32,
                output_stride: spec.out_stride as u32,
                first_output: 0,
                outcome: spec.outcome,
                low_words: 0,
                parts: parts as u32,
                first_weight_row: piece.first_row as u32,
                workgroup_rows: 0,
            };
            let (begin, end) = (piece.first_row, piece.first_row + piece.rows);
            let [cut1, cut2] = stack.bounds.map(|bound| bound.clamp(begin, end));
            let parts = [cut1 - begin, cut2 - cut1, end - cut2].map(|rows| rows as u32);
            let buffers: Vec<_> = std::iter::once(&piece.values)
                .chain(&piece.scales)
                .chain([spec.input, &adapters.low, &adapters.bank, spec.out])
                .collect();
            let sums = Sums::of(self.device, piece.format);
            let kernels = Shape::ALL.map(|shape| shape.kernel(piece.format, sums));
            let grid = Grid::Product {
                parts,
                params,
                sums,
                head: spec.head,
            };
            self.push(&spec.label, kernels[0], buffers, &params.words(), grid);
            if let Some(draft) = self.drafts.last_mut() {
                draft.pipelines =
                    kernels.map(|kernel| Some(self.pipelines.get(self.device, kernel)));
            }
        }
    }

    fn push(
        &mut self,
        label: &str,
        kernel: &'static Kernel,
        buffers: Vec<&'a wgpu::Buffer>,
        params: &[u32],
        grid: Grid,
    ) {
        let at = self.params.len();
        self.params.extend_from_slice(params);
        self.params.resize(at + PARAMS_STRIDE, 0);
        self.drafts.push(Draft {
            label: label.to_owned(),
            kernel,
            pipelines: [Some(self.pipelines.get(self.device, kernel)), None, None],
            buffers,
            grid,
            params: at,
            adapters: false,
        });
    }
}
