//! The known answer is what the definition gives, and the twins give it. Needs nothing.

mod common;

use common::Case;
use ptbr_kernels::{NO_STATE, STATE_ROWS, WKV_KNOWN_ANSWER, WkvKnownAnswer, cpu};

#[test]
fn the_known_answer_is_that_of_the_definition() {
    let known = WKV_KNOWN_ANSWER;
    let case = Case {
        dims: known.dims,
        wu: known.wu.to_vec(),
        k: known.k.to_vec(),
        v: known.v.to_vec(),
        seqs: known.seqs.to_vec(),
        state_in: known.state_in.to_vec(),
        grad_out: known.grad_out.to_vec(),
    };
    let (mut out, mut grads) = (case.poisoned_out(), case.poisoned_grads());
    let (n, width) = (case.dims.n, case.dims.c);
    for (index, seq) in case.seqs.iter().enumerate() {
        for c in 0..width {
            let channel = case.channel(seq, c);
            let (y, last) = channel.forward();
            let (gy, glast) = case.cotangent(seq, c);
            let g = channel.gradients(&gy, glast);
            for (t, y) in y.into_iter().enumerate() {
                let row = seq.first as usize + t;
                out[row * width + c] = y as f32;
                grads[row * width + c] = g.k[t].value as f32;
                grads[(n + row) * width + c] = g.v[t].value as f32;
            }
            assert_ne!(seq.slot_out, NO_STATE);
            for (row, x) in last.into_iter().enumerate() {
                out[(n + seq.slot_out as usize * STATE_ROWS + row) * width + c] = x as f32;
            }
            for (row, sum) in [g.w, g.u, g.state[0], g.state[1], g.state[2]]
                .into_iter()
                .enumerate()
            {
                grads[case.own_row(index, row) * width + c] = sum.value as f32;
            }
        }
    }
    assert!(WkvKnownAnswer::error(&out, known.out) < 1e-6);
    assert!(WkvKnownAnswer::error(&grads, known.grads) < 1e-6);
}

#[test]
fn the_twins_give_the_known_answer() {
    let WkvKnownAnswer {
        dims,
        wu,
        k,
        v,
        seqs,
        state_in,
        grad_out,
        out,
        grads,
    } = WKV_KNOWN_ANSWER;
    let (mut y, mut g) = (vec![f32::NAN; out.len()], vec![f32::NAN; grads.len()]);
    cpu::wkv_forward(wu, k, v, seqs, state_in, &mut y, dims).expect("forward");
    cpu::wkv_backward(wu, k, v, seqs, state_in, grad_out, &mut g, dims).expect("backward");
    let errors = (
        WkvKnownAnswer::error(&y, out),
        WkvKnownAnswer::error(&g, grads),
    );
    println!("forward {:e}, backward {:e}", errors.0, errors.1);
    assert!(
        errors.0 < WkvKnownAnswer::TOLERANCE / 4.0 && errors.1 < WkvKnownAnswer::TOLERANCE / 4.0,
        "{errors:?}"
    );
}

#[test]
fn a_wrong_answer_is_noticed() {
    let expected = WKV_KNOWN_ANSWER.out;
    assert_eq!(WkvKnownAnswer::error(expected, expected), 0.0);
    assert_eq!(
        WkvKnownAnswer::error(&expected[1..], expected),
        f32::INFINITY
    );
    for wrong in [f32::NAN, f32::INFINITY, expected[4] + 1e-3] {
        let mut found = expected.to_vec();
        found[4] = wrong;
        assert!(
            WkvKnownAnswer::error(&found, expected) > WkvKnownAnswer::TOLERANCE,
            "{wrong}"
        );
    }
}
