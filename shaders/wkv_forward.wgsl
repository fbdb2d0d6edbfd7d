// WKV forward over ragged sequences (RWKV-4); formulas in shared/wkv_step.wgsl.
//
// Dispatch: x = channels, 64 a workgroup; y = sequences. One thread walks one channel of one sequence, its state in registers.
// Limits: at most 65,535 sequences; every index below 2^32; no row in two sequences, no slot written by two. A sequence of length
// 0 passes its state through. Rows and slots that no sequence names are not written.
// HALVES: k and v are f16, two to a word; state, y and everything between are f32.

#import wkv_step
#ifdef HALVES
#import half_at
#endif

@group(0) @binding(0) var<storage, INPUT_ACCESS> wu: array<f32>; // [2, C]: w, u
#ifdef HALVES
@group(0) @binding(1) var<storage, INPUT_ACCESS> k: array<u32>; // [N · C / 2, rounded up]
@group(0) @binding(2) var<storage, INPUT_ACCESS> v: array<u32>; // [N · C / 2, rounded up]
#else
@group(0) @binding(1) var<storage, INPUT_ACCESS> k: array<f32>; // [N, C]
@group(0) @binding(2) var<storage, INPUT_ACCESS> v: array<f32>; // [N, C]
#endif
@group(0) @binding(3) var<storage, INPUT_ACCESS> seqs: array<vec4<u32>>; // [sequences]: first row, length, slot in, slot out
@group(0) @binding(4) var<storage, INPUT_ACCESS> state_in: array<f32>; // [S, 3, C]: aa, bb, pp
@group(0) @binding(5) var<storage, read_write> out: array<f32>; // [N + 3·S, C]: y, then aa, bb, pp of each slot
@group(0) @binding(6) var<storage, INPUT_ACCESS> params: array<u32>; // C, sequences, N

#ifdef HALVES
fn key(at: u32) -> f32 {
    return half_at(k[at / 2u], at);
}

fn value(at: u32) -> f32 {
    return half_at(v[at / 2u], at);
}
#else
fn key(at: u32) -> f32 {
    return k[at];
}

fn value(at: u32) -> f32 {
    return v[at];
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let channels = params[0];
    let rows = params[2];
    let c = id.x;
    if c >= channels || id.y >= params[1] {
        return;
    }
    let seq = seqs[id.y];
    let w = wu[c];
    let u = wu[channels + c];

    var s = wkv_empty();
    if seq.z != NO_STATE {
        let at = seq.z * 3u * channels + c;
        s = WkvState(state_in[at], state_in[at + channels], state_in[at + 2u * channels]);
    }
    var at = seq.x * channels + c;
    for (var t = 0u; t < seq.y; t++) {
        let kt = key(at);
        let vt = value(at);
        let y = wkv_output(s, u, kt, vt);
        out[at] = y.numerator / y.denominator;
        s = wkv_advance(s, wkv_mix(w + s.pp, kt), vt);
        at += channels;
    }
    if seq.w != NO_STATE {
        let last = (rows + seq.w * 3u) * channels + c;
        out[last] = s.aa;
        out[last + channels] = s.bb;
        out[last + 2u * channels] = s.pp;
    }
}
