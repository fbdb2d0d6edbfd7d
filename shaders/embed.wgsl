// Embedding and its layer norm: x[n] = (e - mean(e)) / sqrt(variance(e) + eps) · weight + bias, e = emb[token of row n].
//
// Dispatch: x = rows. A workgroup takes a row. With an embedding split over several bindings, one dispatch for each: a row whose token is in another one is left alone.

#import weights
#import reduce

@group(0) @binding(BINDING) var<storage, read> rows: array<vec4<u32>>; // [N]: token, sequence, adapter, logits
@group(0) @binding(BINDING + 1u) var<storage, read> norm: array<vec4<f32>>; // [2, C / 4]: weight, bias
@group(0) @binding(BINDING + 2u) var<storage, read_write> x: array<vec4<f32>>; // [N, C / 4]
@group(0) @binding(BINDING + 3u) var<storage, read> params: array<u32>; // C, bits of eps, first token of this binding, tokens of this binding

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quads = params[0] / 4u;
    let token = rows[group.x].x - params[2];
    let here = token < params[3];
    let at = select(0u, token, here) * quads;
    var sum = 0.0;
    for (var i = thread; i < quads; i += 64u) {
        sum += dot(element4((at + i) / X4, (at + i) % X4), vec4<f32>(1.0));
    }
    let mean = workgroup_sum(vec2<f32>(sum, 0.0), thread).x / f32(params[0]);
    workgroupBarrier();
    var squares = 0.0;
    for (var i = thread; i < quads; i += 64u) {
        let d = element4((at + i) / X4, (at + i) % X4) - mean;
        squares += dot(d, d);
    }
    let variance = workgroup_sum(vec2<f32>(squares, 0.0), thread).x / f32(params[0]);
    if !here {
        return;
    }
    let scale = inverseSqrt(variance + bitcast<f32>(params[1]));
    for (var i = thread; i < quads; i += 64u) {
        let d = element4((at + i) / X4, (at + i) % X4) - mean;
        x[group.x * quads + i] = d * scale * norm[i] + norm[quads + i];
    }
}
