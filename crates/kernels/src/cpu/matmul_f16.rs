//! Twin of `shaders/matmul_f16.wgsl`.

use half::f16;
use ptbr_model::half_of;

use super::elements::check_elements;
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "matmul_f16";

/// Which of the three products of a linear layer `y = x Wᵀ`; `x [N, inputs]`, `W [outputs, inputs]`, `dy [N, outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearProduct {
    /// `y = x Wᵀ`, from `x` and `W`.
    Forward,
    /// `dx = dy W`, from `dy` and `W`.
    InputGradient,
    /// `dW = dyᵀ x`, from `dy` and `x`.
    WeightGradient,
}

/// Where a product goes; the permutations `*_f32` or `*_f16`.
#[derive(Debug)]
pub enum ProductOutput<'a> {
    /// f32.
    F32(&'a mut [f32]),
    /// f16, two to a word; overwritten, whatever [`MatmulF16Params::add`] says.
    F16(&'a mut [u32]),
}

/// The `params` binding of `matmul_f16.wgsl`, and what a dispatch of it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulF16Params {
    /// Which product.
    pub product: LinearProduct,
    /// N.
    pub rows: u32,
    /// Elements of a row of x; an even number.
    pub inputs: u32,
    /// Elements of a row of y; an even number, but for the forward product to f32, where any will do.
    pub outputs: u32,
    /// Add to what an f32 output holds.
    pub add: bool,
}

impl MatmulF16Params {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 4] {
        let [rows, columns, terms] = self.shape();
        [rows, columns, terms, u32::from(self.add)]
    }

    /// Workgroups `[x, y, z]`: a tile of 128 columns and 32 rows of the output each.
    ///
    /// Fails on widths that do not pack into words (`packed_output`: the output's too) and on sizes that a dispatch or the shader's 32-bit indices cannot reach.
    pub fn workgroups(&self, packed_output: bool) -> Result<[u32; 3], KernelError> {
        self.check(packed_output)?;
        let [rows, columns, _] = self.shape();
        let (x, y) = (columns.div_ceil(128), rows.div_ceil(32));
        // The limit of a dispatch dimension.
        if x.max(y) > u32::from(u16::MAX) {
            return Err(KernelError::TooLarge {
                kernel: KERNEL,
                rows: rows as usize,
                channels: columns as usize,
            });
        }
        Ok([x, y, 1])
    }

    /// Rows and columns of the output, terms of a sum.
    fn shape(&self) -> [u32; 3] {
        match self.product {
            LinearProduct::Forward => [self.rows, self.outputs, self.inputs],
            LinearProduct::InputGradient => [self.rows, self.inputs, self.outputs],
            LinearProduct::WeightGradient => [self.outputs, self.inputs, self.rows],
        }
    }

    /// Widths of the rows that are read, the first operand's and the second's.
    fn packed_widths(&self) -> [u32; 2] {
        match self.product {
            LinearProduct::Forward => [self.inputs, self.inputs],
            LinearProduct::InputGradient | LinearProduct::WeightGradient => {
                [self.outputs, self.inputs]
            }
        }
    }

    fn check(&self, packed_output: bool) -> Result<(), KernelError> {
        let [rows, columns, _] = self.shape();
        let output = if packed_output { columns } else { 0 };
        for width in self.packed_widths().into_iter().chain([output]) {
            if width % 2 != 0 {
                return Err(KernelError::PartialGroup {
                    kernel: KERNEL,
                    cols: width as usize,
                    group: 2,
                });
            }
        }
        for (rows, width) in [
            (rows, columns),
            (self.rows, self.inputs),
            (self.rows, self.outputs),
            (self.outputs, self.inputs),
        ] {
            check_elements(KERNEL, rows as usize, width as usize)?;
        }
        Ok(())
    }
}

/// One of the three products of a linear layer from f16, packed two to a word.
///
/// `a`: x, or dy for a gradient. `b`: W, or x for the gradient of W. Sums in f64.
pub fn matmul_f16(
    a: &[u32],
    b: &[u32],
    out: ProductOutput<'_>,
    params: &MatmulF16Params,
) -> Result<(), KernelError> {
    params.check(matches!(out, ProductOutput::F16(_)))?;
    let [n, inputs, outputs] = [params.rows, params.inputs, params.outputs].map(|x| x as usize);
    let (of_a, of_b) = match params.product {
        LinearProduct::Forward => (n * inputs, outputs * inputs),
        LinearProduct::InputGradient => (n * outputs, outputs * inputs),
        LinearProduct::WeightGradient => (n * outputs, n * inputs),
    };
    check_len(KERNEL, "a", a.len(), of_a / 2)?;
    check_len(KERNEL, "b", b.len(), of_b / 2)?;
    let [rows, columns, terms] = params.shape().map(|x| x as usize);
    let sum = |at: usize| -> f64 {
        let (m, c) = (at / columns, at % columns);
        let product = |r: usize| {
            let (a_at, b_at) = match params.product {
                LinearProduct::Forward => (m * terms + r, c * terms + r),
                LinearProduct::InputGradient => (m * terms + r, r * columns + c),
                LinearProduct::WeightGradient => (r * rows + m, r * columns + c),
            };
            f64::from(half_of(a, a_at)) * f64::from(half_of(b, b_at))
        };
        (0..terms).map(product).sum()
    };
    match out {
        ProductOutput::F32(out) => {
            check_len(KERNEL, "out", out.len(), rows * columns)?;
            for (at, out) in out.iter_mut().enumerate() {
                let before = if params.add { f64::from(*out) } else { 0.0 };
                *out = (before + sum(at)) as f32;
            }
        }
        ProductOutput::F16(out) => {
            check_len(KERNEL, "out", out.len(), rows * columns / 2)?;
            for (word, out) in out.iter_mut().enumerate() {
                let [low, high] =
                    [0, 1].map(|i| u32::from(f16::from_f32(sum(word * 2 + i) as f32).to_bits()));
                *out = low | high << 16;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(product: LinearProduct, [rows, inputs, outputs]: [u32; 3]) -> MatmulF16Params {
        MatmulF16Params {
            product,
            rows,
            inputs,
            outputs,
            add: false,
        }
    }

    fn packed(x: &[f32]) -> Vec<u32> {
        let half = |x: f32| u32::from(f16::from_f32(x).to_bits());
        x.chunks(2).map(|x| half(x[0]) | half(x[1]) << 16).collect()
    }

    #[test]
    fn the_three_products_of_a_layer_small_enough_to_check_by_hand() {
        // Three rows, two inputs, four outputs.
        let x = packed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let w = packed(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, -1.0]);
        let dy = packed(&[1.0, 0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let sizes = [3, 2, 4];
        let run = |product, a: &[u32], b: &[u32], mut out: Vec<f32>, add| {
            let params = MatmulF16Params {
                add,
                ..params(product, sizes)
            };
            matmul_f16(a, b, ProductOutput::F32(&mut out), &params).unwrap();
            out
        };
        let y = run(LinearProduct::Forward, &x, &w, vec![9.0; 12], false);
        assert_eq!(
            y,
            [1.0, 2.0, 3.0, 0.0, 3.0, 4.0, 7.0, 2.0, 5.0, 6.0, 11.0, 4.0]
        );
        let dx = run(LinearProduct::InputGradient, &dy, &w, vec![9.0; 6], false);
        assert_eq!(dx, [5.0, -2.0, 0.0, 1.0, 1.0, 1.0]);
        let dw = run(LinearProduct::WeightGradient, &dy, &x, vec![10.0; 8], true);
        assert_eq!(dw, [11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 12.0, 14.0]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let odd = |product, sizes, packed| {
            let refused = params(product, sizes).workgroups(packed);
            matches!(refused, Err(KernelError::PartialGroup { group: 2, .. }))
        };
        assert!(odd(LinearProduct::Forward, [4, 3, 4], false));
        assert!(!odd(LinearProduct::Forward, [4, 4, 3], false));
        assert!(odd(LinearProduct::Forward, [4, 4, 3], true));
        assert!(odd(LinearProduct::InputGradient, [4, 4, 3], false));
        assert!(odd(LinearProduct::WeightGradient, [4, 3, 4], false));
        assert!(!odd(LinearProduct::WeightGradient, [3, 4, 4], false));
        for sizes in [
            [1 << 16, 1 << 14, 2],
            [2, 1 << 20, 1 << 20],
            [u32::MAX, 2, 2],
        ] {
            let refused = params(LinearProduct::Forward, sizes).workgroups(false);
            let is_too_large = matches!(refused, Err(KernelError::TooLarge { .. }));
            assert!(is_too_large, "{sizes:?}: {refused:?}");
        }
        let short = matmul_f16(
            &[0; 7],
            &[0; 8],
            ProductOutput::F32(&mut [0.0; 16]),
            &params(LinearProduct::Forward, [4, 4, 4]),
        );
        assert!(
            matches!(short, Err(KernelError::Length { buffer: "a", .. })),
            "{short:?}"
        );
    }
}
