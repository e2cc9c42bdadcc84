use std::ops::ControlFlow;

/// Stops when a validation score has not risen for a while.
///
/// ```
/// use gradus_models::EarlyStop;
///
/// let mut stop = EarlyStop::new(2);
/// let seen: Vec<bool> = [0.5, 0.7, 0.6, 0.7].into_iter().map(|score| stop.update(score).is_break()).collect();
/// assert_eq!(seen, [false, false, false, true]);
/// assert_eq!(stop.best, 0.7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStop {
    /// How many scores in a row may fail to exceed the best.
    pub patience: usize,
    /// By how much a score must exceed the best to count.
    pub min_rise: f64,
    /// The best score so far; minus infinity before the first.
    pub best: f64,
    /// Scores since the best.
    pub since_best: usize,
}

impl EarlyStop {
    /// With the given patience and any rise counted.
    pub fn new(patience: usize) -> Self {
        Self { patience, min_rise: 0.0, best: f64::NEG_INFINITY, since_best: 0 }
    }

    /// Takes the next score; breaks when patience is at an end. A score that is not a number never counts as a rise.
    pub fn update(&mut self, score: f64) -> ControlFlow<()> {
        if score > self.best + self.min_rise {
            (self.best, self.since_best) = (score, 0);
        } else {
            self.since_best += 1;
        }
        if self.since_best >= self.patience { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
