//! Whatever bytes an adapter or a state holds, loading it gives an error or something that computes: no panic, no hang, no allocation beyond the file's size and a constant.
//!
//! A test file of its own, because it counts the allocations of each thread. 5,000 files of each kind, 250,000 with `PTBR_FULL=1`; file number n is a function of its seed and n, and a
//! failure prints both. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, config, random_adapter, random_model};
use ptbr_model::{Adapter, WeightFormat, write_adapter_as};
use ptbr_runtime::{RuntimeError, RwkvState, Session};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const ADAPTER_SEED: u64 = 0xADA9;
const STATE_SEED: u64 = 0x57A7E;

/// Bytes beyond a file's own that loading it may have allocated at one time: the parsed header of a small file, messages.
const CONSTANT: usize = 64 << 10;

/// Far more than any file takes, on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` had allocated at one time.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).max(0) as usize)
}

fn files() -> u64 {
    if std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1") {
        250_000
    } else {
        5_000
    }
}

/// Some changes of some bytes. Half of them fall into the first 400, where the meaning is.
fn mutate(bytes: &mut Vec<u8>, noise: &mut Noise) {
    for _ in 0..=noise.next() % 3 {
        let length = bytes.len().max(1) as u64;
        let reach = if noise.next().is_multiple_of(2) {
            length.min(400)
        } else {
            length
        };
        let at = ((noise.next() % reach) as usize).min(bytes.len());
        let some = ((noise.next() % 40) as usize).min(bytes.len() - at);
        let value = noise.next();
        match noise.next() % 7 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, value as u8),
            2 => drop(bytes.drain(at..at + some)),
            3 => {
                let again = bytes[at..at + some].to_vec();
                bytes.splice(at..at, again);
            }
            // Lengths, shapes and offsets that still parse.
            4 => {
                if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *digit = b'0' + (value % 10) as u8;
                }
            }
            // A number that is too large, or just over a bound.
            5 => {
                let number = [u64::MAX, 1 << 31, 1 << 60, value][(value % 4) as usize];
                let room = (bytes.len() - at).min(8);
                bytes[at..at + room].copy_from_slice(&number.to_le_bytes()[..room]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (value % 8);
                }
            }
        }
    }
}

/// Runs `load(n)` for every file and wants both outcomes often; `load` says whether the file loaded.
fn every_file(seed: u64, load: &mut dyn FnMut(&mut Noise) -> bool) {
    let (mut loaded, mut slowest) = (0, Duration::ZERO);
    for file in 0..files() {
        let mut noise = Noise(seed ^ file.wrapping_mul(0x9E37_79B9));
        let start = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| load(&mut noise))) {
            Ok(whole) => loaded += u64::from(whole),
            Err(_) => panic!("file {file} of seed {seed:#x}"),
        }
        slowest = slowest.max(start.elapsed());
        assert!(
            slowest < LONGEST,
            "file {file} of seed {seed:#x} took {slowest:?}"
        );
    }
    println!(
        "seed {seed:#x}: {} files, {loaded} of them loaded, the slowest took {slowest:?}",
        files()
    );
    assert!(
        loaded > files() / 1000 && loaded < files() / 2,
        "{loaded} of {} files loaded: these mutations test nothing",
        files()
    );
}

#[test]
fn adapters() {
    let config = config(64, 32, 1, 32);
    let model = random_model(&config, 1);
    let folder = tempfile::tempdir().unwrap();
    let adapter = Adapter {
        model_id: Some(model.model_id().to_owned()),
        ..random_adapter(&config, 2, &[], 1)
    };
    let originals = [WeightFormat::F32, WeightFormat::F16].map(|format| {
        let path = folder.path().join(format.name());
        write_adapter_as(&path, &adapter, format).unwrap();
        let read = |name| std::fs::read(path.join(name)).unwrap();
        (
            read("adapter_config.json"),
            read("adapter_model.safetensors"),
        )
    });
    every_file(ADAPTER_SEED, &mut |noise| {
        let half = noise.next().is_multiple_of(2);
        let (mut json, mut tensors) = originals[usize::from(half)].clone();
        if noise.next().is_multiple_of(3) {
            mutate(&mut json, noise);
        } else {
            mutate(&mut tensors, noise);
        }
        let numbers = tensors.len();
        // f16 becomes f32 in memory.
        let size = json.len() + if half { 2 * numbers } else { numbers };
        let (loaded, allocated) = peak(|| {
            let adapter = Adapter::from_bytes("mutated", &json, tensors)?;
            model.add_adapter(adapter)
        });
        assert!(
            allocated <= size + CONSTANT,
            "{allocated} bytes for a file of {size}"
        );
        let Ok(adapter) = loaded else { return false };
        let mut session = Session::new(model.clone());
        session.set_adapter(Some(&adapter)).unwrap();
        assert_eq!(session.prefill(&[1, 2, 3]).unwrap().len(), 64);
        true
    });
}

#[test]
fn states() {
    let config = config(64, 32, 1, 32);
    let model = random_model(&config, 1);
    let adapter = model
        .add_adapter(random_adapter(&config, 2, &[], 1))
        .unwrap();
    let originals = [None, Some(&adapter)].map(|adapter| {
        let mut session = Session::new(model.clone());
        session.set_adapter(adapter).unwrap();
        session.prefill(&[1, 2, 3]).unwrap();
        session.state().unwrap().to_bytes()
    });
    every_file(STATE_SEED, &mut |noise| {
        let mut bytes = originals[(noise.next() % 2) as usize].clone();
        // With a checksum that agrees, the content itself is what is checked.
        let forged = !noise.next().is_multiple_of(4);
        if forged {
            bytes.truncate(bytes.len() - 32);
        }
        mutate(&mut bytes, noise);
        if forged {
            bytes.extend(ptbr_model::sha256(&bytes));
        }
        let (state, allocated) = peak(|| RwkvState::from_bytes(&bytes, &model));
        assert!(
            allocated <= bytes.len() + CONSTANT,
            "{allocated} bytes for a file of {}",
            bytes.len()
        );
        let state = match state {
            Ok(state) => state,
            Err(RuntimeError::StateDamaged { .. } | RuntimeError::StateOfAnotherModel { .. }) => {
                return false;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(state.values().iter().all(|value| value.is_finite()));
        let mut session = Session::new(model.clone());
        session.set_adapter(Some(&adapter)).unwrap();
        session
            .set_state(&state.with_adapter(Some(&adapter)))
            .unwrap();
        assert_eq!(session.decode(5).unwrap().len(), 64);
        true
    });
}
