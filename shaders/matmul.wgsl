// Products of a matrix with many vectors (prefill): y[n, o] = Σ_i W[o, i] · x[n, i], then shared/project.wgsl.
//
// Dispatch: x = blocks of 64 weight rows, y = blocks of 32 rows of input. A workgroup of 64 walks the columns in steps of 32: it spreads a tile of weights and one
// of inputs, transposed, in workgroup memory (12 KB), and each invocation multiplies 8 weight rows by 4 inputs in registers. Every sum goes over the columns in
// order: a row of input gives the same bits wherever in the batch it stands.

#import weights
#import project

var<workgroup> tile_w: array<vec4<f32>, 512>; // [32 columns, 16 times 4 weight rows]
var<workgroup> tile_x: array<vec4<f32>, 256>; // [32 columns, 8 times 4 inputs]

// Four consecutive elements of a weight row, from column 4·i on.
fn weights4(o: u32, i: u32) -> vec4<f32> {
    return element4(o * (params[2] / UNIT) + i / X4, i % X4);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cols = params[2];
    let last_row = params[0] - 1u;
    // The tile, in rows counted over all bindings. It never reaches into the next part: parts have inputs of their own.
    let begin = params[11];
    let end = begin + params[1];
    let part1 = clamp(params[3], begin, end);
    let part2 = clamp(params[4], begin, end);
    let tiles0 = (part1 - begin + 63u) / 64u;
    let tiles1 = (part2 - part1 + 63u) / 64u;
    var tile = begin + group.x * 64u;
    var tile_end = part1;
    if group.x >= tiles0 + tiles1 {
        tile = part2 + (group.x - tiles0 - tiles1) * 64u;
        tile_end = end;
    } else if group.x >= tiles0 {
        tile = part1 + (group.x - tiles0) * 64u;
        tile_end = part2;
    }
    let part = part_of(tile);
    let last_o = tile_end - 1u - begin;

    let load_o = tile - begin + (thread & 15u) * 4u;
    let load_k = (thread >> 4u) * 2u;
    let load_row = group.y * 32u + (thread & 7u) * 4u;
    let load_x = thread >> 3u;
    let in0 = input_at(min(load_row, last_row), part) + load_x;
    let in1 = input_at(min(load_row + 1u, last_row), part) + load_x;
    let in2 = input_at(min(load_row + 2u, last_row), part) + load_x;
    let in3 = input_at(min(load_row + 3u, last_row), part) + load_x;

    let o = (thread & 7u) * 2u;
    let t = thread >> 3u;
    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    var b0 = vec4<f32>();
    var b1 = vec4<f32>();
    var b2 = vec4<f32>();
    var b3 = vec4<f32>();
    for (var k = 0u; k < cols; k += 32u) {
        for (var i = 0u; i < 2u; i++) {
            let at = (k >> 2u) + load_k + i;
            let w0 = weights4(min(load_o, last_o), at);
            let w1 = weights4(min(load_o + 1u, last_o), at);
            let w2 = weights4(min(load_o + 2u, last_o), at);
            let w3 = weights4(min(load_o + 3u, last_o), at);
            let to = (load_k + i) * 64u + (thread & 15u);
            tile_w[to] = vec4<f32>(w0.x, w1.x, w2.x, w3.x);
            tile_w[to + 16u] = vec4<f32>(w0.y, w1.y, w2.y, w3.y);
            tile_w[to + 32u] = vec4<f32>(w0.z, w1.z, w2.z, w3.z);
            tile_w[to + 48u] = vec4<f32>(w0.w, w1.w, w2.w, w3.w);
        }
        let x0 = input[in0 + (k >> 2u)];
        let x1 = input[in1 + (k >> 2u)];
        let x2 = input[in2 + (k >> 2u)];
        let x3 = input[in3 + (k >> 2u)];
        let to = load_x * 32u + (thread & 7u);
        tile_x[to] = vec4<f32>(x0.x, x1.x, x2.x, x3.x);
        tile_x[to + 8u] = vec4<f32>(x0.y, x1.y, x2.y, x3.y);
        tile_x[to + 16u] = vec4<f32>(x0.z, x1.z, x2.z, x3.z);
        tile_x[to + 24u] = vec4<f32>(x0.w, x1.w, x2.w, x3.w);
        workgroupBarrier();
        for (var i = 0u; i < 32u; i++) {
            let wa = tile_w[i * 16u + o];
            let wb = tile_w[i * 16u + o + 1u];
            let x = tile_x[i * 8u + t];
            a0 += wa * x.x;
            b0 += wb * x.x;
            a1 += wa * x.y;
            b1 += wb * x.y;
            a2 += wa * x.z;
            b2 += wb * x.z;
            a3 += wa * x.w;
            b3 += wb * x.w;
        }
        workgroupBarrier();
    }
    let row = group.y * 32u + t * 4u;
    let first = tile + o * 4u;
    finish8(row, first, tile_end, a0, b0);
    finish8(row + 1u, first, tile_end, a1, b1);
    finish8(row + 2u, first, tile_end, a2, b2);
    finish8(row + 3u, first, tile_end, a3, b3);
}

fn finish8(row: u32, o: u32, end: u32, a: vec4<f32>, b: vec4<f32>) {
    if row >= params[0] {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if o + i < end {
            finish(row, o + i, a[i]);
        }
        if o + 4u + i < end {
            finish(row, o + 4u + i, b[i]);
        }
    }
}
