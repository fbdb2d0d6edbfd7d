//! Documents that say the same: found, the first kept, and a record of which removed which.

mod shingles;

pub use shingles::{BANDS, ROWS, SHINGLE_WORDS, SIGNATURE, Shingler, Signature, jaccard};
