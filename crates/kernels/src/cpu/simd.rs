//! One body, compiled for several instruction sets; the best one that the machine has is chosen at run time.
//!
//! The body is generic over `const FMA: bool` and inlined into functions that differ in their target features only. The AVX2 and
//! AVX-512 versions round alike (both fuse), so they give the same bits.

/// Defines `name::<FMA>` and, on x86-64, its versions for AVX-512 and AVX2, for [`dispatch!`].
macro_rules! multiversion {
    (fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "bodies differ in what they need")]
            use super::*;

            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "the arguments of the kernel")]
            fn body<const FMA: bool>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "the arguments of the kernel")]
            pub(super) fn avx512($($arg: $ty),*) {
                body::<true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "the arguments of the kernel")]
            pub(super) fn avx2($($arg: $ty),*) {
                body::<true>($($arg),*)
            }

            #[allow(clippy::too_many_arguments, reason = "the arguments of the kernel")]
            pub(super) fn baseline($($arg: $ty),*) {
                body::<{ cfg!(any(target_feature = "fma", target_arch = "aarch64")) }>($($arg),*)
            }
        }
    };
}

/// Calls the best version of a function made by [`multiversion!`].
macro_rules! dispatch {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            match $crate::cpu::simd::level() {
                // SAFETY: `level` found these instruction sets on this machine.
                $crate::cpu::simd::Level::Avx512 => unsafe { $name::avx512($($arg),*) },
                // SAFETY: as above.
                $crate::cpu::simd::Level::Avx2 => unsafe { $name::avx2($($arg),*) },
                $crate::cpu::simd::Level::Baseline => $name::baseline($($arg),*),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        $name::baseline($($arg),*)
    }};
}

pub(crate) use {dispatch, multiversion};

use std::sync::atomic::{AtomicU32, Ordering};

/// See [`limit_vectors`].
static LIMIT: AtomicU32 = AtomicU32::new(u32::MAX);

/// Holds what is computed from now on, in the whole program, to vectors of at most `bits` bits: how a narrower machine would fare. Only
/// vectors that are chosen at run time can be held, on x86-64 those above 128 bits.
pub fn limit_vectors(bits: u32) {
    LIMIT.store(bits, Ordering::Relaxed);
}

/// The most bits that a vector may have: what [`limit_vectors`] was told last, at first `u32::MAX`.
pub fn vector_limit() -> u32 {
    LIMIT.load(Ordering::Relaxed)
}

/// Instruction sets that make a difference here.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Avx512,
    Avx2,
    Baseline,
}

/// The best level of this machine within [`vector_limit`] (the standard library caches the detection).
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = tests::FORCED.get() {
        return level;
    }
    let avx2 =
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    let avx512 = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl");
    let limit = vector_limit();
    match (avx2, avx512) {
        (true, true) if limit >= 512 => Level::Avx512,
        (true, _) if limit >= 256 => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::cpu::{exp_f32, sigmoid, wkv_backward, wkv_forward, wkv_step};
    use crate::{WKV_KNOWN_ANSWER, WkvKnownAnswer};

    thread_local! {
        /// What [`level`] says on this thread instead of the best.
        pub(super) static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// Every kernel on the known answer's inputs (small, so it stays on this thread).
    fn everything(level: Level) -> [Vec<f32>; 4] {
        FORCED.set(Some(level));
        let WkvKnownAnswer {
            dims,
            wu,
            k,
            v,
            seqs,
            state_in,
            grad_out,
            out,
            grads,
        } = WKV_KNOWN_ANSWER;
        let (mut y, mut g) = (vec![0.0; out.len()], vec![0.0; grads.len()]);
        wkv_forward(wu, k, v, seqs, state_in, &mut y, dims).expect("forward");
        wkv_backward(wu, k, v, seqs, state_in, grad_out, &mut g, dims).expect("backward");
        let mut step = state_in[9..18].to_vec();
        let mut step_y = [0.0; 3];
        wkv_step(wu, &k[..3], &v[..3], &mut step, &mut step_y).expect("step");
        step.extend(step_y);
        let mut x: Vec<f32> = k.to_vec();
        exp_f32(&mut x[..9]);
        sigmoid(&mut x[9..]);
        FORCED.set(None);
        [y, g, step, x]
    }

    #[test]
    fn every_level_of_this_machine_gives_the_known_answer_and_fused_ones_the_same_bits() {
        let best = level();
        println!("best level here: {best:?}");
        let baseline = everything(Level::Baseline);
        let fused: Vec<_> = match best {
            Level::Avx512 => vec![everything(Level::Avx512), everything(Level::Avx2)],
            Level::Avx2 => vec![everything(Level::Avx2)],
            Level::Baseline => vec![],
        };
        for results in std::iter::once(&baseline).chain(&fused) {
            assert!(WkvKnownAnswer::error(&results[0], WKV_KNOWN_ANSWER.out) < 2e-5);
            assert!(WkvKnownAnswer::error(&results[1], WKV_KNOWN_ANSWER.grads) < 2e-5);
            for (ours, theirs) in results.iter().zip(&baseline).skip(2) {
                for (a, b) in ours.iter().zip(theirs) {
                    assert!((a - b).abs() <= 1e-6 * b.abs(), "{a:e} {b:e}");
                }
            }
        }
        for pair in fused.windows(2) {
            assert_eq!(pair[0], pair[1]);
        }
    }
}
