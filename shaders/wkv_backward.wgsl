// WKV backward over ragged sequences (RWKV-4): the gradient of every input of wkv_forward, as a function of real numbers.
//
// With D_t = B_{t-1} + e^{u+k_t} the true denominator, g_t the gradient of y_t, X_t and Z_t those of A_t and B_t:
//   X_{t-1} = e^w X_t + g_t/D_t        Z_{t-1} = e^w Z_t - y_t g_t/D_t
//   gk_t = e^{u+k_t} g_t/D_t (v_t - y_t) + e^{k_t} (X_t v_t + Z_t)        gv_t = e^{u+k_t} g_t/D_t + e^{k_t} X_t
//   gu = sum_t e^{u+k_t} g_t/D_t (v_t - y_t)
//   gw = sum_t g_t/D_t (dA_{t-1}/dw - y_t dB_{t-1}/dw) + the same two derivatives of the final state times X_last, Z_last
//   gaa = e^pp X_0        gbb = e^pp Z_0        gpp = gaa·aa + gbb·bb        (aa, bb, pp: the initial state)
//
// The final state is (aa, bb, pp) = (A e^-pp, B e^-pp, pp) with pp a maximum of exponents, and its incoming gradient (ga, gb, gp) is
// that of these three numbers. So X_last = ga e^-pp, Z_last = gb e^-pp, and pp itself receives gp - (ga·aa + gb·bb), which goes to
// the exponent that won the maximum: a key k_t (and w, once per step since), or the initial pp. A consumer that uses (aa, bb, pp) as
// a state sends gp = ga·aa + gb·bb, and then that path carries 0. Sending gp = 0 with ga, gb != 0 means numbers, not a state.
//
// Pass 1 walks forward, leaves ln D_t in gk and y_t in gv, sums gw and gu. Pass 2 walks back and overwrites both: no array of length
// T, so any T. X and Z are kept divided by e^scale. Every exponent in pass 2 is at most rounding above 0.
//
// HALVES: k and v are f16, two to a word; gradients and everything between are f32.
//
// Dispatch, limits: as wkv_forward. Each sequence writes its own five rows, to be summed by the caller in a fixed order.

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
@group(0) @binding(5) var<storage, INPUT_ACCESS> grad_out: array<f32>; // [N + 3·S, C]: of y, then of aa, bb, pp of each slot
@group(0) @binding(6) var<storage, read_write> grads: array<f32>; // [2·N + 5·sequences, C]: gk, gv, then gw, gu, gaa, gbb, gpp
@group(0) @binding(7) var<storage, INPUT_ACCESS> params: array<u32>; // C, sequences, N

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
    let first = seq.x * channels + c;
    let gv_offset = rows * channels;

    var start = wkv_empty();
    if seq.z != NO_STATE {
        let at = seq.z * 3u * channels + c;
        start = WkvState(state_in[at], state_in[at + channels], state_in[at + 2u * channels]);
    }

    // Pass 1.
    var s = start;
    var da = 0.0; // dA/dw and dB/dw, divided by e^pp
    var db = 0.0;
    var gw = 0.0;
    var gu = 0.0;
    var winner = 0u; // 1 + t of the key that is pp's maximum; 0: the initial pp
    var at = first;
    for (var t = 0u; t < seq.y; t++) {
        let kt = key(at);
        let vt = value(at);
        let o = wkv_output(s, u, kt, vt);
        let y = o.numerator / o.denominator;
        let q = grad_out[at] / o.denominator;
        gw += o.mix.a * q * (da - db * y);
        gu += o.mix.b * q * (vt - y);
        grads[at] = o.mix.scale + log(o.denominator);
        grads[at + gv_offset] = y;

        let m = wkv_mix(w + s.pp, kt);
        da = m.a * (s.aa + da);
        db = m.a * (s.bb + db);
        winner = select(t + 1u, winner, w + s.pp >= kt);
        s = wkv_advance(s, m, vt);
        at += channels;
    }

    // The final state's gradient.
    var x = 0.0;
    var z = 0.0;
    var through_pp = 0.0;
    if seq.w != NO_STATE {
        let last = (rows + seq.w * 3u) * channels + c;
        x = grad_out[last];
        z = grad_out[last + channels];
        through_pp = grad_out[last + 2u * channels] - (x * s.aa + z * s.bb);
        gw += x * da + z * db + through_pp * f32(seq.y - winner);
    }
    var scale = -s.pp;

    // Pass 2.
    for (var t = seq.y; t > 0u; t--) {
        at -= channels;
        let kt = key(at);
        let vt = value(at);
        let g = grad_out[at];
        let log_d = grads[at];
        let y = grads[at + gv_offset];
        let now = g * exp(u + kt - log_d);
        let later = exp(kt + scale);
        grads[at] = now * (vt - y) + later * (x * vt + z) + select(0.0, through_pp, winner == t);
        grads[at + gv_offset] = now + later * x;

        let m = wkv_mix(w + scale, -log_d);
        let q = g * m.b;
        x = m.a * x + q;
        z = m.a * z - q * y;
        scale = m.scale;
    }

    let back = exp(scale + start.pp);
    let gaa = back * x;
    let gbb = back * z;
    let own = (2u * rows + id.y * 5u) * channels + c;
    grads[own] = gw;
    grads[own + channels] = gu;
    grads[own + 2u * channels] = gaa;
    grads[own + 3u * channels] = gbb;
    grads[own + 4u * channels] = gaa * start.aa + gbb * start.bb + select(0.0, through_pp, winner == 0u);
}
