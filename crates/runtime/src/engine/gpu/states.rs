//! States in the engine's memory: slots for them, copies, the way in and out.

use super::GpuError;
use super::arena::buffer;
use super::slots::Slot;
use super::step::GpuEngine;

impl GpuEngine {
    /// Slots for one more session, whatever is in them. Fails with [`GpuError::TooLarge`] when a binding holds no more.
    pub(crate) async fn new_slot(&self) -> Result<Slot, GpuError> {
        let most = self.sizes.max_slots() / 2;
        let slot = self.pool.take(most).ok_or_else(|| GpuError::TooLarge {
            what: format!("the state of one more than {most} sessions"),
            bytes: (most as u64 + 1) * self.sizes.state_len() as u64 * 8,
            limit: self.device.max_binding,
        })?;
        let needed = self.pool.used() * 2;
        if needed > self.lock().slots {
            self.grow(needed).await?;
        }
        Ok(slot)
    }

    /// Another slot with the same state.
    pub(crate) async fn fork_slot(&self, from: &Slot) -> Result<Slot, GpuError> {
        let slot = self.new_slot().await?;
        self.copy_state(from, &slot);
        Ok(slot)
    }

    /// Replaces a state by another's.
    pub(crate) fn copy_state(&self, from: &Slot, to: &Slot) {
        let inner = self.lock();
        let bytes = self.sizes.state_len() as u64 * 4;
        let [from_at, to_at] = [from, to].map(|slot| u64::from(slot.current()) * bytes);
        let ((), verdict) = self.device.watch(|| {
            let mut encoder = self.encoder("copy state");
            // Not within one buffer: WebGPU forbids it.
            encoder.copy_buffer_to_buffer(&inner.state, from_at, &inner.transit, 0, bytes);
            encoder.copy_buffer_to_buffer(&inner.transit, 0, &inner.state, to_at, bytes);
            self.device.queue.submit([encoder.finish()]);
        });
        to.owe(verdict);
    }

    /// Whether a slot is of this engine: numbers alone do not tell.
    pub(crate) fn owns(&self, slot: &Slot) -> bool {
        slot.is_of(&self.pool)
    }

    /// Room for more states. Fails with [`GpuError::OutOfMemory`], and then nothing has changed.
    async fn grow(&self, needed: usize) -> Result<(), GpuError> {
        let slots = needed
            .next_power_of_two()
            .min(self.sizes.max_slots() / 2 * 2);
        let words = slots * self.sizes.state_len();
        let state = self
            .device
            .scoped(|| buffer(&self.device, "state", words))
            .await?;
        let mut inner = self.lock();
        // Another session may have been faster.
        if slots > inner.slots {
            let mut encoder = self.encoder("grow");
            let bytes = (inner.slots * self.sizes.state_len()) as u64 * 4;
            encoder.copy_buffer_to_buffer(&inner.state, 0, &state, 0, bytes);
            self.device.queue.submit([encoder.finish()]);
            (inner.state, inner.slots, inner.plan) = (state, slots, None);
        }
        Ok(())
    }

    /// Replaces a state; `values` as `StateSpec` lays them out.
    pub(crate) fn upload_state(&self, slot: &Slot, values: &[f32]) {
        let at = u64::from(slot.current()) * self.sizes.state_len() as u64 * 4;
        let inner = self.lock();
        let ((), verdict) = self.device.watch(|| {
            let bytes = bytemuck::cast_slice(values);
            self.device.queue.write_buffer(&inner.state, at, bytes);
        });
        slot.owe(verdict);
    }

    /// Reads a state.
    pub(crate) async fn download_state(&self, slot: &Slot) -> Result<Vec<f32>, GpuError> {
        let bytes = self.sizes.state_len() as u64 * 4;
        let staging = self
            .device
            .scoped(|| {
                let staging = self.staging.take(&self.device, bytes);
                let mut encoder = self.encoder("download state");
                let at = u64::from(slot.current()) * bytes;
                encoder.copy_buffer_to_buffer(&self.lock().state, at, &staging, 0, bytes);
                self.device.queue.submit([encoder.finish()]);
                staging
            })
            .await?;
        let mut values = vec![0.0; self.sizes.state_len()];
        self.staging
            .read(&self.device, staging, &mut values)
            .await?;
        slot.settle().await?;
        Ok(values)
    }
}
