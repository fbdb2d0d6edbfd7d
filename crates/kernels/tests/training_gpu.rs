//! The shaders of mixed-precision training (`matmul_f16`, `f32_to_f16`, `grad_stats`, `grad_unscale`) and of moments in bytes (`adamw_8bit`) against their twins on every adapter found. Needs a GPU adapter; a software one will do
//! (`apt-get install mesa-vulkan-drivers libvulkan1`). A missing adapter fails the tests.

mod common;

use common::gpu::{Gpu, adapters};
use common::{POISON, Random};
use half::f16;
use ptbr_kernels::cpu::{
    AdamwParams, GradStats, GradStatsParams, LinearProduct, MatmulF16Params, Moment, PackedMoment,
    ProductOutput, adamw_8bit, f32_to_f16, f32_to_f16_params, grad_stats, grad_unscale,
    grad_unscale_params, matmul_f16, pack_moment, unpack_moment,
};
use ptbr_kernels::{Access, Kernel, table};
use ptbr_model::half_of;

/// Largest error, relative to the sum of the absolute values of a sum's terms; as in products_gpu.rs.
const TOLERANCE: f32 = 5e-6;

/// Every permutation of a kernel; of `matmul_f16` those of one product and one output.
fn permutations(name: &str, prefix: &str) -> Vec<&'static Kernel> {
    let found: Vec<&Kernel> = table::KERNELS
        .iter()
        .filter(|k| k.name == name && k.permutation.starts_with(prefix))
        .collect();
    let read_write = |k: &&&Kernel| k.bindings.iter().all(|b| b.access == Access::ReadWrite);
    assert_eq!(
        (found.len(), found.iter().filter(read_write).count()),
        (2, 1),
        "{name} {prefix}"
    );
    found
}

fn words(x: &[f32]) -> &[u32] {
    bytemuck::cast_slice(x)
}

/// f32 numbers in f16, two to a word.
fn packed(x: &[f32]) -> Vec<u32> {
    let mut out = vec![0; x.len().div_ceil(2)];
    f32_to_f16(x, &mut out).expect("packed");
    out
}

/// A product, its operands and what an f32 output holds before.
struct Case {
    params: MatmulF16Params,
    a: Vec<f32>,
    b: Vec<f32>,
    before: Vec<f32>,
}

impl Case {
    fn new(
        product: LinearProduct,
        sizes: [u32; 3],
        add: bool,
        mut next: impl FnMut() -> f32,
    ) -> Self {
        let [rows, inputs, outputs] = sizes;
        let params = MatmulF16Params {
            product,
            rows,
            inputs,
            outputs,
            add,
        };
        let (x, w, y) = (rows * inputs, outputs * inputs, rows * outputs);
        let (a, b, out) = match product {
            LinearProduct::Forward => (x, w, y),
            LinearProduct::InputGradient => (y, w, x),
            LinearProduct::WeightGradient => (y, x, w),
        };
        let mut numbers = |n: u32| (0..n).map(|_| next()).collect::<Vec<f32>>();
        let (a, b) = (numbers(a), numbers(b));
        let before = match add {
            true => numbers(out),
            false => vec![f32::from_bits(POISON); out as usize],
        };
        Self {
            params,
            a,
            b,
            before,
        }
    }

    fn name(&self) -> &'static str {
        match self.params.product {
            LinearProduct::Forward => "forward",
            LinearProduct::InputGradient => "input_gradient",
            LinearProduct::WeightGradient => "weight_gradient",
        }
    }

    /// The f32 output by the twin.
    fn expected(&self) -> Vec<f32> {
        let mut out = self.before.clone();
        let (a, b) = (packed(&self.a), packed(&self.b));
        matmul_f16(&a, &b, ProductOutput::F32(&mut out), &self.params).expect("matmul_f16");
        out
    }

    /// For each element of the output the sum of the absolute values of its terms.
    fn magnitudes(&self) -> Vec<f32> {
        let absolute = |x: &[f32]| x.iter().map(|x| x.abs()).collect::<Vec<f32>>();
        let all = Self {
            params: self.params,
            a: absolute(&self.a),
            b: absolute(&self.b),
            before: absolute(&self.before),
        };
        all.expected()
    }

    /// The f32 output of every permutation.
    fn run_f32(&self, gpu: &Gpu) -> Vec<Vec<f32>> {
        let (a, b) = (packed(&self.a), packed(&self.b));
        let contents = [&a[..], &b, words(&self.before), &self.params.words()];
        let workgroups = self.params.workgroups(false).expect("small");
        let run = |kernel| gpu.run_in_place(kernel, &contents, workgroups).remove(0);
        let kernels = permutations("matmul_f16", &format!("{}_f32", self.name()));
        let found = kernels.into_iter().map(run);
        found
            .map(|words| bytemuck::cast_slice(&words).to_vec())
            .collect()
    }

    /// The packed output of every permutation.
    fn run_f16(&self, gpu: &Gpu) -> Vec<Vec<u32>> {
        let (a, b) = (packed(&self.a), packed(&self.b));
        let workgroups = self.params.workgroups(true).expect("small");
        let inputs = [&a[..], &b, &self.params.words()];
        let run = |kernel| gpu.run(kernel, &inputs, &[self.before.len() / 2], workgroups);
        let kernels = permutations("matmul_f16", &format!("{}_f16", self.name()));
        let found = kernels.into_iter().map(run);
        found.map(|out| words(&out[0]).to_vec()).collect()
    }

    fn compare(&self, gpu: &Gpu) {
        let (expected, magnitudes) = (self.expected(), self.magnitudes());
        let what = format!("{:?} on {}", self.params, gpu.name);
        for found in self.run_f32(gpu) {
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (found - expected).abs();
                assert!(
                    error <= TOLERANCE * magnitudes[i],
                    "{what}: {found} at {i}, the twin has {expected}"
                );
            }
        }
        if self.params.product == LinearProduct::WeightGradient
            || self.params.add
            || self.params.outputs % 2 == 1
        {
            return;
        }
        let mut halves = vec![0; expected.len() / 2];
        let (a, b) = (packed(&self.a), packed(&self.b));
        matmul_f16(&a, &b, ProductOutput::F16(&mut halves), &self.params).expect("matmul_f16");
        for found in self.run_f16(gpu) {
            for (i, magnitude) in magnitudes.iter().enumerate() {
                let (found, expected) = (half_of(&found, i), half_of(&halves, i));
                // Where the twin's sum is close to half way between two f16, the shader's may be on the other side: one step, 2^-10 of the number at most, 2^-24 where subnormal.
                let step = (expected.abs() / 1024.0).max(1.0 / 16_777_216.0);
                let error = (found - expected).abs();
                assert!(
                    error <= TOLERANCE * magnitude + step,
                    "{what}: {found} at {i}, the twin has {expected}"
                );
            }
        }
    }
}

const PRODUCTS: [LinearProduct; 3] = [
    LinearProduct::Forward,
    LinearProduct::InputGradient,
    LinearProduct::WeightGradient,
];

#[test]
fn products_agree_with_their_twins() {
    let mut rng = Random::fresh("products of training");
    // [N, inputs, outputs]: one of each, tiles that end exactly and within, in each dimension; widths that are no multiple of four words; one row and none.
    let sizes = [
        [1, 2, 2],
        [3, 10, 6],
        [0, 4, 6],
        [32, 128, 128],
        [33, 130, 134],
        [31, 126, 258],
        [65, 320, 96],
        [257, 64, 32],
        [2, 1030, 14],
    ];
    for gpu in adapters() {
        for product in PRODUCTS {
            for size in sizes {
                for add in [false, true] {
                    Case::new(product, size, add, || rng.range(-1.0, 1.0)).compare(&gpu);
                }
            }
        }
        // A head whose vocabulary is odd.
        for outputs in [1, 261] {
            let random = || rng.range(-1.0, 1.0);
            Case::new(LinearProduct::Forward, [5, 34, outputs], false, random).compare(&gpu);
        }
    }
}

#[test]
fn an_overflow_of_a_product_is_infinite_in_f16_and_a_number_in_f32() {
    // 600 · 600 · 2 is behind f16's 65,504; the sum of f32 goes on.
    for gpu in adapters() {
        for product in [LinearProduct::Forward, LinearProduct::InputGradient] {
            for sign in [1.0, -1.0] {
                let mut case = Case::new(product, [3, 2, 2], false, || 600.0);
                case.a.iter_mut().for_each(|x| *x *= sign);
                for found in case.run_f32(&gpu) {
                    assert_eq!(found, vec![720_000.0 * sign; 6]);
                }
                let infinity = u32::from(f16::from_f32(f32::INFINITY * sign).to_bits());
                for found in case.run_f16(&gpu) {
                    assert_eq!(found, vec![infinity | infinity << 16; 3]);
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_reaches_exactly_the_elements_that_it_is_a_term_of() {
    for gpu in adapters() {
        for product in PRODUCTS {
            for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                // Sizes whose last tile repeats rows and words: a repeated infinity must not leak.
                let mut case = Case::new(product, [5, 10, 6], false, || 0.5);
                *case.a.last_mut().expect("not empty") = bad;
                for found in case.run_f32(&gpu) {
                    for (i, (found, expected)) in found.iter().zip(case.expected()).enumerate() {
                        assert_eq!(
                            found.is_finite(),
                            expected.is_finite(),
                            "{product:?}, {bad} on {}: {found} at {i}, the twin has {expected}",
                            gpu.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn subnormal_operands_count_or_are_read_as_zero() {
    // 2^-24, the smallest f16. WGSL lets an adapter read it as 0; nothing else may come of it.
    let smallest = 1.0 / 16_777_216.0;
    for gpu in adapters() {
        for product in PRODUCTS {
            let mut case = Case::new(product, [4, 4, 4], false, || 1.0);
            case.a.fill(3.0 * smallest);
            for found in case.run_f32(&gpu) {
                let kept = found.iter().all(|&y| y == 12.0 * smallest);
                let flushed = found.iter().all(|&y| y == 0.0);
                println!("{}, {product:?}: subnormals kept: {kept}", gpu.name);
                assert!(kept || flushed, "{product:?} on {}: {found:?}", gpu.name);
            }
        }
    }
}

#[test]
fn f32_becomes_the_nearest_f16_whatever_the_adapter() {
    let mut rng = Random::fresh("f32_to_f16");
    // Every f16, what lies half way to the next, and the neighbours of both; then any bits, and many near f16's range.
    let mut numbers = Vec::new();
    for bits in 0..=u16::MAX {
        let half = f16::from_bits(bits).to_f32().to_bits();
        let middle = half + (1 << 12);
        numbers.extend([
            half.saturating_sub(1),
            half,
            half + 1,
            middle - 1,
            middle,
            middle + 1,
        ]);
        // The same middles where f16 is subnormal, whose steps are 2^-24.
        let middle = (f32::from(bits) + 0.5) / 16_777_216.0;
        numbers.extend([middle.to_bits() - 1, middle.to_bits(), middle.to_bits() + 1]);
    }
    numbers.extend((0..100_000).map(|_| rng.next() as u32));
    numbers.extend((0..100_000).map(|_| {
        let exponent = 97 + rng.below(50) as u32;
        (rng.next() as u32 & 0x807f_ffff) | exponent << 23
    }));
    numbers.push(0x3f80_0000);
    for length in [numbers.len(), 1, 2, 3, 129, 0] {
        let input = &bytemuck::cast_slice::<u32, f32>(&numbers)[numbers.len() - length..];
        let mut expected = vec![POISON; length.div_ceil(2)];
        f32_to_f16(input, &mut expected).expect("f32_to_f16");
        let params = f32_to_f16_params(length).expect("small");
        for gpu in adapters() {
            for kernel in permutations("f32_to_f16", "") {
                // A length of 0 still binds a word, which stays as it was.
                let input = if length == 0 { &[0][..] } else { words(input) };
                let out = expected.len().max(1);
                let found = gpu.run(kernel, &[input, &params], &[out], [params[1], 1, 1]);
                let found = &words(&found[0])[..expected.len()];
                for i in 0..length {
                    let bits = |words: &[u32]| (words[i / 2] >> (i % 2 * 16)) as u16;
                    let (found, expected) = (bits(found), bits(&expected));
                    let both_nan =
                        f16::from_bits(found).is_nan() && f16::from_bits(expected).is_nan();
                    assert!(
                        found == expected || both_nan,
                        "{}: {:#x} became {found:#x}, not {expected:#x}",
                        gpu.name,
                        input[i]
                    );
                }
                if length % 2 == 1 {
                    assert_eq!(found[length / 2] >> 16, 0, "behind an odd number");
                }
            }
        }
    }
}

/// Runs `grad_stats` with two slots of other tensors before its own and one behind, all poisoned.
fn run_stats(gpu: &Gpu, kernel: &Kernel, gradient: &[f32], unscale: f32) -> Vec<GradStats> {
    let params = GradStatsParams {
        elements: gradient.len() as u32,
        first_slot: 2,
        unscale,
    };
    let slots = params.slots() as usize;
    let inputs = [words(gradient), &params.words()];
    let found = gpu.run(kernel, &inputs, &[2 * (slots + 3)], [params.slots(), 1, 1]);
    let is_poison = |x: &f32| x.to_bits() == POISON;
    let (before, own) = found[0].split_at(4);
    let (own, behind) = own.split_at(2 * slots);
    assert!(before.iter().all(is_poison) && behind.iter().all(is_poison));
    let mut stats = vec![GradStats::default(); slots + 3];
    grad_stats(gradient, &mut stats, &params).expect("grad_stats");
    assert_eq!(stats[..2], [GradStats::default(); 2]);
    assert_eq!(stats[2 + slots], GradStats::default());
    let own: &[GradStats] = bytemuck::cast_slice(own);
    for (i, (found, expected)) in own.iter().zip(&stats[2..]).enumerate() {
        assert_eq!(found.not_finite, expected.not_finite, "slot {i}");
        assert!(
            (found.squares - expected.squares).abs() <= TOLERANCE * expected.squares,
            "{}: slot {i} is {found:?}, the twin has {expected:?}",
            gpu.name
        );
    }
    own.to_vec()
}

#[test]
fn norms_agree_with_their_twins() {
    let mut rng = Random::fresh("grad_stats");
    for gpu in adapters() {
        for kernel in permutations("grad_stats", "") {
            for length in [1, 63, 64, 65, 65_535, 65_536, 65_537, 200_003] {
                let gradient: Vec<f32> = (0..length).map(|_| rng.range(-3.0, 3.0)).collect();
                let stats = run_stats(&gpu, kernel, &gradient, 1.0);
                let squares = gradient.iter().map(|&x| f64::from(x).powi(2));
                let expected = squares.sum::<f64>().sqrt();
                let norm = GradStats::norm(&stats).expect("finite");
                assert!(
                    (norm - expected).abs() <= 5e-6 * expected,
                    "{norm}, {expected}"
                );
            }
            assert_eq!(
                run_stats(&gpu, kernel, &[0.0], 1.0)[0],
                GradStats::default()
            );
        }
    }
}

#[test]
fn five_million_elements_of_very_different_sizes_are_added_up() {
    let mut rng = Random::fresh("grad_stats, large");
    // Every thousandth a thousand times as large, all of them times a loss scale of 2^16.
    let gradient: Vec<f32> = (0..5_000_000)
        .map(|i| rng.range(-1.0, 1.0) * if i % 1_000 == 0 { 65_536e3 } else { 65_536.0 })
        .collect();
    let squares = gradient.iter().map(|&x| (f64::from(x) / 65_536.0).powi(2));
    let expected = squares.sum::<f64>().sqrt();
    for gpu in adapters() {
        for kernel in permutations("grad_stats", "") {
            let stats = run_stats(&gpu, kernel, &gradient, 1.0 / 65_536.0);
            assert_eq!(stats.len(), 77);
            let norm = GradStats::norm(&stats).expect("finite");
            assert!(
                (norm - expected).abs() <= 5e-6 * expected,
                "{norm}, {expected}"
            );
        }
    }
}

#[test]
fn one_element_that_is_not_finite_is_found_wherever_it_stands() {
    let mut rng = Random::fresh("grad_stats, not finite");
    let mut gradient = vec![1.0f32; 140_000];
    for gpu in adapters() {
        for kernel in permutations("grad_stats", "") {
            let places = [0, 63, 65_535, 65_536, 139_999, rng.below(140_000)];
            let signalling = f32::from_bits(0xff80_0001);
            let all = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, signalling];
            for (place, bad) in places.iter().flat_map(|&p| all.map(|bad| (p, bad))) {
                gradient[place] = bad;
                let stats = run_stats(&gpu, kernel, &gradient, 1.0);
                assert_eq!(GradStats::norm(&stats), None, "{bad} at {place}");
                let slot = place / 65_536;
                for (i, stats) in stats.iter().enumerate() {
                    assert_eq!(stats.not_finite, if i == slot { 1.0 } else { 0.0 });
                }
                gradient[place] = 1.0;
            }
            // The largest finite number is one; its square would not be, but for the loss scale.
            gradient[7] = f32::MAX;
            let stats = run_stats(&gpu, kernel, &gradient, 1e-30);
            assert!(GradStats::norm(&stats).is_some());
            gradient[7] = 1.0;
            let bad = run_stats(&gpu, kernel, &vec![f32::NAN; 65_537], 1.0);
            assert_eq!([bad[0].not_finite, bad[1].not_finite], [65_536.0, 1.0]);
        }
    }
}

#[test]
fn unscaling_multiplies_every_element_in_place() {
    let mut rng = Random::fresh("grad_unscale");
    for gpu in adapters() {
        for kernel in permutations("grad_unscale", "") {
            // The last: more than 4,096 workgroups take in one turn.
            for length in [1, 64, 1_000, 5_000_000] {
                let mut gradient: Vec<f32> = (0..length).map(|_| rng.range(-1e5, 1e5)).collect();
                let specials = [
                    f32::NAN,
                    f32::INFINITY,
                    f32::NEG_INFINITY,
                    0.0,
                    -0.0,
                    f32::MAX,
                ];
                for (x, special) in gradient.iter_mut().skip(10).zip(specials) {
                    *x = special;
                }
                let factor = [rng.range(0.1, 1.0) / 65_536.0];
                let params = grad_unscale_params(length).expect("small");
                let contents = [words(&gradient), words(&factor), &params];
                let found = gpu.run_in_place(kernel, &contents, [params[1], 1, 1]);
                grad_unscale(&mut gradient, &factor).expect("grad_unscale");
                for (i, (&found, &expected)) in found[0].iter().zip(&gradient).enumerate() {
                    let found = f32::from_bits(found);
                    assert!(
                        found.to_bits() == expected.to_bits()
                            || found.is_nan() && expected.is_nan(),
                        "{}: {found} at {i}, the twin has {expected}",
                        gpu.name
                    );
                }
            }
        }
    }
}

/// Steps of AdamW on the adapter and by the twin: every byte the same but where a number lies at the edge of a bin, parameters close.
#[test]
fn adamw_on_bytes_agrees_with_its_twin() {
    let mut rng = Random::fresh("adamw_8bit");
    let step = AdamwParams {
        beta1: 0.9,
        beta2: 0.999,
        rate: 1e-2,
        correction: 1.5,
        eps: 1e-8,
        decay: 1e-4,
        gradient_scale: 0.5,
    };
    for gpu in adapters() {
        for kernel in permutations("adamw_8bit", "") {
            // The last: more blocks than one dimension of a dispatch takes.
            for n in [1usize, 4, 255, 256, 257, 1_030, 256 * 40_000 + 3] {
                // Magnitudes of many decades; a block of zeros; one that is too small to be kept.
                let mut of_block = |small: f32| {
                    (0..n)
                        .map(|i| match i / 256 {
                            1 => 0.0,
                            2 => rng.range(-1.0, 1.0) * 1e-14,
                            _ => rng.range(-1.0, 1.0).powi(7) * small,
                        })
                        .collect::<Vec<f32>>()
                };
                let (gradient, mut parameter) = (of_block(1e-3), of_block(1.0));
                let (mean, root) = (of_block(1e-4), of_block(1e-3));
                let root: Vec<f32> = root.iter().map(|x| x.abs()).collect();
                let packed = |moment, elements: &[f32]| {
                    let (mut words, mut scales) =
                        (vec![0; n.div_ceil(4)], vec![0.0; n.div_ceil(256)]);
                    pack_moment(moment, elements, &mut words, &mut scales).expect("packed");
                    (words, scales)
                };
                let (mut means, mut mean_scales) = packed(Moment::Mean, &mean);
                let (mut roots, mut root_scales) = packed(Moment::Root, &root);

                let (params, workgroups) = step.words(n).expect("small");
                let contents = [
                    words(&gradient),
                    words(&parameter),
                    &means,
                    words(&mean_scales),
                    &roots,
                    words(&root_scales),
                    &params,
                ];
                let found = gpu.run_in_place(kernel, &contents, workgroups);
                adamw_8bit(
                    &gradient,
                    &mut parameter,
                    PackedMoment {
                        words: &mut means,
                        scales: &mut mean_scales,
                    },
                    PackedMoment {
                        words: &mut roots,
                        scales: &mut root_scales,
                    },
                    &step,
                )
                .expect("adamw_8bit");

                let close = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs() + 1e-30;
                for (found, expected) in found[0].iter().zip(&parameter) {
                    let found = f32::from_bits(*found);
                    assert!((found - expected).abs() <= 1e-5 * expected.abs() + 1e-7);
                }
                for (moment, found, expected) in [
                    (Moment::Mean, &found[1..3], (&means, &mean_scales)),
                    (Moment::Root, &found[3..5], (&roots, &root_scales)),
                ] {
                    let scales: Vec<f32> = found[1].iter().map(|s| f32::from_bits(*s)).collect();
                    let mut pairs = scales.iter().zip(expected.1);
                    assert!(pairs.all(|(a, b)| close(*a, *b)), "{moment:?} of {n}");
                    let unpacked = |words: &[u32], scales: &[f32]| {
                        let mut out = vec![0.0; n];
                        unpack_moment(moment, words, scales, &mut out).expect("unpacked");
                        out
                    };
                    let (a, b) = (
                        unpacked(&found[0], &scales),
                        unpacked(expected.0, expected.1),
                    );
                    let apart = a.iter().zip(&b).filter(|(a, b)| !close(**a, **b)).count();
                    assert!(
                        apart <= 2 + n / 1_000,
                        "{moment:?} of {n} on {}: {apart} bytes differ",
                        gpu.name
                    );
                }
            }
        }
    }
}
