// WKV with its gate over ragged sequences (RWKV-4): out = σ(r) · wkv(k, v); formulas in shared/wkv_step.wgsl.
//
// Dispatch: x = channels, 64 a workgroup; y = sequences. One thread walks one channel of one sequence, its state in registers.

#import wkv_step

@group(0) @binding(0) var<storage, read> wu: array<f32>; // [2, C]: w, u
@group(0) @binding(1) var<storage, read> kvr: array<f32>; // [N, 3, C]
@group(0) @binding(2) var<storage, read> seqs: array<vec4<u32>>; // [sequences]: first row, length, slot in, slot out
@group(0) @binding(3) var<storage, read_write> state: array<f32>; // [S, state]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [N, C]
@group(0) @binding(5) var<storage, read> params: array<u32>; // C, elements of a state, the layer's aa there (bb and pp follow)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let channels = params[0];
    let c = id.x;
    if c >= channels {
        return;
    }
    let seq = seqs[id.y];
    let w = wu[c];
    let u = wu[channels + c];
    var slot = seq.z * params[1] + params[2] + c;
    var s = WkvState(state[slot], state[slot + channels], state[slot + 2u * channels]);
    for (var t = seq.x; t < seq.x + seq.y; t++) {
        let at = t * 3u * channels + c;
        let k = kvr[at];
        let v = kvr[at + channels];
        let r = kvr[at + 2u * channels];
        let y = wkv_output(s, u, k, v);
        // One division for both quotients.
        out[t * channels + c] = y.numerator / (y.denominator * (1.0 + exp(-r)));
        s = wkv_advance(s, wkv_mix(w + s.pp, k), v);
    }
    slot = seq.w * params[1] + params[2] + c;
    state[slot] = s.aa;
    state[slot + channels] = s.bb;
    state[slot + 2u * channels] = s.pp;
}
