//! Weights that count as they pass: the progress of commands that copy a whole model.

use std::io;

use indicatif::ProgressBar;
use ptbr_model::{TensorSource, TensorSpec};

/// `source`, each element of which moves `bar` on by one.
pub struct Counted<'a> {
    /// The weights.
    pub source: &'a dyn TensorSource,
    /// A bar over the number of parameters.
    pub bar: &'a ProgressBar,
}

impl TensorSource for Counted<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.source.specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.source.write_f32(name, &mut |piece| {
            self.bar.inc(piece.len() as u64);
            sink(piece)
        })
    }
}
