// Takes the loss scale out of a gradient and clips it, in place: gradient *= factor, which is 1 / loss scale · min(1, clip / norm).
//
// The factor lies in a buffer of its own, so that the dispatches of all tensors are the same whatever the norm. A NaN or infinite element stays one.
//
// Dispatch: x = params[1] workgroups of 64, each of whose invocations takes every (64 · params[1])th element.

@group(0) @binding(0) var<storage, read_write> gradient: array<f32>; // [elements]
@group(0) @binding(1) var<storage, INPUT_ACCESS> factor: array<f32>; // [1]
@group(0) @binding(2) var<storage, INPUT_ACCESS> params: array<u32>; // elements, workgroups

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var at = id.x; at < params[0]; at += params[1] * 64u) {
        gradient[at] *= factor[0];
    }
}
