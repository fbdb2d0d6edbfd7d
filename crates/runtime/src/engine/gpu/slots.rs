//! States in GPU memory: every session has two slots and writes the one that it does not read.

use super::GpuError;
use super::device::Verdict;
use std::sync::{Arc, Mutex, PoisonError};

/// Which slots are free.
#[derive(Default)]
pub(super) struct SlotPool {
    free: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    /// Pairs given back.
    free: Vec<u32>,
    /// Pairs ever given.
    used: u32,
}

/// A session's pair of slots; given back when it is dropped.
pub(crate) struct Slot {
    pair: u32,
    /// Which of the two holds the state.
    second: bool,
    /// Of work on this state that nobody has waited for yet.
    verdicts: Mutex<Vec<Verdict>>,
    pool: Arc<SlotPool>,
}

impl SlotPool {
    /// A pair, if there are fewer than `most`.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Option<Slot> {
        let mut slots = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = match slots.free.pop() {
            Some(pair) => pair,
            None if (slots.used as usize) < most => {
                slots.used += 1;
                slots.used - 1
            }
            None => return None,
        };
        Some(Slot {
            pair,
            second: false,
            verdicts: Mutex::default(),
            pool: Arc::clone(self),
        })
    }

    /// Pairs ever given: what memory must hold.
    pub(super) fn used(&self) -> usize {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .used as usize
    }
}

impl Slot {
    /// Whether it was taken from this pool.
    pub(super) fn is_of(&self, pool: &Arc<SlotPool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// The slot that holds the state.
    pub(super) fn current(&self) -> u32 {
        self.pair * 2 + u32::from(self.second)
    }

    /// The slot that the next step writes.
    pub(super) fn next(&self) -> u32 {
        self.pair * 2 + u32::from(!self.second)
    }

    /// Keeps what the device may have against work on this state for whoever waits for the state next.
    pub(super) fn owe(&self, verdict: Verdict) {
        self.verdicts().push(verdict);
    }

    /// What the device had against all that was kept. Where something is waited for anyway, afterwards: then it is known.
    pub(super) async fn settle(&self) -> Result<(), GpuError> {
        let verdicts = std::mem::take(&mut *self.verdicts());
        let mut result = Ok(());
        for verdict in verdicts {
            // All of them, and the first is the cause of those that follow.
            result = result.and(verdict.await);
        }
        result
    }

    fn verdicts(&self) -> std::sync::MutexGuard<'_, Vec<Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a step.
    pub(super) fn swap(&mut self) {
        self.second = !self.second;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .free
            .push(self.pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_used_again_and_never_shared() {
        let pool = Arc::new(SlotPool::default());
        let mut a = pool.take(2).unwrap();
        let b = pool.take(2).unwrap();
        assert!(pool.take(2).is_none());
        assert_eq!((a.current(), a.next(), b.current()), (0, 1, 2));
        a.swap();
        assert_eq!((a.current(), a.next()), (1, 0));
        drop(b);
        let c = pool.take(2).unwrap();
        assert_eq!((c.current(), pool.used()), (2, 2));
    }
}
