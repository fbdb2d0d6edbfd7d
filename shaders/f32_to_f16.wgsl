// f32 to f16 packed two to a word, rounded as shared/half.wgsl says: to the nearest, ties to even, on every adapter alike. Behind an odd number of elements the last upper half is 0.
//
// Dispatch: x = params[1] workgroups of 64, each of whose invocations takes every (64 · params[1])th word. An adapter may read a subnormal f32 as 0: it is 0 in f16 as well.

#import half

@group(0) @binding(0) var<storage, INPUT_ACCESS> input: array<f32>; // [elements]
@group(0) @binding(1) var<storage, read_write> out: array<u32>; // [elements / 2, rounded up]
@group(0) @binding(2) var<storage, INPUT_ACCESS> params: array<u32>; // elements, workgroups

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let elements = params[0];
    for (var word = id.x; word * 2u < elements; word += params[1] * 64u) {
        let second = word * 2u + 1u;
        var high = 0.0;
        if second < elements {
            high = input[second];
        }
        out[word] = pack_halves(input[word * 2u], high);
    }
}
