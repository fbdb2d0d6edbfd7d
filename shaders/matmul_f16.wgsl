// The trainer's products, from f16 packed two to a word, summed in f32: out[m, c] = Σ_r A[m, r] · B[r, c]. A define says which of the three:
//   FORWARD          y  = x Wᵀ     out [N, outputs]        A = x [N, inputs]       B = W [outputs, inputs], read along its rows
//   INPUT_GRADIENT   dx = dy W     out [N, inputs]         A = dy [N, outputs]     B = W [outputs, inputs]
//   WEIGHT_GRADIENT  dW = dyᵀ x    out [outputs, inputs]   A = dy [N, outputs], read down its columns     B = x [N, inputs]
// OUT_F16: out is packed too, rounded as shared/half.wgsl says. Otherwise it is f32, and params[3] = 1 adds to what it holds.
//
// Dispatch: x = tiles of 128 columns of out, y = tiles of 32 rows. Each invocation of a workgroup of 64 computes 8 × 8 elements in registers: 64 products for 8 words read. As in matmul.wgsl
// neighbours read the same words, so caches stand for workgroup memory and there is no barrier. Every sum goes over r in order and does not depend on the tile.
//
// Limits: rows of A and B are whole words, an even number of elements. N is any number, and so are the outputs of a forward product to f32. Rows and words behind the last repeat it, and what
// comes of them is not stored.

#ifdef OUT_F16
#import half
#endif

@group(0) @binding(0) var<storage, INPUT_ACCESS> a: array<u32>; // [M, R / 2]; WEIGHT_GRADIENT: [R, M / 2]
@group(0) @binding(1) var<storage, INPUT_ACCESS> b: array<u32>; // [R, C / 2]; FORWARD: [C, R / 2]
#ifdef OUT_F16
@group(0) @binding(2) var<storage, read_write> out: array<u32>; // [M, C / 2]
#else
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [M, C]
#endif
@group(0) @binding(3) var<storage, INPUT_ACCESS> params: array<u32>; // 0 M, 1 C, 2 R, 3 whether to add (not OUT_F16)

#ifndef FORWARD
// Eight elements of a row of B, from number `first` on; those behind the end of a row of `width` repeat its last word.
fn read_b(row: u32, width: u32, first: u32) -> array<vec4<f32>, 2> {
    let at = row * width / 2u;
    let word = vec4<u32>(first / 2u) + vec4<u32>(0u, 1u, 2u, 3u);
    let words = at + min(word, vec4<u32>(width / 2u - 1u));
    let low = vec4<f32>(unpack2x16float(b[words.x]), unpack2x16float(b[words.y]));
    let high = vec4<f32>(unpack2x16float(b[words.z]), unpack2x16float(b[words.w]));
    return array<vec4<f32>, 2>(low, high);
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let rows = params[0];
    let columns = params[1];
    let first_row = group.y * 32u + (thread >> 4u) * 8u;
    let first_column = group.x * 128u + (thread & 15u) * 8u;
    if first_row >= rows || first_column >= columns {
        return;
    }
    var sums: array<array<f32, 8>, 8>; // [row][column]

#ifdef FORWARD
    let words = params[2] / 2u;
    var w_at: array<u32, 8>;
    var x_at: array<u32, 8>;
    for (var i = 0u; i < 8u; i++) {
        w_at[i] = min(first_column + i, columns - 1u) * words;
        x_at[i] = min(first_row + i, rows - 1u) * words;
    }
    // Four words at a time, then what is left of them.
    var word = 0u;
    for (; word + 4u <= words; word += 4u) {
        for (var i = 0u; i < 4u; i += 2u) {
            var x: array<vec4<f32>, 8>;
            for (var m = 0u; m < 8u; m++) {
                let at = x_at[m] + word + i;
                x[m] = vec4<f32>(unpack2x16float(a[at]), unpack2x16float(a[at + 1u]));
            }
            for (var c = 0u; c < 8u; c++) {
                let at = w_at[c] + word + i;
                let w = vec4<f32>(unpack2x16float(b[at]), unpack2x16float(b[at + 1u]));
                for (var m = 0u; m < 8u; m++) {
                    sums[m][c] += dot(x[m], w);
                }
            }
        }
    }
    for (; word < words; word++) {
        for (var c = 0u; c < 8u; c++) {
            let w = unpack2x16float(b[w_at[c] + word]);
            for (var m = 0u; m < 8u; m++) {
                sums[m][c] += dot(unpack2x16float(a[x_at[m] + word]), w);
            }
        }
    }
#endif
#ifdef INPUT_GRADIENT
    let words = params[2] / 2u;
    var dy_at: array<u32, 8>;
    for (var m = 0u; m < 8u; m++) {
        dy_at[m] = min(first_row + m, rows - 1u) * words;
    }
    for (var word = 0u; word < words; word++) {
        // Two rows of W: eight pairs, one above the other.
        let w0 = read_b(word * 2u, columns, first_column);
        let w1 = read_b(word * 2u + 1u, columns, first_column);
        let low = transpose(mat2x4<f32>(w0[0], w1[0]));
        let high = transpose(mat2x4<f32>(w0[1], w1[1]));
        let w = array<vec2<f32>, 8>(low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]);
        for (var m = 0u; m < 8u; m++) {
            let dy = unpack2x16float(a[dy_at[m] + word]);
            for (var c = 0u; c < 8u; c++) {
                sums[m][c] += dot(dy, w[c]);
            }
        }
    }
#endif
#ifdef WEIGHT_GRADIENT
    for (var r = 0u; r < params[2]; r++) {
        let x = read_b(r, columns, first_column);
        for (var i = 0u; i < 4u; i++) {
            let word = min(first_row / 2u + i, rows / 2u - 1u);
            let dy = unpack2x16float(a[r * rows / 2u + word]);
            for (var c = 0u; c < 4u; c++) {
                sums[i * 2u][c] += dy.x * x[0][c];
                sums[i * 2u][c + 4u] += dy.x * x[1][c];
                sums[i * 2u + 1u][c] += dy.y * x[0][c];
                sums[i * 2u + 1u][c + 4u] += dy.y * x[1][c];
            }
        }
    }
#endif

    // A copy, so that the sums stay in registers where a compiler does not unroll this loop.
    var finished = sums;
    for (var m = 0u; m < 8u; m++) {
        if first_row + m >= rows {
            return;
        }
        let at = (first_row + m) * columns + first_column;
#ifdef OUT_F16
        for (var c = 0u; c < 8u; c += 2u) {
            if first_column + c < columns {
                out[(at + c) / 2u] = pack_halves(finished[m][c], finished[m][c + 1u]);
            }
        }
#else
        for (var c = 0u; c < 8u; c++) {
            if first_column + c < columns {
                if params[3] == 1u {
                    out[at + c] += finished[m][c];
                } else {
                    out[at + c] = finished[m][c];
                }
            }
        }
#endif
    }
}
