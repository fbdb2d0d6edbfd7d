//! What can go wrong on a GPU.

/// An error of the GPU engine. Messages say what happened, where, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no adapter at all.
    #[error(
        "no GPU adapter was found, not even a software one; use the CPU (--device cpu), or install a driver (Debian: mesa-vulkan-drivers libvulkan1)"
    )]
    NoAdapter,
    /// There is only a software adapter, and hardware was asked for.
    #[error(
        "the only GPU adapter is the software one `{name}`, which is slower than the CPU engine; use the CPU, or ask for any adapter (--device gpu)"
    )]
    OnlySoftware {
        /// Its name.
        name: String,
    },
    /// The adapter gave no device.
    #[error("the GPU `{adapter}` cannot be opened: {message}")]
    Open {
        /// The adapter.
        adapter: String,
        /// The driver's reason.
        message: String,
    },
    /// The GPU has no memory left.
    #[error(
        "the memory of the GPU `{adapter}` does not suffice: {message}; use a smaller or quantized model, fewer sessions, or the CPU"
    )]
    OutOfMemory {
        /// The adapter.
        adapter: String,
        /// The driver's reason.
        message: String,
    },
    /// The device has gone: driver reset, unplugged, put to sleep, destroyed.
    #[error(
        "the GPU `{adapter}` was lost: {message}; open the model again and go on from a saved state"
    )]
    Lost {
        /// The adapter.
        adapter: String,
        /// The driver's reason.
        message: String,
    },
    /// The driver refused a command. A mistake of this program, or of the driver.
    #[error("the GPU `{adapter}` refused a command: {message}; use the CPU, and please report it")]
    Refused {
        /// The adapter.
        adapter: String,
        /// The driver's reason.
        message: String,
    },
    /// The adapter computes something else than it should.
    #[error(
        "the GPU `{adapter}` computes wrongly: its answer to a known question is off by {error:e} ({allowed:e} is allowed); use the CPU, or another driver"
    )]
    WrongAnswer {
        /// The adapter.
        adapter: String,
        /// Largest difference, relative to the largest logit; infinite when a number was not finite.
        error: f32,
        /// What rounding explains.
        allowed: f32,
    },
    /// Something does not fit in what a buffer may hold.
    #[error("{what} needs {bytes} bytes, but a GPU buffer holds {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Bytes that it needs.
        bytes: u64,
        /// Bytes of a buffer.
        limit: u64,
    },
    /// An adapter changes a matrix that the GPU engine cannot adapt.
    #[error("the adapter changes `{target}`, which the GPU engine does not support; use the CPU")]
    Adapter {
        /// The matrix.
        target: String,
    },
}
