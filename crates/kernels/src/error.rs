//! What can be wrong with the arguments of a kernel.

/// A kernel refused its arguments; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A buffer does not have the length that the sizes demand.
    #[error("{kernel}: buffer `{buffer}` has {found} elements where the sizes demand {expected}")]
    Length {
        /// Kernel that refused.
        kernel: &'static str,
        /// Argument name.
        buffer: &'static str,
        /// Elements demanded.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The sizes multiply to more than the machine, or the 32-bit indices of a shader, can address.
    #[error(
        "{kernel}: {rows} rows of {channels} channels exceed what can be indexed; split the batch"
    )]
    TooLarge {
        /// Kernel that refused.
        kernel: &'static str,
        /// Rows asked for.
        rows: usize,
        /// Channels of a row.
        channels: usize,
    },
    /// A sequence reaches past the last row.
    #[error(
        "{kernel}: sequence {index} covers rows {first}..{first}+{len}, but there are only {rows} rows"
    )]
    RowsOutOfRange {
        /// Kernel that refused.
        kernel: &'static str,
        /// Position of the sequence in `seqs`.
        index: usize,
        /// Its first row.
        first: u32,
        /// Its length.
        len: u32,
        /// Rows there are.
        rows: usize,
    },
    /// Two sequences claim the same row.
    #[error("{kernel}: row {row} belongs to two sequences; every row may belong to one at most")]
    RowsOverlap {
        /// Kernel that refused.
        kernel: &'static str,
        /// The first row claimed twice.
        row: u32,
    },
    /// A sequence names a state slot that does not exist.
    #[error(
        "{kernel}: sequence {index} names state slot {slot}, but there are only {slots} (NO_STATE means none)"
    )]
    SlotOutOfRange {
        /// Kernel that refused.
        kernel: &'static str,
        /// Position of the sequence in `seqs`.
        index: usize,
        /// The slot named.
        slot: u32,
        /// Slots there are.
        slots: usize,
    },
    /// Two sequences would write their final state to the same slot.
    #[error(
        "{kernel}: two sequences write their final state to slot {slot}; give each its own, or NO_STATE"
    )]
    SlotWrittenTwice {
        /// Kernel that refused.
        kernel: &'static str,
        /// The slot written twice.
        slot: u32,
    },
    /// An element names something that does not exist.
    #[error("{kernel}: element {index} of `{buffer}` is {value}; it must be below {limit}")]
    OutOfRange {
        /// Kernel that refused.
        kernel: &'static str,
        /// Argument name.
        buffer: &'static str,
        /// Which element of it.
        index: usize,
        /// What it says.
        value: u32,
        /// What would be too much.
        limit: usize,
    },
    /// Rows of weights do not divide into groups that share a scale.
    #[error("{kernel}: rows of {cols} weights do not divide into groups of {group}")]
    PartialGroup {
        /// Kernel that refused.
        kernel: &'static str,
        /// Elements of a row.
        cols: usize,
        /// Elements of a group.
        group: usize,
    },
}
