//! A model's numbers in GPU memory: uploaded once, straight from where the file is mapped; of a file that is read from elsewhere, one matrix at a time.

use super::GpuError;
use super::device::Device;
use crate::RuntimeError;
use crate::model::rwkv4::{Norm, Rwkv4Weights};
use crate::model::{Matrix, Weights};
use ptbr_model::WeightFormat;
use wgpu::util::DeviceExt;

/// Rows of a piece are a multiple of this (but for a matrix's last): tiles, and the scales of two groups in one word, then end with it.
const ROW_STEP: usize = 64;

/// Bytes that are handed to the driver before it is told to work on them: its copy of what is waiting stays that small.
const UPLOAD_BATCH: usize = 32 << 20;

/// Matrices with the same columns, one under the other.
pub(super) struct Stack {
    pub pieces: Vec<Piece>,
    /// Rows of all pieces.
    pub rows: usize,
    pub cols: usize,
    /// First rows of the second and third matrix; `rows` where there is none.
    pub bounds: [usize; 2],
}

impl Stack {
    /// Elements, and bytes of values and scales.
    pub(super) fn size(&self) -> [u64; 2] {
        let bytes = |piece: &Piece| {
            piece.values.size() + piece.scales.as_ref().map_or(0, wgpu::Buffer::size)
        };
        [
            (self.rows * self.cols) as u64,
            self.pieces.iter().map(bytes).sum(),
        ]
    }
}

/// Rows that lie in one binding.
pub(super) struct Piece {
    pub format: WeightFormat,
    pub first_row: usize,
    pub rows: usize,
    pub values: wgpu::Buffer,
    /// Where the format has them.
    pub scales: Option<wgpu::Buffer>,
}

/// One block.
pub(super) struct GpuLayer {
    /// `[5, C]`: weight, bias, mixes of key, value, receptance.
    pub att_norm: wgpu::Buffer,
    /// `[4, C]`: weight, bias, mixes of key, receptance.
    pub ffn_norm: wgpu::Buffer,
    /// `[2, C]`
    pub wu: wgpu::Buffer,
    /// Key, value, receptance.
    pub att_in: Stack,
    pub att_out: Stack,
    /// Key, receptance.
    pub ffn_in: Stack,
    pub ffn_out: Stack,
}

/// A whole model.
pub(super) struct GpuWeights {
    pub embedding: Stack,
    /// `[2, C]`
    pub embedding_norm: wgpu::Buffer,
    pub layers: Vec<GpuLayer>,
    /// `[2, C]`
    pub head_norm: wgpu::Buffer,
    pub head: Stack,
}

impl GpuWeights {
    /// Elements and bytes of the layers' matrices, and of the head.
    pub(super) fn sizes(&self) -> [[u64; 2]; 2] {
        let layers = self.layers.iter().flat_map(|layer| {
            [&layer.att_in, &layer.att_out, &layer.ffn_in, &layer.ffn_out].map(Stack::size)
        });
        let sum = layers.fold([0; 2], |[a, b], [c, d]| [a + c, b + d]);
        [sum, self.head.size()]
    }

    /// Uploads every tensor. Fails with [`GpuError::OutOfMemory`], and when a tensor cannot be read.
    pub(super) async fn upload(
        device: &Device,
        weights: &Weights,
        model: &Rwkv4Weights,
    ) -> Result<Self, RuntimeError> {
        let mut uploader = Uploader { device, waiting: 0 };
        let norm = |label: &str, norm: &Norm, mixes: &[&[f32]]| {
            let mut data = [norm.weight.as_slice(), &norm.bias].concat();
            mixes.iter().for_each(|mix| data.extend_from_slice(mix));
            vector(device, label, &data)
        };
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in model.layers.iter().enumerate() {
            let label = |name: &str| format!("blocks.{index}.{name}");
            layers.push(GpuLayer {
                att_norm: norm(
                    &label("ln1"),
                    &layer.ln1,
                    &[&layer.att_mix_k, &layer.att_mix_v, &layer.att_mix_r],
                ),
                ffn_norm: norm(
                    &label("ln2"),
                    &layer.ln2,
                    &[&layer.ffn_mix_k, &layer.ffn_mix_r],
                ),
                wu: vector(device, &label("att.wu"), &layer.wu),
                att_in: uploader
                    .stack(
                        &label("att.in"),
                        weights,
                        &[&layer.att_key, &layer.att_value, &layer.att_receptance],
                    )
                    .await?,
                att_out: uploader
                    .stack(&label("att.output"), weights, &[&layer.att_output])
                    .await?,
                ffn_in: uploader
                    .stack(
                        &label("ffn.in"),
                        weights,
                        &[&layer.ffn_key, &layer.ffn_receptance],
                    )
                    .await?,
                ffn_out: uploader
                    .stack(&label("ffn.value"), weights, &[&layer.ffn_value])
                    .await?,
            });
        }
        Ok(Self {
            embedding: uploader.stack("emb", weights, &[&model.embedding]).await?,
            embedding_norm: norm("ln0", &model.ln0, &[]),
            layers,
            head_norm: norm("ln_out", &model.ln_out, &[]),
            head: uploader.stack("head", weights, &[&model.head]).await?,
        })
    }
}

struct Uploader<'a> {
    device: &'a Device,
    /// Bytes handed to the driver since it was last told to work.
    waiting: usize,
}

/// Rows of one matrix that go into a piece.
struct Share<'a> {
    matrix: &'a Matrix,
    first: usize,
    rows: usize,
}

impl Uploader<'_> {
    async fn stack(
        &mut self,
        label: &str,
        weights: &Weights,
        matrices: &[&Matrix],
    ) -> Result<Stack, RuntimeError> {
        let cols = matrices[0].cols;
        let limit = usize::try_from(self.device.max_binding).unwrap_or(usize::MAX);
        let mut bounds = [0; 2];
        let mut rows = 0;
        let mut plan: Vec<Vec<Share<'_>>> = Vec::new();
        for (index, matrix) in matrices.iter().enumerate() {
            if let Some(bound) = index.checked_sub(1) {
                bounds[bound] = rows;
            }
            // What fits in memory fits in its addresses.
            let row_bytes = matrix.format.value_bytes(cols).unwrap_or(usize::MAX);
            let most = (limit / row_bytes.max(1)) / ROW_STEP * ROW_STEP;
            let mut first = 0;
            while first < matrix.rows {
                let count = most.max(ROW_STEP).min(matrix.rows - first);
                let share = Share {
                    matrix,
                    first,
                    rows: count,
                };
                let room = plan.last().is_some_and(|piece| {
                    let taken: usize = piece.iter().map(|share| share.rows).sum();
                    piece[0].matrix.format == matrix.format && (taken + count) * row_bytes <= limit
                });
                match plan.last_mut() {
                    Some(piece) if room => piece.push(share),
                    _ => plan.push(vec![share]),
                }
                first += count;
            }
            rows += matrix.rows;
        }
        bounds[matrices.len() - 1..].fill(rows);
        let mut pieces = Vec::with_capacity(plan.len());
        let mut first_row = 0;
        for shares in plan {
            let piece = self.piece(label, weights, first_row, &shares).await?;
            first_row += piece.rows;
            pieces.push(piece);
        }
        Ok(Stack {
            pieces,
            rows,
            cols,
            bounds,
        })
    }

    async fn piece(
        &mut self,
        label: &str,
        weights: &Weights,
        first_row: usize,
        shares: &[Share<'_>],
    ) -> Result<Piece, RuntimeError> {
        let Matrix { format, cols, .. } = *shares[0].matrix;
        let rows: usize = shares.iter().map(|share| share.rows).sum();
        let elements = rows * cols;
        let too_large = || GpuError::TooLarge {
            what: format!("the matrix {label}"),
            bytes: elements as u64 * 4,
            limit: self.device.max_binding,
        };
        let bytes = format.value_bytes(elements).ok_or_else(too_large)?;
        if bytes as u64 > self.device.max_binding {
            return Err(too_large().into());
        }
        let words = format.scale_words(elements);
        let create = |kind: &str, size: u64| {
            self.device.raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some(&format!("{label}.{kind}")),
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let (values, scales) = self
            .device
            .scoped(|| {
                let scales = (words > 0).then(|| create("scales", words as u64 * 4));
                (create("values", bytes as u64), scales)
            })
            .await?;
        let (mut value_at, mut scale_at) = (0, 0);
        for share in shares {
            let all_rows = share.matrix.rows;
            let source = weights.load_values(share.matrix)?;
            let row = source.bytes().len() / all_rows;
            let part = &source.bytes()[share.first * row..(share.first + share.rows) * row];
            self.write(&values, value_at, part);
            value_at += part.len();
            // Before the scales are read: what is not mapped takes memory.
            drop(source);
            if let Some(scales) = &scales {
                let source = weights.load_scales(share.matrix)?;
                let source = source.bytes();
                // By words, because a row may end within one; pieces do not.
                let groups = cols / ptbr_model::GROUP;
                let per_word = if format == WeightFormat::Int4 { 1 } else { 2 };
                let from = share.first * groups / per_word * 4;
                let to = ((share.first + share.rows) * groups).div_ceil(per_word) * 4;
                self.write(scales, scale_at, &source[from..to.min(source.len())]);
                scale_at += to - from;
            }
        }
        self.device.check()?;
        Ok(Piece {
            format,
            first_row,
            rows,
            values,
            scales,
        })
    }

    fn write(&mut self, buffer: &wgpu::Buffer, at: usize, bytes: &[u8]) {
        let mut at = at as u64;
        for chunk in bytes.chunks(UPLOAD_BATCH) {
            self.device.queue.write_buffer(buffer, at, chunk);
            at += chunk.len() as u64;
            self.waiting += chunk.len();
            if self.waiting >= UPLOAD_BATCH {
                self.device.queue.submit([]);
                // Gives back what has been copied; where polling is the browser's business, it does so itself.
                let _ = self.device.raw.poll(wgpu::PollType::Poll);
                self.waiting = 0;
            }
        }
    }
}

fn vector(device: &Device, label: &str, data: &[f32]) -> wgpu::Buffer {
    device
        .raw
        .create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some(label),
            contents: bytemuck::cast_slice(data),
            usage: wgpu::BufferUsages::STORAGE,
        })
}
