//! Training on a stream of tasks.

use std::cell::RefCell;
use std::ops::ControlFlow;

use gradus_autodiff::{Params, Scalar, Tensor};
use gradus_base::{Cancel, Observer};
use gradus_models::{FitOptions, fit};
use gradus_optimizers::Adam;
use serde::{Deserialize, Serialize};

use super::batch::half_squared_error;
use super::error::{InContextError, Result, option};
use super::{Batch, Stack, StackConfig, TaskDistribution};

/// How to train. The default is the paper's for one and two layers; batches of 512 and 1,500 steps come as far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// Steps, each on new tasks.
    pub steps: u64,
    /// Tasks in a step.
    pub batch: usize,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// β₂ of Adam; its β₁ is 0.9.
    pub beta2: f64,
    /// Bound of the gradient's Euclidean norm over all weights; 0.001 for one or two layers, 10 for more.
    pub clip_norm: f64,
    /// Decides the initial weights and the tasks.
    pub seed: u64,
    /// How many times a run that ended role-swapped is started again with other initial weights and tasks; `None` does not
    /// judge runs, for models that learn late, such as softmax attention with one head.
    pub restarts: Option<u32>,
    /// The weights are kept before the first step, after every so many, and after the last.
    pub snapshot_every: Option<u64>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            steps: 5000,
            batch: 2048,
            learning_rate: 1e-3,
            beta2: 0.98,
            clip_norm: 1e-3,
            seed: 0,
            restarts: Some(3),
            snapshot_every: None,
        }
    }
}

impl TrainOptions {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`] or [`InContextError::Optimizer`].
    pub fn validate(&self) -> Result<()> {
        option("steps", self.steps as f64, self.steps > 0, "at least 1")?;
        option("batch", self.batch as f64, self.batch > 0, "at least 1")?;
        option("clip_norm", self.clip_norm, self.clip_norm > 0.0, "positive")?;
        option("snapshot_every", 0.0, self.snapshot_every != Some(0), "at least 1")?;
        Ok(self.adam().validate()?)
    }

    fn adam(&self) -> Adam {
        Adam { learning_rate: self.learning_rate, beta2: self.beta2, ..Adam::default() }
    }
}

/// A trained stack and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained<T: Scalar = f32> {
    /// The weights after the last step.
    pub stack: Stack<T>,
    /// Each step, counted from 0, with its loss on the tasks of that step before the update.
    pub history: Vec<(u64, f64)>,
    /// How many runs ended role-swapped before this one.
    pub restarts: u32,
    /// The weights after so many steps, when asked for.
    pub snapshots: Vec<(u64, Stack<T>)>,
}

/// Trains a stack on a stream of tasks: Adam with clipped gradients.
///
/// About one run in five ends in a stationary point where values read the inputs and keys the targets, which predicts little
/// better than 0. A run whose mean loss over the steps 950 to 1000 exceeds 0.85 of that of predicting 0 on the same tasks
/// (`½ s² σ² d` in expectation) is such a *role-swapped* one: it is started again. Runs of fewer than 1,000 steps are not judged.
///
/// # Errors
/// Those of validation; [`InContextError::Stuck`] when all restarts end role-swapped; [`InContextError::Diverged`] for a loss
/// that is not finite; [`InContextError::Interrupted`].
pub fn train<T: Scalar>(
    config: &StackConfig,
    tasks: &TaskDistribution,
    options: &TrainOptions,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Trained<T>> {
    options.validate()?;
    tasks.validate()?;
    let mut restarts = 0;
    loop {
        let seed = derived_seed(options.seed, restarts);
        let mut stack = Stack::random(config, tasks, &mut gradus_base::stream(seed, "icl-weights", 0))?;
        stack.validate()?;
        let mut run = Run { options, tasks, seed, observer: &mut *observer, cancel };
        match run.descend(&mut stack, Stack::training_loss)? {
            Outcome::Finished { history, snapshots } => return Ok(Trained { stack, history, restarts, snapshots }),
            Outcome::RoleSwapped { loss } if options.restarts == Some(restarts) => return Err(InContextError::Stuck { loss }),
            Outcome::RoleSwapped { loss } => observer.message(&format!("role-swapped with loss {loss:.4}: starting again")),
        }
        restarts += 1;
    }
}

/// The seed of a restart; the first run has the user's own.
fn derived_seed(seed: u64, restart: u32) -> u64 {
    use rand::RngExt;
    if restart == 0 { seed } else { gradus_base::stream(seed, "icl-restart", u64::from(restart)).random() }
}

/// How a run ended.
pub(super) enum Outcome<P> {
    Finished { history: Vec<(u64, f64)>, snapshots: Vec<(u64, P)> },
    RoleSwapped { loss: f64 },
}

/// The steps whose mean loss tells whether a run is role-swapped.
const JUDGED: std::ops::Range<u64> = 950..1000;
/// The share of the zero predictor's loss above which it is.
const ROLE_SWAPPED: f64 = 0.85;

/// One run of training. The options and the tasks must be valid.
pub(super) struct Run<'a> {
    pub(super) options: &'a TrainOptions,
    pub(super) tasks: &'a TaskDistribution,
    pub(super) seed: u64,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) cancel: &'a Cancel,
}

impl Run<'_> {
    /// Moves the model down the loss, each step on new tasks.
    pub(super) fn descend<P: Params>(
        &mut self,
        model: &mut P,
        loss: impl Fn(&P, &Batch<P::Elem>) -> Tensor<P::Elem>,
    ) -> Result<Outcome<P>> {
        let steps = self.options.steps;
        let fit_options =
            FitOptions { steps, clip_norm: Some(self.options.clip_norm), cancel: self.cancel.clone(), ..FitOptions::default() };
        let every = self.options.snapshot_every;
        let mut snapshots: Vec<_> = every.map(|_| (0, model.clone())).into_iter().collect();
        let judge = RefCell::new(Judge::default());
        let check_roles = self.options.restarts.is_some();
        let batches = |step| {
            let batch = self.tasks.draw(self.options.batch, &mut gradus_base::stream(self.seed, "icl-batch", step));
            judge.borrow_mut().see_tasks(step, &batch);
            batch
        };
        let fitted = fit(model.clone(), &self.options.adam(), batches, loss, &fit_options, |step| {
            if every.is_some_and(|every| step.step.is_multiple_of(every) || step.step == steps) {
                snapshots.push((step.step, step.model.clone()));
            }
            self.observer.progress(step.step, Some(steps), "training");
            judge.borrow_mut().see_loss(step.step - 1, step.loss);
            if check_roles && judge.borrow().role_swapped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        *model = fitted.model;
        if check_roles && judge.borrow().role_swapped() {
            return Ok(Outcome::RoleSwapped { loss: judge.borrow().own / judge.borrow().judged as f64 });
        }
        if model.leaves().iter().any(|x| !x.is_finite()) {
            return Err(InContextError::Diverged { step: steps });
        }
        Ok(Outcome::Finished { history: (0..).zip(fitted.losses).collect(), snapshots })
    }
}

/// Tells role-swapped runs by their losses in the steps that decide.
#[derive(Default)]
struct Judge {
    own: f64,
    zero: f64,
    judged: u64,
}

impl Judge {
    fn see_tasks<T: Scalar>(&mut self, step: u64, batch: &Batch<T>) {
        if JUDGED.contains(&step) {
            let targets = batch.query_targets();
            self.zero += half_squared_error(&targets.zeros_like(), targets).item().to_f64();
        }
    }

    fn see_loss(&mut self, step: u64, loss: f64) {
        if JUDGED.contains(&step) {
            self.own += loss;
            self.judged += 1;
        }
    }

    fn role_swapped(&self) -> bool {
        self.judged == JUDGED.end - JUDGED.start && self.own > ROLE_SWAPPED * self.zero
    }
}
