//! Products against f64 and against each other. Needs nothing.

use super::*;
use crate::testing::Numbers;

/// The exact order of the fused versions, one element: what their bits must be.
fn fused(weights: &[f32], input: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (i, (w, x)) in weights.iter().zip(input).enumerate() {
        sums[i % LANES] = w.mul_add(*x, sums[i % LANES]);
    }
    reduce(&sums)
}

fn product(isa: Isa, weights: &[f32], input: &[f32], rows: usize, tokens: usize) -> Vec<f32> {
    let mut output = vec![f32::NAN; rows * tokens];
    matmul(
        isa,
        Product {
            weights: MatrixData::F32(weights),
            input,
            output: &mut output,
            tokens,
        },
        &mut Workspace::default(),
    );
    output
}

const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (3, 15),
    (4, 16),
    (5, 17),
    (33, 64),
    (70, 31),
    (96, 320),
    (257, 48),
    (640, 224),
];

#[test]
fn every_instruction_set_agrees_with_f64() {
    let mut numbers = Numbers::new(1);
    for (rows, cols) in SHAPES {
        for tokens in [1, 2, 3, 5, 6, 7, 13] {
            let weights = numbers.vector(rows * cols, 1.0);
            let input = numbers.vector(tokens * cols, 1.0);
            for isa in Isa::all() {
                let output = product(isa, &weights, &input, rows, tokens);
                for t in 0..tokens {
                    for r in 0..rows {
                        let terms = (0..cols).map(|i| {
                            f64::from(weights[r * cols + i]) * f64::from(input[t * cols + i])
                        });
                        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term| {
                            (sum + term, size + term.abs())
                        });
                        let got = f64::from(output[t * rows + r]);
                        assert!(
                            (got - exact).abs() <= 1e-6 * size + 1e-30,
                            "{} {rows}x{cols}, token {t} of {tokens}, row {r}: {got} not {exact}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn fused_versions_have_the_bits_of_the_stated_order() {
    let mut numbers = Numbers::new(2);
    let fused_sets: Vec<Isa> = Isa::all()
        .into_iter()
        .filter(|isa| *isa != Isa::portable())
        .collect();
    println!(
        "instruction sets with fused multiply-add here: {:?}",
        fused_sets.iter().map(|isa| isa.name()).collect::<Vec<_>>()
    );
    for (rows, cols) in SHAPES {
        for tokens in [1, 4, 6, 11] {
            let weights = numbers.vector(rows * cols, 1.0);
            let input = numbers.vector(tokens * cols, 1.0);
            let expected: Vec<u32> = (0..tokens * rows)
                .map(|at| {
                    fused(
                        &weights[at % rows * cols..][..cols],
                        &input[at / rows * cols..][..cols],
                    )
                    .to_bits()
                })
                .collect();
            for &isa in &fused_sets {
                let got: Vec<u32> = product(isa, &weights, &input, rows, tokens)
                    .iter()
                    .map(|y| y.to_bits())
                    .collect();
                assert!(
                    got == expected,
                    "{} {rows}x{cols}, {tokens} tokens",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn a_token_gets_the_same_bits_alone_and_in_company() {
    let mut numbers = Numbers::new(3);
    let (rows, cols, tokens) = (77, 203, 29);
    let weights = numbers.vector(rows * cols, 1.0);
    let input = numbers.vector(tokens * cols, 1.0);
    for isa in Isa::all() {
        let together = product(isa, &weights, &input, rows, tokens);
        for t in 0..tokens {
            let alone = product(isa, &weights, &input[t * cols..(t + 1) * cols], rows, 1);
            assert!(
                alone
                    .iter()
                    .zip(&together[t * rows..])
                    .all(|(a, b)| a.to_bits() == b.to_bits()),
                "{}, token {t}",
                isa.name()
            );
        }
    }
}

#[cfg(feature = "parallel")]
#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut numbers = Numbers::new(4);
    let (rows, cols, tokens) = (300, 512, 9);
    let weights = numbers.vector(rows * cols, 1.0);
    let input = numbers.vector(tokens * cols, 1.0);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| product(Isa::detect(), &weights, &input, rows, tokens))
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        assert!(
            run(threads)
                .iter()
                .zip(&one)
                .all(|(a, b)| a.to_bits() == b.to_bits()),
            "{threads} threads"
        );
    }
}
