//! Runs a kernel of the table: on every adapter that wgpu finds, or in a browser.

use ptbr_kernels::Kernel;

use super::{POISON, browser, native};

/// What runs kernels.
pub struct Gpu {
    pub name: String,
    device: Box<dyn Device>,
}

/// A GPU interface.
pub trait Device {
    /// Whether kernels may add up within subgroups.
    fn has_subgroups(&self) -> bool;

    /// Runs a kernel on bindings that hold `contents`, whose lengths are multiples of 64 words; what those that it writes hold afterwards. The bindings are slices of
    /// one buffer when the kernel declares all of them `read_write`.
    fn dispatch(
        &self,
        kernel: &Kernel,
        contents: &[Vec<u32>],
        workgroups: [u32; 3],
    ) -> Vec<Vec<u32>>;
}

/// Every adapter found, or the browser at the address in `PTBR_BROWSER`, where `cargo xtask test` runs these tests a second time.
pub fn adapters() -> Vec<Gpu> {
    match std::env::var("PTBR_BROWSER") {
        Ok(address) => vec![browser::connect(&address)],
        Err(_) => native::adapters(),
    }
}

impl Gpu {
    /// A device that is open.
    pub fn new(name: String, device: impl Device + 'static) -> Self {
        println!("adapter: {name}");
        if !device.has_subgroups() {
            println!("{name}: no subgroups, so the kernels that need them do not run here");
        }
        Self {
            name,
            device: Box::new(device),
        }
    }

    /// Whether this device has what the kernel needs beyond the default.
    pub fn can_run(&self, kernel: &Kernel) -> bool {
        !kernel.permutation.ends_with("_subgroups") || self.device.has_subgroups()
    }

    /// Runs a kernel; `inputs` go to the bindings that it does not write, in order, each of `outputs` (lengths in words) to those
    /// that it writes, poisoned before.
    pub fn run(
        &self,
        kernel: &Kernel,
        inputs: &[&[u32]],
        outputs: &[usize],
        workgroups: [u32; 3],
    ) -> Vec<Vec<f32>> {
        let (mut inputs, mut lengths) = (inputs.iter(), outputs.iter());
        let contents: Vec<Vec<u32>> = kernel
            .bindings
            .iter()
            .map(|b| match b.written {
                true => vec![POISON; *lengths.next().expect("an output for each binding written")],
                false => inputs
                    .next()
                    .expect("an input for each binding read")
                    .to_vec(),
            })
            .collect();
        assert!(
            inputs.next().is_none() && lengths.next().is_none(),
            "more arguments than bindings"
        );
        let contents: Vec<&[u32]> = contents.iter().map(Vec::as_slice).collect();
        let written = self.run_in_place(kernel, &contents, workgroups);
        written
            .into_iter()
            .map(|words| words.into_iter().map(f32::from_bits).collect())
            .collect()
    }

    /// Runs a kernel on the contents of its bindings, in order; what those that it writes hold afterwards.
    pub fn run_in_place(
        &self,
        kernel: &Kernel,
        contents: &[&[u32]],
        workgroups: [u32; 3],
    ) -> Vec<Vec<u32>> {
        assert_eq!(
            contents.len(),
            kernel.bindings.len(),
            "contents for each binding of {}",
            kernel.name
        );
        // Poison behind each, so that what a kernel writes there is seen; and slices start at multiples of 256 bytes.
        let padded: Vec<Vec<u32>> = contents
            .iter()
            .map(|words| {
                let mut padded = words.to_vec();
                padded.resize(words.len().div_ceil(64) * 64 + 64, POISON);
                padded
            })
            .collect();
        let found = self.device.dispatch(kernel, &padded, workgroups);
        let written = kernel.bindings.iter().zip(contents);
        let written = written.filter(|(b, _)| b.written);
        assert_eq!(found.len(), written.clone().count(), "{}", kernel.name);
        found
            .into_iter()
            .zip(written)
            .map(|(mut words, (b, contents))| {
                assert!(
                    words[contents.len()..].iter().all(|&word| word == POISON),
                    "{} {} writes behind the end of {}",
                    kernel.name,
                    kernel.permutation,
                    b.name
                );
                words.truncate(contents.len());
                words
            })
            .collect()
    }
}
