//! How fast a run goes: time spent in steps, evaluations and checkpoints left out.

use std::collections::VecDeque;
use std::time::Instant;

/// Steps that the current speed is measured over.
const WINDOW: usize = 20;

/// Measures the time of steps.
#[derive(Debug)]
pub struct Pace {
    /// Seconds of the run before this process.
    before: f64,
    started: Instant,
    step_started: Instant,
    recent: VecDeque<(u64, f64)>,
    tokens: u64,
    seconds: f64,
}

impl Pace {
    /// Starts measuring a run that has lasted `before` seconds already.
    pub fn start(before: f64) -> Self {
        let now = Instant::now();
        Self {
            before,
            started: now,
            step_started: now,
            recent: VecDeque::new(),
            tokens: 0,
            seconds: 0.0,
        }
    }

    /// Whatever happened since the last step was no part of a step.
    pub fn resume(&mut self) {
        self.step_started = Instant::now();
    }

    /// A step over `tokens` tokens has ended.
    pub fn step(&mut self, tokens: u64) {
        let seconds = self.step_started.elapsed().as_secs_f64();
        self.tokens += tokens;
        self.seconds += seconds;
        self.recent.push_back((tokens, seconds));
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        self.resume();
    }

    /// Tokens a second over the last steps.
    pub fn recent(&self) -> f64 {
        let (tokens, seconds) = self
            .recent
            .iter()
            .fold((0, 0.0), |(t, s), (tokens, seconds)| {
                (t + tokens, s + seconds)
            });
        tokens as f64 / seconds.max(1e-9)
    }

    /// Tokens a second since the process began to train.
    pub fn overall(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }

    /// Seconds of the steps since the process began to train.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Seconds of the run so far.
    pub fn elapsed(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}
