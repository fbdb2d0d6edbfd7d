//! Ragged rows: which rows form a sequence, and where its state comes from and goes to.

use crate::KernelError;

/// Slot number for "no state": as `slot_in` the sequence starts without history, as `slot_out` its final state is dropped.
pub const NO_STATE: u32 = u32::MAX;

/// The exponent `pp` of a state without history (with `aa = bb = 0`). Not minus infinity: WGSL may assume that there is none.
pub const EMPTY_PP: f32 = -1e38;

/// One sequence of a ragged batch; `vec4<u32>` in the shaders.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Sequence {
    /// First row.
    pub first: u32,
    /// Number of rows; 0 passes the state through.
    pub len: u32,
    /// State slot read, or [`NO_STATE`]. Several sequences may read one slot.
    pub slot_in: u32,
    /// State slot written, or [`NO_STATE`]. No two sequences may write one slot.
    pub slot_out: u32,
}

/// Sizes shared by the WKV kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WkvDims {
    /// Rows N: tokens of all sequences together.
    pub n: usize,
    /// Channels C of a row.
    pub c: usize,
    /// State slots S, in `state_in` and behind the rows of `out`.
    pub slots: usize,
}

/// Rows that the backward kernel writes for each sequence: the gradients of w, u, aa, bb, pp.
pub const GRAD_ROWS: usize = 5;

/// Rows of one state: aa, bb, pp.
pub const STATE_ROWS: usize = 3;

impl WkvDims {
    /// Elements of `wu`: `2·C`.
    pub fn wu_len(&self) -> Result<usize, KernelError> {
        self.elements(Some(2))
    }

    /// Elements of k, v: `N·C`.
    pub fn rows_len(&self) -> Result<usize, KernelError> {
        self.elements(Some(self.n))
    }

    /// Elements of `state_in`: `S·3·C`.
    pub fn state_len(&self) -> Result<usize, KernelError> {
        self.elements(self.slots.checked_mul(STATE_ROWS))
    }

    /// Elements of the forward output and of its gradient: `(N + 3·S)·C`, y first, then aa, bb, pp of each slot.
    pub fn out_len(&self) -> Result<usize, KernelError> {
        self.elements(
            self.slots
                .checked_mul(STATE_ROWS)
                .and_then(|r| r.checked_add(self.n)),
        )
    }

    /// Elements of the packed gradients: `(2·N + 5·sequences)·C`: gk, gv, then gw, gu, gaa, gbb, gpp of each sequence.
    pub fn grads_len(&self, sequences: usize) -> Result<usize, KernelError> {
        let rows = self.n.checked_mul(2);
        self.elements(
            sequences
                .checked_mul(GRAD_ROWS)
                .and_then(|r| rows.and_then(|n| n.checked_add(r))),
        )
    }

    /// The `params` binding of both WKV shaders: `[C, sequences, N]`.
    ///
    /// Fails when an index would not fit the 32 bits that a shader computes with.
    pub fn params(&self, sequences: usize) -> Result<[u32; 3], KernelError> {
        self.grads_len(sequences)?;
        self.out_len()?;
        // The lengths above fit 32 bits, so their factors do, unless C is 0 and the factor was never seen.
        let narrow = |x: usize| u32::try_from(x).map_err(|_| self.too_large(x));
        Ok([narrow(self.c)?, narrow(sequences)?, narrow(self.n)?])
    }

    /// Workgroups `[x, y, z]` for both WKV shaders: 64 channels along x, one sequence along y.
    ///
    /// Fails when there are more than 65,535 sequences, the limit of a dispatch dimension.
    pub fn workgroups(&self, sequences: usize) -> Result<[u32; 3], KernelError> {
        let narrow = |x: usize| {
            u16::try_from(x)
                .map(u32::from)
                .map_err(|_| self.too_large(x))
        };
        Ok([narrow(self.c.div_ceil(64))?, narrow(sequences)?, 1])
    }

    fn too_large(&self, rows: usize) -> KernelError {
        KernelError::TooLarge {
            kernel: "wkv",
            rows,
            channels: self.c,
        }
    }

    /// `rows · C`, as long as it fits both the 32-bit indices of the shaders and `isize` bytes.
    fn elements(&self, rows: Option<usize>) -> Result<usize, KernelError> {
        let elements = rows.and_then(|r| r.checked_mul(self.c));
        match elements {
            Some(len) if len <= (u32::MAX / 4) as usize => Ok(len),
            _ => Err(self.too_large(rows.unwrap_or(usize::MAX))),
        }
    }
}

/// Checks that sequences lie within the rows and slots, that no row is claimed twice and no slot written twice.
pub(crate) fn check_sequences(
    kernel: &'static str,
    seqs: &[Sequence],
    dims: &WkvDims,
) -> Result<(), KernelError> {
    for (index, s) in seqs.iter().enumerate() {
        if s.first as usize > dims.n || s.len as usize > dims.n - s.first as usize {
            return Err(KernelError::RowsOutOfRange {
                kernel,
                index,
                first: s.first,
                len: s.len,
                rows: dims.n,
            });
        }
        for slot in [s.slot_in, s.slot_out] {
            if slot != NO_STATE && slot as usize >= dims.slots {
                return Err(KernelError::SlotOutOfRange {
                    kernel,
                    index,
                    slot,
                    slots: dims.slots,
                });
            }
        }
    }
    let mut rows: Vec<(u32, u32)> = seqs
        .iter()
        .filter(|s| s.len > 0)
        .map(|s| (s.first, s.len))
        .collect();
    rows.sort_unstable();
    for pair in rows.windows(2) {
        if pair[1].0 - pair[0].0 < pair[0].1 {
            return Err(KernelError::RowsOverlap {
                kernel,
                row: pair[1].0,
            });
        }
    }
    let mut slots: Vec<u32> = seqs
        .iter()
        .map(|s| s.slot_out)
        .filter(|&s| s != NO_STATE)
        .collect();
    slots.sort_unstable();
    for pair in slots.windows(2) {
        if pair[0] == pair[1] {
            return Err(KernelError::SlotWrittenTwice {
                kernel,
                slot: pair[0],
            });
        }
    }
    Ok(())
}

/// Checks one buffer's length.
pub(crate) fn check_len(
    kernel: &'static str,
    buffer: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), KernelError> {
    if found == expected {
        Ok(())
    } else {
        Err(KernelError::Length {
            kernel,
            buffer,
            expected,
            found,
        })
    }
}
