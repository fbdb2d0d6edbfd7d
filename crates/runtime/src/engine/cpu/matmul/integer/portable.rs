//! Four rows in arrays: the oracle of the others, and what runs where none of them does.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the trait is unsafe for instructions that a machine may lack; plain Rust needs none"
)]

use super::super::float::half;
use super::kernel::{Panel, compute};
use super::lanes::Lanes;

/// Whether every machine of the target fuses multiplication and addition.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

pub(super) struct Portable;

/// Computes a panel.
pub(super) fn panel(panel: Panel<'_>) {
    unsafe { compute::<Portable>(panel) }
}

impl Lanes for Portable {
    const ROWS: usize = 4;
    const TOKENS: usize = 4;
    const UNSIGNED: bool = false;
    type Bytes = [[u8; 4]; 4];
    type Weights = [[u8; 4]; 4];
    type Sums = [i32; 4];
    type Floats = [f32; 4];

    #[inline(always)]
    unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4] {
        let mut columns = [[[0; 4]; 4]; 4];
        for row in 0..4 {
            // SAFETY: the caller's promise: sixteen bytes are readable there.
            let bytes: [[u8; 4]; 4] =
                unsafe { from.add(row * stride).cast::<[[u8; 4]; 4]>().read() };
            for (column, bytes) in columns.iter_mut().zip(bytes) {
                column[row] = bytes;
            }
        }
        columns
    }

    #[inline(always)]
    unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|row| row.map(|byte| byte ^ 0x80))
    }

    #[inline(always)]
    unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2] {
        [
            bytes.map(|row| row.map(|byte| byte & 15)),
            bytes.map(|row| row.map(|byte| byte >> 4)),
        ]
    }

    #[inline(always)]
    unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2] {
        [
            bytes.map(|[a, b, _, _]| half(u16::from_le_bytes([a, b]))),
            bytes.map(|[_, _, a, b]| half(u16::from_le_bytes([a, b]))),
        ]
    }

    #[inline(always)]
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
        bytes
    }

    #[inline(always)]
    unsafe fn sums(bias: i32) -> Self::Sums {
        [bias; 4]
    }

    #[inline(always)]
    unsafe fn dot(mut sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        let x = x.to_le_bytes();
        for (sum, weights) in sums.iter_mut().zip(weights) {
            for (w, x) in weights.into_iter().zip(x) {
                *sum += i32::from(w as i8) * i32::from(x as i8);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Self::Floats {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::Floats {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|row| a[row] + b[row])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|row| a[row] * b[row])
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|row| {
            if FUSED {
                a[row].mul_add(b[row], c[row])
            } else {
                a[row] * b[row] + c[row]
            }
        })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(floats: Self::Floats, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write(floats) };
    }
}
