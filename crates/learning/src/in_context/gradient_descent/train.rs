//! Training on a stream of tasks.

use std::ops::{ControlFlow, Range};

use gradus_autodiff::{Params, Scalar, Tensor};
use gradus_base::{Cancel, Observer};
use gradus_models::{FitOptions, fit};
use gradus_optimizers::Adam;
use serde::{Deserialize, Serialize};

use super::error::{InContextError, Result, option, positive};
use super::{AttentionKind, Batch, Stack, StackConfig, TaskDistribution, TokenLayout, optimal_eta};

/// How to train. The default is the paper's for one and two layers, where batches of 512 and 1,500 steps come as far;
/// [`for_depth`](Self::for_depth) is for more.
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
    /// How many times a run that ended role-swapped (see [`train`]) is started again with other initial weights and tasks;
    /// `None` does not judge runs, for models that learn late.
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
    /// The paper's options for stacks of so many layer applications: gradients are clipped at a norm of 10 instead of 0.001
    /// from three on, and the learning rate is 5·10⁻⁴ instead of 10⁻³ from four on. They go with
    /// [`AttentionOptions::for_depth`](super::AttentionOptions::for_depth). Layers with weights of their own want
    /// 50,000 steps.
    pub fn for_depth(depth: usize) -> Self {
        Self { clip_norm: if depth > 2 { 10.0 } else { 1e-3 }, learning_rate: if depth > 3 { 5e-4 } else { 1e-3 }, ..Self::default() }
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`] or [`InContextError::Optimizer`].
    pub fn validate(&self) -> Result<()> {
        option("steps", self.steps as f64, self.steps > 0, "at least 1")?;
        positive("batch", self.batch)?;
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
/// About one run in five ends *role-swapped*, in a stationary point where values read the inputs and keys the targets, which
/// learns one direction of the inputs and predicts little better than 0. Of the loss of predicting 0, `½ s² σ² d` for each of o
/// outputs, one step of gradient descent leaves the share `q = (d − 0.2)/(N + d − 0.2)`, the swapped point `1 − (1 − q)/(d o)`.
/// A run whose mean loss over the steps 950 to 1000 exceeds 0.85 of that loss is started again. Where 0.85 does not lie between
/// the two shares, at least 0.05 from each, their midpoint takes its place (d = 3, N = 10: 0.48).
///
/// Runs are not judged where the midpoint lies closer than that (d = 1, or d beyond some 9 N), for tasks without
/// closed form (other laws, distractors, sine waves), for other tokens than constructed and other attention than linear, and
/// when they have fewer than 1,000 steps.
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
    let swapped_above = options.restarts.and_then(|_| role_swapped_above(config, tasks));
    let mut restarts = 0;
    loop {
        let seed = derived_seed(options.seed, restarts);
        let mut stack = Stack::random(config, tasks, &mut gradus_base::stream(seed, "icl-weights", 0))?;
        let mut run = Run { options, tasks, seed, swapped_above, observer: &mut *observer, cancel };
        match run.descend(&mut stack, Stack::training_loss)? {
            Outcome::Finished { history, snapshots } => return Ok(Trained { stack, history, restarts, snapshots }),
            Outcome::RoleSwapped { loss } if options.restarts == Some(restarts) => return Err(InContextError::Stuck { loss }),
            Outcome::RoleSwapped { loss } => observer.message(&format!("role-swapped with loss {loss:.4}: starting again")),
        }
        restarts += 1;
    }
}

/// The steps whose mean loss tells whether a run is role-swapped.
const JUDGED: Range<u64> = 950..1000;
/// The share of the zero predictor's loss above which it is, where this tells the two apart.
const ROLE_SWAPPED: f64 = 0.85;
/// How far from the shares of gradient descent and of the swapped point a share must lie to tell them apart.
const MARGIN: f64 = 0.05;

/// The loss above which a run is role-swapped, or `None` where no loss tells.
fn role_swapped_above(config: &StackConfig, tasks: &TaskDistribution) -> Option<f64> {
    let TaskDistribution::Regression(tasks) = tasks else { return None };
    let linear = config.attention.kind == AttentionKind::Linear && !config.attention.sum_norm;
    if !linear || config.layout != TokenLayout::Constructed {
        return None;
    }
    let optimum = optimal_eta(tasks).ok()?;
    let found = optimum.loss / optimum.zero_loss;
    let swapped = 1.0 - (1.0 - found) / (tasks.dimension * tasks.outputs) as f64;
    let tells = |share: &f64| found + MARGIN <= *share && *share <= swapped - MARGIN;
    [ROLE_SWAPPED, 0.5 * (found + swapped)].into_iter().find(tells).map(|share| share * optimum.zero_loss)
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

/// One run of training. The options and the tasks must be valid.
pub(super) struct Run<'a> {
    pub(super) options: &'a TrainOptions,
    pub(super) tasks: &'a TaskDistribution,
    pub(super) seed: u64,
    /// The mean loss of the judged steps above which the run is role-swapped; `None` does not judge.
    pub(super) swapped_above: Option<f64>,
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
        let (mut judged, mut swapped) = (0.0, None);
        let batches = |step| self.tasks.draw(self.options.batch, &mut gradus_base::stream(self.seed, "icl-batch", step));
        let fitted = fit(
            model.clone(),
            &self.options.adam(),
            batches,
            |m, batch, _| loss(m, batch),
            &fit_options,
            |step| {
                if every.is_some_and(|every| step.step.is_multiple_of(every) || step.step == steps) {
                    snapshots.push((step.step, step.model.clone()));
                }
                self.observer.progress(step.step, Some(steps), "training");
                if JUDGED.contains(&(step.step - 1)) {
                    judged += step.loss / (JUDGED.end - JUDGED.start) as f64;
                }
                if step.step == JUDGED.end && self.swapped_above.is_some_and(|bound| judged > bound) {
                    swapped = Some(judged);
                }
                if swapped.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        *model = fitted.model;
        if let Some(loss) = swapped {
            return Ok(Outcome::RoleSwapped { loss });
        }
        if model.leaves().iter().any(|x| !x.is_finite()) {
            return Err(InContextError::Diverged { step: steps });
        }
        Ok(Outcome::Finished { history: (0..).zip(fitted.losses).collect(), snapshots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_context::gradient_descent::{AttentionOptions, RegressionTasks, SineTasks};

    /// The share of the zero predictor's loss above which a run is role-swapped.
    fn share(dimension: usize, context: usize, outputs: usize) -> Option<f64> {
        let tasks = RegressionTasks { dimension, context, outputs, ..RegressionTasks::default() };
        let zero = optimal_eta(&tasks).unwrap().zero_loss;
        role_swapped_above(&StackConfig::default(), &tasks.into()).map(|loss| loss / zero)
    }

    #[test]
    fn the_bound_lies_between_gradient_descent_and_the_swapped_point() {
        let close = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-9);
        // 9.8/19.8 = 0.495 and 0.9 + 0.0495 = 0.949: 0.85 tells.
        assert!(close(share(10, 10, 1), 0.85));
        // Without 0.85 between them: (0.21875 + 0.7395833)/2, (0.275362 + 0.818841)/2, and 0.85 too close to 0.864865.
        assert!(close(share(3, 10, 1), 0.479_166_666_7), "{:?}", share(3, 10, 1));
        assert!(close(share(4, 10, 1), 0.547_101_449_3), "{:?}", share(4, 10, 1));
        assert!(close(share(5, 10, 1), 0.594_594_594_6), "{:?}", share(5, 10, 1));
        // Gradient descent itself leaves 59.8/69.8 = 0.857.
        assert!(share(60, 10, 1).is_some_and(|share| share > 0.9));
        // More outputs leave the swapped point fewer of the weights.
        assert!(close(share(3, 10, 2), 0.5 * (0.21875 + 1.0 - 0.78125 / 6.0)));
    }

    #[test]
    fn what_no_loss_tells_is_not_judged() {
        assert_eq!(share(1, 10, 1), None);
        assert_eq!(share(100, 10, 1), None);
        let tasks = RegressionTasks::default();
        let judged = |config: StackConfig, tasks: TaskDistribution| role_swapped_above(&config, &tasks).is_some();
        let default = StackConfig::default();
        assert!(judged(default, tasks.into()));
        assert!(!judged(default, SineTasks::default().into()));
        assert!(!judged(default, RegressionTasks { distractors: 2, ..tasks }.into()));
        let softmax = AttentionOptions { kind: AttentionKind::Softmax, ..AttentionOptions::default() };
        assert!(!judged(StackConfig { attention: softmax, ..default }, tasks.into()));
        assert!(!judged(StackConfig { layout: TokenLayout::Classic { positions: 2, shared: false }, ..default }, tasks.into()));
    }
}
