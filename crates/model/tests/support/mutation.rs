//! Damaged files, as a function of a number: the same seed gives the same damage, so a case that fails can be run alone.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::ops::Range;

/// Reproducible noise (splitmix64).
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Numbers that lengths, shapes and offsets are seldom tested with.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "32",
    "33",
    "1024",
    "65536",
    "65537",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e400",
    "0.5",
];

/// Words that a reader gives a meaning to.
const WORDS: [&str; 14] = [
    "f32",
    "f16",
    "int8",
    "fp8",
    "int4",
    "F32",
    "F16",
    "U32",
    "I64",
    "emb.weight",
    "head.weight",
    "exceptions",
    "null",
    "",
];

/// One to three changes.
pub fn mutate(mut bytes: Vec<u8>, noise: &mut Noise) -> Vec<u8> {
    for _ in 0..1 + noise.below(3) {
        change(&mut bytes, noise);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, noise: &mut Noise) {
    let at = place(bytes.len(), noise);
    let range = at..(at + 1 + noise.below(40)).min(bytes.len());
    match noise.below(12) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, noise.next() as u8),
        2 => drop(bytes.drain(range)),
        3 => {
            let part = bytes[range].to_vec();
            bytes.splice(at..at, part);
        }
        4 => {
            let other = place(bytes.len(), noise);
            let length = range.len().min(bytes.len() - other);
            bytes.copy_within(other..other + length, at);
        }
        5 => {
            let width = noise.pick(&[&1usize, &2, &4, &8]);
            let value = noise.pick(&[
                &0u64,
                &u64::MAX,
                &0x7f7f_7f7f_7f7f_7f7f,
                &0x7c00_7c00_7c00_7c00,
                &0x7fc0_0000_7fc0_0000,
            ]);
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        6 | 7 => {
            if let Some(run) = run_from(bytes, at, u8::is_ascii_digit) {
                bytes.splice(run, noise.pick(&NUMBERS).bytes());
            }
        }
        8 => {
            if let Some(run) = run_from(bytes, at, u8::is_ascii_digit) {
                bytes[run.start] = b'0' + noise.below(10) as u8;
            }
        }
        9 => {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
            if let Some(run) = run_from(bytes, at, is_word) {
                bytes.splice(run, noise.pick(&WORDS).bytes());
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << noise.below(8);
            }
        }
    }
}

/// Meaning is at the beginning: half of all changes fall into the first 600 bytes.
fn place(length: usize, noise: &mut Noise) -> usize {
    if noise.chance(2) {
        noise.below(length.min(600))
    } else {
        noise.below(length)
    }
}

/// The first run of such bytes that begins at `at` or after it.
fn run_from(bytes: &[u8], at: usize, of: impl Fn(&u8) -> bool) -> Option<Range<usize>> {
    let start = at + bytes.get(at..)?.iter().position(&of)?;
    let length = bytes[start..].iter().take_while(|byte| of(byte)).count();
    Some(start..start + length)
}

/// A safetensors file whose header alone is changed, with the length that makes it be read.
pub fn mutate_safetensors_header(bytes: &[u8], noise: &mut Noise) -> Vec<u8> {
    let length = bytes
        .first_chunk()
        .map_or(0, |length| u64::from_le_bytes(*length) as usize);
    let (header, data) = bytes[8..].split_at(length.min(bytes.len() - 8));
    let header = mutate(header.to_vec(), noise);
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header);
    changed.extend(data);
    changed
}

/// How many of `all` cases are run: every 50th, all with `PTBR_FULL=1`, and one alone with `PTBR_SEED=<its number>`. On wasm32, which has no environment, these are read when the test is compiled.
pub fn seeds(all: u64) -> Vec<u64> {
    #[cfg(not(target_arch = "wasm32"))]
    let (seed, full) = (std::env::var("PTBR_SEED").ok(), std::env::var("PTBR_FULL"));
    #[cfg(target_arch = "wasm32")]
    let (seed, full) = (
        option_env!("PTBR_SEED").map(str::to_owned),
        option_env!("PTBR_FULL").ok_or(()),
    );
    if let Some(seed) = seed.and_then(|seed| seed.parse().ok()) {
        return vec![seed];
    }
    let full = full.is_ok_and(|value| value == "1");
    (0..all).step_by(if full { 1 } else { 50 }).collect()
}

/// Runs `case` for each seed; returns how many said true. A panic, or a case that takes longer than 20 s, ends the test with the seed in its message.
pub fn run_all(what: &str, seeds: &[u64], mut case: impl FnMut(u64) -> bool) -> usize {
    let loaded = seeds
        .iter()
        .filter(|seed| watched::run(what, **seed, || case(**seed)))
        .count();
    let range = (seeds.first(), seeds.last());
    if let (Some(first), Some(last)) = range {
        let summary = format!(
            "{what}: {} mutated, seeds {first} to {last}: {loaded} loaded, the others refused",
            seeds.len()
        );
        watched::say(&summary);
    }
    loaded
}

#[cfg(not(target_arch = "wasm32"))]
mod watched {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::{Duration, Instant};

    /// A case takes less than a millisecond; a loaded machine stops a process for longer than one would think.
    const LONGEST: Duration = Duration::from_secs(20);

    pub fn run(what: &str, seed: u64, case: impl FnOnce() -> bool) -> bool {
        let start = Instant::now();
        let Ok(loaded) = catch_unwind(AssertUnwindSafe(case)) else {
            panic!("{what}: seed {seed} failed; PTBR_SEED={seed} runs it alone");
        };
        let elapsed = start.elapsed();
        assert!(elapsed < LONGEST, "{what}: seed {seed} took {elapsed:?}");
        loaded
    }

    pub fn say(summary: &str) {
        println!("{summary}");
    }
}

/// Nothing can be caught there, and there is no clock: the panic's own message says the seed, and the runner ends a test that hangs.
#[cfg(target_arch = "wasm32")]
mod watched {
    use std::cell::RefCell;
    use std::sync::Once;

    static HOOK: Once = Once::new();

    thread_local! {
        static NOW: RefCell<String> = const { RefCell::new(String::new()) };
    }

    pub fn run(what: &str, seed: u64, case: impl FnOnce() -> bool) -> bool {
        HOOK.call_once(|| {
            let of_the_runner = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                NOW.with_borrow(|now| say(now));
                of_the_runner(panic);
            }));
        });
        NOW.set(format!(
            "{what}: seed {seed} failed; PTBR_SEED={seed} runs it alone"
        ));
        let loaded = case();
        NOW.set(String::new());
        loaded
    }

    pub fn say(line: &str) {
        wasm_bindgen_test::console_log!("{line}");
    }
}
