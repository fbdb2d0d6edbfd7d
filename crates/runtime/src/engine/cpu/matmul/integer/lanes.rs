//! What the kernel asks of an instruction set.

/// Vectors that hold something of [`Lanes::ROWS`] rows of weights, a row to a lane.
///
/// # Safety
/// Every function may only be called on a machine that has the implementor's instructions. They are `#[inline(always)]` so that they become part of a function which
/// enables these.
#[allow(
    clippy::missing_safety_doc,
    reason = "said once, for the trait; what else a function needs is said there"
)]
pub(super) trait Lanes {
    /// Rows side by side.
    const ROWS: usize;
    /// Most tokens of a tile, a power of two up to 8: as many sums, in integers and in floats, as there are registers for.
    const TOKENS: usize;
    /// Whether [`Lanes::dot`] takes weights as unsigned bytes. Then int8 is stored with 128 added, and sums start from -128 · Σ x.
    const UNSIGNED: bool;
    /// Four bytes of each row.
    type Bytes: Copy;
    /// The same, in the form that [`Lanes::dot`] multiplies.
    type Weights: Copy;
    /// Integer sums of each row, where there are more partial ones than rows, as suits the machine.
    type Sums: Copy;
    /// A float of each row.
    type Floats: Copy;

    /// Bytes `4k` to `4k + 3` of sixteen at `from + row · stride` for each row, for k from 0 to 3. `from` is readable there.
    unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4];
    /// Every byte with its highest bit turned over: 128 added.
    unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes;
    /// The low and the high four bits of every byte.
    unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2];
    /// The f16 in the low and in the high half of each row's four bytes. It is finite.
    unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2];
    /// Prepares weights for [`Lanes::dot`].
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights;
    /// Sums that are `bias` for every row.
    unsafe fn sums(bias: i32) -> Self::Sums;
    /// Adds each row's four products with the four bytes of `x`.
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums;
    /// The sums as floats: exact, since they are below 2^24.
    unsafe fn floats(sums: Self::Sums) -> Self::Floats;
    /// `x` for every row.
    unsafe fn splat(x: f32) -> Self::Floats;
    /// `a + b`
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b`
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`, rounded once where the machine fuses it.
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Reads [`Lanes::ROWS`] floats.
    unsafe fn load(from: *const f32) -> Self::Floats;
    /// Writes [`Lanes::ROWS`] floats.
    unsafe fn store(floats: Self::Floats, to: *mut f32);
}
