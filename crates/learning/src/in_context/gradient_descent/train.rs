//! Training on a stream of tasks.

use gradus_autodiff::{Params, Scalar, Tensor, value_and_grad};
use gradus_base::{Cancel, Observer};
use gradus_optimizers::{Adam, Rule, clip_norm};
use serde::{Deserialize, Serialize};

use super::batch::half_squared_error;
use super::error::{InContextError, Result, option};
use super::{Batch, Stack, StackConfig, TaskDistribution, Tokens};

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
    /// How many times a run that ended role-swapped is started again with other initial weights and tasks.
    pub restarts: u32,
    /// The weights are kept after every so many steps, and before the first.
    pub snapshot_every: Option<u64>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { steps: 5000, batch: 2048, learning_rate: 1e-3, beta2: 0.98, clip_norm: 1e-3, seed: 0, restarts: 3, snapshot_every: None }
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
    for restarts in 0..=options.restarts {
        let seed = derived_seed(options.seed, restarts);
        let mut stack = Stack::random(config, tasks, &mut gradus_base::stream(seed, "icl-weights", 0))?;
        stack.validate()?;
        // Reports what is wrong with the layout once, so that the loss need not.
        Tokens::of(&tasks.sample::<T>(1, &mut gradus_base::stream(seed, "icl-batch", 0))?, config.layout)?;
        let loss = |stack: &Stack<T>, batch: &Batch<T>| match Tokens::of(batch, stack.layout) {
            Ok(tokens) => stack.training_loss(&tokens, batch.query_targets()),
            Err(_) => Tensor::scalar(T::from_f64(f64::NAN)),
        };
        let mut run = Run { options, tasks, seed, check_roles: true, observer: &mut *observer, cancel };
        match run.descend(&mut stack, loss)? {
            Outcome::Finished { history, snapshots } => return Ok(Trained { stack, history, restarts, snapshots }),
            Outcome::RoleSwapped { loss } if restarts == options.restarts => return Err(InContextError::Stuck { loss }),
            Outcome::RoleSwapped { loss } => observer.message(&format!("role-swapped with loss {loss:.4}: starting again")),
        }
    }
    // The loop returns in its last round.
    Err(InContextError::Stuck { loss: f64::NAN })
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

/// One run of training.
pub(super) struct Run<'a> {
    pub(super) options: &'a TrainOptions,
    pub(super) tasks: &'a TaskDistribution,
    pub(super) seed: u64,
    pub(super) check_roles: bool,
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
        let adam = self.options.adam();
        let mut state = adam.init(model);
        let (mut history, mut snapshots) = (Vec::with_capacity(self.options.steps as usize), Vec::new());
        let (mut own, mut zero) = (0.0, 0.0);
        for step in 0..self.options.steps {
            self.cancel.check()?;
            if self.options.snapshot_every.is_some_and(|every| step.is_multiple_of(every)) {
                snapshots.push((step, model.clone()));
            }
            let batch = self.tasks.sample(self.options.batch, &mut gradus_base::stream(self.seed, "icl-batch", step))?;
            let (value, gradient) = value_and_grad(|model: &P| loss(model, &batch), model);
            let value = value.item().to_f64();
            if !value.is_finite() {
                return Err(InContextError::Diverged { step });
            }
            adam.step(model, &clip_norm(&gradient, self.options.clip_norm).0, &mut state)?;
            history.push((step, value));
            if self.check_roles && JUDGED.contains(&step) {
                own += value;
                zero += half_squared_error(&batch.query_targets().zeros_like(), batch.query_targets()).item().to_f64();
                if step + 1 == JUDGED.end && own > ROLE_SWAPPED * zero {
                    return Ok(Outcome::RoleSwapped { loss: own / (JUDGED.end - JUDGED.start) as f64 });
                }
            }
            self.observer.progress(step + 1, Some(self.options.steps), "training");
        }
        if self.options.snapshot_every.is_some() {
            snapshots.push((self.options.steps, model.clone()));
        }
        if model.leaves().iter().any(|x| !x.is_finite()) {
            return Err(InContextError::Diverged { step: self.options.steps });
        }
        Ok(Outcome::Finished { history, snapshots })
    }
}
