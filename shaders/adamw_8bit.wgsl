// AdamW with both moments in bytes: one pass unpacks them, updates them and the parameter, and packs them again (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization").
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g²        p -= rate m / (sqrt(v) correction + eps) + decay p        with g = gradient · gradient_scale
// The parameter moves by the moments as they are before they are rounded.
//
// A block of 256 elements has a scale for m and one for the root of v: the largest magnitude of each; below 1e-12 it is 0, and so are the moments. A byte stands for a part of it on the paper's
// dynamic map, here with an exact 1 on either side: index 0 is 0, the last is 1, and decade d between has 2^d equal bins of 0.1..1, times a power of ten that makes the last decade end at 1.
// m has a sign bit and 7 bits, 6 decades; the root has 8 bits, 7 decades, and is no 0 unless v is 0: a v of 0 under an m that is not would make a step of any size.
//
// Dispatch: x · y ≥ blocks, x = params[1]. A workgroup of 64 takes a block; each invocation four elements, which share a word.

@group(0) @binding(0) var<storage, INPUT_ACCESS> gradient: array<f32>; // [elements]
@group(0) @binding(1) var<storage, read_write> parameter: array<f32>; // [elements]
@group(0) @binding(2) var<storage, read_write> means: array<u32>; // [elements / 4, rounded up], the first element in the lowest byte
@group(0) @binding(3) var<storage, read_write> mean_scales: array<f32>; // [blocks]
@group(0) @binding(4) var<storage, read_write> roots: array<u32>; // [elements / 4, rounded up]
@group(0) @binding(5) var<storage, read_write> root_scales: array<f32>; // [blocks]
@group(0) @binding(6) var<storage, INPUT_ACCESS> params: array<u32>; // elements, workgroups in x, bits of beta1, beta2, rate, correction, eps, decay, gradient scale

const SMALLEST_SCALE = 1e-12;

var<workgroup> largest: array<vec2<f32>, 64>;

/// What the index stands for on a map of so many decades.
fn magnitude(index: u32, decades: u32) -> f32 {
    let place = index + 1u;
    let decade = firstLeadingBit(place);
    if decade == 0u {
        return 0.0;
    }
    if decade > decades {
        return 1.0;
    }
    let bins = 1u << decade;
    var part = 0.1 + 0.9 * (f32(place - bins) + 0.5) / f32(bins);
    for (var d = decade; d < decades; d++) {
        part *= 0.1;
    }
    return part;
}

/// The index whose bin holds a part of the scale, from 0 to 1.
fn index_of(part: f32, decades: u32) -> u32 {
    let last = 1u << decades;
    // Half way between the last bin's middle and 1.
    if part > 1.0 - 0.225 / f32(last) {
        return 2u * last - 1u;
    }
    var decade = decades;
    var scaled = part;
    while scaled < 0.1 && decade > 1u {
        scaled *= 10.0;
        decade--;
    }
    if scaled < 0.1 {
        return 0u;
    }
    let bins = 1u << decade;
    return bins - 1u + min(u32((scaled - 0.1) / 0.9 * f32(bins)), bins - 1u);
}

/// The largest of all invocations' values, by component. Every invocation must call it.
fn workgroup_max(value: vec2<f32>, thread: u32) -> vec2<f32> {
    largest[thread] = value;
    for (var apart = 32u; apart > 0u; apart >>= 1u) {
        workgroupBarrier();
        if thread < apart {
            largest[thread] = max(largest[thread], largest[thread + apart]);
        }
    }
    workgroupBarrier();
    return largest[0];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let elements = params[0];
    let block = group.x + group.y * params[1];
    let first = (block * 64u + thread) * 4u;
    let beta1 = bitcast<f32>(params[2]);
    let beta2 = bitcast<f32>(params[3]);
    let rate = bitcast<f32>(params[4]);
    let correction = bitcast<f32>(params[5]);
    let eps = bitcast<f32>(params[6]);
    let decay = bitcast<f32>(params[7]);
    let gradient_scale = bitcast<f32>(params[8]);

    var m = vec4<f32>(0.0);
    var root = vec4<f32>(0.0);
    if first < elements {
        let scale = vec2<f32>(mean_scales[block], root_scales[block]);
        let mean_word = means[first / 4u];
        let root_word = roots[first / 4u];
        for (var i = 0u; i < 4u; i++) {
            if first + i < elements {
                let mean_byte = (mean_word >> (8u * i)) & 0xffu;
                let sign = select(1.0, -1.0, mean_byte >= 128u);
                let old_m = sign * magnitude(mean_byte & 127u, 6u) * scale.x;
                let old_root = magnitude((root_word >> (8u * i)) & 0xffu, 7u) * scale.y;
                let g = gradient[first + i] * gradient_scale;
                m[i] = beta1 * old_m + (1.0 - beta1) * g;
                root[i] = sqrt(beta2 * old_root * old_root + (1.0 - beta2) * g * g);
                let p = parameter[first + i];
                parameter[first + i] = p - (rate * m[i] / (root[i] * correction + eps) + decay * p);
            }
        }
    }
    let of_m = max(max(abs(m.x), abs(m.y)), max(abs(m.z), abs(m.w)));
    let of_root = max(max(root.x, root.y), max(root.z, root.w));
    let found = workgroup_max(vec2<f32>(of_m, of_root), thread);
    let scale = select(found, vec2<f32>(0.0), found < vec2<f32>(SMALLEST_SCALE));
    if first >= elements {
        return;
    }
    let inverse = select(1.0 / max(scale, vec2<f32>(SMALLEST_SCALE)), vec2<f32>(0.0), scale == vec2<f32>(0.0));
    var mean_word = 0u;
    var root_word = 0u;
    for (var i = 0u; i < 4u; i++) {
        let index = index_of(abs(m[i]) * inverse.x, 6u);
        let sign = select(0u, 128u, m[i] < 0.0 && index > 0u);
        mean_word |= (index | sign) << (8u * i);
        let part = root[i] * inverse.y;
        root_word |= max(index_of(part, 7u), select(0u, 1u, part > 0.0)) << (8u * i);
    }
    means[first / 4u] = mean_word;
    roots[first / 4u] = root_word;
    if thread == 0u {
        mean_scales[block] = scale.x;
        root_scales[block] = scale.y;
    }
}
