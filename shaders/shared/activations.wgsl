// Inputs of a product as bytes in workgroup memory, for products of integers: 32 elements x share a scale, s = max|x| / 127, q = round(x / s), halves to even. The rule is
// that of the CPU engine. Twin: crates/kernels/src/cpu/activations.rs. Needs the language feature packed_4x8_integer_dot_product.
//
// A workgroup of 64 holds a chunk of TOKENS rows of its input at a time: GROUPS groups in all, the same columns of each.

const GROUPS: u32 = 128u;
// Of one row.
const ROW_GROUPS: u32 = GROUPS / TOKENS;
// Units of weights (shared/weights.wgsl) in a group, and in a chunk.
const GROUP_UNITS: u32 = 32u / UNIT;
const CHUNK: u32 = ROW_GROUPS * GROUP_UNITS;
// Bits of 127 · 2^-126: below, the scale would not be a normal number, and is 0.
const SMALLEST: u32 = 0x03fe0000u;

var<workgroup> x_bytes: array<vec4<u32>, 2u * GROUPS>; // [TOKENS, ROW_GROUPS, 2]
var<workgroup> x_scale: array<vec2<f32>, GROUPS>; // [TOKENS, ROW_GROUPS]: s, and s · Σ q, what a minimum of int4 weights is multiplied with

// Rounds the 32 elements from the vec4 number `at` of the input on to the group in `place`. An input that is not finite gives a scale that is not.
fn round_group(place: u32, at: u32) {
    var largest = vec4<u32>();
    for (var i = 0u; i < 8u; i++) {
        // Positive floats compare like their bits.
        largest = max(largest, bitcast<vec4<u32>>(input[at + i]) & vec4<u32>(0x7fffffffu));
    }
    let bits = max(max(largest.x, largest.y), max(largest.z, largest.w));
    let is_normal = bits >= SMALLEST;
    let inverse = select(0.0, 127.0 / bitcast<f32>(bits), is_normal);
    var sum = 0;
    for (var half = 0u; half < 2u; half++) {
        var words: vec4<u32>;
        for (var i = 0u; i < 4u; i++) {
            let word = pack4xI8(vec4<i32>(round(input[at + half * 4u + i] * inverse)));
            sum += dot4I8Packed(word, 0x01010101u);
            words[i] = word;
        }
        x_bytes[place * 2u + half] = words;
    }
    let scale = select(0.0, bitcast<f32>(bits) / 127.0, is_normal);
    x_scale[place] = vec2<f32>(scale, scale * f32(sum));
}

// Rounds the chunk of units `chunk` to `end` of TOKENS rows of part `part`, from `first_row` on; rows behind the last repeat it. A barrier must come before and after it.
fn round_chunk(first_row: u32, part: u32, chunk: u32, end: u32, thread: u32) {
    let groups = (end - chunk) / GROUP_UNITS;
    for (var i = thread; i < TOKENS * groups; i += 64u) {
        let token = i / groups;
        let group = i % groups;
        let at = input_at(min(first_row + token, params[0] - 1u), part) + chunk * X4 + group * 8u;
        round_group(token * ROW_GROUPS + group, at);
    }
}

fn dot16(w: vec4<u32>, x: vec4<u32>) -> i32 {
    return dot4I8Packed(w.x, x.x) + dot4I8Packed(w.y, x.y) + dot4I8Packed(w.z, x.z) + dot4I8Packed(w.w, x.w);
}

// What a unit of weights is multiplied with.
struct Bytes {
    low: vec4<u32>,
    high: vec4<u32>, // int4
    scale: vec2<f32>,
}

// What the unit number `unit` of a chunk is multiplied with in row `token`.
fn bytes_at(token: u32, unit: u32) -> Bytes {
    let place = token * ROW_GROUPS + unit / GROUP_UNITS;
#ifdef WEIGHTS_INT4
    return Bytes(x_bytes[place * 2u], x_bytes[place * 2u + 1u], x_scale[place]);
#else
    return Bytes(x_bytes[place * 2u + unit % 2u], vec4<u32>(), x_scale[place]);
#endif
}

// A unit of weights, with scale and minimum, times its inputs. The sum of bytes is exact.
fn unit_product(w: vec4<u32>, scale: vec2<f32>, x: Bytes) -> f32 {
#ifdef WEIGHTS_INT4
    let low = w & vec4<u32>(0x0f0f0f0fu);
    let high = (w >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
    return f32(dot16(low, x.low) + dot16(high, x.high)) * (scale.x * x.scale.x) + scale.y * x.scale.y;
#else
    return f32(dot16(w, x.low)) * (scale.x * x.scale.x);
#endif
}
