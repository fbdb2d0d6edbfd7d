//! A model as a part of the program.

/// Compiles the model file at a path (relative to the source file, as for `include_bytes!`) into the program and loads it: `Result<Arc<Model>, RuntimeError>`. The file is
/// aligned, so its matrices are used where they lie and nothing is copied.
///
/// ```
/// let model = ptbr_runtime::include_model!(concat!(
///     env!("CARGO_MANIFEST_DIR"),
///     "/../../web/models/machado-micro.int4.safetensors"
/// ))?;
/// assert!(model.tokenizer().is_some());
/// # Ok::<(), ptbr_runtime::RuntimeError>(())
/// ```
#[macro_export]
macro_rules! include_model {
    ($path:expr $(,)?) => {{
        // Weights of every number format, and whatever the CPU reads at once, begin at such an address.
        #[repr(C, align(64))]
        struct Aligned<Bytes: ?Sized>(Bytes);
        static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        $crate::Model::from_static($path, &FILE.0)
    }};
}
