//! The shaders of products (`matvec`, `matmul`) and of adapters (`lora_down`) against their twins on every adapter found. Needs a GPU adapter; a software one will do
//! (`apt-get install mesa-vulkan-drivers libvulkan1`). A missing adapter fails the tests.

mod common;

use common::gpu::{Gpu, adapters};
use common::matrix::Matrix;
use common::product::{Product, Shape, matrix};
use common::{POISON, Random};
use ptbr_kernels::cpu::Outcome;
use ptbr_kernels::{Kernel, table};
use ptbr_model::WeightFormat;

/// Largest error, relative to the sum of the absolute values of a sum's terms. A sum of n terms in f32 is off by n·2^-24 of that at worst, 2e-4 for the 3,072 columns
/// of the largest here; rounding errors do not conspire, and below 1e-6 is what a software adapter shows. A single wrong group of 32 columns in 3,072 is off by 1e-2.
const TOLERANCE: f32 = 5e-6;
/// The same for σ, whose exponential WGSL allows to be off by (3 + 2·|x|)·2^-23.
const SIGMOID_TOLERANCE: f32 = 2e-5;

const SHAPES: &[Shape<'static>] = &[
    Shape {
        rows: 1,
        cols: 64,
        parts: &[64],
        outcome: Outcome::Store,
        adapters: false,
        split: &[],
    },
    // Key, value, receptance: boundaries that are no multiples of 64.
    Shape {
        rows: 3,
        cols: 96,
        parts: &[96, 96, 96],
        outcome: Outcome::Store,
        adapters: true,
        split: &[],
    },
    Shape {
        rows: 33,
        cols: 320,
        parts: &[320, 320, 320],
        outcome: Outcome::Store,
        adapters: true,
        split: &[],
    },
    Shape {
        rows: 5,
        cols: 64,
        parts: &[32, 96, 160],
        outcome: Outcome::Store,
        adapters: true,
        split: &[64, 160],
    },
    // Key and receptance of channel mixing.
    Shape {
        rows: 7,
        cols: 96,
        parts: &[160, 96],
        outcome: Outcome::Activate,
        adapters: true,
        split: &[],
    },
    Shape {
        rows: 2,
        cols: 64,
        parts: &[256, 64],
        outcome: Outcome::Activate,
        adapters: false,
        split: &[160],
    },
    // Output of time mixing.
    Shape {
        rows: 4,
        cols: 768,
        parts: &[768],
        outcome: Outcome::Add,
        adapters: true,
        split: &[],
    },
    Shape {
        rows: 33,
        cols: 320,
        parts: &[320],
        outcome: Outcome::Add,
        adapters: false,
        split: &[],
    },
    // Value of channel mixing.
    Shape {
        rows: 7,
        cols: 384,
        parts: &[96],
        outcome: Outcome::AddGated,
        adapters: true,
        split: &[],
    },
    Shape {
        rows: 2,
        cols: 3072,
        parts: &[768],
        outcome: Outcome::AddGated,
        adapters: false,
        split: &[416],
    },
    // Head.
    Shape {
        rows: 3,
        cols: 64,
        parts: &[261],
        outcome: Outcome::Store,
        adapters: false,
        split: &[],
    },
    Shape {
        rows: 257,
        cols: 96,
        parts: &[257],
        outcome: Outcome::Store,
        adapters: false,
        split: &[160],
    },
    Shape {
        rows: 6,
        cols: 64,
        parts: &[1003],
        outcome: Outcome::Store,
        adapters: false,
        split: &[512, 992],
    },
    // More columns than a chunk of rounded inputs has.
    Shape {
        rows: 5,
        cols: 4160,
        parts: &[32, 64],
        outcome: Outcome::Store,
        adapters: false,
        split: &[],
    },
];

/// Whether a kernel rounds its inputs to bytes.
fn has_dots(kernel: &Kernel) -> bool {
    kernel.permutation.ends_with("_dots")
}

/// Kernels of products with the format that their permutation names and the rows of input of a workgroup.
fn kernels() -> Vec<(&'static Kernel, WeightFormat, usize)> {
    let of = |kernel: &'static Kernel| {
        let (format, rest) = kernel
            .permutation
            .split_once('_')
            .unwrap_or((kernel.permutation, ""));
        let format = format
            .parse()
            .expect("a permutation begins with its format");
        let tokens = match (kernel.name, rest.split('_').next()) {
            ("matmul", _) => 32,
            (_, Some("t1")) => 1,
            (_, Some("t4")) => 4,
            _ => panic!("{} {}", kernel.name, kernel.permutation),
        };
        (kernel, format, tokens)
    };
    let is_product = |k: &&Kernel| k.name == "matvec" || k.name == "matmul";
    let found: Vec<_> = table::KERNELS.iter().filter(is_product).map(of).collect();
    assert_eq!(
        found.len(),
        31,
        "5 formats of matmul, 20 permutations of matvec, 6 with products of integers"
    );
    found
}

/// Runs the product on the GPU, one dispatch for each binding of the weights.
fn run(
    gpu: &Gpu,
    kernel: &Kernel,
    tokens: usize,
    product: &Product,
    matrix: &Matrix,
    split: &[usize],
    low: &[u32],
) -> Vec<f32> {
    let mut out: Vec<u32> = bytemuck::cast_slice(&product.out).to_vec();
    for (weights, mut params) in product.bindings(matrix, split) {
        if has_dots(kernel) {
            params.workgroup_rows = params.workgroup_rows.next_multiple_of(32);
        }
        let words = params.words();
        let (input, bank): (&[u32], &[u32]) = (
            bytemuck::cast_slice(&product.input),
            bytemuck::cast_slice(&product.bank),
        );
        let mut contents = weights.bindings();
        contents.extend([input, low, bank, &out, &words]);
        let blocks = match kernel.name {
            "matvec" => params.weight_rows.div_ceil(params.workgroup_rows),
            // Whole tiles of 128 for each part of this binding.
            _ => {
                let end = params.first_weight_row + params.weight_rows;
                let inside = |row: u32| row.clamp(params.first_weight_row, end);
                let [first, second] = params.parts_at.map(inside);
                let lengths = [
                    first - params.first_weight_row,
                    second - first,
                    end - second,
                ];
                lengths.iter().map(|rows| rows.div_ceil(128)).sum()
            }
        };
        let workgroups = [blocks, params.rows.div_ceil(tokens as u32), 1];
        out = gpu.run_in_place(kernel, &contents, workgroups).remove(0);
    }
    bytemuck::cast_slice(&out).to_vec()
}

/// The largest error of an element over what is allowed; panics where one exceeds it, or where something was written that should not be.
fn compare(what: &str, product: &Product, matrix: &Matrix, found: &[f32], expected: &[f32]) -> f32 {
    let magnitudes = product.magnitudes(matrix);
    let params = &product.params;
    let mut worst = 0.0f32;
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let magnitude = magnitudes[i];
        if magnitude.is_nan() {
            assert_eq!(
                found.to_bits(),
                product.out[i].to_bits(),
                "{what}: element {i} is not of the product"
            );
            continue;
        }
        let (row, at) = (
            i / params.output_stride as usize,
            i % params.output_stride as usize,
        );
        let o = at - params.first_output as usize;
        let allowed = match params.outcome {
            Outcome::Store => TOLERANCE * magnitude,
            Outcome::Add => TOLERANCE * (magnitude + product.out[i].abs()),
            Outcome::Activate if o >= params.parts_at[0] as usize => {
                TOLERANCE * magnitude / 4.0 + SIGMOID_TOLERANCE
            }
            // The square of y ± e is off by 2·y·e + e².
            Outcome::Activate => {
                TOLERANCE * magnitude * (2.0 * expected.sqrt() + TOLERANCE * magnitude)
                    + expected * 1e-6
            }
            Outcome::AddGated => {
                let gate =
                    product.input[row * params.input_stride as usize + params.cols as usize + o];
                TOLERANCE * (magnitude * gate.abs() + product.out[i].abs())
            }
        };
        // A GPU may take a subnormal number for zero, in each term (WGSL section "Floating point evaluation").
        let allowed = allowed + params.cols as f32 * f32::MIN_POSITIVE;
        let error = (found - expected).abs();
        assert!(
            error <= allowed,
            "{what}: row {row}, weight row {o} is {found:e}, the twin has {expected:e}; the terms sum to {magnitude:e}"
        );
        worst = worst.max(error / allowed);
    }
    worst
}

#[test]
fn products_agree_with_their_twins_in_every_format() {
    let mut rng = Random::fresh("products");
    for gpu in adapters() {
        for (kernel, format, tokens) in kernels() {
            if !gpu.can_run(kernel) {
                continue;
            }
            let mut worst = 0.0f32;
            for shape in SHAPES {
                let mut product = Product::random(&mut rng, shape);
                let matrix = matrix(&mut rng, format, shape);
                // What is multiplied, and what adapters read, which nobody rounds.
                let multiplied = match has_dots(kernel) {
                    true => product.rounded(),
                    false => product.clone(),
                };
                let low = product.low();
                let what = format!(
                    "{} {} on {}, {shape:?}",
                    kernel.name, kernel.permutation, gpu.name
                );
                let found = run(&gpu, kernel, tokens, &product, &matrix, shape.split, &low);
                let expected = multiplied.expected(&matrix, &low);
                worst = worst.max(compare(&what, &product, &matrix, &found, &expected));
            }
            println!(
                "{} {}: largest error {worst:.3} of what is allowed",
                kernel.name, kernel.permutation
            );
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_in_a_batch() {
    let mut rng = Random::fresh("rows alone");
    let shape = Shape {
        rows: 37,
        cols: 320,
        parts: &[96, 160],
        outcome: Outcome::Activate,
        adapters: true,
        split: &[],
    };
    for gpu in adapters() {
        for (kernel, format, tokens) in kernels() {
            if !gpu.can_run(kernel) {
                continue;
            }
            let product = Product::random(&mut rng, &shape);
            let matrix = matrix(&mut rng, format, &shape);
            let low = product.low();
            let batch = run(&gpu, kernel, tokens, &product, &matrix, &[], &low);
            for n in [0, 2, 31, 32, 36] {
                let one = product.row(n);
                let alone = run(&gpu, kernel, tokens, &one, &matrix, &[], &one.low());
                let stride = product.params.output_stride as usize;
                let bits = |x: &[f32]| -> Vec<u32> { bytemuck::cast_slice(x).to_vec() };
                assert_eq!(
                    bits(&batch[n * stride..][..stride]),
                    bits(&alone),
                    "{} {} on {}: row {n}",
                    kernel.name,
                    kernel.permutation,
                    gpu.name
                );
            }
        }
    }
}

#[test]
fn an_input_that_is_no_number_gives_no_number() {
    let mut rng = Random::fresh("no numbers");
    let shape = Shape {
        rows: 3,
        cols: 96,
        parts: &[64],
        outcome: Outcome::Store,
        adapters: false,
        split: &[],
    };
    for gpu in adapters() {
        for (kernel, format, tokens) in kernels().into_iter().filter(|(k, ..)| has_dots(k)) {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut product = Product::random(&mut rng, &shape);
                let matrix = matrix(&mut rng, format, &shape);
                let (stride, out) = (product.params.input_stride, product.params.output_stride);
                product.input[stride as usize + 40] = bad;
                let low = product.low();
                let found = run(&gpu, kernel, tokens, &product, &matrix, &[], &low);
                for (row, found) in found.chunks_exact(out as usize).enumerate() {
                    let found = &found[product.params.first_output as usize..][..64];
                    assert!(
                        found.iter().all(|y| y.is_finite() == (row != 1)),
                        "{} {} on {}, {bad}: row {row} is {found:?}",
                        kernel.name,
                        kernel.permutation,
                        gpu.name
                    );
                }
            }
        }
    }
}

#[test]
fn the_first_half_of_adapters_agrees_with_its_twin() {
    let mut rng = Random::fresh("lora_down");
    for gpu in adapters() {
        for (rows, cols, parts) in [
            (1, 64, 1),
            (3, 96, 3),
            (7, 320, 2),
            (33, 768, 3),
            (257, 96, 1),
        ] {
            let parts = &[32, 96, 64][..parts];
            let shape = Shape {
                rows,
                cols,
                parts,
                outcome: Outcome::Store,
                adapters: true,
                split: &[],
            };
            let product = Product::random(&mut rng, &shape);
            let expected = product.low();
            let absolute = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x.abs()).collect() };
            let magnitudes = Product {
                input: absolute(&product.input),
                bank: absolute(&product.bank),
                ..product.clone()
            }
            .low();
            let found = gpu.run_in_place(
                &table::LORA_DOWN_READ,
                &[
                    bytemuck::cast_slice(&product.input),
                    bytemuck::cast_slice(&product.rows),
                    bytemuck::cast_slice(&product.table),
                    bytemuck::cast_slice(&product.bank),
                    &vec![POISON; expected.len()],
                    &product.down.words(),
                ],
                [rows as u32, product.down.parts, 1],
            );
            let low_words = product.down.low_words as usize;
            for (i, (&found, &expected)) in found[0].iter().zip(&expected).enumerate() {
                let (part, at) = (i / low_words, i % low_words);
                if at < 2 || expected == POISON {
                    assert_eq!(found, expected, "{}: word {at} of part {part}", gpu.name);
                    continue;
                }
                let (found, expected) = (f32::from_bits(found), f32::from_bits(expected));
                let allowed = TOLERANCE * f32::from_bits(magnitudes[i]);
                assert!(
                    (found - expected).abs() <= allowed,
                    "{}: word {at} of part {part} is {found:e}, the twin has {expected:e}",
                    gpu.name
                );
            }
        }
    }
}
