//! The twins of the runtime's kernels against what their headers say, by hand, and what they refuse. Needs nothing.

mod common;

use common::matrix::Matrix;
use common::product::{Product, Shape, matrix};
use common::{Random, assert_near};
use ptbr_kernels::cpu::{
    EmbedParams, LayerNormParams, LnShiftParams, NO_ADAPTER, Outcome, Row, SampleParams,
    SampleSettings, WkvGatedParams, embed, layer_norm, ln_shift, lora_down, matvec, sample,
    sigmoid, wkv_gated, wkv_step_plain,
};
use ptbr_kernels::{KernelError, Sequence};
use ptbr_model::{MatrixData, WeightFormat};

fn row(token: u32, sequence: u32) -> Row {
    Row {
        token,
        sequence,
        adapter: NO_ADAPTER,
        logits: 0,
    }
}

#[test]
fn norms_and_shift_are_the_formula() {
    // Mean 2, variance 1: normed elements are -1 and 1 for eps 0.
    let x = [1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0, 1.0];
    let norm = [2.0, 2.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0];
    let params = LayerNormParams {
        channels: 4,
        eps: 0.0,
    };
    let mut out = [0.0; 8];
    layer_norm(&x, &norm, &[1, 0], &mut out, &params).unwrap();
    assert_eq!(out, [2.5, -1.5, 1.0, -1.0, -1.5, 2.5, -1.0, 1.0]);

    // Two sequences of one row and one of two; mixes 0.25 and 1.
    let x = [x, x].concat();
    let norm = [[1.0; 4], [0.0; 4], [0.25; 4], [1.0; 4]].concat();
    let seq = |first, len, slot_in, slot_out| Sequence {
        first,
        len,
        slot_in,
        slot_out,
    };
    let seqs = [seq(3, 1, 0, 1), seq(0, 1, 0, 2), seq(1, 2, 1, 3)];
    let rows = [row(0, 1), row(0, 2), row(0, 2), row(0, 0)];
    // States of 5 elements, the vector from element 1 on.
    let mut state: Vec<f32> = (0..20)
        .map(|i| if i < 10 { 8.0 } else { 7.0 + i as f32 })
        .collect();
    let params = LnShiftParams {
        channels: 4,
        eps: 0.0,
        state_len: 5,
        first: 1,
        mixes: 2,
    };
    let mut out = [f32::NAN; 32];
    ln_shift(&x, &norm, &rows, &seqs, &mut state, &mut out, &params).unwrap();
    // Row 0 is (-1, 1, -1, 1), 1 its opposite, and so on; 0.75 of what was before.
    assert_eq!(out[..8], [5.75, 6.25, 5.75, 6.25, -1.0, 1.0, -1.0, 1.0]);
    assert_eq!(
        out[8..12],
        [6.25, 5.75, 6.25, 5.75],
        "the first row of its sequence"
    );
    assert_eq!(
        out[16..20],
        [-0.25 + 0.75, 0.25 - 0.75, 0.5, -0.5],
        "the row before"
    );
    assert_eq!(out[24..28], [6.25, 5.75, 6.25, 5.75]);
    let minus = [1.0, -1.0, 1.0, -1.0];
    assert_eq!(state[..5], [8.0; 5]);
    assert_eq!((state[5], &state[6..10]), (8.0, &minus[..]));
    assert_eq!(
        (state[10], &state[11..15]),
        (17.0, &minus.map(|x: f32| -x)[..])
    );
    assert_eq!(
        (state[15], &state[16..20]),
        (22.0, &minus.map(|x: f32| -x)[..])
    );
}

#[test]
fn embedding_takes_the_tokens_of_its_binding() {
    let mut rng = Random(5);
    let matrix = Matrix::random(&mut rng, WeightFormat::Int8, 4, 32);
    let norm = [[1.0; 32], [0.0; 32]].concat();
    let params = EmbedParams {
        channels: 32,
        eps: 1e-5,
        first_token: 10,
        tokens: 4,
    };
    let rows = [row(9, 0), row(12, 0), row(14, 0)];
    let mut x = [7.0; 96];
    embed(matrix.data(), &rows, &norm, &mut x, &params).unwrap();
    assert_eq!(
        (&x[..32], &x[64..]),
        (&[7.0; 32][..], &[7.0; 32][..]),
        "tokens of other bindings"
    );
    let mut e = [0.0; 32];
    matrix.data().dequantize(64, &mut e);
    let mut expected = [0.0; 32];
    let params = LayerNormParams {
        channels: 32,
        eps: 1e-5,
    };
    layer_norm(&e, &norm, &[0], &mut expected, &params).unwrap();
    assert_eq!(x[32..64], expected);
}

#[test]
fn gated_wkv_is_wkv_and_its_gate() {
    let mut rng = Random(6);
    let channels = 5;
    let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.range(-2.0, 2.0)).collect() };
    let (kvr, mut wu) = (numbers(3 * 3 * channels), numbers(2 * channels));
    wu[..channels].iter_mut().for_each(|w| *w = -w.abs());
    let mut state = numbers(2 * 16);
    // bb, which is positive.
    state[6..11].fill(1.5);
    let mut expected = state[1..16].to_vec();
    let seqs = [Sequence {
        first: 0,
        len: 3,
        slot_in: 0,
        slot_out: 1,
    }];
    let params = WkvGatedParams {
        channels: 5,
        state_len: 16,
        first: 1,
    };
    let mut out = [0.0; 15];
    wkv_gated(&wu, &kvr, &seqs, &mut state, &mut out, &params).unwrap();
    for (kvr, out) in kvr
        .chunks_exact(3 * channels)
        .zip(out.chunks_exact(channels))
    {
        let mut y = [0.0; 5];
        wkv_step_plain(&wu, &kvr[..5], &kvr[5..10], &mut expected, &mut y).unwrap();
        let mut gate = kvr[10..].to_vec();
        sigmoid(&mut gate);
        for c in 0..channels {
            assert_near(
                format_args!("channel {c}"),
                out[c],
                f64::from(y[c] * gate[c]),
                1.0,
                1e-6,
            );
        }
    }
    assert_eq!(state[17..32], expected);
}

/// y of every row and weight row in f64, adapters included, by the definition.
fn definition(product: &Product, weights: &[f32], parts: &[usize]) -> Vec<f64> {
    let weight_rows: usize = parts.iter().sum();
    let cols = product.params.cols as usize;
    let mut all = Vec::new();
    for (row, input) in product.rows.iter().zip(
        product
            .input
            .chunks_exact(product.params.input_stride as usize),
    ) {
        for o in 0..weight_rows {
            let (mut part, mut inside) = (0, o);
            while inside >= parts[part] {
                (part, inside) = (part + 1, inside - parts[part]);
            }
            let x = &input[part * cols..][..cols];
            let dot = |a: &[f32]| -> f64 {
                a.iter()
                    .zip(x)
                    .map(|(&a, &x)| f64::from(a) * f64::from(x))
                    .sum()
            };
            let mut y = dot(&weights[o * cols..][..cols]);
            if row.adapter != NO_ADAPTER && product.params.low_words != 0 {
                let module = (row.adapter * product.down.modules + product.down.first_module)
                    as usize
                    + part;
                let lora = product.table[module];
                for j in 0..lora.rank as usize {
                    let a = &product.bank[lora.a as usize + j * cols..][..cols];
                    let b = product.bank[lora.b as usize + inside * lora.rank as usize + j];
                    y += f64::from(lora.scale) * f64::from(b) * dot(a);
                }
            }
            all.push(y);
        }
    }
    all
}

#[test]
fn products_are_the_definition_with_adapters_and_every_outcome() {
    let mut rng = Random::fresh("product twins");
    for (outcome, parts) in [
        (Outcome::Store, &[32, 64, 96][..]),
        (Outcome::Activate, &[96, 32]),
        (Outcome::Add, &[64]),
        (Outcome::AddGated, &[64]),
    ] {
        let shape = Shape {
            rows: 9,
            cols: 64,
            parts,
            outcome,
            adapters: true,
            split: &[],
        };
        let product = Product::random(&mut rng, &shape);
        let matrix = matrix(&mut rng, WeightFormat::Int4, &shape);
        let mut weights = vec![0.0; matrix.rows * matrix.cols];
        matrix.data().dequantize(0, &mut weights);
        let found = product.expected(&matrix, &product.low());
        let params = &product.params;
        for (i, y) in definition(&product, &weights, parts)
            .into_iter()
            .enumerate()
        {
            let (n, o) = (i / matrix.rows, i % matrix.rows);
            let at = n * params.output_stride as usize + params.first_output as usize + o;
            let before = f64::from(product.out[at]);
            let expected = match outcome {
                Outcome::Store => y,
                Outcome::Add => before + y,
                Outcome::Activate if o < parts[0] => y.max(0.0) * y.max(0.0),
                Outcome::Activate => 1.0 / (1.0 + (-y).exp()),
                Outcome::AddGated => {
                    let gate = product.input[n * params.input_stride as usize + 64 + o];
                    before + f64::from(gate) * y
                }
            };
            assert_near(
                format_args!("{outcome:?} row {n}, weight row {o}"),
                found[at],
                expected,
                1.0 + expected.abs(),
                1e-5,
            );
        }
    }
}

#[test]
fn wrong_arguments_are_refused_by_name() {
    let says = |result: Result<(), KernelError>, text: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    let mut rng = Random(9);
    let shape = Shape {
        rows: 3,
        cols: 64,
        parts: &[32, 64],
        outcome: Outcome::Store,
        adapters: true,
        split: &[],
    };
    let good = Product::random(&mut rng, &shape);
    let matrix = matrix(&mut rng, WeightFormat::Int8, &shape);
    let run = |product: &Product, low: &[u32]| {
        let mut out = product.out.clone();
        let Product {
            input,
            bank,
            params,
            ..
        } = product;
        matvec(matrix.data(), input, low, bank, &mut out, params)
    };
    let low = good.low();
    run(&good, &low).unwrap();
    let changed = |change: &dyn Fn(&mut Product)| {
        let mut product = good.clone();
        change(&mut product);
        product
    };
    says(run(&good, &low[1..]), "`low`");
    says(
        run(&changed(&|p| p.params.weight_rows = 97), &low),
        "`weights`",
    );
    says(run(&changed(&|p| p.params.cols = 63), &low), "groups of 32");
    says(
        run(&changed(&|p| p.params.output_stride = 9), &low),
        "`out`",
    );
    says(
        run(&changed(&|p| p.params.first_output = 40), &low),
        "element 6 of `params`",
    );
    says(
        run(&changed(&|p| p.params.outcome = Outcome::AddGated), &low),
        "element 5 of `params`",
    );
    says(run(&changed(&|p| _ = p.input.pop()), &low), "`input`");
    let mut bad = low.clone();
    bad[0] = u32::MAX;
    bad[1] = 1;
    says(run(&good, &bad), "element 0 of `low`");
    bad[1] = 18;
    says(run(&good, &bad), "element 1 of `low`");
    let scales = MatrixData::Int8 {
        values: &matrix.values,
        scales: &[],
    };
    let mut out = good.out.clone();
    says(
        matvec(
            scales,
            &good.input,
            &low,
            &good.bank,
            &mut out,
            &good.params,
        ),
        "`scales`",
    );

    let down = |product: &Product| {
        let mut low = low.clone();
        lora_down(
            &product.input,
            &product.rows,
            &product.table,
            &product.bank,
            &mut low,
            &product.down,
        )
    };
    says(
        down(&changed(&|p| p.rows[1].adapter = 5)),
        "element 1 of `rows` is 5",
    );
    says(
        down(&changed(&|p| p.table[0].rank = 18)),
        "element 0 of `table`",
    );
    says(
        down(&changed(&|p| {
            p.rows[0].adapter = 0;
            p.table
                .iter_mut()
                .for_each(|m| (m.a, m.rank) = (u32::MAX, 1))
        })),
        "`table`",
    );
    says(
        down(&changed(&|p| p.down.input_stride = 64)),
        "element 2 of `params`",
    );

    let mut state = [0.0; 12];
    let seqs = |slot_out| {
        [Sequence {
            first: 0,
            len: 1,
            slot_in: 0,
            slot_out,
        }]
    };
    let params = WkvGatedParams {
        channels: 1,
        state_len: 4,
        first: 0,
    };
    says(
        wkv_gated(
            &[0.0; 2],
            &[0.0; 3],
            &seqs(3),
            &mut state,
            &mut [0.0],
            &params,
        ),
        "slot 3",
    );
    let params = WkvGatedParams { first: 2, ..params };
    says(
        wkv_gated(
            &[0.0; 2],
            &[0.0; 3],
            &seqs(1),
            &mut state,
            &mut [0.0],
            &params,
        ),
        "element 2 of `params` is 2",
    );
    let params = LnShiftParams {
        channels: 4,
        eps: 0.0,
        state_len: 4,
        first: 0,
        mixes: 2,
    };
    says(
        ln_shift(
            &[0.0; 4],
            &[0.0; 16],
            &[row(0, 1)],
            &seqs(1),
            &mut state,
            &mut [0.0; 8],
            &params,
        ),
        "element 0 of `rows` is 1",
    );

    let params = SampleParams {
        vocab: 3,
        rows: 1,
        steps: 1,
        capacity: 0,
    };
    let settings = [SampleSettings::new(1.0, 0, 1.0, 1.0, 4)];
    let mut rows = [row(0, 0)];
    let sampled = sample(
        &[0.0; 3],
        &mut [0; 2],
        &settings,
        &[[0; 2]],
        &mut rows,
        &mut seqs(1),
        &mut [0; 2],
        &params,
    );
    says(sampled, "element 0 of `settings` is 4");
}
