//! Memory that the steps share: activations, states, what the engine tells the kernels.

use super::GpuError;
use super::device::Device;

/// Vectors of C in a layer's state: att_x, ffn_x, aa, bb, pp, as in `StateSpec`.
pub(super) const STATE_VECTORS: usize = 5;

/// What is read once by everything: sizes of the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub vocab: usize,
    pub d_model: usize,
    pub d_ffn: usize,
    pub layers: usize,
    pub eps: f32,
    /// Most bytes of a binding.
    pub max_binding: usize,
}

impl Sizes {
    /// Elements of a state.
    pub(super) fn state_len(&self) -> usize {
        self.layers * STATE_VECTORS * self.d_model
    }

    /// Most rows of a step: what the widest activation allows in one binding, and no more than help.
    pub(super) fn max_rows(&self) -> usize {
        let widest = (self.d_ffn + self.d_model).max(3 * self.d_model) * 4;
        (self.max_binding / widest).clamp(1, 256)
    }

    /// Most rows of logits of a step.
    pub(super) fn max_logits(&self) -> usize {
        (self.max_binding / (self.vocab * 4))
            .clamp(1, 64)
            .min(self.max_rows())
    }

    /// Most state slots in one binding.
    pub(super) fn max_slots(&self) -> usize {
        self.max_binding / (self.state_len() * 4)
    }
}

/// The buffers. N = max_rows, C = d_model, F = d_ffn.
pub(super) struct Arena {
    /// `[N]` of (token, sequence, adapter, unused)
    pub rows: wgpu::Buffer,
    /// `[N]` of (first row, length, slot in, slot out)
    pub seqs: wgpu::Buffer,
    /// `[max_logits]`: rows whose logits are wanted
    pub chosen: wgpu::Buffer,
    /// `[N, C]`: residual stream
    pub x: wgpu::Buffer,
    /// `[N, 3, C]`: token shifts
    pub mixed: wgpu::Buffer,
    /// `[N, 3, C]`
    pub kvr: wgpu::Buffer,
    /// `[N, C]`
    pub att: wgpu::Buffer,
    /// `[N, F + C]`: squared keys, gate
    pub ffn: wgpu::Buffer,
    /// `[max_logits, C]`
    pub head_in: wgpu::Buffer,
    /// `[max_logits, V]`
    pub logits: wgpu::Buffer,
}

impl Arena {
    pub(super) async fn new(device: &Device, sizes: &Sizes) -> Result<Self, GpuError> {
        let (n, c) = (sizes.max_rows(), sizes.d_model);
        device
            .scoped(|| Self {
                rows: buffer(device, "rows", n * 4),
                seqs: buffer(device, "seqs", n * 4),
                chosen: buffer(device, "chosen", sizes.max_logits()),
                x: buffer(device, "x", n * c),
                mixed: buffer(device, "mixed", n * 3 * c),
                kvr: buffer(device, "kvr", n * 3 * c),
                att: buffer(device, "att", n * c),
                ffn: buffer(device, "ffn", n * (sizes.d_ffn + c)),
                head_in: buffer(device, "head_in", sizes.max_logits() * c),
                logits: buffer(device, "logits", sizes.max_logits() * sizes.vocab),
            })
            .await
    }
}

/// A storage buffer of `words` words that can be copied from and to.
pub(super) fn buffer(device: &Device, label: &str, words: usize) -> wgpu::Buffer {
    device.raw.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        // The widest element of a binding has sixteen bytes.
        size: (words as u64 * 4).max(16).next_multiple_of(16),
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}
