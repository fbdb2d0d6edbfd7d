//! Tells the C library's allocator to keep what a training step frees: the next step asks for the same sizes again.
//!
//! By default every buffer above 128 KiB comes fresh from the system and goes back to it, so that each step pays for zeroing and mapping
//! all of its activations: a third of the processor time of `nano` was the system's (`docs/benchmarks.md`).

/// Buffers up to this size are kept, in bytes; the C library allows no more. Larger ones (weights, moments) are allocated once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 32 << 20;

/// Free memory beyond this at the top of the heap goes back to the system, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MOST_KEPT: libc::c_int = 1 << 30;

/// Sets the allocator up for training, where there is something to set.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only changes thresholds of the allocator and may be called at any time; a refused value changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
            libc::mallopt(libc::M_TRIM_THRESHOLD, MOST_KEPT);
        }
    }
}
