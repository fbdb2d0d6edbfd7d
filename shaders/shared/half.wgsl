// f32 to f16, to the nearest and ties to even, by integers. Twin: f16::from_f32 of the crate `half`.
//
// pack2x16float will not do: WGSL leaves its rounding to the adapter, promises nothing of a number behind 65,504, and an adapter may flush subnormals. An overflow that becomes 65,504 is one that
// loss scaling never sees. The software adapter at hand does none of this, and these integers cost it nothing that can be measured.

fn half_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if size > 0x7f800000u {
        // NaN stays one, with the upper bits of its payload.
        return sign | 0x7e00u | ((size >> 13u) & 0x3ffu);
    }
    if size >= 0x477ff000u {
        // From 65,520, half way to where 65,536 would be.
        return sign | 0x7c00u;
    }
    if size >= 0x38800000u {
        // From 2^-14: 112 less in the exponent, 13 bits less in the mantissa.
        return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u);
    }
    if size < 0x33000000u {
        // Below 2^-25, half of the smallest.
        return sign;
    }
    // Subnormal: so many 2^-24.
    let mantissa = (size & 0x7fffffu) | 0x800000u;
    let shift = 126u - (size >> 23u);
    return sign | ((mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift);
}

fn pack_halves(low: f32, high: f32) -> u32 {
    return half_bits(low) | (half_bits(high) << 16u);
}
