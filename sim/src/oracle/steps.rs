//! Amounts per step of time, added stay by stay.

/// Time from `from_s` on in steps of `step_s`; what lies outside is not counted.
pub(super) struct Steps {
    from_s: f64,
    step_s: f64,
    /// Per step, what is added in it alone.
    own: Vec<f64>,
    /// Per step, how the amount of a whole step changes from there on.
    change: Vec<f64>,
}

impl Steps {
    /// Nothing yet. The last step may end after `to_s`.
    pub(super) fn new(from_s: f64, to_s: f64, step_s: f64) -> Self {
        let steps = ((to_s - from_s) / step_s - 1e-9).ceil().max(0.0) as usize;
        Self { from_s, step_s, own: vec![0.0; steps], change: vec![0.0; steps + 1] }
    }

    /// An amount at one moment.
    pub(super) fn add_at(&mut self, at_s: f64, amount: f64) {
        let step = ((at_s - self.from_s) / self.step_s).floor();
        if step >= 0.0
            && let Some(own) = self.own.get_mut(step as usize)
        {
            *own += amount;
        }
    }

    /// So much per second between two moments.
    pub(super) fn add(&mut self, begin_s: f64, end_s: f64, per_second: f64) {
        let steps = self.own.len();
        let place = |at_s: f64| ((at_s - self.from_s) / self.step_s).clamp(0.0, steps as f64);
        let (begin, end) = (place(begin_s), place(end_s));
        if begin >= end {
            return;
        }
        let amount = per_second * self.step_s;
        let (first, last) = (begin.floor() as usize, end.floor() as usize);
        // Whole steps from the first to before the last, then what is too much or too little.
        self.change[first] += amount;
        self.change[last] -= amount;
        self.own[first] -= amount * begin.fract();
        if last < steps {
            self.own[last] += amount * end.fract();
        }
    }

    /// The amount of each step.
    pub(super) fn amounts(self) -> Vec<f64> {
        let mut whole = 0.0;
        let each = self.own.into_iter().zip(self.change);
        each.map(|(own, change)| {
            whole += change;
            whole + own
        })
        .collect()
    }
}

/// Stays as spans of time in which there was anyone, in order and apart.
pub(super) fn union(stays: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut stays: Vec<_> = stays.filter(|(begin_s, end_s)| begin_s < end_s).collect();
    stays.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut spans: Vec<(f64, f64)> = Vec::new();
    for (begin_s, end_s) in stays {
        match spans.last_mut() {
            Some(last) if begin_s <= last.1 => last.1 = last.1.max(end_s),
            Some(_) | None => spans.push((begin_s, end_s)),
        }
    }
    spans
}
