//! Runs of rules, and what is measured of them.

use std::ops::ControlFlow;

use super::{Dynamics, DynamicsError, Memory, Rk4, check, check_finite, check_step};
use crate::game::Game;

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// The most steps.
    pub steps: usize,
    /// The residual `|F(x)|` at or below which it has converged; it never has if none.
    pub residual: Option<f64>,
    /// The Euclidean distance from the first state above which it diverges.
    pub radius: f64,
}

impl Default for Stop {
    /// 1,000 steps, or a distance of 10⁶.
    fn default() -> Self {
        Self { steps: 1000, residual: None, radius: 1e6 }
    }
}

/// What is measured and kept of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The players' weights `w_i` of the metric `|v|² = Σ w_i |v_i|²`; all 1 if empty.
    pub weights: Vec<f64>,
    /// A point to measure distances from, such as the equilibrium.
    pub reference: Option<Vec<f64>>,
    /// Samples and states of every so many steps are kept, from the first on; of none if 0.
    pub every: usize,
}

impl Default for Record {
    fn default() -> Self {
        Self { weights: Vec::new(), reference: None, every: 1 }
    }
}

/// What is measured of one state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Number of steps to the state.
    pub step: usize,
    /// `|F(x)|`.
    pub residual: f64,
    /// The Euclidean distance from the reference, if there is one.
    pub distance: Option<f64>,
    /// The same in the metric.
    pub metric_distance: Option<f64>,
    /// How far the step led, in the metric; 0 for the first state.
    pub moved: f64,
    /// How far, as a multiple of the step before: by what the step contracts its last two states, if the rule has no memory. None for the
    /// first two states, and where the steps are so short that rounding errors of the states, relative to their size, matter.
    pub ratio: Option<f64>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The residual came to the tolerance.
    Converged {
        /// After how many steps.
        step: usize,
    },
    /// All steps were made.
    Finished,
    /// The observer ended it.
    Stopped {
        /// After how many steps.
        step: usize,
    },
    /// A state is too far away, or it or its field is not finite.
    Diverged {
        /// The number of steps to this state.
        step: usize,
    },
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// How it ended.
    pub outcome: Outcome,
    /// Number of steps that were made.
    pub steps: usize,
    /// The last state that is finite and has a finite field, or the first one.
    pub last: Vec<f64>,
    /// What is kept of the samples.
    pub samples: Vec<Sample>,
    /// The states of the samples.
    pub states: Vec<Vec<f64>>,
    /// The greatest ratio of all steps, kept or not; 0 if there is none.
    pub largest_ratio: f64,
}

/// Repeats a rule from `start`, until it is to stop, and measures each state.
///
/// The observer sees every sample with its state, kept or not, and can end the run. Memory is bounded if `record.every` is such that few
/// are kept. Each call starts with an empty [`Memory`].
///
/// ```
/// use std::ops::ControlFlow;
///
/// use gradus_games::dynamics::{Euler, Outcome, Record, Stop, simulate};
/// use gradus_games::game::Game;
/// use nalgebra::DMatrix;
///
/// let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.0; 2])?;
/// let stop = Stop { steps: 1000, residual: Some(1e-10), ..Stop::default() };
/// let record = Record { weights: vec![1.0, 200.0], reference: Some(vec![0.0; 2]), every: 1 };
/// let run = simulate(&game, &mut Euler { step: 0.1 }, &[0.15, -0.15], &stop, &record, |_, _| ControlFlow::Continue(()))?;
/// assert!(matches!(run.outcome, Outcome::Converged { .. }));
/// // The Euclidean distance grows at first; that in the metric never does.
/// assert!(run.samples[5].distance > run.samples[0].distance && run.largest_ratio < 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DynamicsError::Dimension`] and [`DynamicsError::NonFinite`] for states, [`DynamicsError::InvalidWeight`],
/// [`DynamicsError::InvalidParameter`] for a tolerance or radius that is none; and those of the rule.
pub fn simulate<D: Dynamics + ?Sized>(
    game: &Game,
    rule: &mut D,
    start: &[f64],
    stop: &Stop,
    record: &Record,
    mut observer: impl FnMut(&Sample, &[f64]) -> ControlFlow<()>,
) -> Result<Trajectory, DynamicsError> {
    check_run(game, start, stop, record)?;
    rule.check(game)?;
    let mut run = Run::new(game, start, record);
    let mut memory = Memory::default();
    let mut x = start.to_vec();
    let outcome = loop {
        let Some(sample) = run.measure(game, &x, stop.radius) else { break Outcome::Diverged { step: run.step } };
        run.keep(&sample, &x, record.every);
        if observer(&sample, &x).is_break() {
            break Outcome::Stopped { step: run.step };
        }
        if stop.residual.is_some_and(|least| sample.residual <= least) {
            break Outcome::Converged { step: run.step };
        }
        if run.step >= stop.steps {
            break Outcome::Finished;
        }
        rule.step(game, &mut x, &mut memory)?;
        run.step += 1;
    };
    Ok(run.end(outcome))
}

/// Integrates the flow `x' = -F(x)` for a `time`, by the classical Runge–Kutta method with the given step; steps are made a little smaller
/// so that the last one ends at this time. Sample `k` is that of the time `k time / steps`.
///
/// # Errors
/// As [`simulate`]; [`DynamicsError::InvalidParameter`] for a time that is not positive, or 10¹² steps and more.
pub fn flow(game: &Game, start: &[f64], step: f64, time: f64, record: &Record) -> Result<Trajectory, DynamicsError> {
    check_step(step)?;
    let steps = (time / step).ceil();
    if !(time > 0.0 && steps < 1e12) {
        return Err(DynamicsError::InvalidParameter { name: "time", value: time, expected: "positive, and below 1e12 steps" });
    }
    let stop = Stop { steps: steps as usize, residual: None, radius: f64::INFINITY };
    simulate(game, &mut Rk4 { step: time / steps }, start, &stop, record, |_, _| ControlFlow::Continue(()))
}

/// The rate `r` of `distance ≈ c e^(-r t)`: least squares on logarithms, of distances at equal `spacing` in time (1 for a rate per step).
/// Distances that are 0 are left out; none if fewer than two are left.
///
/// ```
/// let halves: Vec<f64> = (0..20).map(|k| 0.5f64.powi(k)).collect();
/// let rate = gradus_games::dynamics::decay_rate(&halves, 1.0).unwrap();
/// assert!((rate - 2f64.ln()).abs() < 1e-12);
/// ```
pub fn decay_rate(distances: &[f64], spacing: f64) -> Option<f64> {
    let points =
        || distances.iter().enumerate().filter(|(_, d)| **d > 0.0 && d.is_finite()).map(|(k, d)| (k as f64 * spacing, libm::log(*d)));
    let count = points().count() as f64;
    let sums = points().fold((0.0, 0.0), |(t, l), (time, log)| (t + time, l + log));
    let (time, log) = (sums.0 / count, sums.1 / count);
    let (spread, slope) =
        points().fold((0.0, 0.0), |(spread, slope), (t, l)| (spread + (t - time).powi(2), slope + (t - time) * (l - log)));
    (spread > 0.0).then(|| -slope / spread)
}

fn check_run(game: &Game, start: &[f64], stop: &Stop, record: &Record) -> Result<(), DynamicsError> {
    check("numbers of the first state", game.size(), start.len())?;
    check_finite("the first state", start)?;
    if let Some(reference) = &record.reference {
        check("numbers of the reference", game.size(), reference.len())?;
        check_finite("the reference", reference)?;
    }
    if !record.weights.is_empty() {
        check("weights", game.dimensions().len(), record.weights.len())?;
    }
    if let Some(player) = record.weights.iter().position(|w| !(*w > 0.0 && w.is_finite())) {
        return Err(DynamicsError::InvalidWeight { player, value: record.weights[player] });
    }
    for (name, value) in [("residual", stop.residual.unwrap_or(0.0)), ("radius", stop.radius)] {
        if value.is_nan() || value < 0.0 {
            return Err(DynamicsError::InvalidParameter { name, value, expected: "at least 0" });
        }
    }
    Ok(())
}

/// A run under way.
struct Run<'a> {
    step: usize,
    start: &'a [f64],
    reference: Option<&'a [f64]>,
    /// Of each variable.
    weights: Vec<f64>,
    /// The state before.
    before: Vec<f64>,
    moved: Option<f64>,
    scratch: Vec<f64>,
    field: Vec<f64>,
    samples: Vec<Sample>,
    states: Vec<Vec<f64>>,
    largest_ratio: f64,
}

impl<'a> Run<'a> {
    fn new(game: &Game, start: &'a [f64], record: &'a Record) -> Self {
        let weight = |player: usize| record.weights.get(player).copied().unwrap_or(1.0);
        let weights = game.dimensions().iter().enumerate().flat_map(|(player, size)| std::iter::repeat_n(weight(player), *size));
        Self {
            step: 0,
            start,
            reference: record.reference.as_deref(),
            weights: weights.collect(),
            before: start.to_vec(),
            moved: None,
            scratch: Vec::new(),
            field: vec![0.0; start.len()],
            samples: Vec::new(),
            states: Vec::new(),
            largest_ratio: 0.0,
        }
    }

    /// What is measured of a state; none if the run has diverged.
    fn measure(&mut self, game: &Game, x: &[f64], radius: f64) -> Option<Sample> {
        let euclidean = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
        let metric = |x: &[f64], y: &[f64]| x.iter().zip(y).zip(&self.weights).map(|((x, y), w)| w * (x - y).powi(2)).sum::<f64>().sqrt();
        if !x.iter().all(|x| x.is_finite()) {
            return None;
        }
        game.field_into(x, &mut self.scratch, &mut self.field);
        let residual = self.field.iter().map(|f| f * f).sum::<f64>().sqrt();
        if !residual.is_finite() {
            return None;
        }
        let moved = metric(x, &self.before);
        // Below, differences of states have fewer than five digits left.
        let size = x.iter().zip(&self.weights).map(|(x, w)| w * x * x).sum::<f64>().sqrt();
        let clear = |moved: f64| moved > 1e-11 * size;
        let ratio = self.moved.filter(|before| self.step > 1 && clear(*before)).map(|before| moved / before);
        let sample = Sample {
            step: self.step,
            residual,
            distance: self.reference.map(|reference| euclidean(x, reference)),
            metric_distance: self.reference.map(|reference| metric(x, reference)),
            moved,
            ratio,
        };
        let near = euclidean(x, self.start) <= radius;
        self.before.copy_from_slice(x);
        self.moved = Some(moved);
        self.largest_ratio = self.largest_ratio.max(ratio.unwrap_or(0.0));
        near.then_some(sample)
    }

    fn keep(&mut self, sample: &Sample, x: &[f64], every: usize) {
        if every > 0 && self.step.is_multiple_of(every) {
            self.samples.push(*sample);
            self.states.push(x.to_vec());
        }
    }

    fn end(self, outcome: Outcome) -> Trajectory {
        let Self { step, before, samples, states, largest_ratio, .. } = self;
        Trajectory { outcome, steps: step, last: before, samples, states, largest_ratio }
    }
}
