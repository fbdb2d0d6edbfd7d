// Layer norm of chosen rows: out[i] = (x[n] - mean) / sqrt(variance + eps) · weight + bias, n = the row whose logits are number i.
//
// Dispatch: x = chosen rows. A workgroup takes one.

#import reduce

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [N, C / 4]
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>; // [2, C / 4]: weight, bias
@group(0) @binding(2) var<storage, read> chosen: array<u32>; // row of each
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // [chosen, C / 4]
@group(0) @binding(4) var<storage, read> params: array<u32>; // C, bits of eps

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quads = params[0] / 4u;
    let at = chosen[group.x] * quads;
    var sum = 0.0;
    for (var i = thread; i < quads; i += 64u) {
        sum += dot(x[at + i], vec4<f32>(1.0));
    }
    let mean = workgroup_sum(vec2<f32>(sum, 0.0), thread).x / f32(params[0]);
    workgroupBarrier();
    var squares = 0.0;
    for (var i = thread; i < quads; i += 64u) {
        let d = x[at + i] - mean;
        squares += dot(d, d);
    }
    let variance = workgroup_sum(vec2<f32>(squares, 0.0), thread).x / f32(params[0]);
    let scale = 1.0 / sqrt(variance + bitcast<f32>(params[1]));
    for (var i = thread; i < quads; i += 64u) {
        out[group.x * quads + i] = (x[at + i] - mean) * scale * norm[i] + norm[quads + i];
    }
}
