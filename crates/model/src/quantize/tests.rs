use half::f16;
use proptest::prelude::*;

use super::*;
use crate::format::e4m3_to_f32;

const QUANTIZED: [WeightFormat; 3] = [WeightFormat::Int8, WeightFormat::Fp8, WeightFormat::Int4];

fn dequantized(matrix: &QuantizedMatrix) -> Vec<f32> {
    let mut out = vec![0.0; matrix.data().len()];
    matrix.data().dequantize(0, &mut out);
    out
}

fn rounded(values: &[f32], cols: usize, format: WeightFormat) -> Vec<f32> {
    dequantized(&QuantizedMatrix::new(values, cols, format).unwrap())
}

fn span(group: &[f32]) -> (f32, f32) {
    group
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| {
            (low.min(x), high.max(x))
        })
}

/// The largest error that rounding to the nearest leaves with the plain choice of scale: half a step, and the rounding of scale and minimum to f16 themselves.
fn root_mean_square_bound(group: &[f32], format: WeightFormat) -> f32 {
    let (low, high) = span(group);
    let largest = high.max(-low);
    // Relative precision of a normal f16 and size of the smallest subnormal.
    let (precision, smallest) = (4.9e-4, 6e-8);
    match format {
        WeightFormat::F32 => 0.0,
        WeightFormat::F16 => largest * precision + smallest,
        WeightFormat::Int8 => largest * (0.5 / 127.0 + precision) + 127.0 * smallest,
        WeightFormat::Fp8 => largest * (1.0 / 16.0 + precision) + 448.0 * smallest,
        WeightFormat::Int4 => {
            (high - low) * (0.5 / 15.0 + precision) + largest * precision + 16.0 * smallest
        }
    }
}

/// Groups of very different sizes: 2 to the power of an exponent, times up to one, shifted.
fn group() -> impl Strategy<Value = Vec<f32>> {
    (
        -40i32..13,
        -1.0f32..1.0,
        prop::collection::vec(-1.0f32..1.0, GROUP),
        prop::collection::vec(0usize..GROUP, 0..20),
    )
        .prop_map(|(exponent, shift, mut values, zeros)| {
            zeros.into_iter().for_each(|at| values[at] = 0.0);
            let size = (exponent as f32).exp2();
            values.iter().map(|x| (x + shift) * size).collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn errors_stay_below_those_of_the_plain_choice(rows in prop::collection::vec(group(), 1..5)) {
        let values = rows.concat();
        for format in WeightFormat::ALL {
            let result = rounded(&values, GROUP, format);
            for (group, result) in values.chunks(GROUP).zip(result.chunks(GROUP)) {
                let squares: f32 = group.iter().zip(result).map(|(x, y)| (x - y) * (x - y)).sum();
                let bound = root_mean_square_bound(group, format);
                prop_assert!((squares / GROUP as f32).sqrt() <= bound * 1.001, "{format}: {group:?} became {result:?}");
            }
        }
    }

    #[test]
    fn rounded_numbers_are_rounded_to_themselves_and_groups_do_not_touch(first in group(), second in group()) {
        for format in QUANTIZED {
            let both = rounded(&[first.clone(), second.clone()].concat(), GROUP, format);
            let row = rounded(&[first.clone(), second.clone()].concat(), 2 * GROUP, format);
            prop_assert_eq!(&both, &row);
            prop_assert_eq!(&both[GROUP..], rounded(&second, GROUP, format));
        }
        let f16s = rounded(&first, GROUP, WeightFormat::F16);
        prop_assert_eq!(&f16s, &rounded(&f16s, GROUP, WeightFormat::F16));
        let nearest: Vec<f32> = first.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        prop_assert_eq!(f16s, nearest);
    }
}

#[test]
fn searching_beats_the_plain_scale() {
    // Two levels that plain int4 steps (0, 1/15, …) miss by the most.
    let group: Vec<f32> = (0..GROUP)
        .map(|i| match i {
            0 => 0.0,
            1 => 1.0,
            _ => [0.1, 0.2333, 0.3666][i % 3],
        })
        .collect();
    let result = rounded(&group, GROUP, WeightFormat::Int4);
    let error: f32 = group
        .iter()
        .zip(&result)
        .map(|(x, y)| (x - y) * (x - y))
        .sum();
    let plain: f32 = group
        .iter()
        .map(|x| (x - (x * 15.0).round() / 15.0).powi(2))
        .sum();
    assert!(error < 0.5 * plain, "{error} against {plain}");
    // 300 is no E4M3 number and 320 is: a scale that maps the largest to 448 misses all others.
    let group: Vec<f32> = (0..GROUP)
        .map(|i| if i == 0 { 320.0 } else { 288.0 })
        .collect();
    assert_eq!(rounded(&group, GROUP, WeightFormat::Fp8), group);
}

#[test]
fn zeros_constants_and_tiny_numbers() {
    for format in QUANTIZED {
        assert_eq!(rounded(&[0.0; 64], 64, format), [0.0; 64], "{format}");
        // Far below f16's smallest number, 6e-8.
        assert_eq!(rounded(&[1e-12; 32], 32, format), [0.0; 32], "{format}");
        // Scales below f16's normal numbers are coarse (6e-8 apart), but the error is still bound by them.
        let tiny: Vec<f32> = (0..32).map(|i| (i as f32 - 16.0) * 1e-7).collect();
        for (x, y) in tiny.iter().zip(rounded(&tiny, 32, format)) {
            assert!((x - y).abs() < 2.5e-7, "{format}: {x} became {y}");
        }
        let one = rounded(&[1.0; 32], 32, format);
        assert!(
            one.iter().all(|x| (x - 1.0).abs() < 5e-4),
            "{format}: {one:?}"
        );
    }
    assert_eq!(rounded(&[0.375; 32], 32, WeightFormat::Int4), [0.375; 32]);
}

#[test]
fn the_largest_numbers_fit_and_larger_ones_are_refused() {
    for format in WeightFormat::ALL {
        let most = largest(format);
        let mut values = vec![0.0f32; 96];
        values[40] = most;
        values[41] = -most;
        let result = rounded(&values, 32, format);
        assert!(result.iter().all(|x| x.is_finite()), "{format}");
        assert!(
            (result[40] / most - 1.0).abs() < 0.07,
            "{format}: {}",
            result[40]
        );
        if format == WeightFormat::F32 {
            continue;
        }
        values[41] = -most * 1.001;
        let error = QuantizedMatrix::new(&values, 32, format).unwrap_err();
        let QuantizeError::OutOfRange { index, value, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((index, value), (41, values[41]));
        values[40] = f32::NAN;
        let error = QuantizedMatrix::new(&values, 32, format).unwrap_err();
        assert!(
            error.to_string().starts_with("element 40 is NaN"),
            "{error}"
        );
    }
}

#[test]
fn e4m3_is_rounded_to_the_nearest_with_ties_to_even() {
    use symmetric::{E4m3, Grid};
    let numbers: Vec<f32> = (0..0x7f).map(e4m3_to_f32).collect();
    for (code, pair) in numbers.windows(2).enumerate() {
        let middle = (pair[0] + pair[1]) / 2.0;
        let even = code + code % 2;
        for (x, expected) in [
            (pair[0], code),
            (middle.next_down(), code),
            (middle, even),
            (middle.next_up(), code + 1),
            (pair[1], code + 1),
        ] {
            assert_eq!(E4m3::round(x), numbers[expected], "{x}");
            assert_eq!(usize::from(E4m3::encode(numbers[expected])), expected);
            // Zero loses its sign.
            let sign = if expected == 0 { 0 } else { 0x80 };
            assert_eq!(E4m3::encode(E4m3::round(-x)), expected as u8 | sign);
        }
    }
    assert_eq!(E4m3::encode(E4m3::round(1e9)), 0x7e, "never NaN");
}

#[test]
fn pieces_and_threads_change_no_bit() {
    // 3,009 groups: six pieces of 512, the last one short and odd.
    let (rows, cols) = (1003, 96);
    let values: Vec<f32> = (0..rows * cols)
        .map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u16 as f32 / 65_536.0 - 0.5)
        .collect();
    for format in WeightFormat::ALL {
        let made = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let matrix = QuantizedMatrix::new(&values, cols, format).unwrap();
                let error = matrix.relative_error(&values);
                (matrix, error)
            })
        };
        let (alone, error) = made(1);
        for threads in [2, 3, 7] {
            assert_eq!(made(threads), (alone.clone(), error), "{format} {threads}");
        }
        let each: Vec<f32> = values
            .chunks(cols)
            .flat_map(|row| rounded(row, cols, format))
            .collect();
        assert_eq!(dequantized(&alone), each, "{format}");
    }
}

#[test]
fn shapes_are_checked() {
    let new = |elements: usize, cols: usize| {
        QuantizedMatrix::new(&vec![1.0; elements], cols, WeightFormat::Int4)
    };
    for (elements, cols) in [(32, 0), (48, 48), (96, 64), (31, 32)] {
        assert!(matches!(
            new(elements, cols),
            Err(QuantizeError::Shape { .. })
        ));
    }
    assert_eq!(new(0, 32).unwrap().data().len(), 0);
}
