// A matrix [rows, cols] in one of the number formats of model files (the table is in crates/model/src/format.rs), read sixteen bytes
// at a time: a unit. The define WEIGHTS_F32, WEIGHTS_F16, WEIGHTS_INT8, WEIGHTS_FP8 or WEIGHTS_INT4 says which, SCALES that it has
// scales. Twin: MatrixData::dequantize of ptbr-model.
//
// unpack4xI8 and its like would do, but belong to a language feature that an implementation may lack.
//
// UNIT: elements of a unit. X4: their number in vec4s.

@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>; // [rows, cols / UNIT]
#ifdef SCALES
@group(0) @binding(1) var<storage, read> scales: array<u32>; // [rows · cols / 64]; int4: [rows, cols / 32]
const BINDING: u32 = 2u;
#else
const BINDING: u32 = 1u;
#endif

#ifdef WEIGHTS_F32
const UNIT: u32 = 4u;
const X4: u32 = 1u;
#endif
#ifdef WEIGHTS_F16
const UNIT: u32 = 8u;
const X4: u32 = 2u;
#endif
#ifdef WEIGHTS_INT8
const UNIT: u32 = 16u;
const X4: u32 = 4u;
const BYTES_FROM_TOP = vec4<u32>(24u, 16u, 8u, 0u);
#endif
#ifdef WEIGHTS_FP8
const UNIT: u32 = 16u;
const X4: u32 = 4u;
#endif
#ifdef WEIGHTS_INT4
const UNIT: u32 = 32u;
const X4: u32 = 8u;
const BYTES = vec4<u32>(0u, 8u, 16u, 24u);
#endif

#ifdef WEIGHTS_FP8
// Four E4M3 numbers divided by 256: they have the bits of an f16 whose exponent is 8 too small.
fn e4m3(word: u32) -> vec4<f32> {
    let even = word & 0x00ff00ffu;
    let odd = (word >> 8u) & 0x00ff00ffu;
    let a = unpack2x16float(((even & 0x00800080u) << 8u) | ((even & 0x007f007fu) << 7u));
    let b = unpack2x16float(((odd & 0x00800080u) << 8u) | ((odd & 0x007f007fu) << 7u));
    return vec4<f32>(a.x, b.x, a.y, b.y);
}
#endif

// Four consecutive elements before scaling: the vec4 number i of a unit.
fn quad(unit: vec4<u32>, i: u32) -> vec4<f32> {
#ifdef WEIGHTS_F32
    return bitcast<vec4<f32>>(unit);
#endif
#ifdef WEIGHTS_F16
    let pair = select(unit.xy, unit.zw, i == 1u);
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
#endif
#ifdef WEIGHTS_INT8
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(unit[i]) << BYTES_FROM_TOP) >> vec4<u32>(24u));
#endif
#ifdef WEIGHTS_FP8
    return e4m3(unit[i]);
#endif
#ifdef WEIGHTS_INT4
    return vec4<f32>((vec4<u32>(unit[i & 3u] >> ((i >> 2u) * 4u)) >> BYTES) & vec4<u32>(15u));
#endif
}

#ifdef SCALES
// Scale and minimum of the unit with this number: element = x · quad + y.
fn unit_scale(unit: u32) -> vec2<f32> {
#ifdef WEIGHTS_INT4
    return unpack2x16float(scales[unit]);
#else
    let pair = unpack2x16float(scales[unit >> 2u]);
    let scale = select(pair.x, pair.y, (unit & 2u) != 0u);
#ifdef WEIGHTS_FP8
    return vec2<f32>(scale * 256.0, 0.0);
#else
    return vec2<f32>(scale, 0.0);
#endif
#endif
}
#endif

// Four consecutive elements, scaled: the vec4 number i of the unit with this number.
fn element4(unit: u32, i: u32) -> vec4<f32> {
    let values = quad(weights[unit], i);
#ifdef SCALES
    let scale = unit_scale(unit);
    return values * scale.x + scale.y;
#else
    return values;
#endif
}
