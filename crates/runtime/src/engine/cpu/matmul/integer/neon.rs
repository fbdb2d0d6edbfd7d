//! Eight rows in pairs of 128-bit registers: with the widening products of NEON, or with dot products of bytes (dotprod).

use super::kernel::{Panel, compute};
use super::lanes::Lanes;
use std::arch::aarch64::*;

pub(super) struct Neon;

pub(super) struct NeonDot;

/// Computes a panel.
///
/// # Safety
/// The machine must have NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn panel(panel: Panel<'_>) {
    // SAFETY: passed on.
    unsafe { compute::<Neon>(panel) }
}

/// Computes a panel.
///
/// # Safety
/// The machine must have NEON and its dot products.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn panel_dotprod(panel: Panel<'_>) {
    // SAFETY: passed on.
    unsafe { compute::<NeonDot>(panel) }
}

/// The f16 in the low half of each word: its bits as those of an f32 whose exponent is 112 too small, subnormals included.
///
/// # Safety
/// NEON.
#[inline(always)]
unsafe fn low_half(words: int32x4_t) -> float32x4_t {
    // SAFETY: passed on.
    unsafe {
        let words = vreinterpretq_u32_s32(words);
        let magnitude = vshlq_n_u32::<13>(vandq_u32(words, vdupq_n_u32(0x7fff)));
        let sign = vshlq_n_u32::<16>(vandq_u32(words, vdupq_n_u32(0x8000)));
        let scaled = vreinterpretq_f32_u32(vorrq_u32(magnitude, sign));
        vmulq_n_f32(scaled, f32::from_bits((127 + 112) << 23))
    }
}

/// What both have in common.
// SAFETY of every block: the caller of a `Lanes` function has the instructions; pointers are as the trait asks.
macro_rules! common {
    () => {
        const ROWS: usize = 8;
        const TOKENS: usize = 4;
        const UNSIGNED: bool = false;
        /// Rows 0 to 3 and 4 to 7, as everything here.
        type Bytes = [int8x16_t; 2];
        type Weights = [int8x16_t; 2];
        type Floats = [float32x4_t; 2];

        #[inline(always)]
        unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4] {
            unsafe {
                let half = |first: usize| {
                    let row = |index: usize| {
                        vreinterpretq_s32_u8(vld1q_u8(from.add((first + index) * stride)))
                    };
                    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
                    // A transposition of 4 × 4 words.
                    let wide = vreinterpretq_s64_s32;
                    let (ab, cd) = (wide(vtrn1q_s32(a, b)), wide(vtrn1q_s32(c, d)));
                    let (ef, gh) = (wide(vtrn2q_s32(a, b)), wide(vtrn2q_s32(c, d)));
                    [
                        vtrn1q_s64(ab, cd),
                        vtrn1q_s64(ef, gh),
                        vtrn2q_s64(ab, cd),
                        vtrn2q_s64(ef, gh),
                    ]
                    .map(|column| vreinterpretq_s8_s64(column))
                };
                let (low, high) = (half(0), half(4));
                std::array::from_fn(|k| [low[k], high[k]])
            }
        }

        #[inline(always)]
        unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes {
            bytes.map(|bytes| unsafe { veorq_s8(bytes, vdupq_n_s8(-128)) })
        }

        #[inline(always)]
        unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2] {
            unsafe {
                [
                    bytes.map(|bytes| vandq_s8(bytes, vdupq_n_s8(15))),
                    bytes.map(|bytes| {
                        vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(bytes)))
                    }),
                ]
            }
        }

        #[inline(always)]
        unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2] {
            unsafe {
                let words = bytes.map(|bytes| vreinterpretq_s32_s8(bytes));
                [
                    words.map(|words| low_half(words)),
                    words.map(|words| low_half(vshrq_n_s32::<16>(words))),
                ]
            }
        }

        #[inline(always)]
        unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
            bytes
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::Floats {
            unsafe { [vdupq_n_f32(x); 2] }
        }

        #[inline(always)]
        unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
            unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])] }
        }

        #[inline(always)]
        unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
            unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
            unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::Floats {
            unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
        }

        #[inline(always)]
        unsafe fn store(floats: Self::Floats, to: *mut f32) {
            unsafe {
                vst1q_f32(to, floats[0]);
                vst1q_f32(to.add(4), floats[1]);
            }
        }
    };
}

#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for NeonDot {
    type Sums = [int32x4_t; 2];
    common!();

    #[inline(always)]
    unsafe fn sums(bias: i32) -> Self::Sums {
        unsafe { [vdupq_n_s32(bias); 2] }
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        // The intrinsic of this instruction is not stable.
        let [mut low, mut high] = sums;
        unsafe {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            for (sum, weights) in [(&mut low, weights[0]), (&mut high, weights[1])] {
                std::arch::asm!(
                    "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.16b",
                    sum = inout(vreg) *sum,
                    weights = in(vreg) weights,
                    x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
        [low, high]
    }

    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Self::Floats {
        sums.map(|sums| unsafe { vcvtq_f32_s32(sums) })
    }
}

#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for Neon {
    /// Two partial sums a row: rows 0 and 1, 2 and 3, 4 and 5, 6 and 7.
    type Sums = [int32x4_t; 4];
    common!();

    #[inline(always)]
    unsafe fn sums(bias: i32) -> Self::Sums {
        unsafe { [vsetq_lane_s32::<2>(bias, vsetq_lane_s32::<0>(bias, vdupq_n_s32(0))); 4] }
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        unsafe {
            let x = vreinterpret_s8_s32(vdup_n_s32(x));
            let [a, b] = weights;
            [
                vpadalq_s16(sums[0], vmull_s8(vget_low_s8(a), x)),
                vpadalq_s16(sums[1], vmull_s8(vget_high_s8(a), x)),
                vpadalq_s16(sums[2], vmull_s8(vget_low_s8(b), x)),
                vpadalq_s16(sums[3], vmull_s8(vget_high_s8(b), x)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Self::Floats {
        unsafe {
            [
                vcvtq_f32_s32(vpaddq_s32(sums[0], sums[1])),
                vcvtq_f32_s32(vpaddq_s32(sums[2], sums[3])),
            ]
        }
    }
}
