// Draws the next token of each row: repetition penalty, temperature, top-k, top-p, and a draw by integer weights. Equal logits give the token that the CPU gives.
//
// Dispatch: x = rows. A workgroup takes a row, and touches nothing of another. The steps are those of the CPU sampler; at most 65,536 tokens.
//
// Top-k and top-p cut the ids, sorted by falling logit and rising id, behind a certain one. It is found without sorting: a histogram tells in which of 256 bins it
// lies, until 256 ids or fewer are left, which are compared with one another. Bins are by distance from the largest logit first, which spreads them well; then by
// the bytes of the logit, then by id.

#import token_weight

@group(0) @binding(0) var<storage, read> logits: array<u32>; // [R, V]: bits of f32
@group(0) @binding(1) var<storage, read_write> history: array<u32>; // [R, 2 + capacity]: tokens so far, window (0: all), ring of the last ones
// [R, 8]: bits of log2(e) / T or 0 for the largest logit, top-k (0: all), p · 2^32 (2 words; 2^32: all), bits of the penalty and of 1 / penalty, known ids, 0
@group(0) @binding(2) var<storage, read> settings: array<u32>;
@group(0) @binding(3) var<storage, read> random: array<vec2<u32>>; // [steps, R]: lower, upper word
@group(0) @binding(4) var<storage, read_write> rows: array<vec4<u32>>; // [R …]: token, sequence, adapter, logits
@group(0) @binding(5) var<storage, read_write> seqs: array<vec4<u32>>; // [R …]: first row, length, slot in, slot out; the slots are swapped
@group(0) @binding(6) var<storage, read_write> drawn: array<u32>; // [R + steps · R]: steps done, then the tokens of each step
@group(0) @binding(7) var<storage, read> params: array<u32>; // V, R, steps, capacity

const THREADS: u32 = 256u;
const NO_TOKEN: u32 = 0xffffffffu;
const ONE_BITS: u32 = 0x3f800000u;
const INFINITY_BITS: u32 = 0x7f800000u;
const MINUS_INFINITY_BITS: u32 = 0xff800000u;

// Keys: bits of a logit that are ordered as numbers. Those of the infinities:
const MINUS_INFINITY_KEY: u32 = 0x007fffffu;
const INFINITY_KEY: u32 = 0xff800000u;

// Tokens in the window, a bit each.
var<workgroup> seen: array<atomic<u32>, 2048>;
// Histogram of a selection: ids, and their weights in halves of 15 bits, so that 65,536 of them fit. Then the sums of blocks of ids.
var<workgroup> bin_count: array<atomic<u32>, 256>;
var<workgroup> bin_low: array<atomic<u32>, 256>;
var<workgroup> bin_high: array<atomic<u32>, 256>;
// The ids that a selection has left.
var<workgroup> list_key: array<u32, 256>;
var<workgroup> list_id: array<u32, 256>;
var<workgroup> list_weight: array<u32, 256>;
var<workgroup> list_len: atomic<u32>;

var<workgroup> has_bad: atomic<u32>;
var<workgroup> top_key: atomic<u32>;
var<workgroup> best_id: atomic<u32>;
var<workgroup> is_settled: u32;

// The last id, in falling order, that is kept.
var<workgroup> cut_key: u32;
var<workgroup> cut_id: u32;

// Where a selection is: ids left, what it still looks for there, and the digits that its bins have fixed.
var<workgroup> region_count: u32;
var<workgroup> region_wanted: vec2<u32>;
var<workgroup> region_distance: u32;
var<workgroup> region_key: u32;
var<workgroup> region_id: u32;

// The row, and what each invocation knows of it.
var<private> row: u32;
var<private> known: u32;
var<private> max_logit: f32;
var<private> scale: f32;
// 0 without the compiler knowing; see `rounded`.
var<private> nothing: u32;

fn setting(i: u32) -> u32 {
    return settings[row * 8u + i];
}

// Key of the logit of an id after the penalty.
fn key_at(id: u32) -> u32 {
    var bits = logits[row * params[0] + id];
    let is_seen = ((atomicLoad(&seen[id >> 5u]) >> (id & 31u)) & 1u) != 0u;
    if is_seen && bits != MINUS_INFINITY_BITS {
        let is_positive = bits - 1u < 0x7fffffffu;
        let factor = bitcast<f32>(select(setting(4u), setting(5u), is_positive));
        bits = bitcast<u32>(rounded(bitcast<f32>(bits) * factor, nothing));
    }
    // Minus zero is zero.
    bits = select(bits, 0u, bits == 0x80000000u);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn distance_at(key: u32) -> Distance {
    let logit = bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
    var distance = distance_of(logit, max_logit, scale, nothing);
    distance.is_candidate = distance.is_candidate && key != MINUS_INFINITY_KEY;
    return distance;
}

fn is_kept(key: u32, id: u32) -> bool {
    return key > cut_key || (key == cut_key && id <= cut_id);
}

// The weight of an id, 0 if it is cut.
fn kept_weight(id: u32) -> u32 {
    let key = key_at(id);
    let distance = distance_at(key);
    return select(0u, weight_at(distance.fixed), distance.is_candidate && is_kept(key, id));
}

// Levels of a selection: 0 is the distance, 1 to 4 the bytes of the key, 5 the upper byte of the id. Larger logits and lower ids have lower bins.
fn bin_at(level: u32, key: u32, id: u32, fixed: u32) -> u32 {
    if level == 0u {
        return fixed >> 21u;
    }
    return select((~key >> ((32u - 8u * level) & 31u)) & 255u, id >> 8u, level == 5u);
}

// Whether an id has the digits that the levels before this one have fixed.
fn is_in_region(level: u32, key: u32, id: u32, fixed: u32) -> bool {
    let by_distance = level == 0u || (fixed >> 21u) == region_distance;
    let by_key = level < 2u || ((~key ^ region_key) >> (40u - 8u * clamp(level, 2u, 5u))) == 0u;
    return by_distance && by_key && (level < 6u || (id >> 8u) == region_id);
}

fn bin_measure(bin: u32, by_weight: bool) -> vec2<u32> {
    if by_weight {
        let high = atomicLoad(&bin_high[bin]);
        return wide_add(vec2<u32>(atomicLoad(&bin_low[bin]), 0u), vec2<u32>(high << 15u, high >> 17u));
    }
    return vec2<u32>(atomicLoad(&bin_count[bin]), 0u);
}

// p of the total, rounded up, so that "at least p" is kept; 1 at least.
fn share(total: vec2<u32>, p: u32) -> vec2<u32> {
    let low = wide_mul(p, total.x);
    let round_up = select(0u, 1u, low.x != 0u);
    let sum = wide_add(wide_add(wide_mul(p, total.y), vec2<u32>(low.y, 0u)), vec2<u32>(round_up, 0u));
    return select(sum, vec2<u32>(1u, 0u), sum.x == 0u && sum.y == 0u);
}

// From the histogram of a level to the region of the next; by one invocation. No ids are left when nothing is to be cut.
fn descend(level: u32, by_weight: bool) {
    if level == 0u {
        var total = vec2<u32>();
        for (var bin = 0u; bin < 256u; bin++) {
            total = wide_add(total, bin_measure(bin, by_weight));
        }
        region_key = 0u;
        region_wanted = vec2<u32>(setting(1u), 0u);
        if by_weight {
            region_wanted = share(total, setting(2u));
        }
        if wide_less(total, region_wanted) {
            region_count = 0u;
            return;
        }
    }
    let wanted = region_wanted;
    var before = vec2<u32>();
    var bin = 0u;
    for (; bin < 255u; bin++) {
        let with_bin = wide_add(before, bin_measure(bin, by_weight));
        if !wide_less(with_bin, wanted) {
            break;
        }
        before = with_bin;
    }
    region_wanted = wide_sub(wanted, before);
    region_count = atomicLoad(&bin_count[bin]);
    atomicStore(&list_len, 0u);
    if level == 0u {
        region_distance = bin;
    } else if level < 5u {
        region_key |= bin << (32u - 8u * level);
    } else {
        region_id = bin;
    }
}

// Cuts behind the k-th id, or behind the first ids that together weigh p of all. Every invocation must call it.
fn cut(by_weight: bool, thread: u32) {
    var level = 0u;
    var left = 0u;
    loop {
        atomicStore(&bin_count[thread], 0u);
        atomicStore(&bin_low[thread], 0u);
        atomicStore(&bin_high[thread], 0u);
        workgroupBarrier();
        for (var id = thread; id < known; id += THREADS) {
            let key = key_at(id);
            let distance = distance_at(key);
            if distance.is_candidate && is_kept(key, id) && is_in_region(level, key, id, distance.fixed) {
                let bin = bin_at(level, key, id, distance.fixed);
                atomicAdd(&bin_count[bin], 1u);
                if by_weight {
                    let weight = weight_at(distance.fixed);
                    atomicAdd(&bin_low[bin], weight & 0x7fffu);
                    atomicAdd(&bin_high[bin], weight >> 15u);
                }
            }
        }
        workgroupBarrier();
        if thread == 0u {
            descend(level, by_weight);
        }
        level++;
        left = workgroupUniformLoad(&region_count);
        // Behind level 5 there is one id for each lower byte at most.
        if left <= THREADS {
            break;
        }
    }
    if left == 0u {
        return;
    }
    for (var id = thread; id < known; id += THREADS) {
        let key = key_at(id);
        let distance = distance_at(key);
        if distance.is_candidate && is_kept(key, id) && is_in_region(level, key, id, distance.fixed) {
            let i = atomicAdd(&list_len, 1u);
            list_key[i] = key;
            list_id[i] = id;
            list_weight[i] = select(1u, weight_at(distance.fixed), by_weight);
        }
    }
    workgroupBarrier();
    if thread < left {
        let key = list_key[thread];
        let id = list_id[thread];
        // What comes before this id: it is the last one if that is too little and enough with its own.
        var sum = vec2<u32>();
        for (var i = 0u; i < left; i++) {
            if list_key[i] > key || (list_key[i] == key && list_id[i] < id) {
                sum = wide_add(sum, vec2<u32>(list_weight[i], 0u));
            }
        }
        let with_own = wide_add(sum, vec2<u32>(list_weight[thread], 0u));
        if wide_less(sum, region_wanted) && !wide_less(with_own, region_wanted) {
            cut_key = key;
            cut_id = id;
        }
    }
    workgroupBarrier();
}

// The upper 64 of the 128 bits of bits · total: a number below the total.
fn draw_goal(bits: vec2<u32>, total: vec2<u32>) -> vec2<u32> {
    let cross = wide_mul(bits.x, total.y);
    let other = wide_mul(bits.y, total.x);
    // Below 3 · 2^32.
    let middle = wide_add(wide_add(vec2<u32>(wide_mul(bits.x, total.x).y, 0u), vec2<u32>(cross.x, 0u)), vec2<u32>(other.x, 0u));
    let upper = wide_add(wide_mul(bits.y, total.y), vec2<u32>(cross.y, 0u));
    return wide_add(wide_add(upper, vec2<u32>(other.y, 0u)), vec2<u32>(middle.y, 0u));
}

// One id of those that are kept, by weight. Every invocation sums a block of consecutive ids; the first finds the one drawn, and alone gets it.
fn draw(step: u32, thread: u32) -> u32 {
    let block = (known + THREADS - 1u) / THREADS;
    let end = min((thread + 1u) * block, known);
    var own = vec2<u32>();
    for (var id = thread * block; id < end; id++) {
        own = wide_add(own, vec2<u32>(kept_weight(id), 0u));
    }
    atomicStore(&bin_low[thread], own.x);
    atomicStore(&bin_high[thread], own.y);
    workgroupBarrier();
    if thread != 0u {
        return NO_TOKEN;
    }
    var total = vec2<u32>();
    for (var i = 0u; i < THREADS; i++) {
        total = wide_add(total, vec2<u32>(atomicLoad(&bin_low[i]), atomicLoad(&bin_high[i])));
    }
    let goal = draw_goal(random[step * params[1] + row], total);
    var sum = vec2<u32>();
    var at = 0u;
    for (; at < THREADS - 1u; at++) {
        let with_block = wide_add(sum, vec2<u32>(atomicLoad(&bin_low[at]), atomicLoad(&bin_high[at])));
        if wide_less(goal, with_block) {
            break;
        }
        sum = with_block;
    }
    for (var id = at * block; id < known; id++) {
        sum = wide_add(sum, vec2<u32>(kept_weight(id), 0u));
        if wide_less(goal, sum) {
            return id;
        }
    }
    return atomicLoad(&best_id);
}

// Marks the tokens of the window.
fn mark_seen(thread: u32) {
    let at = row * (2u + params[3]);
    let count = history[at];
    let window = select(history[at + 1u], count, history[at + 1u] == 0u);
    let looked_at = min(min(count, window), params[3]);
    for (var i = thread; i < looked_at; i += THREADS) {
        let id = history[at + 2u + (count - 1u - i) % params[3]];
        if id < known {
            atomicOr(&seen[id >> 5u], 1u << (id & 31u));
        }
    }
}

// Finds the largest logit, the lowest id among equals, and whether there is a NaN or plus infinity.
fn find_best(thread: u32) {
    var own_key = 0u;
    var own_id = NO_TOKEN;
    var is_bad = false;
    for (var id = thread; id < known; id += THREADS) {
        let bits = logits[row * params[0] + id];
        is_bad = is_bad || (bits & 0x7fffffffu) > INFINITY_BITS || bits == INFINITY_BITS;
        let key = key_at(id);
        if key > own_key {
            own_key = key;
            own_id = id;
        }
    }
    atomicMax(&top_key, own_key);
    if is_bad {
        atomicOr(&has_bad, 1u);
    }
    workgroupBarrier();
    if own_key == atomicLoad(&top_key) {
        atomicMin(&best_id, own_id);
    }
    workgroupBarrier();
    let key = atomicLoad(&top_key);
    max_logit = bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    row = group.x;
    known = setting(6u);
    scale = bitcast<f32>(setting(0u));
    nothing = setting(7u);
    for (var i = thread; i < 2048u; i += THREADS) {
        atomicStore(&seen[i], 0u);
    }
    if thread == 0u {
        atomicStore(&has_bad, 0u);
        atomicStore(&top_key, 0u);
        atomicStore(&best_id, NO_TOKEN);
        cut_key = 0u;
        cut_id = NO_TOKEN;
    }
    workgroupBarrier();
    if setting(4u) != ONE_BITS {
        mark_seen(thread);
    }
    workgroupBarrier();
    find_best(thread);

    // Only the first invocation goes on with the step and the token.
    var step = 0u;
    var token = NO_TOKEN;
    if thread == 0u {
        step = drawn[row];
        let key = atomicLoad(&top_key);
        let is_drawable = atomicLoad(&has_bad) == 0u && key > MINUS_INFINITY_KEY;
        token = select(NO_TOKEN, atomicLoad(&best_id), is_drawable);
        // A penalty below 1 may have made the largest logit infinite: nothing has a weight beside it.
        is_settled = select(1u, 0u, is_drawable && key != INFINITY_KEY && scale != 0.0 && step < params[2]);
    }
    if workgroupUniformLoad(&is_settled) == 0u {
        let row_settings = group.x * 8u;
        if settings[row_settings + 1u] != 0u {
            cut(false, thread);
        }
        if settings[row_settings + 3u] == 0u {
            cut(true, thread);
        }
        let found = draw(step, thread);
        token = select(token, found, thread == 0u);
    }
    if thread == 0u && step < params[2] {
        drawn[row] = step + 1u;
        drawn[params[1] + step * params[1] + row] = token;
        // A row that nothing was drawn for goes on with a token that exists.
        let next = select(token, 0u, token == NO_TOKEN);
        rows[row].x = next;
        seqs[row] = seqs[row].xywz;
        let at = row * (2u + params[3]);
        let count = history[at];
        if params[3] != 0u {
            history[at + 2u + count % params[3]] = next;
        }
        history[at] = count + 1u;
    }
}
