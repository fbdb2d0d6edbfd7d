// What every product of the runtime does around its sums: which input a row of weights takes, the low-rank change of the row's
// adapter, and what becomes of the result. Twin: crates/kernels/src/cpu/project.rs.
//
// Several matrices with the same number of columns lie one under the other, so that one dispatch computes them: their parts begin at
// the rows params[3] and params[4]. Part p takes the input vector p of each row of input.
//
// Result y of weight row o:
//   STORE          out[row, o] = y
//   ADD            out[row, o] += y
//   ACTIVATE       out[row, o] = max(0, y)² in part 0, σ(y) in part 1
//   ADD_GATED      out[row, o] += input[row, gate + o] · y, gate the first element behind the vector that the product reads
//
// Adapters: lora_down has written for each row and part [first word of B in the bank, rank, A·x ...] to low; y += B[o]·(A·x).

const STORE: u32 = 0u;
const ADD: u32 = 1u;
const ACTIVATE: u32 = 2u;
const ADD_GATED: u32 = 3u;

@group(0) @binding(BINDING) var<storage, read> input: array<vec4<f32>>; // [N, input stride / 4]
@group(0) @binding(BINDING + 1u) var<storage, read> low: array<u32>; // [N, parts, 2 + rank]
@group(0) @binding(BINDING + 2u) var<storage, read> bank: array<f32>; // all B of all adapters, [out, rank] each
@group(0) @binding(BINDING + 3u) var<storage, read_write> out: array<f32>; // [N, output stride]
// 0 N, 1 rows of weights, 2 cols, 3 and 4 first rows of parts 1 and 2, 5 input stride, 6 output stride, 7 first output element,
// 8 what becomes of the result, 9 words of a part in low (0: no adapters), 10 parts, 11 first row of weights of this binding
@group(0) @binding(BINDING + 4u) var<storage, read> params: array<u32>;

// The part of weight row o, counted over all bindings.
fn part_of(o: u32) -> u32 {
    return select(0u, 1u, o >= params[3]) + select(0u, 1u, o >= params[4]);
}

// Where the input of a part begins, in vec4s.
fn input_at(row: u32, part: u32) -> u32 {
    return (row * params[5] + part * params[2]) >> 2u;
}

fn low_rank(row: u32, part: u32, o: u32) -> f32 {
    let at = (row * params[10] + part) * params[9];
    let rank = low[at + 1u];
    let first = select(0u, select(params[3], params[4], part == 2u), part > 0u);
    let b = low[at] + (o - first) * rank;
    var sum = 0.0;
    for (var j = 0u; j < rank; j++) {
        sum += bank[b + j] * bitcast<f32>(low[at + 2u + j]);
    }
    return sum;
}

// Finishes the product of `row` with weight row `o` (counted over all bindings).
fn finish(row: u32, o: u32, product: f32) {
    let part = part_of(o);
    var y = product;
    if params[9] != 0u {
        y += low_rank(row, part, o);
    }
    let at = row * params[6] + params[7] + o;
    switch params[8] {
        case STORE: {
            out[at] = y;
        }
        case ADD: {
            out[at] += y;
        }
        case ACTIVATE: {
            let positive = max(y, 0.0);
            out[at] = select(positive * positive, 1.0 / (1.0 + exp(-y)), part == 1u);
        }
        default: {
            let gate = row * params[5] + params[2] + o;
            out[at] += input[gate >> 2u][gate & 3u] * y;
        }
    }
}
