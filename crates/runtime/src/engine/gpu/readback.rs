//! Reading GPU memory without blocking where blocking is not allowed.

use super::GpuError;
use super::device::Device;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Buffers that were copied to and wait to be mapped; used again.
#[derive(Default)]
pub(super) struct Staging {
    free: Mutex<Vec<wgpu::Buffer>>,
}

impl Staging {
    /// A buffer of at least `bytes` bytes to copy to.
    pub(super) fn take(&self, device: &Device, bytes: u64) -> wgpu::Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let size = bytes.max(256).next_power_of_two();
        if let Some(index) = free.iter().position(|buffer| buffer.size() == size) {
            return free.swap_remove(index);
        }
        device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        })
    }

    /// The first `out.len()` words of a buffer from [`Staging::take`] once the GPU has written them.
    pub(super) async fn read<T: bytemuck::Pod>(
        &self,
        device: &Device,
        buffer: wgpu::Buffer,
        out: &mut [T],
    ) -> Result<(), GpuError> {
        let bytes = std::mem::size_of_val(out) as u64;
        let mapped = Mapped::default();
        let signal = mapped.clone();
        buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            signal.set(result.map_err(|error| error.to_string()));
        });
        // A browser calls back by itself; elsewhere somebody must ask the driver. What it answers reaches the callback or the device's own handlers.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = device.raw.poll(wgpu::PollType::wait_indefinitely());
        let refused = |message: String| GpuError::Refused {
            adapter: device.name.clone(),
            message,
        };
        let result = mapped.await;
        device.check()?;
        result.map_err(refused)?;
        let view = buffer
            .get_mapped_range(..bytes)
            .map_err(|error| refused(error.to_string()))?;
        bytemuck::cast_slice_mut::<T, u8>(out).copy_from_slice(&view);
        drop(view);
        buffer.unmap();
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
        Ok(())
    }
}

/// The end of a mapping.
#[derive(Clone, Default)]
struct Mapped(Arc<Mutex<Mapping>>);

#[derive(Default)]
struct Mapping {
    result: Option<Result<(), String>>,
    waker: Option<Waker>,
}

impl Mapped {
    fn set(&self, result: Result<(), String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.result = Some(result);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Mapped {
    type Output = Result<(), String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
