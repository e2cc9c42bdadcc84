//! What is trained, and what is measured of it.

use gradus_autodiff::Tensor;
use gradus_base::{Observer, stream};
use gradus_learning::in_context::gradient_descent::{
    Alignment, AttentionKind, AttentionOptions, Batch, CopyAnalysis, InContextError, InputLaw, LinearSelfAttention, NonlinearConfig,
    NonlinearHead, NonlinearIcl, OodAxis, Reference, RegressionTasks, SineTasks, Stack, StackConfig, TokenLayout, Tokens, TrainOptions,
    Trained, align, copy_analysis, interpolate, ood_curve, train, train_nonlinear,
};
use serde::{Deserialize, Serialize};

use super::{References, Sizes};
use crate::{Context, ExperimentError};

/// The tasks on which every comparison of a seed is made.
pub(super) fn evaluation_tasks(sizes: &Sizes, seed: u64) -> Result<Batch<f32>, InContextError> {
    sizes.tasks.sample(sizes.evaluated, &mut stream(seed, "icl-test", 0))
}

/// One trained layer beside one step of gradient descent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OneLayer {
    pub(super) seed: u64,
    pub(super) restarts: u32,
    /// Step, comparison on the evaluation tasks.
    pub(super) snapshots: Vec<(u64, Alignment)>,
    pub(super) alignment: Alignment,
    /// The loss halfway between the trained and the constructed weights.
    pub(super) interpolated: f64,
    /// `KᵀQ` and `P V`, trained and constructed, in the gauge of the interpolation.
    pub(super) products: [Vec<Vec<f64>>; 4],
    pub(super) ood: Vec<OodRow>,
}

/// Losses on tasks of another law or scale.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct OodRow {
    pub(super) law: InputLaw,
    pub(super) axis: OodAxis,
    pub(super) scale: f64,
    pub(super) loss_tf: f64,
    pub(super) loss_gd: f64,
}

pub(super) fn one_layer(
    context: &Context<'_>,
    sizes: &Sizes,
    references: &References,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<OneLayer, ExperimentError> {
    let options = TrainOptions { seed, ..sizes.train };
    let trained: Trained<f32> = train(&StackConfig::default(), &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test = evaluation_tasks(sizes, seed)?;
    let descent = references.one_step();
    let RegressionTasks { dimension, outputs, context: examples, .. } = sizes.tasks;
    let step = LinearSelfAttention::gd_construction(dimension, outputs, examples, references.eta_one, None)?;
    let built = Stack::new(vec![step], outputs);
    let snapshots = trained.snapshots.iter().map(|(step, stack)| Ok((*step, align(stack, &descent, &test)?)));
    let [own_key, own_value] = products(&interpolate(&trained.stack, &built, 0.0)?);
    let [built_key, built_value] = products(&interpolate(&trained.stack, &built, 1.0)?);
    Ok(OneLayer {
        seed,
        restarts: trained.restarts,
        snapshots: snapshots.collect::<Result<_, InContextError>>()?,
        alignment: align(&trained.stack, &descent, &test)?,
        interpolated: interpolate(&trained.stack, &built, 0.5)?.loss(&test)?,
        products: [own_key, built_key, own_value, built_value],
        ood: out_of_distribution(&trained.stack, &descent, sizes, seed)?,
    })
}

fn out_of_distribution(stack: &Stack, descent: &Reference, sizes: &Sizes, seed: u64) -> Result<Vec<OodRow>, ExperimentError> {
    let mut rows = Vec::new();
    for (law, axis, scales) in [
        (InputLaw::Uniform, OodAxis::InputRange, &[0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0][..]),
        (InputLaw::Normal, OodAxis::InputRange, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (InputLaw::Exponential, OodAxis::InputRange, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (InputLaw::Laplace, OodAxis::InputRange, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (InputLaw::Uniform, OodAxis::WeightScale, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ] {
        let points = ood_curve(stack, descent, &RegressionTasks { law, ..sizes.tasks }, axis, scales, sizes.shifted, seed)?;
        rows.extend(points.iter().map(|p| OodRow { law, axis, scale: p.scale, loss_tf: p.loss_model, loss_gd: p.loss_reference }));
    }
    Ok(rows)
}

/// `KᵀQ` and `P V` of the only layer.
fn products(stack: &Stack) -> [Vec<Vec<f64>>; 2] {
    let rows = |x: &Tensor| {
        let width = x.shape().last().copied().unwrap_or(1);
        x.as_slice().chunks(width).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect()
    };
    let head = &stack.layers[0].heads[0];
    [rows(&head.key_query()), rows(&head.projection_value())]
}

/// A trained recurrent layer of two steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TwoSteps {
    pub(super) restarts: u32,
    /// Loss after each step.
    pub(super) losses: Vec<f64>,
    /// Loss of two tuned steps of gradient descent, and of GD++.
    pub(super) gd: f64,
    pub(super) gd_plus_plus: f64,
}

pub(super) fn two_steps(
    context: &Context<'_>,
    sizes: &Sizes,
    references: &References,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<TwoSteps, ExperimentError> {
    let config = StackConfig { repeats: 2, ..StackConfig::default() };
    let options = TrainOptions { seed, ..sizes.two_steps };
    let trained: Trained<f32> = train(&config, &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test = evaluation_tasks(sizes, seed)?;
    Ok(TwoSteps {
        restarts: trained.restarts,
        losses: trained.stack.losses(&test)?,
        gd: references.two_steps().loss(&test)?,
        gd_plus_plus: references.two_steps_plus().loss(&test)?,
    })
}

pub(super) fn softmax(
    context: &Context<'_>,
    sizes: &Sizes,
    references: &References,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<Alignment, ExperimentError> {
    let attention = AttentionOptions { kind: AttentionKind::Softmax, ..AttentionOptions::default() };
    let config = StackConfig { heads: 2, init_scale: 0.5, attention, ..StackConfig::default() };
    let options = TrainOptions { seed, snapshot_every: None, ..sizes.train };
    let trained: Trained<f32> = train(&config, &sizes.tasks.into(), &options, observer, context.cancel())?;
    Ok(align(&trained.stack, &references.one_step(), &evaluation_tasks(sizes, seed)?)?)
}

/// Two layers on classic tokens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Classic {
    pub(super) loss: f64,
    /// That of one step of gradient descent.
    pub(super) loss_reference: f64,
    /// What the first layer merges.
    #[serde(flatten)]
    pub(super) copied: CopyAnalysis,
}

pub(super) fn classic(
    context: &Context<'_>,
    sizes: &Sizes,
    references: &References,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<Classic, ExperimentError> {
    let layout = TokenLayout::Classic { positions: 20, shared: false };
    let config = StackConfig { layers: 2, layout, init_scale: 0.5, ..StackConfig::default() };
    let options = TrainOptions { seed, snapshot_every: None, clip_norm: 10.0, ..sizes.train };
    let trained: Trained<f32> = train(&config, &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test = evaluation_tasks(sizes, seed)?;
    let few: Batch<f32> = sizes.tasks.sample(100, &mut stream(seed, "icl-copying", 0))?;
    Ok(Classic {
        loss: trained.stack.loss(&test)?,
        loss_reference: references.one_step().loss(&test)?,
        copied: copy_analysis(&trained.stack.layers[0], &Tokens::of(&few, layout)?)?,
    })
}

/// Attention with a network in front, on sine waves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sine {
    pub(super) loss: f64,
    /// The loss of the network trained for a constructed step of gradient descent.
    pub(super) fixed_head: f64,
    pub(super) zero: f64,
    /// Step, loss on that step's tasks.
    pub(super) history: Vec<(u64, f64)>,
    pub(super) fits: Vec<Fit>,
}

/// One wave, its examples, and what is predicted along it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fit {
    pub(super) amplitude: f64,
    pub(super) phase: f64,
    /// x and y of the examples in the context.
    pub(super) examples: Vec<[f64; 2]>,
    pub(super) curve: Vec<FitPoint>,
}

/// The predictions for one query.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct FitPoint {
    pub(super) x: f64,
    pub(super) target: f64,
    pub(super) untrained: f64,
    pub(super) trained: f64,
    /// By the network trained for a constructed step of gradient descent.
    pub(super) fixed_head: f64,
}

pub(super) fn sine(context: &Context<'_>, sizes: &Sizes, seed: u64, observer: &mut dyn Observer) -> Result<Sine, ExperimentError> {
    let tasks = SineTasks::default();
    let options = TrainOptions { seed, ..sizes.sine };
    let config = NonlinearConfig { init_scale: 0.5, ..NonlinearConfig::default() };
    let mut fitted = |head| train_nonlinear::<f32>(&config, head, &tasks.into(), &options, observer, context.cancel());
    let (trained, fixed) = (fitted(NonlinearHead::Trained)?, fitted(NonlinearHead::GradientDescent { eta: 1.0 })?);
    let test: Batch<f32> = tasks.sample(sizes.evaluated, &mut stream(seed, "icl-test", 0))?;
    let waves = [(0.2, 0.4), (0.35, 1.6), (0.5, 2.8)];
    let fits = waves.map(|(amplitude, phase)| fit(amplitude, phase, [&trained.initial, &trained.model, &fixed.model], seed));
    let thin = (options.steps / 150).max(1);
    Ok(Sine {
        loss: trained.model.loss(&test)?,
        fixed_head: fixed.model.loss(&test)?,
        zero: Reference::Zero.loss(&test)?,
        history: trained.history.iter().copied().filter(|(step, _)| step % thin == 0).collect(),
        fits: fits.into_iter().collect::<Result<_, _>>()?,
    })
}

/// What the untrained, the trained and the fixed-head model predict along a wave, from the same examples for every query.
fn fit(amplitude: f64, phase: f64, models: [&NonlinearIcl; 3], seed: u64) -> Result<Fit, InContextError> {
    const QUERIES: usize = 101;
    let wave = SineTasks { amplitude: [amplitude; 2], phase: [phase; 2], ..SineTasks::default() };
    let task: Batch<f32> = wave.sample(1, &mut stream(seed, "icl-wave", 0))?;
    let x: Vec<f64> = (0..QUERIES).map(|i| -5.0 + 10.0 * i as f64 / (QUERIES - 1) as f64).collect();
    let target = |x: f64| amplitude * (x + phase).sin();
    let repeated = |all: &Tensor| all.broadcast_to(&[QUERIES, task.examples(), 1]);
    let column = |f: &dyn Fn(f64) -> f64| Tensor::from_fn(&[QUERIES, 1], |i| f(x[i]) as f32);
    let batch = Batch::new(repeated(task.inputs()), repeated(task.targets()), column(&|x| x), column(&target))?;
    let [untrained, trained, fixed] = models.map(|model| model.predict(&batch));
    let (untrained, trained, fixed) = (untrained?, trained?, fixed?);
    let at = |predicted: &Tensor, i: usize| f64::from(predicted.as_slice()[i]);
    let point = |(i, &x): (usize, &f64)| FitPoint {
        x,
        target: target(x),
        untrained: at(&untrained, i),
        trained: at(&trained, i),
        fixed_head: at(&fixed, i),
    };
    let examples = (0..task.examples()).map(|i| [at(task.inputs(), i), at(task.targets(), i)]).collect();
    Ok(Fit { amplitude, phase, examples, curve: x.iter().enumerate().map(point).collect() })
}
