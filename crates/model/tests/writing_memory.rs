//! Writing a model file holds one tensor at a time, however many there are. A test file of its own, because it counts every allocation. Needs nothing.
#![allow(clippy::unwrap_used)]

#[path = "support/allocations.rs"]
mod allocations;

use std::io;

use allocations::peak_of;
use ptbr_model::{
    ArchConfig, ModelFileInfo, ModelSource, QuantizationPlan, RwkvConfig, TensorSource, TensorSpec,
    WeightFormat, write_model_file,
};

/// Weights that exist only while they are written, one row at a time.
struct Rows(ArchConfig);

impl TensorSource for Rows {
    fn specs(&self) -> Vec<TensorSpec> {
        self.0.tensor_specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let specs = self.specs();
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        let cols = *spec.shape.last().unwrap();
        let row: Vec<f32> = (0..cols).map(|i| (i % 31) as f32 - 15.0).collect();
        (0..spec.num_elements().unwrap() / cols).try_for_each(|_| sink(&row))
    }
}

#[test]
fn one_tensor_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let config = ArchConfig::Rwkv4(RwkvConfig::new(2048, 256, 8, 16));
    let largest = 2048 * 256 * 4;
    for format in WeightFormat::ALL {
        let path = root.path().join(format.name());
        let plan = QuantizationPlan::uniform(format);
        let info = ModelFileInfo::quantized(&plan, config.clone(), None, "0".repeat(64));
        let (written, peak) = peak_of(|| write_model_file(&path, &info, &Rows(config.clone())));
        written.unwrap();
        // The largest tensor in f32 and, at most as large, in the format; a buffer of 1 MiB before the file; lists of tensors.
        let bound = 2 * largest + (1 << 20) + (256 << 10);
        assert!(
            peak <= bound,
            "{format}: {peak} bytes, {bound} would be fine"
        );
        assert!(
            4 * config.num_parameters() as i64 > 5 * bound,
            "the bound says nothing of so small a model"
        );
        if format != WeightFormat::F32 {
            ModelSource::open(&path).unwrap();
        }
    }
}
