// Products of a matrix with few vectors (decoding): y[n, o] = Σ_i W[o, i] · x[n, i], then shared/project.wgsl.
//
// Dispatch: x = blocks of weight rows, y = blocks of TOKENS rows of input. A team of invocations takes ROWS weight rows at a time and
// strides over their units: a subgroup with SUBGROUPS, sixteen invocations without. params[12]: weight rows of a workgroup, a multiple of 4·ROWS
// without SUBGROUPS, which in a browser also needs `enable subgroups;` in front (naga refuses the line). Sums are taken in one order that depends on the size of the team alone.
//
// What is computed for every element is written out, four rows to a vector: an array or vector at an index that is only known at run time stays in memory,
// and a browser checks the index each time (a third of the speed, on a software adapter).
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

// Σ w·x of the vec4 number i of a unit of each of four rows, before scaling.
fn quad_dots(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, i: u32, x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(dot(quad(a, i), x), dot(quad(b, i), x), dot(quad(c, i), x), dot(quad(d, i), x));
}
#endif

// Sums of four rows each.
const QUADS: u32 = ROWS / 4u;

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
var<workgroup> partial: array<vec4<f32>, 64u * QUADS * TOKENS>; // [teams, QUADS, TOKENS, 16]

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
        // [QUADS, TOKENS]. Said, although WGSL does so for every turn of the loop: Chromium 156 clears a variable without a value only once.
        var sums = array<vec4<f32>, QUADS * TOKENS>();
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
                    for (var q = 0u; q < QUADS; q++) {
                        let r = 4u * q;
                        sums[q * TOKENS + t] += vec4<f32>(
                            unit_product(w[r], scale[r], x),
                            unit_product(w[r + 1u], scale[r + 1u], x),
                            unit_product(w[r + 2u], scale[r + 2u], x),
                            unit_product(w[r + 3u], scale[r + 3u], x),
                        );
                    }
                }
            }
        }
#else
        let part = part_of(min(o, last) + params[11]);
        let rows_at = min(vec4<u32>(o) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last)) * units;
        for (var unit = lane; unit < units; unit += lanes) {
            let at = rows_at + unit;
            let a = weights[at.x];
            let b = weights[at.y];
            let c = weights[at.z];
            let d = weights[at.w];
#ifdef SCALES
            let s0 = unit_scale(at.x);
            let s1 = unit_scale(at.y);
            let s2 = unit_scale(at.z);
            let s3 = unit_scale(at.w);
            let scale = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
#endif
#ifdef WEIGHTS_INT4
            let minimum = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
#endif
            for (var t = 0u; t < TOKENS; t++) {
                let x = input_at(min(first_row + t, params[0] - 1u), part) + unit * X4;
                let x0 = input[x];
                var dots = quad_dots(a, b, c, d, 0u, x0);
#ifndef WEIGHTS_F32
                let x1 = input[x + 1u];
                dots += quad_dots(a, b, c, d, 1u, x1);
#endif
#ifdef SCALES
                let x2 = input[x + 2u];
                dots += quad_dots(a, b, c, d, 2u, x2);
                let x3 = input[x + 3u];
                dots += quad_dots(a, b, c, d, 3u, x3);
#ifdef WEIGHTS_INT4
                var sum = x0 + x1 + x2 + x3;
                let x4 = input[x + 4u];
                dots += quad_dots(a, b, c, d, 4u, x4);
                let x5 = input[x + 5u];
                dots += quad_dots(a, b, c, d, 5u, x5);
                let x6 = input[x + 6u];
                dots += quad_dots(a, b, c, d, 6u, x6);
                let x7 = input[x + 7u];
                dots += quad_dots(a, b, c, d, 7u, x7);
                sum += x4 + x5 + x6 + x7;
                sums[t] += dots * scale + minimum * dot(sum, vec4<f32>(1.0));
#else
                sums[t] += dots * scale;
#endif
#else
                sums[t] += dots;
#endif
            }
        }
#endif
#ifdef SUBGROUPS
        for (var t = 0u; t < QUADS * TOKENS; t++) {
            let sum = subgroupAdd(sums[t]);
            let token = first_row + t % TOKENS;
            // One row for each of the first four invocations, or more where a subgroup is smaller.
            for (var i = lane; i < 4u; i += lanes) {
                let row = o + t / TOKENS * 4u + i;
                if row < end && token < params[0] {
                    finish(token, row + params[11], sum[i]);
                }
            }
        }
#else
        for (var t = 0u; t < QUADS * TOKENS; t++) {
            partial[(team * QUADS * TOKENS + t) * 16u + lane] = sums[t];
        }
        workgroupBarrier();
        for (var one = thread; one < 16u * QUADS * TOKENS; one += 64u) {
            let quad = one / 4u;
            let r = quad / TOKENS * 4u + one % 4u;
            let t = quad % TOKENS;
            var sum = 0.0;
            for (var i = 0u; i < 16u; i++) {
                sum += partial[quad * 16u + i][one % 4u];
            }
            if block + r < end && first_row + t < params[0] {
                finish(first_row + t, block + r + params[11], sum);
            }
        }
        workgroupBarrier();
#endif
    }
}
