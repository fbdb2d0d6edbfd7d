//! What the table of kernels says about each.

/// One permutation of one shader of `shaders/`, checked and reflected at build time.
///
/// The ABI is the same for burn's source kernels, raw wgpu and the browser: entry point `main`, group 0, bindings in order, the last
/// is `params: array<u32>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// File name without `.wgsl`.
    pub name: &'static str,
    /// Which permutation, such as `read` or `read_write` (the access of inputs).
    pub permutation: &'static str,
    /// WGSL, complete.
    pub source: &'static str,
    /// FNV-1a of `source`, for pipeline caches.
    pub source_hash: u64,
    /// Invocations `[x, y, z]` of a workgroup.
    pub workgroup_size: [u32; 3],
    /// Bindings by index.
    pub bindings: &'static [Binding],
}

/// One storage buffer of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// `@binding(index)` in group 0.
    pub index: u32,
    /// Name in the shader.
    pub name: &'static str,
    /// Access declared; the bind group layout must agree.
    pub access: Access,
    /// The kernel writes to it: an output, whatever the access.
    pub written: bool,
    /// Element of the array.
    pub element: Element,
}

/// Access mode of a storage buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// Element of a storage buffer's array: a scalar or a vector of up to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Scalar type.
    pub scalar: Scalar,
    /// 1 for a scalar, 2 to 4 for a vector.
    pub components: u8,
}

/// Scalar types of the storage buffers; each has four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// `f32`
    F32,
    /// `u32`, also for packed f16 and quantized values
    U32,
    /// `i32`
    I32,
}
