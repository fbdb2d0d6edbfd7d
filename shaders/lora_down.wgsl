// The first half of low-rank adapters: for each row and part, scale · A·x of the row's adapter, with what the second half (shared/project.wgsl) must know.
//
// Dispatch: x = rows, y = parts. A workgroup takes one part of one row; four teams of sixteen invocations take a rank each in turn.

const NO_ADAPTER: u32 = 0xffffffffu;

@group(0) @binding(0) var<storage, read> input: array<f32>; // [N, input stride]
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>; // [N]: token, sequence, adapter, logits
@group(0) @binding(2) var<storage, read> table: array<vec4<u32>>; // [adapters, modules]: first element of A, of B, rank, bits of scale
@group(0) @binding(3) var<storage, read> bank: array<f32>; // all A [rank, in] and B [out, rank]
@group(0) @binding(4) var<storage, read_write> low: array<u32>; // [N, parts, 2 + rank]: first element of B, rank, then f32
// 0 cols, 1 input stride, 2 parts, 3 words of a part in low, 4 modules of an adapter, 5 module of part 0
@group(0) @binding(5) var<storage, read> params: array<u32>;

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cols = params[0];
    let part = group.y;
    let adapter = rows[group.x].z;
    var lora = vec4<u32>();
    if adapter != NO_ADAPTER {
        lora = table[adapter * params[4] + params[5] + part];
    }
    let to = (group.x * params[2] + part) * params[3];
    if thread == 0u {
        low[to] = lora.y;
        low[to + 1u] = lora.z;
    }
    let x = group.x * params[1] + part * cols;
    let lane = thread & 15u;
    // The bound is params', not the module's: the barriers need one that is the same for all.
    for (var block = 0u; block < params[3] - 2u; block += 4u) {
        let rank = block + (thread >> 4u);
        var sum = 0.0;
        if rank < lora.z {
            let a = lora.x + rank * cols;
            for (var i = lane; i < cols; i += 16u) {
                sum += bank[a + i] * input[x + i];
            }
        }
        partial[thread] = sum;
        workgroupBarrier();
        if lane == 0u && rank < lora.z {
            var total = 0.0;
            for (var i = 0u; i < 16u; i++) {
                total += partial[thread + i];
            }
            low[to + 2u + rank] = bitcast<u32>(total * bitcast<f32>(lora.w));
        }
        workgroupBarrier();
    }
}
