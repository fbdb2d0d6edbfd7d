// Sums over a workgroup of 64, two at once, always in the same order. Every invocation must call it.

var<workgroup> reduce_partial: array<vec2<f32>, 64>;
var<workgroup> reduce_eighth: array<vec2<f32>, 8>;

fn workgroup_sum(value: vec2<f32>, thread: u32) -> vec2<f32> {
    reduce_partial[thread] = value;
    workgroupBarrier();
    if thread < 8u {
        var sum = reduce_partial[thread];
        for (var i = 1u; i < 8u; i++) {
            sum += reduce_partial[thread + 8u * i];
        }
        reduce_eighth[thread] = sum;
    }
    workgroupBarrier();
    var sum = reduce_eighth[0];
    for (var i = 1u; i < 8u; i++) {
        sum += reduce_eighth[i];
    }
    return sum;
}
