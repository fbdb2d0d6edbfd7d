//! Inference on a GPU through wgpu, with the shaders of `shaders/`.
//!
//! Weights are uploaded once, in whatever format the model file has; pipelines and bind groups are made once (`plan`); a step is a list of dispatches over ragged
//! rows: any number of sessions, each with any number of tokens. States stay on the GPU (`slots`). Everything that waits is `async`, because a browser cannot
//! block; natively `block_on` waits.
//!
//! Same limits as WebGPU's defaults everywhere: no binding is over 128 MiB, larger matrices are split by rows.

mod adapters;
mod arena;
mod check;
mod device;
mod error;
mod pipelines;
mod plan;
mod readback;
mod slots;
mod states;
mod step;
#[cfg(test)]
mod tests;
mod weights;
mod write;

pub(crate) use adapters::check as check_adapter;
pub(crate) use device::GpuOptions;
pub use device::{AdapterChoice, GpuSettings};
pub use error::GpuError;
pub(crate) use slots::Slot;
pub(crate) use step::GpuEngine;
pub(crate) use write::Draws;

/// Waits for a future that only this thread can finish: natively the engine polls the driver itself, so nothing has to wake us but other threads' callbacks.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
