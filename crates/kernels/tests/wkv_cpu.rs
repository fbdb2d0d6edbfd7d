//! WKV on the CPU: definition against finite differences, plain twin against the definition, fast twin against both. Needs nothing.

mod common;

use common::naive::{Channel, Sum};
use common::{Case, Numbers, Random, assert_near};
use ptbr_kernels::{KernelError, NO_STATE, STATE_ROWS, Sequence, WkvDims, cpu};

const RAGGED: &[u32] = &[5, 0, 1, 17, 2, 64, 0, 33];
const LONG: &[u32] = &[1030, 1, 0, 7];

/// Both kernels' outputs.
fn run(case: &Case, fast: bool) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut grads) = (case.poisoned_out(), case.poisoned_grads());
    let Case {
        dims,
        wu,
        k,
        v,
        seqs,
        state_in,
        grad_out,
    } = case;
    if fast {
        cpu::wkv_forward(wu, k, v, seqs, state_in, &mut out, *dims).expect("forward");
        cpu::wkv_backward(wu, k, v, seqs, state_in, grad_out, &mut grads, *dims).expect("backward");
    } else {
        cpu::wkv_forward_plain(wu, k, v, seqs, state_in, &mut out, *dims).expect("forward");
        cpu::wkv_backward_plain(wu, k, v, seqs, state_in, grad_out, &mut grads, *dims)
            .expect("backward");
    }
    (out, grads)
}

/// Every output against the definition: |error| ≤ tolerance · (sum of the absolute values of the terms).
fn compare_with_definition(case: &Case, fast: bool, tolerance: f64) {
    let (out, grads) = run(case, fast);
    case.assert_written("out", &out, false);
    case.assert_written("grads", &grads, true);
    let width = case.dims.c;
    for (index, seq) in case.seqs.iter().enumerate() {
        let first = seq.first as usize;
        for c in 0..width {
            let near = |what: &str, t: usize, found: f32, e: Sum| {
                let what =
                    format_args!("{what}[{t}], sequence {index} {seq:?} channel {c}, fast {fast}");
                assert_near(what, found, e.value, e.magnitude + 1e-30, tolerance);
            };
            let channel = case.channel(seq, c);
            let (y, last) = channel.forward();
            let size = channel
                .v
                .iter()
                .fold(channel.state[0].abs() + 1.0, |m, v| m.max(v.abs()));
            for (t, &value) in y.iter().enumerate() {
                near(
                    "y",
                    t,
                    out[(first + t) * width + c],
                    Sum {
                        value,
                        magnitude: size,
                    },
                );
            }
            if seq.slot_out != NO_STATE {
                for (row, value) in last.into_iter().enumerate() {
                    let at = (case.dims.n + seq.slot_out as usize * STATE_ROWS + row) * width + c;
                    near(
                        "last",
                        row,
                        out[at],
                        Sum {
                            value,
                            magnitude: value.abs() + size,
                        },
                    );
                }
            }
            let (gy, glast) = case.cotangent(seq, c);
            let g = channel.gradients(&gy, glast);
            for t in 0..seq.len as usize {
                near("gk", t, grads[(first + t) * width + c], g.k[t]);
                near(
                    "gv",
                    t,
                    grads[(case.dims.n + first + t) * width + c],
                    g.v[t],
                );
            }
            let own = [g.w, g.u, g.state[0], g.state[1], g.state[2]];
            for (row, sum) in own.into_iter().enumerate() {
                near(
                    "gw gu gaa gbb gpp",
                    row,
                    grads[case.own_row(index, row) * width + c],
                    sum,
                );
            }
        }
    }
}

/// Central difference of fourth order of the loss along one input.
fn difference(
    channel: &Channel,
    gy: &[f64],
    glast: [f64; 3],
    step: f64,
    change: &dyn Fn(&mut Channel, f64),
) -> f64 {
    let at = |step: f64| {
        let mut moved = channel.clone();
        change(&mut moved, step);
        moved.loss(gy, glast)
    };
    (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step)
}

/// Fixed seeds here and in the comparisons with the definition: where two exponents nearly tie, pp's maximum has a kink, which f32
/// and a finite step may see from the other side.
#[test]
fn the_definitions_gradients_are_finite_differences() {
    let mut rng = Random(101);
    let mut checked = 0;
    for numbers in [Numbers::Usual, Numbers::Extreme] {
        let case = Case::random(&mut rng, &[0, 1, 2, 7, 12, 1030], 2, numbers);
        let case = if numbers == Numbers::Extreme {
            case.with_gradient_from_a_state_consumer()
        } else {
            case
        };
        for seq in &case.seqs {
            for c in 0..case.dims.c {
                let channel = case.channel(seq, c);
                let (gy, glast) = case.cotangent(seq, c);
                let g = channel.gradients(&gy, glast);
                // A difference of losses resolves no less than the loss' own rounding.
                let floor = 1e-6 * (channel.loss(&gy, glast).abs() + seq.len as f64 + 100.0);
                let mut check = |name: &str, expected: Sum, change: &dyn Fn(&mut Channel, f64)| {
                    // w acts once a step.
                    let step = if name == "w" {
                        1e-5 / (1.0 + seq.len as f64)
                    } else {
                        1e-5
                    };
                    let found = difference(&channel, &gy, glast, step, change);
                    let error = (found - expected.value).abs();
                    let bound = 1e-5 * expected.magnitude + floor;
                    assert!(
                        error <= bound,
                        "{name} of {seq:?} channel {c}, {numbers:?}: {found} for {expected:?}"
                    );
                    checked += 1;
                };
                check("w", g.w, &|x, step| x.w += step);
                check("u", g.u, &|x, step| x.u += step);
                for row in 0..3 {
                    if channel.state[2] > -1e30 {
                        check("state", g.state[row], &|x, step| x.state[row] += step);
                    }
                }
                // The long sequence: some tokens, the first and the last among them.
                let stride = if seq.len > 100 {
                    seq.len as usize / 2
                } else {
                    1
                };
                for t in (0..seq.len as usize)
                    .step_by(stride)
                    .chain((seq.len as usize).checked_sub(1))
                {
                    check("k", g.k[t], &|x, step| x.k[t] += step);
                    check("v", g.v[t], &|x, step| x.v[t] += step);
                }
            }
        }
    }
    assert!(checked > 200, "only {checked} derivatives checked");
}

#[test]
fn plain_and_fast_twins_agree_with_the_definition() {
    let mut rng = Random(102);
    for fast in [false, true] {
        for channels in [1, 3, 16, 67, 100] {
            compare_with_definition(
                &Case::random(&mut rng, RAGGED, channels, Numbers::Usual),
                fast,
                1e-5,
            );
        }
        compare_with_definition(&Case::random(&mut rng, LONG, 3, Numbers::Usual), fast, 1e-4);
        compare_with_definition(
            &Case::random(&mut rng, LONG, 17, Numbers::Usual),
            fast,
            1e-4,
        );
    }
}

/// At keys of 80 an exponent is rounded to 4e-6 a step, which is the error of its exponential: hence the wider bounds.
#[test]
fn extreme_keys_and_decays_stay_finite_and_right() {
    let mut rng = Random(103);
    for fast in [false, true] {
        let mut compare = |lengths: &[u32], channels: usize, tolerance: f64| {
            let case = Case::random(&mut rng, lengths, channels, Numbers::Extreme);
            compare_with_definition(&case.with_gradient_from_a_state_consumer(), fast, tolerance);
        };
        compare(RAGGED, 1, 1e-3);
        compare(RAGGED, 19, 1e-3);
        compare(RAGGED, 66, 1e-3);
        compare(LONG, 5, 1e-2);
    }
}

#[test]
fn constant_keys_of_80_and_minus_80_give_finite_results() {
    let mut rng = Random(104);
    for key in [80.0, -80.0, 88.0, -88.0] {
        for decay in [-20.0f32, -5.0, 0.0, 3.0] {
            let mut case = Case::random(&mut rng, LONG, 17, Numbers::Usual);
            case.k.fill(key);
            case.wu[..17].fill(-decay.exp());
            for fast in [false, true] {
                let (out, grads) = run(&case, fast);
                case.assert_written("out", &out, false);
                case.assert_written("grads", &grads, true);
            }
        }
    }
}

#[test]
fn nan_is_not_swallowed() {
    let mut case = Case::random(&mut Random(5), &[9], 33, Numbers::Usual);
    let at = (case.seqs[0].first as usize + 4) * 33 + 20;
    case.k[at] = f32::NAN;
    let (out, grads) = run(&case, true);
    let y = |t: usize, c: usize| out[(case.seqs[0].first as usize + t) * 33 + c];
    assert!(y(3, 20).is_finite() && y(4, 20).is_nan() && y(8, 20).is_nan() && y(8, 21).is_finite());
    assert!(grads[case.own_row(0, 0) * 33 + 20].is_nan());
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Bit for bit: a channel alone, a sequence alone, and one thread give what the whole gives.
#[test]
fn results_do_not_depend_on_blocks_or_neighbours() {
    let mut rng = Random::fresh("blocks");
    let case = Case::random(&mut rng, &[90, 0, 200, 3], 147, Numbers::Usual);
    let whole = run(&case, true);
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("pool")
        .install(|| run(&case, true));
    assert_eq!(
        (bits(&whole.0), bits(&whole.1)),
        (bits(&one_thread.0), bits(&one_thread.1))
    );

    for c in [0, 63, 64, 128, 143, 146] {
        let column = |x: &[f32]| -> Vec<f32> { x.iter().skip(c).step_by(147).copied().collect() };
        let single = Case {
            dims: WkvDims { c: 1, ..case.dims },
            wu: column(&case.wu),
            k: column(&case.k),
            v: column(&case.v),
            seqs: case.seqs.clone(),
            state_in: column(&case.state_in),
            grad_out: column(&case.grad_out),
        };
        let (out, grads) = run(&single, true);
        assert_eq!(bits(&out), bits(&column(&whole.0)), "channel {c}");
        assert_eq!(bits(&grads), bits(&column(&whole.1)), "channel {c}");
    }
    for seq in &case.seqs {
        let alone = Case {
            seqs: vec![*seq],
            ..case.clone()
        };
        let (out, _) = run(&alone, true);
        for (row, written) in alone.rows_written(false).into_iter().enumerate() {
            if written {
                let row = row * 147..(row + 1) * 147;
                assert_eq!(bits(&out[row.clone()]), bits(&whole.0[row]));
            }
        }
    }
}

/// Decoding token by token, and prefilling in two pieces, give the bits of one piece.
#[test]
fn steps_and_pieces_give_the_same_bits_as_the_whole() {
    let mut rng = Random::fresh("pieces");
    let c = 83;
    let mut case = Case::random(&mut rng, &[40], c, Numbers::Usual);
    case.seqs[0].slot_in = 1;
    case.seqs[0].slot_out = 0;
    let (whole, _) = run(&case, true);
    let first = case.seqs[0].first as usize;
    let end_state = &whole[case.dims.n * c..(case.dims.n + STATE_ROWS) * c];

    let mut state = case.state_in[STATE_ROWS * c..2 * STATE_ROWS * c].to_vec();
    let mut plain_state = state.clone();
    let (mut y, mut plain_y) = (vec![0.0; c], vec![0.0; c]);
    for row in first..first + 40 {
        let row = row * c..(row + 1) * c;
        cpu::wkv_step(
            &case.wu,
            &case.k[row.clone()],
            &case.v[row.clone()],
            &mut state,
            &mut y,
        )
        .expect("step");
        assert_eq!(bits(&y), bits(&whole[row.clone()]));
        cpu::wkv_step_plain(
            &case.wu,
            &case.k[row.clone()],
            &case.v[row],
            &mut plain_state,
            &mut plain_y,
        )
        .expect("step");
        for (fast, plain) in y.iter().zip(&plain_y) {
            assert_near(format_args!("plain step"), *fast, *plain as f64, 2.0, 1e-5);
        }
    }
    assert_eq!(bits(&state), bits(end_state));

    let mut piece = case.clone();
    piece.seqs[0].len = 13;
    let (out, _) = run(&piece, true);
    piece.state_in[STATE_ROWS * c..2 * STATE_ROWS * c]
        .copy_from_slice(&out[case.dims.n * c..(case.dims.n + STATE_ROWS) * c]);
    piece.seqs[0] = Sequence {
        first: first as u32 + 13,
        len: 27,
        ..piece.seqs[0]
    };
    let (out, _) = run(&piece, true);
    assert_eq!(
        bits(&out[case.dims.n * c..(case.dims.n + STATE_ROWS) * c]),
        bits(end_state)
    );
}

/// A sequence cut in two, its state's gradient handed back, has the gradients of the whole.
#[test]
fn gradients_through_a_carried_state_are_those_of_the_whole() {
    let c = 5;
    let mut case = Case::random(&mut Random::fresh("carried"), &[24], c, Numbers::Usual);
    case.seqs[0].slot_in = 1;
    case.seqs[0].slot_out = 0;
    let first = case.seqs[0].first;
    let (_, whole) = run(&case, true);

    let state_rows =
        |n: usize, slot: usize| (n + slot * STATE_ROWS) * c..(n + (slot + 1) * STATE_ROWS) * c;
    let mut head = case.clone();
    head.seqs[0].len = 10;
    let (out, _) = run(&head, true);
    let mut tail = case.clone();
    tail.seqs[0] = Sequence {
        first: first + 10,
        len: 14,
        ..case.seqs[0]
    };
    tail.state_in[state_rows(0, 1)].copy_from_slice(&out[state_rows(case.dims.n, 0)]);
    let (_, tail_grads) = run(&tail, true);
    head.grad_out[state_rows(case.dims.n, 0)]
        .copy_from_slice(&tail_grads[case.own_row(0, 2) * c..case.own_row(0, 5) * c]);
    let (_, head_grads) = run(&head, true);

    for row in 0..24 {
        let part = if row < 10 { &head_grads } else { &tail_grads };
        for side in [0, case.dims.n] {
            for i in 0..c {
                let at = (side + first as usize + row) * c + i;
                assert_near(
                    format_args!("row {row} channel {i}"),
                    part[at],
                    whole[at] as f64,
                    3.0,
                    1e-5,
                );
            }
        }
    }
    for row in 0..5 {
        for i in 0..c {
            let at = case.own_row(0, row) * c + i;
            // w and u belong to both pieces, the initial state to the first alone.
            let sum = if row < 2 {
                head_grads[at] + tail_grads[at]
            } else {
                head_grads[at]
            };
            assert_near(
                format_args!("own row {row} channel {i}"),
                sum,
                whole[at] as f64,
                20.0,
                1e-5,
            );
        }
    }
}

#[test]
fn wrong_arguments_are_named() {
    let good = Case::random(&mut Random(1), &[3, 4], 2, Numbers::Usual);
    let forward = |case: &Case| {
        let Case {
            dims,
            wu,
            k,
            v,
            seqs,
            state_in,
            ..
        } = case;
        let mut out = vec![7.0; good.dims.out_len().expect("small")];
        let result = cpu::wkv_forward(wu, k, v, seqs, state_in, &mut out, *dims);
        assert!(
            result.is_ok() || out.iter().all(|&x| x == 7.0),
            "something was written"
        );
        result.map_err(|e| e.to_string())
    };
    assert_eq!(forward(&good), Ok(()));
    let broken = |change: &dyn Fn(&mut Case)| {
        let mut case = good.clone();
        change(&mut case);
        forward(&case).expect_err("refused")
    };
    let n = good.dims.n as u32;
    let expected = format!(
        "wkv_forward: buffer `k` has {} elements where the sizes demand {}",
        2 * n - 1,
        2 * n
    );
    assert_eq!(broken(&|case| case.k.truncate(case.k.len() - 1)), expected);
    assert!(broken(&|case| case.seqs[1].len = n).contains("but there are only"));
    assert!(
        broken(&|case| case.seqs[1].first = u32::MAX).contains("sequence 1 covers rows 4294967295")
    );
    assert!(broken(&|case| case.seqs[1] = case.seqs[0]).contains("belongs to two sequences"));
    assert!(
        broken(&|case| case.seqs[0].slot_in = 3)
            .contains("names state slot 3, but there are only 3")
    );
    let twice = broken(&|case| (case.seqs[0].slot_out, case.seqs[1].slot_out) = (1, 1));
    assert!(twice.contains("write their final state to slot 1"));
    assert!(broken(&|case| case.dims.n = usize::MAX / 2).contains("exceed what can be indexed"));

    let dims = WkvDims {
        n: 1 << 20,
        c: 2048,
        slots: 1,
    };
    assert!(matches!(dims.params(1), Err(KernelError::TooLarge { .. })));
    assert!(matches!(
        good.dims.workgroups(70_000),
        Err(KernelError::TooLarge { .. })
    ));
    let step = cpu::wkv_step(
        &[0.0; 4],
        &[0.0; 2],
        &[0.0; 2],
        &mut [0.0; 5],
        &mut [0.0; 2],
    );
    assert_eq!(
        step.expect_err("refused").to_string(),
        "wkv_step: buffer `state` has 5 elements where the sizes demand 6"
    );
}
