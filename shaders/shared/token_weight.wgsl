// Weights of tokens as integers, round(2^30 · e^((l - max) / T)) for logit l. Twin: crates/kernels/src/cpu/token_weight.rs.
//
// A distance is (max - l) · log2(e) / T, the number of halvings, with 24 bits behind the point. It comes from one subtraction and one
// multiplication, each rounded; from there on everything is integer arithmetic, and the same on every machine.

#import wide

const WEIGHT_ONE: u32 = 0x40000000u;
// round(2^32 · ln 2)
const LN_2: u32 = 2977044472u;

// Distance of a logit; false when its weight is 0, which is beyond 31 halvings.
struct Distance {
    fixed: u32,
    is_candidate: bool,
}

// `nothing` is 0 without the compiler knowing: what has passed through it was rounded before it goes on.
fn rounded(x: f32, nothing: u32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ nothing);
}

fn distance_of(logit: f32, max_logit: f32, scale: f32, nothing: u32) -> Distance {
    let halvings = rounded(rounded(max_logit - logit, nothing) * scale, nothing);
    // Positive floats compare like their bits, and 31 is below infinity and NaN.
    let is_candidate = bitcast<u32>(halvings) <= 0x41f80000u;
    return Distance(u32(select(0.0, halvings, is_candidate) * 16777216.0), is_candidate);
}

fn series_step(y: u32, reciprocal: u32, sum: u32) -> u32 {
    return WEIGHT_ONE - wide_mul(wide_mul(y, reciprocal).y, sum).y;
}

// 2^30 · 2^(-distance), rounded: the series of the exponential for the fraction in Horner's form, 1 - y(1 - y/2(1 - y/3(…))), the reciprocals being
// round(2^32 / n) for n = 9 to 2.
fn weight_at(fixed: u32) -> u32 {
    let y = wide_mul(fixed << 8u, LN_2).y;
    var sum = series_step(y, 477218588u, WEIGHT_ONE);
    sum = series_step(y, 536870912u, sum);
    sum = series_step(y, 613566757u, sum);
    sum = series_step(y, 715827883u, sum);
    sum = series_step(y, 858993459u, sum);
    sum = series_step(y, 1073741824u, sum);
    sum = series_step(y, 1431655765u, sum);
    sum = series_step(y, 2147483648u, sum);
    let power = WEIGHT_ONE - wide_mul(y, sum).y;
    let whole = fixed >> 24u;
    return (power + ((1u << whole) >> 1u)) >> whole;
}
