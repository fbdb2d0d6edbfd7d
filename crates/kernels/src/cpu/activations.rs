//! Twin of `shaders/shared/activations.wgsl`: inputs of a product as bytes.

use ptbr_model::GROUP;

/// The smallest largest element of a group whose scale is a normal number: 127 · 2^-126.
const SMALLEST: u32 = 0x03fe_0000;

/// Every 32 elements x as bytes with a scale hold them: `s · round(x / s)` with `s = max|x| / 127`, halves to even; zeros where s is below the smallest normal number. What is left behind the last
/// whole group stays as it is.
///
/// The kernels with integer products (`matvec` and `matmul`, permutations `*_dots`) give for an input what their twins give for the rounded one.
pub fn round_to_bytes(x: &mut [f32]) {
    let (groups, _) = x.as_chunks_mut::<GROUP>();
    for group in groups {
        let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let (scale, inverse) = match largest.to_bits() {
            ..SMALLEST => (0.0, 0.0),
            _ => (largest / 127.0, 127.0 / largest),
        };
        for x in group {
            *x = (*x * inverse).round_ties_even() * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_scale_off_at_most_and_halves_to_even() {
        let mut x: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        x[..5].copy_from_slice(&[127.0, 0.5, 1.5, -2.5, 3.4]);
        let before = x.clone();
        round_to_bytes(&mut x);
        assert_eq!(x[..5], [127.0, 0.0, 2.0, -2.0, 3.0]);
        for (group, before) in x.chunks(GROUP).zip(before.chunks(GROUP)) {
            let scale = before.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
            for (x, before) in group.iter().zip(before) {
                assert!((x - before).abs() <= 0.5001 * scale, "{before} became {x}");
                let byte = x / scale;
                assert!((byte - byte.round()).abs() < 1e-3, "{byte} is no integer");
            }
        }
    }

    #[test]
    fn numbers_out_of_the_ordinary() {
        let rounded = |x: f32| {
            let mut group = [x; GROUP];
            round_to_bytes(&mut group);
            group[31]
        };
        assert_eq!(
            (rounded(0.0), rounded(1e-40), rounded(-1e-37)),
            (0.0, 0.0, -0.0)
        );
        for x in [1e30, -3e38, 2e-36] {
            assert!((rounded(x) / x - 1.0).abs() < 1e-6, "{x:e}");
        }
    }
}
