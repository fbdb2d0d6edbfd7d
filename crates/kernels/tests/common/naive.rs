//! WKV and its gradients as defined, in f64, in O(T²): every token looks at every earlier one.
//!
//! The weight of token i in y_t is `ω = e^(k_i + (t-1-i)·w) / D_t`; the initial state (aa, bb, pp) counts as one more source with
//! exponent `pp + t·w` and amounts aa, bb in place of v, 1.

/// One channel of one sequence.
#[derive(Debug, Clone)]
pub struct Channel {
    pub w: f64,
    pub u: f64,
    pub k: Vec<f64>,
    pub v: Vec<f64>,
    /// aa, bb, pp.
    pub state: [f64; 3],
}

/// A value, and the sum of the absolute values of what was added up to it: the scale that rounding errors are judged by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub value: f64,
    pub magnitude: f64,
}

impl Sum {
    /// Adds `factor·(a + b)`.
    fn add(&mut self, factor: f64, a: f64, b: f64) {
        self.value += factor * (a + b);
        self.magnitude += factor.abs() * (a.abs() + b.abs());
    }
}

/// Gradients of one channel.
#[derive(Debug, Clone)]
pub struct Gradients {
    pub w: Sum,
    pub u: Sum,
    pub k: Vec<Sum>,
    pub v: Vec<Sum>,
    /// Of aa, bb, pp.
    pub state: [Sum; 3],
}

/// One source of history: its exponent, amounts, age in steps, and token (none: the initial state).
struct Source {
    exponent: f64,
    amounts: (f64, f64),
    steps: f64,
    token: Option<usize>,
}

impl Channel {
    /// History seen by token t (after t tokens).
    fn history(&self, t: usize) -> Vec<Source> {
        let [aa, bb, pp] = self.state;
        let initial = Source {
            exponent: pp + t as f64 * self.w,
            amounts: (aa, bb),
            steps: t as f64,
            token: None,
        };
        let tokens = (0..t).map(|i| {
            let steps = (t - 1 - i) as f64;
            Source {
                exponent: self.k[i] + steps * self.w,
                amounts: (self.v[i], 1.0),
                steps,
                token: Some(i),
            }
        });
        std::iter::once(initial).chain(tokens).collect()
    }

    /// Numerator and denominator of y_t divided by `e^scale`, and scale.
    fn output(&self, t: usize, history: &[Source]) -> (f64, f64, f64) {
        let current = self.u + self.k[t];
        let scale = history.iter().map(|s| s.exponent).fold(current, f64::max);
        let weight = (current - scale).exp();
        history
            .iter()
            .fold((weight * self.v[t], weight, scale), |(n, d, scale), s| {
                let weight = (s.exponent - scale).exp();
                (n + weight * s.amounts.0, d + weight * s.amounts.1, scale)
            })
    }

    /// y and the final (aa, bb, pp).
    pub fn forward(&self) -> (Vec<f64>, [f64; 3]) {
        let ys = (0..self.k.len())
            .map(|t| {
                let (n, d, _) = self.output(t, &self.history(t));
                n / d
            })
            .collect();
        let last = self.history(self.k.len());
        let pp = last
            .iter()
            .map(|s| s.exponent)
            .fold(f64::NEG_INFINITY, f64::max);
        let sum = |amount: &dyn Fn(&Source) -> f64| {
            last.iter()
                .map(|s| (s.exponent - pp).exp() * amount(s))
                .sum()
        };
        (ys, [sum(&|s| s.amounts.0), sum(&|s| s.amounts.1), pp])
    }

    /// `Σ gy·y + glast·(aa, bb, pp)`: what the gradients are gradients of.
    pub fn loss(&self, gy: &[f64], glast: [f64; 3]) -> f64 {
        let (y, last) = self.forward();
        let of_y: f64 = y.iter().zip(gy).map(|(y, g)| y * g).sum();
        let of_state: f64 = last.iter().zip(glast).map(|(x, g)| x * g).sum();
        of_y + of_state
    }

    /// Gradients of [`Self::loss`], each from its definition.
    pub fn gradients(&self, gy: &[f64], glast: [f64; 3]) -> Gradients {
        let len = self.k.len();
        let none = vec![Sum::default(); len];
        let mut g = Gradients {
            w: Sum::default(),
            u: Sum::default(),
            k: none.clone(),
            v: none,
            state: [Sum::default(); 3],
        };
        for (t, &gy) in gy.iter().enumerate() {
            let history = self.history(t);
            let (n, d, scale) = self.output(t, &history);
            let y = n / d;
            for s in &history {
                let weight = gy * (s.exponent - scale).exp() / d;
                g.source(s, weight, (s.amounts.0, -s.amounts.1 * y), (1.0, -y));
            }
            let weight = gy * (self.u + self.k[t] - scale).exp() / d;
            g.u.add(weight, self.v[t], -y);
            g.k[t].add(weight, self.v[t], -y);
            g.v[t].add(weight, 1.0, 0.0);
        }
        let last = self.history(len);
        let [ga, gb, gp] = glast;
        let (_, [aa, bb, pp]) = self.forward();
        for s in &last {
            let weight = (s.exponent - pp).exp();
            g.source(s, weight, (ga * s.amounts.0, gb * s.amounts.1), (ga, gb));
        }
        // pp is the exponent that won; aa and bb are divided by e^pp.
        if let Some(winner) = last.iter().find(|s| s.exponent == pp) {
            for (a, b) in [(gp, 0.0), (-ga * aa, -gb * bb)] {
                g.exponent(winner, 1.0, a, b);
            }
        }
        g
    }
}

impl Gradients {
    /// Adds what reaches a source of weight `weight`: through its exponent, and through its amounts.
    fn source(&mut self, s: &Source, weight: f64, exponent: (f64, f64), amounts: (f64, f64)) {
        self.exponent(s, weight, exponent.0, exponent.1);
        match s.token {
            Some(i) => self.v[i].add(weight, amounts.0, 0.0),
            None => {
                self.state[0].add(weight, amounts.0, 0.0);
                self.state[1].add(weight, amounts.1, 0.0);
            }
        }
    }

    /// Adds `factor·(a + b)` to the gradient of a source's exponent.
    fn exponent(&mut self, s: &Source, factor: f64, a: f64, b: f64) {
        self.w.add(factor * s.steps, a, b);
        match s.token {
            Some(i) => self.k[i].add(factor, a, b),
            None => self.state[2].add(factor, a, b),
        }
    }
}
