// Products of a matrix with few vectors (decoding): y[n, o] = Σ_i W[o, i] · x[n, i], then shared/project.wgsl.
//
// Dispatch: x = blocks of weight rows, y = blocks of TOKENS rows of input. A team of invocations takes ROWS weight rows at a time and
// strides over their units: a subgroup with SUBGROUPS, sixteen invocations without. params[12]: weight rows of a workgroup, a multiple of 4·ROWS
// without SUBGROUPS, which in a browser also needs `enable subgroups;` in front (naga refuses the line). Sums are taken in one order that depends on the size of the team alone.
//
// DOTS: products of integers, for weights that are integers; the workgroup rounds its inputs to bytes first. Its four teams take 32 rows at a time, which have the same inputs: parts begin at
// multiples of 32.

#import weights
#import project
#ifdef DOTS
#import activations

const ROWS: u32 = 8u;
#else

const ROWS: u32 = 4u;
#endif

#ifdef SUBGROUPS
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) team: u32,
    @builtin(num_subgroups) teams: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
#else
var<workgroup> partial: array<f32, 64u * ROWS * TOKENS>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let team = thread >> 4u;
    let teams = 4u;
    let lane = thread & 15u;
    let lanes = 16u;
#endif
    let cols = params[2];
    let units = cols / UNIT;
    let first_row = group.y * TOKENS;
    let end = min(params[1], (group.x + 1u) * params[12]);
    for (var block = group.x * params[12]; block < end; block += teams * ROWS) {
        let o = block + team * ROWS;
        // Rows of weights behind the last repeat it: every invocation stays in the loop for the barriers.
        let last = params[1] - 1u;
        // Said, although WGSL does so for every turn of the loop: Chromium 156 clears a variable without a value only once.
        var sums = array<array<f32, ROWS>, TOKENS>();
#ifdef DOTS
        let part = part_of(min(block, last) + params[11]);
        for (var chunk = 0u; chunk < units; chunk += CHUNK) {
            let chunk_end = min(units, chunk + CHUNK);
            // What was rounded for the block before will do where it is all of the same part's input.
            if block == group.x * params[12] || units > CHUNK || part != part_of(block - 1u + params[11]) {
                workgroupBarrier();
                round_chunk(first_row, part, chunk, chunk_end, thread);
                workgroupBarrier();
            }
            for (var unit = chunk + lane; unit < chunk_end; unit += lanes) {
                var w: array<vec4<u32>, ROWS>;
                var scale: array<vec2<f32>, ROWS>;
                for (var r = 0u; r < ROWS; r++) {
                    let at = min(o + r, last) * units + unit;
                    w[r] = weights[at];
                    scale[r] = unit_scale(at);
                }
                for (var t = 0u; t < TOKENS; t++) {
                    let x = bytes_at(t, unit - chunk);
                    for (var r = 0u; r < ROWS; r++) {
                        sums[t][r] += unit_product(w[r], scale[r], x);
                    }
                }
            }
        }
#else
        let part = part_of(min(o, last) + params[11]);
        for (var unit = lane; unit < units; unit += lanes) {
            var w: array<vec4<u32>, ROWS>;
#ifdef SCALES
            var scale: array<vec2<f32>, ROWS>;
#endif
            for (var r = 0u; r < ROWS; r++) {
                let at = min(o + r, last) * units + unit;
                w[r] = weights[at];
#ifdef SCALES
                scale[r] = unit_scale(at);
#endif
            }
            for (var t = 0u; t < TOKENS; t++) {
                let x = input_at(min(first_row + t, params[0] - 1u), part) + unit * X4;
                var dots = array<f32, ROWS>();
                var sum = 0.0;
                for (var i = 0u; i < X4; i++) {
                    let xi = input[x + i];
#ifdef WEIGHTS_INT4
                    sum += dot(xi, vec4<f32>(1.0));
#endif
                    for (var r = 0u; r < ROWS; r++) {
                        dots[r] += dot(quad(w[r], i), xi);
                    }
                }
                for (var r = 0u; r < ROWS; r++) {
#ifdef SCALES
                    sums[t][r] += dots[r] * scale[r].x + sum * scale[r].y;
#else
                    sums[t][r] += dots[r];
#endif
                }
            }
        }
#endif
#ifdef SUBGROUPS
        for (var t = 0u; t < TOKENS; t++) {
            for (var r = 0u; r < ROWS; r++) {
                let sum = subgroupAdd(sums[t][r]);
                if lane == 0u && o + r < end && first_row + t < params[0] {
                    finish(first_row + t, o + r + params[11], sum);
                }
            }
        }
#else
        for (var t = 0u; t < TOKENS; t++) {
            for (var r = 0u; r < ROWS; r++) {
                partial[((team * ROWS + r) * TOKENS + t) * 16u + lane] = sums[t][r];
            }
        }
        workgroupBarrier();
        for (var one = thread; one < 4u * ROWS * TOKENS; one += 64u) {
            let t = one % TOKENS;
            let r = one / TOKENS;
            var sum = 0.0;
            for (var i = 0u; i < 16u; i++) {
                sum += partial[one * 16u + i];
            }
            if block + r < end && first_row + t < params[0] {
                finish(first_row + t, block + r + params[11], sum);
            }
        }
        workgroupBarrier();
#endif
    }
}
