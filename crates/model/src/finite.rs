//! Finding numbers that are none, in every number format of a model file, by their bits.
//!
//! Blocks keep the search free of branches, which the compiler turns into vector code: a file is searched at the speed of memory.

/// Index of the first f32 that is NaN or infinite: its exponent bits are all set.
pub(crate) fn first_not_finite_f32(values: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    first(values, |value| value.to_bits() & EXPONENT == EXPONENT)
}

/// Index of the first f16 that is NaN or infinite.
pub(crate) fn first_not_finite_f16(bits: &[u16]) -> Option<usize> {
    const EXPONENT: u16 = 0x7c00;
    first(bits, |bits| bits & EXPONENT == EXPONENT)
}

/// Index of the first E4M3 that is NaN; that format has no infinities.
pub(crate) fn first_nan_e4m3(bytes: &[u8]) -> Option<usize> {
    first(bytes, |byte| byte & 0x7f == 0x7f)
}

fn first<T>(values: &[T], bad: impl Fn(&T) -> bool) -> Option<usize> {
    const BLOCK: usize = 4096;
    let start = values
        .chunks(BLOCK)
        .position(|chunk| chunk.iter().fold(false, |any, value| any | bad(value)))?
        * BLOCK;
    values[start..]
        .iter()
        .position(bad)
        .map(|index| start + index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// A list of 10,000 good numbers with a bad one at each of some places.
    fn at_every_place<T: Copy>(good: T, bad: T, find: impl Fn(&[T]) -> Option<usize>) {
        assert_eq!(find(&[good; 5000]), None);
        for index in [0, 4095, 4096, 9999] {
            let mut values = vec![good; 10_000];
            values[index] = bad;
            assert_eq!(find(&values), Some(index));
        }
    }

    #[test]
    fn bad_numbers_are_found_wherever_they_are() {
        for bad in [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::from_bits(0xffff_ffff),
        ] {
            at_every_place(f32::MAX, bad, first_not_finite_f32);
            at_every_place(f32::MIN_POSITIVE, bad, first_not_finite_f32);
        }
        for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
            at_every_place(f16::MIN.to_bits(), bad.to_bits(), first_not_finite_f16);
        }
        for bad in [0x7f, 0xff] {
            at_every_place(0xfe, bad, first_nan_e4m3);
        }
        assert_eq!(first_nan_e4m3(&[0, 0x80, 0x7e, 0x3f]), None);
        assert_eq!(first_not_finite_f32(&[f32::MIN, 0.0, -0.0]), None);
    }
}
