//! Twin of `shaders/lora_down.wgsl`.

use super::rows::{NO_ADAPTER, Row, check_index, out_of_range};
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "lora_down";

/// What the table of adapters says about one module of one adapter; `vec4<u32>` in the shader. Rank 0: the adapter leaves the module alone.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct LoraModule {
    /// First element of A `[rank, in]` in the bank.
    pub a: u32,
    /// First element of B `[out, rank]` in the bank.
    pub b: u32,
    /// Rank.
    pub rank: u32,
    /// What A·x is multiplied with: alpha / rank.
    pub scale: f32,
}

/// The `params` binding of `lora_down.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoraDownParams {
    /// Elements of an input vector.
    pub cols: u32,
    /// Elements from one row of input to the next.
    pub input_stride: u32,
    /// Input vectors, and modules, of a row.
    pub parts: u32,
    /// Words of a part in `low`: 2 and the largest rank.
    pub low_words: u32,
    /// Modules of an adapter in the table.
    pub modules: u32,
    /// Which of them part 0 is.
    pub first_module: u32,
}

impl LoraDownParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 6] {
        [
            self.cols,
            self.input_stride,
            self.parts,
            self.low_words,
            self.modules,
            self.first_module,
        ]
    }
}

/// The first half of low-rank adapters: for each row and part the first element of B, the rank, and `scale · A·x`.
///
/// `input [N, input_stride]`, `rows [N]`, `table [adapters, modules]`, `bank` all A and B, `low [N, parts, low_words]`; what lies behind a part's rank is left
/// alone.
pub fn lora_down(
    input: &[f32],
    rows: &[Row],
    table: &[LoraModule],
    bank: &[f32],
    low: &mut [u32],
    params: &LoraDownParams,
) -> Result<(), KernelError> {
    check(input, rows, table, bank, low, params)?;
    let cols = params.cols as usize;
    let low_words = params.low_words as usize;
    let mut low = low.chunks_exact_mut(low_words);
    for (row, input) in rows
        .iter()
        .zip(input.chunks_exact(params.input_stride as usize))
    {
        for part in 0..params.parts as usize {
            let module = module_of(row, table, params, part);
            let Some(low) = low.next() else { return Ok(()) };
            low[0] = module.b;
            low[1] = module.rank;
            let x = &input[part * cols..][..cols];
            for (rank, low) in low[2..][..module.rank as usize].iter_mut().enumerate() {
                let a = &bank[module.a as usize + rank * cols..][..cols];
                let dot: f64 = a
                    .iter()
                    .zip(x)
                    .map(|(&a, &x)| f64::from(a) * f64::from(x))
                    .sum();
                *low = ((dot * f64::from(module.scale)) as f32).to_bits();
            }
        }
    }
    Ok(())
}

/// The module of a row's adapter for a part; of rank 0 without an adapter.
fn module_of(row: &Row, table: &[LoraModule], params: &LoraDownParams, part: usize) -> LoraModule {
    if row.adapter == NO_ADAPTER {
        return bytemuck::Zeroable::zeroed();
    }
    table[row.adapter as usize * params.modules as usize + params.first_module as usize + part]
}

fn check(
    input: &[f32],
    rows: &[Row],
    table: &[LoraModule],
    bank: &[f32],
    low: &[u32],
    params: &LoraDownParams,
) -> Result<(), KernelError> {
    let (parts, cols) = (params.parts as usize, params.cols as usize);
    if parts.saturating_mul(cols) > params.input_stride as usize || params.input_stride == 0 {
        return out_of_range(
            KERNEL,
            "params",
            2,
            params.parts,
            params.input_stride as usize,
        );
    }
    if params.low_words < 2 {
        return out_of_range(KERNEL, "params", 3, params.low_words, usize::MAX);
    }
    let of_input = rows.len().saturating_mul(params.input_stride as usize);
    check_len(KERNEL, "input", input.len(), of_input)?;
    let of_low = rows.len().saturating_mul(parts);
    let of_low = of_low.saturating_mul(params.low_words as usize);
    check_len(KERNEL, "low", low.len(), of_low)?;
    let adapters = table
        .len()
        .checked_div(params.modules as usize)
        .unwrap_or(0);
    if (params.first_module as usize).saturating_add(parts) > params.modules as usize {
        return out_of_range(
            KERNEL,
            "params",
            5,
            params.first_module,
            params.modules as usize,
        );
    }
    for (index, row) in rows
        .iter()
        .enumerate()
        .filter(|(_, r)| r.adapter != NO_ADAPTER)
    {
        check_index(KERNEL, "rows", index, row.adapter, adapters)?;
    }
    for (index, module) in table.iter().enumerate().filter(|(_, m)| m.rank > 0) {
        if module.rank > params.low_words - 2 {
            return out_of_range(
                KERNEL,
                "table",
                index,
                module.rank,
                params.low_words as usize - 1,
            );
        }
    }
    for row in rows {
        for part in 0..parts {
            let module = module_of(row, table, params, part);
            let end = (module.rank as usize).saturating_mul(cols);
            if end.saturating_add(module.a as usize) > bank.len() {
                return out_of_range(
                    KERNEL,
                    "table",
                    part,
                    module.a,
                    bank.len().saturating_sub(end) + 1,
                );
            }
        }
    }
    Ok(())
}
