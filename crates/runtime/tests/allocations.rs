//! Decoding allocates nothing, at position 10 as at position 2,000. A test file of its own, because it counts every allocation of the process. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, config, random_adapter, random_model};
use ptbr_runtime::Session;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decoding_allocates_nothing_with_or_without_adapters() {
    let config = config(257, 64, 3, 160);
    let model = random_model(&config, 1);
    let adapters = [4, 9].map(|rank| {
        model
            .add_adapter(random_adapter(&config, rank, &[], 1))
            .unwrap()
    });
    let mut session = Session::new(model);
    let tokens = Noise(4).tokens(2000, config.vocab_size);
    // One thread: a pool's own bookkeeping is not the engine's.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(|| {
        let mut decode = |range: std::ops::Range<usize>| {
            let before = ALLOCATED.load(Ordering::Relaxed);
            for position in range {
                // From position 5 on another adapter, or none, for every token.
                let adapter = position.checked_sub(5).and_then(|at| adapters.get(at % 3));
                session.set_adapter(adapter).unwrap();
                session.decode(tokens[position]).unwrap();
            }
            ALLOCATED.load(Ordering::Relaxed) - before
        };
        let first = decode(0..1);
        assert!(
            first > 0,
            "the first token takes the memory that the rest use again"
        );
        decode(1..10);
        assert_eq!(decode(10..13), 0, "at position 10");
        decode(13..1990);
        assert_eq!(decode(1990..2000), 0, "at position 2,000");
    });
}
