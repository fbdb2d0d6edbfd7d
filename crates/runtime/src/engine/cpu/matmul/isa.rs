//! Which instruction set the products run on, found once at run time.

/// An instruction set that this machine is known to have.
///
/// A value can only be made by [`Isa::portable`], [`Isa::detect`] or [`Isa::all`], so holding one is the proof that its instructions may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(pub(super) Kind);

/// The variants behind [`Isa`], hidden so that none can be made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Plain Rust, which the compiler turns into whatever the target always has (SSE2, NEON, SIMD128).
    Portable,
    /// 256-bit fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The set that every machine has.
    pub fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// The widest set of this machine.
    pub fn detect() -> Self {
        Self::all().pop().unwrap_or_else(Self::portable)
    }

    /// Every set of this machine, narrowest first.
    pub fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "only x86-64 has more than one")]
        let mut sets = vec![Self::portable()];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Self(Kind::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(Self(Kind::Avx512));
            }
        }
        sets
    }

    /// Its name, for reports: `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    /// Most tokens of one tile: as many accumulators as the registers hold beside four rows of weights (or one row, where there are 16 small registers).
    pub(super) fn tile_tokens(self) -> usize {
        match self.0 {
            Kind::Portable => 2,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 3,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => 6,
        }
    }
}
