// Layer norm and token shift: a[n] = LN(x[n]); out[n, m] = a[n] · mix[m] + a[n-1] · (1 - mix[m]) for two or three mixes m.
//
// Dispatch: x = rows. A workgroup takes a row and norms the one before it again, which costs less than a dispatch of its own. The row before the first of a sequence is in its state, where
// the sequence's last row then goes: slots in and out differ, because other workgroups may still read.

#import reduce

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [N, C / 4]
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>; // [2 + mixes, C / 4]: weight, bias, mixes
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>; // [N]: token, sequence, adapter, logits
@group(0) @binding(3) var<storage, read> seqs: array<vec4<u32>>; // [sequences]: first row, length, slot in, slot out
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>; // [S, state / 4]
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>; // [N, mixes, C / 4]
// C, bits of eps, elements of a state, the vector's first element there, mixes
@group(0) @binding(6) var<storage, read> params: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quads = params[0] / 4u;
    let n = group.x;
    let seq = seqs[rows[n].y];
    let is_first = n == seq.x;
    let at = n * quads;
    // Any row will do where there is none before.
    let before = select(at - quads, at, is_first);

    var sum = vec2<f32>();
    for (var i = thread; i < quads; i += 64u) {
        sum += vec2<f32>(dot(x[at + i], vec4<f32>(1.0)), dot(x[before + i], vec4<f32>(1.0)));
    }
    let mean = workgroup_sum(sum, thread) / f32(params[0]);
    workgroupBarrier();
    var squares = vec2<f32>();
    for (var i = thread; i < quads; i += 64u) {
        let d = x[at + i] - mean.x;
        let e = x[before + i] - mean.y;
        squares += vec2<f32>(dot(d, d), dot(e, e));
    }
    let variance = workgroup_sum(squares, thread) / f32(params[0]);
    let scale = 1.0 / sqrt(variance + bitcast<f32>(params[1]));

    let slot_in = (seq.z * params[2] + params[3]) / 4u;
    let slot_out = (seq.w * params[2] + params[3]) / 4u;
    for (var i = thread; i < quads; i += 64u) {
        let a = (x[at + i] - mean.x) * scale.x * norm[i] + norm[quads + i];
        var b = (x[before + i] - mean.y) * scale.y * norm[i] + norm[quads + i];
        if is_first {
            b = state[slot_in + i];
        }
        for (var m = 0u; m < params[4]; m++) {
            let mix = norm[(2u + m) * quads + i];
            out[(n * params[4] + m) * quads + i] = a * mix + b * (1.0 - mix);
        }
        if n + 1u == seq.x + seq.y {
            state[slot_out + i] = a;
        }
    }
}
