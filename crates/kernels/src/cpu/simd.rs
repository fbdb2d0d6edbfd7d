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

/// Instruction sets that make a difference here.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Avx512,
    Avx2,
    Baseline,
}

/// The best level of this machine (the standard library caches the detection).
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    let avx2 =
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    let avx512 = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Baseline,
    }
}
