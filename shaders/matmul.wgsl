// Products of a matrix with many vectors (prefill): y[n, o] = Σ_i W[o, i] · x[n, i], then shared/project.wgsl.
//
// Dispatch: x = tiles of 128 weight rows, y = tiles of 32 rows of input. Each invocation of a workgroup of 64 multiplies 8 weight rows by 8 inputs in registers: 64
// products for 16 numbers read. Weights are read packed, sixteen bytes of a row at a time, and unpacked in registers; neighbours read the same inputs and rows, so caches
// stand for workgroup memory and there is no barrier. Every sum goes over the columns in order: a row of input gives the same bits wherever in the batch it stands.
//
// DOTS: products of integers, for weights that are integers; the workgroup rounds 128 columns of its 32 inputs to bytes at a time (TOKENS = 32), which all of it then reads.

#import weights
#import project
#ifdef DOTS
#import activations
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    // The tile, in rows counted over all bindings. It never reaches into the next part: parts have inputs of their own.
    let begin = params[11];
    let end = begin + params[1];
    let part1 = clamp(params[3], begin, end);
    let part2 = clamp(params[4], begin, end);
    let tiles0 = (part1 - begin + 127u) / 128u;
    let tiles1 = (part2 - part1 + 127u) / 128u;
    var tile = begin + group.x * 128u;
    var tile_end = part1;
    if group.x >= tiles0 + tiles1 {
        tile = part2 + (group.x - tiles0 - tiles1) * 128u;
        tile_end = end;
    } else if group.x >= tiles0 {
        tile = part1 + (group.x - tiles0) * 128u;
        tile_end = part2;
    }
    let part = part_of(tile);
    let first_o = tile + (thread & 15u) * 8u;
    let first_row = group.y * 32u + (thread >> 4u) * 8u;
#ifndef DOTS
    if first_o >= tile_end || first_row >= params[0] {
        return;
    }
#endif

    // Rows behind the last repeat it.
    let units = params[2] / UNIT;
    let last_o = tile_end - 1u - begin;
    let last_row = params[0] - 1u;
    var w_at: array<u32, 8>;
    for (var r = 0u; r < 8u; r++) {
        w_at[r] = min(first_o - begin + r, last_o) * units;
    }
    var sums: array<array<f32, 8>, 8>;
#ifdef DOTS
    for (var chunk = 0u; chunk < units; chunk += CHUNK) {
        let chunk_end = min(units, chunk + CHUNK);
        round_chunk(group.y * 32u, part, chunk, chunk_end, thread);
        workgroupBarrier();
        for (var unit = chunk; unit < chunk_end; unit++) {
            var w: array<vec4<u32>, 8>;
            var scale: array<vec2<f32>, 8>;
            for (var r = 0u; r < 8u; r++) {
                w[r] = weights[w_at[r] + unit];
                scale[r] = unit_scale(w_at[r] + unit);
            }
            for (var t = 0u; t < 8u; t++) {
                let x = bytes_at((thread >> 4u) * 8u + t, unit - chunk);
                for (var r = 0u; r < 8u; r++) {
                    sums[r][t] += unit_product(w[r], scale[r], x);
                }
            }
        }
        workgroupBarrier();
    }
#else
    var x_at: array<u32, 8>;
    for (var t = 0u; t < 8u; t++) {
        x_at[t] = input_at(min(first_row + t, last_row), part);
    }
    for (var unit = 0u; unit < units; unit++) {
        var w: array<vec4<u32>, 8>;
#ifdef SCALES
        var scale: array<vec2<f32>, 8>;
#endif
        for (var r = 0u; r < 8u; r++) {
            w[r] = weights[w_at[r] + unit];
#ifdef SCALES
            scale[r] = unit_scale(w_at[r] + unit);
#endif
        }
        for (var i = 0u; i < X4; i++) {
            var x: array<vec4<f32>, 8>;
            for (var t = 0u; t < 8u; t++) {
                x[t] = input[x_at[t] + unit * X4 + i];
            }
            for (var r = 0u; r < 8u; r++) {
#ifdef SCALES
                let wi = quad(w[r], i) * scale[r].x + scale[r].y;
#else
                let wi = quad(w[r], i);
#endif
                for (var t = 0u; t < 8u; t++) {
                    sums[r][t] += dot(wi, x[t]);
                }
            }
        }
    }
#endif
    // A copy, because compilers do not unroll this loop: the sums of the loops above then stay in registers.
    var finished = sums;
    for (var t = 0u; t < 8u; t++) {
        for (var r = 0u; r < 8u; r++) {
            if first_o + r < tile_end && first_row + t < params[0] {
                finish(first_row + t, first_o + r, finished[r][t]);
            }
        }
    }
}
