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
    /// 128-bit integer products; floats as compiled from plain Rust.
    #[cfg(target_arch = "x86_64")]
    Sse41,
    /// 256-bit fused multiply-add, half-precision conversion and 16-bit products.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The same with 256-bit dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// 512-bit fused multiply-add; integers as with AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with 512-bit dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// 128-bit integer products; floats as compiled from plain Rust.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// The same with dot products of bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// 128-bit integer products, chosen when the program is built; floats as compiled from plain Rust.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128,
}

impl Isa {
    /// The set that every machine has.
    pub fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// The widest set of this machine, within [`ptbr_kernels::cpu::vector_limit`].
    pub fn detect() -> Self {
        let limit = ptbr_kernels::cpu::vector_limit();
        let within = |isa: &Self| isa.vector_bits() <= limit;
        Self::all()
            .into_iter()
            .rfind(within)
            .unwrap_or_else(Self::portable)
    }

    /// Bits of its vectors.
    fn vector_bits(self) -> u32 {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::AvxVnni => 256,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 | Kind::Avx512Vnni => 512,
            _ => 128,
        }
    }

    /// Every set of this machine, narrowest first.
    pub fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "not every target has more than one")]
        let mut sets = vec![Self::portable()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("sse4.1") {
            sets.push(Self(Kind::Sse41));
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            sets.push(Self(Kind::Avx2));
            if is_x86_feature_detected!("avxvnni") {
                sets.push(Self(Kind::AvxVnni));
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(Self(Kind::Avx512));
                if is_x86_feature_detected!("avx512vnni") {
                    sets.push(Self(Kind::Avx512Vnni));
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            sets.push(Self(Kind::Neon));
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                sets.push(Self(Kind::NeonDot));
            }
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        sets.push(Self(Kind::Simd128));
        sets
    }

    /// Its name, for reports: `portable`, `sse4.1`, `avx2`, `avx-vnni`, `avx512`, `avx512-vnni`, `neon`, `neon-dotprod` or `simd128`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Sse41 => "sse4.1",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot => "neon-dotprod",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Kind::Simd128 => "simd128",
        }
    }
}
