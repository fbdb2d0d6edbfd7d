//! Products of every format on every instruction set: against f64, against the stated order of sums bit by bit, against each other. Needs nothing.

mod reference;
mod stored;

use super::*;
use crate::testing::Numbers;
use ptbr_model::WeightFormat;
use reference::reference;
use stored::Stored;

fn product(
    isa: Isa,
    weights: MatrixData<'_>,
    input: &[f32],
    rows: usize,
    tokens: usize,
) -> Vec<f32> {
    let mut output = vec![f32::NAN; rows * tokens];
    matmul(
        isa,
        Product {
            weights,
            input,
            output: &mut output,
            tokens,
        },
        &mut Workspace::default(),
    );
    output
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Rows and columns: fewer and more than any vector's rows, whole and broken blocks of columns, odd numbers of groups.
const SHAPES: [(usize, usize); 10] = [
    (1, 32),
    (3, 96),
    (5, 64),
    (16, 256),
    (17, 32),
    (33, 320),
    (70, 800),
    (257, 288),
    (640, 224),
    (1003, 64),
];

/// Rows that are no whole groups: only f32 has them.
const F32_SHAPES: [(usize, usize); 6] = [(1, 1), (3, 15), (5, 17), (4, 16), (70, 31), (257, 48)];

fn shapes(format: WeightFormat) -> impl Iterator<Item = (usize, usize)> {
    let more: &[_] = match format {
        WeightFormat::F32 => &F32_SHAPES,
        _ => &[],
    };
    SHAPES.into_iter().chain(more.iter().copied())
}

#[test]
fn every_instruction_set_agrees_with_f64() {
    let mut numbers = Numbers::new(1);
    for format in WeightFormat::ALL {
        for (rows, cols) in shapes(format) {
            let weights = Stored::random(format, rows, cols, &mut numbers);
            let wide = weights.dequantized();
            for tokens in [1, 2, 3, 5, 13] {
                let input = numbers.vector(tokens * cols, 1.0);
                // What rounding activations to 8 bits can cost: half of a 127th of a group's largest element.
                let half_step = match format {
                    WeightFormat::Int8 | WeightFormat::Int4 => 1.0 / 254.0,
                    _ => 0.0,
                };
                for isa in Isa::all() {
                    let output = product(isa, weights.matrix(), &input, rows, tokens);
                    for t in 0..tokens {
                        for r in 0..rows {
                            let terms = (0..cols).map(|i| {
                                f64::from(wide[r * cols + i]) * f64::from(input[t * cols + i])
                            });
                            let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term| {
                                (sum + term, size + term.abs())
                            });
                            let steps: f64 = wide[r * cols..(r + 1) * cols]
                                .iter()
                                .map(|w| f64::from(w.abs()) * half_step)
                                .sum();
                            let got = f64::from(output[t * rows + r]);
                            assert!(
                                (got - exact).abs() <= 2e-6 * size + steps + 1e-30,
                                "{format} {} {rows}x{cols}, token {t} of {tokens}, row {r}: {got} not {exact}",
                                isa.name()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_has_the_bits_of_the_stated_order() {
    let mut numbers = Numbers::new(2);
    let names: Vec<_> = Isa::all().iter().map(|isa| isa.name()).collect();
    println!("instruction sets here: {names:?}");
    for format in WeightFormat::ALL {
        for (rows, cols) in shapes(format) {
            let weights = Stored::random(format, rows, cols, &mut numbers);
            for tokens in 1..=13 {
                let input = numbers.vector(tokens * cols, 1.0);
                let expected = [false, true]
                    .map(|fused| bits(&reference(&weights, &input, rows, tokens, fused)));
                for isa in Isa::all() {
                    let got = bits(&product(isa, weights.matrix(), &input, rows, tokens));
                    assert!(
                        got == expected[usize::from(fuses(isa))],
                        "{format} {} {rows}x{cols}, {tokens} tokens",
                        isa.name()
                    );
                }
            }
        }
    }
}

/// Whether products are added without a rounding between.
fn fuses(isa: Isa) -> bool {
    let always = cfg!(any(target_feature = "fma", target_arch = "aarch64"));
    always || cfg!(target_arch = "x86_64") && !["portable", "sse4.1"].contains(&isa.name())
}

#[test]
fn a_token_gets_the_same_bits_alone_and_in_company() {
    let mut numbers = Numbers::new(3);
    let (rows, cols, tokens) = (77, 352, 29);
    for format in WeightFormat::ALL {
        let weights = Stored::random(format, rows, cols, &mut numbers);
        let input = numbers.vector(tokens * cols, 1.0);
        for isa in Isa::all() {
            let together = product(isa, weights.matrix(), &input, rows, tokens);
            for t in 0..tokens {
                let row = &input[t * cols..(t + 1) * cols];
                let alone = product(isa, weights.matrix(), row, rows, 1);
                assert_eq!(
                    bits(&alone),
                    bits(&together[t * rows..(t + 1) * rows]),
                    "{format} {}, token {t}",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn a_workspace_serves_one_product_after_another() {
    let mut numbers = Numbers::new(4);
    let mut workspace = Workspace::default();
    for format in WeightFormat::ALL {
        for (rows, cols, tokens) in [(40, 512, 9), (3, 32, 1), (70, 96, 4)] {
            let weights = Stored::random(format, rows, cols, &mut numbers);
            let input = numbers.vector(tokens * cols, 1.0);
            let mut output = vec![f32::NAN; rows * tokens];
            let product = Product {
                weights: weights.matrix(),
                input: &input,
                output: &mut output,
                tokens,
            };
            matmul(Isa::detect(), product, &mut workspace);
            let fresh = self::product(Isa::detect(), weights.matrix(), &input, rows, tokens);
            assert_eq!(bits(&output), bits(&fresh), "{format} {rows}x{cols}");
        }
    }
}

#[cfg(feature = "parallel")]
#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut numbers = Numbers::new(5);
    let (rows, cols) = (300, 512);
    for format in WeightFormat::ALL {
        let weights = Stored::random(format, rows, cols, &mut numbers);
        for tokens in [1, 9, 21] {
            let input = numbers.vector(tokens * cols, 1.0);
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| {
                    bits(&product(
                        Isa::detect(),
                        weights.matrix(),
                        &input,
                        rows,
                        tokens,
                    ))
                })
            };
            let one = run(1);
            for threads in [2, 3, 5] {
                assert!(run(threads) == one, "{format}, {threads} threads");
            }
        }
    }
}

#[test]
fn inputs_out_of_the_ordinary() {
    let mut numbers = Numbers::new(6);
    let (rows, cols) = (19, 96);
    for format in WeightFormat::ALL {
        let weights = Stored::random(format, rows, cols, &mut numbers);
        for isa in Isa::all() {
            let of = |x: f32| product(isa, weights.matrix(), &[x; 96], rows, 1);
            let name = isa.name();
            assert!(of(0.0).iter().all(|&y| y == 0.0), "{format} {name}");
            assert!(
                of(1e-42).iter().all(|&y| y.abs() < 1e-35),
                "{format} {name}"
            );
            // Large inputs give large outputs, not infinite ones: those of ones, 10^30 times.
            for (one, large) in of(1.0).iter().zip(of(1e30)) {
                let error = (f64::from(large) / 1e30 - f64::from(*one)).abs();
                assert!(error < 1e-3, "{format} {name}: {large:e} for {one}");
            }
            // What is no number in one token shows in all of its outputs, and in no other token's.
            for odd in [f32::NAN, f32::INFINITY] {
                let mut input = vec![1.0; 3 * cols];
                input[cols + 40] = odd;
                let output = product(isa, weights.matrix(), &input, rows, 3);
                for (t, outputs) in output.chunks(rows).enumerate() {
                    for y in outputs {
                        assert_eq!(y.is_finite(), t != 1, "{format} {name}, token {t}: {y}");
                    }
                }
            }
        }
    }
}

#[test]
fn widened_weights_are_those_that_the_format_means() {
    let mut numbers = Numbers::new(7);
    for format in [WeightFormat::F16, WeightFormat::Fp8] {
        let weights = Stored::random(format, 5, 96, &mut numbers);
        let wide = weights.dequantized();
        for isa in Isa::all() {
            // A one at a time finds every element, exactly.
            for i in 0..96 {
                let mut input = vec![0.0; 96];
                input[i] = 1.0;
                let column = product(isa, weights.matrix(), &input, 5, 1);
                let expected: Vec<_> = wide[i..].iter().step_by(96).copied().collect();
                assert_eq!(column, expected, "{format} {} column {i}", isa.name());
            }
        }
    }
}
