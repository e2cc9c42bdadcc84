//! Schedules of the learning rate.

use std::f64::consts::PI;

use gradus_autodiff::Params;

use crate::{OptimizerError, Rule, check, check_fraction, check_not_negative, check_positive};

/// A factor of the learning rate as a function of the step, counted from 0. Past its last step a schedule keeps its last
/// factor.
///
/// ```
/// use gradus_optimizers::Schedule;
///
/// let schedule = Schedule::cosine(90).after_warm_up(10);
/// assert_eq!(schedule.at(0), 0.0);
/// assert_eq!(schedule.at(5), 0.5);
/// assert_eq!(schedule.at(10), 1.0);
/// assert!((schedule.at(55) - 0.5).abs() < 1e-12);
/// assert!(schedule.at(100) < 1e-12);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Always 1.
    Constant,
    /// `factor` once more after each `every` steps.
    Step {
        /// Steps between two changes, at least 1.
        every: u64,
        /// At least 0.
        factor: f64,
    },
    /// `factor` once more from each of these steps on.
    MultiStep {
        /// The steps, in any order.
        steps: Vec<u64>,
        /// At least 0.
        factor: f64,
    },
    /// `factor` once more after each step.
    Exponential {
        /// At least 0.
        factor: f64,
    },
    /// From 1 to `end` in `steps` steps: `end + (1 − end) (1 − k / steps)^power`; linear for `power` 1.
    Polynomial {
        /// The steps until the end.
        steps: u64,
        /// Positive.
        power: f64,
        /// The last factor, at least 0.
        end: f64,
    },
    /// From 1 to `end` in `steps` steps along half a cosine (Loshchilov, Hutter 2017, equation 5, without restarts):
    /// `end + (1 − end) (1 + cos(π k / steps)) / 2`.
    Cosine {
        /// The steps until the end.
        steps: u64,
        /// The last factor, at least 0.
        end: f64,
    },
    /// One cycle (Smith, Topin 2018) in the form of PyTorch, two phases of half a cosine: from `start` up to 1 in the
    /// first steps, then down to `end` at step `steps − 1`. The learning rate is the largest.
    OneCycle {
        /// The steps of both phases together.
        steps: u64,
        /// The share of the steps in which the rate rises, in `[0, 1)`.
        rising: f64,
        /// The first factor, at least 0.
        start: f64,
        /// The last factor, at least 0.
        end: f64,
    },
    /// From `start` to 1 in `steps` steps along a line, then another schedule from its step 0.
    WarmUp {
        /// The steps until the other schedule begins.
        steps: u64,
        /// The first factor, at least 0.
        start: f64,
        /// What follows.
        then: Box<Schedule>,
    },
}

impl Schedule {
    /// From 1 to 0 in `steps` steps along a line.
    pub fn linear(steps: u64) -> Self {
        Self::Polynomial { steps, power: 1.0, end: 0.0 }
    }

    /// From 1 to 0 in `steps` steps along half a cosine.
    pub fn cosine(steps: u64) -> Self {
        Self::Cosine { steps, end: 0.0 }
    }

    /// One cycle of `steps` steps: up from 1/25 in the first 30 %, down to 1/250 000.
    pub fn one_cycle(steps: u64) -> Self {
        Self::OneCycle { steps, rising: 0.3, start: 1.0 / 25.0, end: 1.0 / 25e4 }
    }

    /// This schedule after `steps` steps in which the factor rises from 0 to 1 along a line.
    #[must_use]
    pub fn after_warm_up(self, steps: u64) -> Self {
        Self::WarmUp { steps, start: 0.0, then: Box::new(self) }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        match self {
            Self::Constant => Ok(()),
            &Self::Step { every, factor } => {
                check("every", every as f64, every > 0, "at least 1")?;
                check_not_negative("factor", factor)
            }
            Self::MultiStep { factor, .. } | Self::Exponential { factor } => check_not_negative("factor", *factor),
            &Self::Polynomial { power, end, .. } => {
                check_positive("power", power)?;
                check_not_negative("end", end)
            }
            Self::Cosine { end, .. } => check_not_negative("end", *end),
            &Self::OneCycle { rising, start, end, .. } => {
                check_fraction("rising", rising)?;
                check_not_negative("start", start)?;
                check_not_negative("end", end)
            }
            Self::WarmUp { start, then, .. } => {
                check_not_negative("start", *start)?;
                then.validate()
            }
        }
    }

    /// The factor at `step`.
    pub fn at(&self, step: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => factor.powf((step / (*every).max(1)) as f64),
            Self::MultiStep { steps, factor } => factor.powf(steps.iter().filter(|&&at| at <= step).count() as f64),
            Self::Exponential { factor } => factor.powf(step as f64),
            Self::Polynomial { steps, power, end } => end + (1.0 - end) * (1.0 - part(step, *steps)).powf(*power),
            Self::Cosine { steps, end } => half_cosine(1.0, *end, part(step, *steps)),
            Self::OneCycle { steps, rising, start, end } => one_cycle(step as f64, *steps as f64, *rising, [*start, *end]),
            Self::WarmUp { steps, start, .. } if step < *steps => start + (1.0 - start) * part(step, *steps),
            Self::WarmUp { steps, then, .. } => then.at(step - steps),
        }
    }
}

/// How much of `steps` is done, in `[0, 1]`.
fn part(step: u64, steps: u64) -> f64 {
    if step < steps { step as f64 / steps as f64 } else { 1.0 }
}

/// From `from` to `to`, the derivative 0 at both ends.
fn half_cosine(from: f64, to: f64, part: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * part).cos()) / 2.0
}

fn one_cycle(step: f64, steps: f64, rising: f64, [start, end]: [f64; 2]) -> f64 {
    let (top, last) = (rising * steps - 1.0, steps - 1.0);
    if step >= last {
        end
    } else if step < top {
        half_cosine(start, 1.0, step / top)
    } else {
        let top = top.max(0.0);
        half_cosine(1.0, end, (step - top) / (last - top))
    }
}

/// A rule whose settings depend on the step: a function from the step, counted from 0, to the rule.
///
/// ```
/// use gradus_autodiff::{Tensor, grad};
/// use gradus_optimizers::{AdamW, Rule, Schedule, Scheduled};
///
/// let schedule = Schedule::cosine(180).after_warm_up(20);
/// let rule = Scheduled(|step| AdamW { learning_rate: 0.1 * schedule.at(step), ..AdamW::default() });
/// let mut x: Tensor = Tensor::vector(&[3.0, -2.0]);
/// let mut state = rule.init(&x);
/// for _ in 0..200 {
///     let gradient = grad(|x: &Tensor| x.square().sum(), &x);
///     rule.step(&mut x, &gradient, &mut state)?;
/// }
/// assert_eq!(state.step, 200);
/// assert!(x.square().sum().item() < 1e-3);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Scheduled<F>(pub F);

/// What [`Scheduled`] remembers: the step, and what its rule remembers, under the same names.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct ScheduledState<S: Params> {
    /// Steps taken.
    #[params(skip)]
    pub step: u64,
    /// The rule's own state.
    #[params(flatten)]
    pub rule: S,
}

impl<P: Params, R: Rule<P>, F: Fn(u64) -> R> Rule<P> for Scheduled<F> {
    type State = ScheduledState<R::State>;

    fn state_at(&self, step: u64, params: &P) -> Self::State {
        ScheduledState { step, rule: (self.0)(step).state_at(step, params) }
    }

    fn check(&self, params: &P, gradient: &P, state: &Self::State) -> Result<(), OptimizerError> {
        (self.0)(state.step).check(params, gradient, &state.rule)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut Self::State) {
        (self.0)(state.step).update(params, gradient, &mut state.rule);
        state.step += 1;
    }
}
