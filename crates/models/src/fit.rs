//! The training loop.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use gradus_autodiff::{Params, Scalar, Tensor, value_and_grad};
use gradus_base::{Cancel, Interrupted, stream};
use gradus_checkpoint::{Checkpoint, CheckpointError};
use gradus_optimizers::{OptimizerError, Rule, clip_norm};

use crate::{EarlyStop, Pass, files};

/// How long and how [`fit`] trains.
#[derive(Clone, Debug, Default)]
pub struct FitOptions {
    /// The number of steps.
    pub steps: u64,
    /// The largest norm of a gradient over all tensors; longer ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// Where and how often the state of the training is saved.
    pub saving: Option<Saving>,
    /// Stops the training between two steps; with `saving`, its state is saved first.
    pub cancel: Cancel,
    /// Of what is random in the model, such as dropout: the pass of each step has a stream of its own.
    pub seed: u64,
}

/// Where and how often the state of a training is saved. A training that finds its file goes on from there, and gives
/// the same bits as one that was never interrupted.
#[derive(Clone, Debug)]
pub struct Saving {
    /// The safetensors file: the model under `model.`, the rule's state under `state.`, the losses and scores so far, and the step.
    pub file: PathBuf,
    /// Steps between two savings; 0 saves only at the end or on interruption.
    pub every: u64,
}

/// One step of a training, as its watcher sees it.
#[derive(Debug)]
pub struct Step<'a, P, S> {
    /// Steps done, this one included.
    pub step: u64,
    /// The loss of this step's batch, before the update.
    pub loss: f64,
    /// The norm of the gradient before clipping; `None` without clipping.
    pub gradient_norm: Option<f64>,
    /// The model after the update.
    pub model: &'a P,
    /// The rule's state after the update, such as the average that [`Averaged`](gradus_optimizers::Averaged) keeps.
    pub state: &'a S,
    scores: &'a RefCell<Vec<f64>>,
}

impl<P, S> Step<'_, P, S> {
    /// Notes a validation score, and breaks when `stop` would after all scores so far. They are saved with the training,
    /// so that an interrupted one stops at the same step.
    pub fn stop_early(&self, score: f64, mut stop: EarlyStop) -> ControlFlow<()> {
        let mut scores = self.scores.borrow_mut();
        scores.push(score);
        scores.iter().map(|&score| stop.update(score)).last().unwrap_or(ControlFlow::Continue(()))
    }
}

/// What came out of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted<P, S> {
    /// The model after the last step.
    pub model: P,
    /// The rule's state after the last step.
    pub state: S,
    /// The loss of each step's batch, before its update.
    pub losses: Vec<f64>,
    /// The scores noted by [`Step::stop_early`].
    pub scores: Vec<f64>,
    /// Whether the watcher ended the training before the last step.
    pub stopped: bool,
}

/// Why a training did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The loss is infinite or not a number.
    #[error("the loss of step {step} is {loss}: the training diverged")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// Its loss.
        loss: f64,
    },
    /// The loss is not a scalar.
    #[error("the loss has shape {shape:?}, but must have exactly one element")]
    LossShape {
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A setting of the rule is out of range, or the state belongs to another model.
    #[error(transparent)]
    Rule(#[from] OptimizerError),
    /// The saved state cannot be read or written, or belongs to another model.
    #[error(transparent)]
    Saving(#[from] CheckpointError),
    /// The saved state's entry for the step is missing or not a number, or does not fit the losses.
    #[error("{}: the metadata entry `step` is {found:?}, expected the number of saved losses, {losses}", file.display())]
    SavedStep {
        /// The file.
        file: PathBuf,
        /// The entry, if there is one.
        found: Option<String>,
        /// The number of losses in the file.
        losses: usize,
    },
    /// The training was cancelled; with [`FitOptions::saving`] it can go on later.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// The watcher that only watches: for [`fit`] without early stopping or progress.
pub fn carry_on<P, S>(_: &Step<'_, P, S>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Trains `model`: at step `k` (from 0) the gradient of `loss` on `batches(k)` is given to `rule`, and `watch` sees the
/// result; when it breaks, the training ends. Batches are a function of the step alone, so that a resumed training sees
/// those that it would have seen.
///
/// `loss` hands its [`Pass`] to layers that behave differently in training. What they draw is a function of
/// [`FitOptions::seed`] and the step alone, and their buffers, such as running statistics, are set after each step.
///
/// # Errors
/// [`FitError`]. Nothing is lost on interruption if [`FitOptions::saving`] is set.
pub fn fit<P: Params, R: Rule<P>, B>(
    model: P,
    rule: &R,
    mut batches: impl FnMut(u64) -> B,
    loss: impl Fn(&P, &B, &mut Pass<P::Elem>) -> Tensor<P::Elem>,
    options: &FitOptions,
    mut watch: impl FnMut(&Step<'_, P, R::State>) -> ControlFlow<()>,
) -> Result<Fitted<P, R::State>, FitError> {
    let mut run = start(model, rule, options.saving.as_ref())?;
    let scores = RefCell::new(std::mem::take(&mut run.scores));
    while (run.losses.len() as u64) < options.steps && !run.stopped {
        let step = run.losses.len() as u64;
        if let Err(interrupted) = options.cancel.check() {
            save(&run, &scores.borrow(), options.saving.as_ref())?;
            return Err(interrupted.into());
        }
        let batch = batches(step);
        let mut shape = None;
        let mut pass = Pass::training(stream(options.seed, "training pass", step));
        let checked = |model: &P| {
            let value = loss(model, &batch, &mut pass);
            if value.count() == 1 { value } else { wrong_shape(&value, &mut shape) }
        };
        let (value, mut gradient) = value_and_grad(checked, &run.model);
        if let Some(shape) = shape {
            return Err(FitError::LossShape { shape });
        }
        let loss = value.item().to_f64();
        if !loss.is_finite() {
            return Err(FitError::Diverged { step: step + 1, loss });
        }
        let mut gradient_norm = None;
        if let Some(limit) = options.clip_norm {
            let (clipped, norm) = clip_norm(&gradient, limit)?;
            (gradient, gradient_norm) = (clipped, Some(norm));
        }
        pass.fold(&mut run.model);
        rule.step(&mut run.model, &gradient, &mut run.state)?;
        run.losses.push(loss);
        run.stopped =
            watch(&Step { step: step + 1, loss, gradient_norm, model: &run.model, state: &run.state, scores: &scores }).is_break();
        if options.saving.as_ref().is_some_and(|saving| saving.every > 0 && (step + 1).is_multiple_of(saving.every)) {
            save(&run, &scores.borrow(), options.saving.as_ref())?;
        }
    }
    run.scores = scores.into_inner();
    save(&run, &run.scores, options.saving.as_ref())?;
    Ok(run)
}

fn wrong_shape<T: Scalar>(value: &Tensor<T>, shape: &mut Option<Vec<usize>>) -> Tensor<T> {
    *shape = Some(value.shape().to_vec());
    Tensor::scalar(T::ZERO)
}

/// The beginning of a training, or where the saved one stands.
fn start<P: Params, R: Rule<P>>(model: P, rule: &R, saving: Option<&Saving>) -> Result<Fitted<P, R::State>, FitError> {
    let Some(file) = saving.map(|saving| saving.file.as_path()).filter(|file| file.exists()) else {
        let state = rule.init(&model);
        return Ok(Fitted { model, state, losses: Vec::new(), scores: Vec::new(), stopped: false });
    };
    let saved = Checkpoint::read(file)?;
    let (losses, scores) = (saved.to_f64("losses")?, saved.to_f64("scores")?);
    let step = saved_step(file, &saved, losses.len())?;
    let model = files::extract(&saved, "model.", &model)?;
    let state = files::extract(&saved, "state.", &rule.state_at(step, &model))?;
    Ok(Fitted { model, state, losses, scores, stopped: saved.metadata.contains_key("stopped") })
}

fn saved_step(file: &Path, saved: &Checkpoint, losses: usize) -> Result<u64, FitError> {
    let found = saved.metadata.get("step").cloned();
    match found.as_deref().and_then(|text| text.parse().ok()) {
        Some(step) if step == losses as u64 => Ok(step),
        _ => Err(FitError::SavedStep { file: file.to_owned(), found, losses }),
    }
}

fn save<P: Params, S: Params>(run: &Fitted<P, S>, scores: &[f64], saving: Option<&Saving>) -> Result<(), CheckpointError> {
    let Some(saving) = saving else { return Ok(()) };
    let mut checkpoint = Checkpoint::new();
    files::insert(&mut checkpoint, "model.", &run.model)?;
    files::insert(&mut checkpoint, "state.", &run.state)?;
    checkpoint.insert_f64("losses", &[run.losses.len()], &run.losses)?;
    checkpoint.insert_f64("scores", &[scores.len()], scores)?;
    checkpoint.metadata.insert("step".into(), run.losses.len().to_string());
    if run.stopped {
        checkpoint.metadata.insert("stopped".into(), "yes".into());
    }
    checkpoint.write(&saving.file)
}
