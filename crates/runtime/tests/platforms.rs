//! A tiny model gives the same logits on every platform: those of the table, which x86-64 computed. Needs nothing; `cargo xtask test --full` also runs it on wasm32, in Node.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{config, model_in};
use ptbr_model::WeightFormat;
use ptbr_runtime::{RuntimeError, Session};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Logits of tokens 0, 7, … after the text, as bits of f32, computed on x86-64.
const LOGITS: [(WeightFormat, [u32; 7]); 3] = [
    (
        WeightFormat::F32,
        [
            0xbf936616, 0xbf0cec33, 0xbef19fbe, 0xbe0f4d78, 0x3f400aa6, 0xbf43d05d, 0xbf3148d4,
        ],
    ),
    (
        WeightFormat::Int8,
        [
            0xbf91323f, 0xbf0dfe73, 0xbf0019a1, 0xbe1da138, 0x3f3e7f99, 0xbf441452, 0xbf3154b4,
        ],
    ),
    (
        WeightFormat::Int4,
        [
            0xbf93fd71, 0xbf16af1c, 0xbedf478b, 0xbd2624bb, 0x3f6f789e, 0xbf0a31af, 0xbf3a169c,
        ],
    ),
];

/// What the order of sums changes, of logits of about 1; activations are rounded to eight bits, and one that falls to the other side moves a logit by about this.
const TOLERANCE: f32 = 1e-3;

#[test]
fn logits_are_those_of_other_platforms() -> Result<(), RuntimeError> {
    for (format, expected) in LOGITS {
        let mut session = Session::new(model_in(&config(48, 32, 2, 64), 3, format));
        session.prefill(&[0, 47, 5, 11, 30])?;
        let logits: Vec<f32> = session.decode(21)?.iter().step_by(7).copied().collect();
        for (&found, expected) in logits.iter().zip(expected.map(f32::from_bits)) {
            let difference = (found - expected).abs();
            assert!(
                difference <= TOLERANCE,
                "{format}: {found}, not {expected}: {difference} apart"
            );
        }
        #[cfg(target_arch = "wasm32")]
        {
            let equal = common::bits(&logits)
                .iter()
                .zip(expected)
                .filter(|(found, expected)| **found == *expected)
                .count();
            wasm_bindgen_test::console_log!(
                "{format}: {equal} of {} the same bits",
                expected.len()
            );
        }
    }
    Ok(())
}
