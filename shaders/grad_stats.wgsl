// What loss scaling and clipping ask of a gradient, in one pass: of each block of 65,536 elements the sum of squares of (element · unscale), and how many elements are NaN or infinite, by their
// exponent bits. Those count in no sum. unscale takes the loss scale out before anything is squared, so that the squares of large gradients do not overflow.
//
// Every tensor of a step writes to slots of its own in one buffer, so that the step reads back once; the caller adds the slots up in order. The order of a sum is fixed: 32 blocks of 32 elements
// an invocation, then the 64 invocations. A sum is off by (32 + 32 + 14) · 2^-24 at worst.
//
// Dispatch: x = blocks. A workgroup of 64 takes one.

#import reduce

@group(0) @binding(0) var<storage, INPUT_ACCESS> gradient: array<f32>; // [elements]
@group(0) @binding(1) var<storage, read_write> stats: array<vec2<f32>>; // [slots]: sum of squares, number of NaN and infinite elements
@group(0) @binding(2) var<storage, INPUT_ACCESS> params: array<u32>; // elements, first slot, bits of unscale

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let elements = params[0];
    let unscale = bitcast<f32>(params[2]);
    var sum = 0.0;
    var bad = 0.0;
    var at = group.x * 65536u + thread;
    for (var block = 0u; block < 32u; block++) {
        var partial = 0.0;
        for (var i = 0u; i < 32u; i++) {
            if at < elements {
                let element = gradient[at];
                if (bitcast<u32>(element) & 0x7f800000u) == 0x7f800000u {
                    bad += 1.0;
                } else {
                    let unscaled = element * unscale;
                    partial += unscaled * unscaled;
                }
            }
            at += 64u;
        }
        sum += partial;
    }
    let total = workgroup_sum(vec2<f32>(sum, bad), thread);
    if thread == 0u {
        stats[params[1] + group.x] = total;
    }
}
