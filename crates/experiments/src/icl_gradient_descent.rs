//! von Oswald et al., "Transformers Learn In-Context by Gradient Descent" (ICML 2023).
//!
//! A layer of linear self-attention can be built that performs one step of gradient descent on the examples in its
//! context. Trained on nothing but regression tasks, such a layer becomes the built one.

mod figures;

use std::path::Path;

use gradus_autodiff::Tensor;
use gradus_base::{Observer, stream};
use gradus_learning::in_context::gradient_descent::{
    Alignment, AttentionKind, AttentionOptions, Batch, CopyAnalysis, InContextError, InputLaw, LinearSelfAttention, NonlinearConfig,
    NonlinearHead, OodAxis, Reference, RegressionTasks, SineTasks, Stack, StackConfig, TokenLayout, Tokens, TrainOptions, Trained, align,
    copy_analysis, interpolate, ood_curve, optimal_eta, train, train_nonlinear, tune_gd, tune_gd_plus_plus,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::common::statistics::largest_absolute;
use crate::{Bound, ByProfile, ClaimSpec, Context, Experiment, ExperimentError, OptionKind, OptionSpec, Outcome, Profile};

const FULL: &[Profile] = &[Profile::Full];

pub(crate) static EXPERIMENT: Experiment = Experiment {
    slug: "icl-gradient-descent",
    title: "Transformers Learn In-Context by Gradient Descent",
    authors: "Johannes von Oswald, Eyvind Niklasson, Ettore Randazzo, João Sacramento, Alexander Mordvintsev, Andrey Zhmoginov, \
              Max Vladymyrov",
    year: 2023,
    arxiv: Some("2212.07677"),
    summary: "A layer of linear self-attention whose weights are written down performs one step of gradient descent on the regression \
              examples in its context. Here that construction is checked against gradient descent, layers are trained on random \
              regression tasks, and it is measured how close they come to the construction: in loss, in predictions, in the \
              derivatives of their predictions, and when their weights are averaged with the constructed ones.",
    data: "Generated tasks. With the option tasks, the construction is also checked on tasks of your own (JSON).",
    takes_data: false,
    claims: &[
        ClaimSpec {
            id: "construction",
            text: "The constructed layers perform gradient descent exactly (Proposition 1), for up to ten steps",
            metric: "largest difference of a prediction over the tasks, in f64",
            bound: Bound::AtMost(1e-9),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "loss",
            text: "A trained layer reaches the loss of one step of gradient descent with the best step size",
            metric: "loss of the trained layer over that of gradient descent, on the same tasks",
            bound: Bound::Within(0.97, 1.03),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "cosine",
            text: "Its predictions depend on the query as those of gradient descent do",
            metric: "mean cosine of the derivatives of the predictions",
            bound: Bound::AtLeast(0.98),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "predictions",
            text: "Its predictions are those of gradient descent",
            metric: "mean absolute difference of the predictions",
            bound: Bound::AtMost(0.05),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "two-steps",
            text: "Two steps of a trained recurrent layer beat two steps of tuned gradient descent, as GD++ does",
            metric: "loss of the trained layer over that of tuned two-step gradient descent",
            bound: Bound::AtMost(0.92),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "interpolation",
            text: "Halfway between the trained and the constructed weights the loss is still that of gradient descent",
            metric: "loss of the averaged weights over that of gradient descent",
            bound: Bound::Within(0.95, 1.05),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "sine",
            text: "With a network in front of the attention, sine waves are learned in context",
            metric: "loss over that of predicting 0",
            bound: Bound::AtMost(0.35),
            gate: false,
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
    ],
    options: &[OptionSpec {
        name: "tasks",
        help: "A JSON file of regression tasks on which the construction is checked too.",
        default: "",
        kind: OptionKind::File(|file| read_tasks(file).map(drop)),
    }],
    seeds: ByProfile { smoke: 1, quick: 1, full: 5 },
    seconds: ByProfile { smoke: 0.2, quick: 1.5, full: 160.0 },
    run,
};

/// The sizes of a profile.
struct Sizes {
    tasks: RegressionTasks,
    /// Tasks of the construction check.
    checked: usize,
    /// Tasks of every comparison.
    evaluated: usize,
    train: TrainOptions,
}

impl Sizes {
    fn of(profile: Profile) -> Self {
        let five = RegressionTasks { dimension: 5, context: 10, ..RegressionTasks::default() };
        let ten = RegressionTasks { dimension: 10, context: 10, ..RegressionTasks::default() };
        let train = |steps, batch, every| TrainOptions { steps, batch, snapshot_every: Some(every), ..TrainOptions::default() };
        match profile {
            Profile::Smoke => Self { tasks: five, checked: 100, evaluated: 500, train: train(20, 32, 10) },
            Profile::Quick => Self { tasks: five, checked: 1000, evaluated: 10_000, train: train(1500, 256, 100) },
            Profile::Full => Self { tasks: ten, checked: 1000, evaluated: 10_000, train: train(5000, 512, 250) },
        }
    }
}

/// One trained layer beside one step of gradient descent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OneLayer {
    seed: u64,
    restarts: u32,
    /// Step, loss on that step's tasks: thinned to a few hundred points.
    history: Vec<(u64, f64)>,
    /// Step, comparison on the evaluation tasks.
    snapshots: Vec<(u64, Alignment)>,
    alignment: Alignment,
    /// The loss halfway between the trained and the constructed weights.
    interpolated: f64,
    /// `KᵀQ` and `P V`, trained and constructed, in the gauge of the interpolation.
    products: [Vec<Vec<f64>>; 4],
    ood: Vec<OodCurve>,
}

/// Losses out of distribution.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OodCurve {
    law: InputLaw,
    axis: OodAxis,
    /// Scale, loss of the trained layer, loss of gradient descent.
    points: Vec<[f64; 3]>,
}

/// A trained recurrent layer of two steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TwoSteps {
    restarts: u32,
    /// Loss after each step: trained, then tuned gradient descent, then tuned GD++.
    losses: Vec<f64>,
    gd: f64,
    gd_plus_plus: f64,
}

/// The tuned references of two steps.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct TwoStepReferences {
    eta: f64,
    plus_eta: f64,
    plus_gamma: f64,
}

/// Attention with a network in front, on sine waves.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sine {
    loss: f64,
    fixed_head: f64,
    zero: f64,
    history: Vec<(u64, f64)>,
    /// A few waves: query, target, prediction.
    fits: Vec<[f64; 3]>,
}

/// The stages of the full profile; the others end after the second.
const STAGES: [&str; 7] = ["construction", "one layer", "tuning", "two steps", "softmax", "copying", "sine waves"];

fn run(context: &Context<'_>) -> Result<Outcome, ExperimentError> {
    let full_profile = context.profile() == Profile::Full;
    context.plan(STAGES.into_iter().take(if full_profile { STAGES.len() } else { 2 }));
    let sizes = Sizes::of(context.profile());
    let seeds = context.seeds();
    let mut outcome = Outcome::default();
    construction(context, &sizes, &mut outcome)?;

    let optimum = optimal_eta(&sizes.tasks)?;
    let descent = Reference::GradientDescent { eta: optimum.eta, steps: 1 };
    let layers = each_seed(context, &seeds, "one layer", |seed, observer| one_layer(context, &sizes, &descent, seed, observer))?;
    let ratio = |layer: &OneLayer| layer.alignment.loss_model / layer.alignment.loss_reference;
    outcome.measure("loss", layers.iter().map(ratio));
    outcome.measure("cosine", layers.iter().map(|layer| layer.alignment.model_cos));
    outcome.measure("predictions", layers.iter().map(|layer| layer.alignment.preds_diff));
    outcome.measure("interpolation", layers.iter().map(|layer| layer.interpolated / layer.alignment.loss_reference));
    figures::one_layer(&mut outcome, &sizes.tasks, &layers);
    let restarts: u32 = layers.iter().map(|layer| layer.restarts).sum();
    outcome.note(format!(
        "Runs that ended role-swapped (values reading inputs and keys reading targets) and were started again: {restarts} over {} seeds.",
        layers.len()
    ));
    outcome.number("train", trains(&layers));
    outcome.number("interpolation", serde_json::json!({ "loss": layers.iter().map(|layer| layer.interpolated).collect::<Vec<_>>() }));
    outcome.number("ood", layers.first().map(|layer| &layer.ood));
    outcome.number("layers", &layers);
    let mut reference = serde_json::json!({ "gd_loss": layers.iter().map(|l| l.alignment.loss_reference).collect::<Vec<_>>(), "eta": optimum.eta, "expected_loss": optimum.loss });
    if full_profile {
        full(context, &sizes, &seeds, &mut outcome, &mut reference)?;
    }
    outcome.number("reference", reference);
    if context.profile() == Profile::Smoke {
        outcome.note("The smoke profile trains for twenty steps only: its losses mean nothing.");
    }
    Ok(outcome)
}

/// Two steps, softmax attention, classic tokens and sine waves.
fn full(
    context: &Context<'_>,
    sizes: &Sizes,
    seeds: &[u64],
    outcome: &mut Outcome,
    reference: &mut serde_json::Value,
) -> Result<(), ExperimentError> {
    let few = &seeds[..seeds.len().min(3)];
    let tuned = context.part("two-step-references", || {
        context.progress(0, 1, "tuning");
        let tuning: Batch<f32> = sizes.tasks.sample(2000, &mut stream(context.seed(), "icl-tuning", 0))?;
        let (gd, plus) = (tune_gd(&tuning, 2)?, tune_gd_plus_plus(&tuning, 2)?);
        context.progress(1, 1, "tuning");
        Ok(TwoStepReferences { eta: gd.eta, plus_eta: plus.eta, plus_gamma: plus.gamma })
    })?;
    let two = each_seed(context, few, "two steps", |seed, observer| two_steps(context, sizes, &tuned, seed, observer))?;
    outcome.measure("two-steps", two.iter().filter_map(|run| Some(run.losses.last()? / run.gd)));
    outcome.number("two_steps", &two);
    reference["two_steps"] = serde_json::json!({
        "eta": tuned.eta, "gdpp_eta": tuned.plus_eta, "gamma": tuned.plus_gamma,
        "gd_loss": two.iter().map(|run| run.gd).collect::<Vec<_>>(), "gdpp_loss": two.iter().map(|run| run.gd_plus_plus).collect::<Vec<_>>(),
    });

    let softmax = context.part("softmax", || softmax(context, sizes, context.seed(), &mut context.observer("softmax", "two heads")))?;
    outcome.note(format!(
        "Softmax attention with two heads, trained as long: loss {:.4} against {:.4} of gradient descent, cosine {:.3} (not gated).",
        softmax.loss_model, softmax.loss_reference, softmax.model_cos
    ));
    outcome.number("softmax", softmax);
    let copying = context.part("copying", || copying(context, sizes, context.seed(), &mut context.observer("copying", "two layers")))?;
    outcome.note(format!(
        "Classic tokens, inputs and targets in turn, two layers: a token's output of the first layer depends on the token itself with \
         mean gradient norm {:.2}, on the token after it with {:.2}, on others with {:.2} (not gated).",
        copying.own, copying.next, copying.other
    ));
    outcome.number("copying", copying);
    let sine = each_seed(context, few, "sine waves", |seed, observer| sine(context, seed, observer))?;
    outcome.measure("sine", sine.iter().map(|run| run.loss / run.zero));
    figures::full(outcome, &two, &sine);
    outcome.number(
        "nonlinear",
        serde_json::json!({
            "loss_tf": sine.iter().map(|run| run.loss).collect::<Vec<_>>(),
            "loss_mlp_gd": sine.iter().map(|run| run.fixed_head).collect::<Vec<_>>(),
            "loss_zero": sine.iter().map(|run| run.zero).collect::<Vec<_>>(),
        }),
    );
    outcome.note(
        "The sine waves are trained for 3,000 steps of 128 tasks from weights of variance scale 0.5; the paper's 0.002 goes with its \
         20,000 steps of 2,048 tasks.",
    );
    Ok(())
}

/// One part for each seed, seeds in parallel.
fn each_seed<T: Serialize + serde::de::DeserializeOwned + Send>(
    context: &Context<'_>,
    seeds: &[u64],
    stage: &str,
    run: impl Fn(u64, &mut dyn Observer) -> Result<T, ExperimentError> + Sync,
) -> Result<Vec<T>, ExperimentError> {
    context.progress(0, seeds.len() as u64, stage);
    let done = std::sync::atomic::AtomicU64::new(0);
    let one = |&seed: &u64| {
        let part = context.part(&format!("{stage}/seed-{seed}"), || run(seed, &mut context.observer(stage, &format!("seed {seed}"))))?;
        let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        context.progress(done, seeds.len() as u64, stage);
        Ok(part)
    };
    seeds.par_iter().map(one).collect()
}

/// Constructed layers against gradient descent in f64, from zero weights and from others.
fn construction(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let tasks: Batch<f64> =
        RegressionTasks { dimension: 10, ..sizes.tasks }.sample(sizes.checked, &mut stream(context.seed(), "icl-check", 0))?;
    let mut worst = largest_difference(&tasks)?;
    if let Some(file) = context.file("tasks")? {
        let own = read_tasks(&file)?;
        let difference = largest_difference(&own)?;
        outcome.note(format!(
            "On the {} tasks of {} the construction differs from gradient descent by at most {difference:.1e}.",
            own.len(),
            file.display()
        ));
        worst = largest_absolute([worst, difference]);
    }
    outcome.measure("construction", [worst]);
    outcome.number("construction", serde_json::json!({ "max_abs_diff": worst }));
    Ok(())
}

fn read_tasks(file: &Path) -> Result<Batch<f64>, ExperimentError> {
    let text = std::fs::read_to_string(file).map_err(|error| ExperimentError::file(file, error))?;
    Batch::from_json(&text).map_err(|error| ExperimentError::file(file, error))
}

/// The largest difference of a prediction after one to ten steps.
fn largest_difference(tasks: &Batch<f64>) -> Result<f64, ExperimentError> {
    // A step size that converges for most draws; the identity holds for any.
    let (eta, steps) = (0.5, 10);
    let layer = LinearSelfAttention::gd_construction(tasks.dimension(), tasks.outputs(), tasks.examples(), eta, None)?;
    let layers = Stack::recurrent(layer, tasks.outputs(), steps).predict(tasks)?;
    let mut worst = 0.0f64;
    for (predicted, steps) in layers.iter().zip(1..) {
        let expected = Reference::GradientDescent { eta, steps }.predict(tasks)?;
        worst = largest_absolute([worst, largest_absolute((predicted - &expected).as_slice().iter().copied())]);
    }
    Ok(worst)
}

fn one_layer(
    context: &Context<'_>,
    sizes: &Sizes,
    descent: &Reference,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<OneLayer, ExperimentError> {
    let options = TrainOptions { seed, ..sizes.train };
    let trained: Trained<f32> = train(&StackConfig::default(), &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test: Batch<f32> = sizes.tasks.sample(sizes.evaluated, &mut stream(seed, "icl-test", 0))?;
    let Reference::GradientDescent { eta, .. } = *descent else {
        return Err(ExperimentError::method("the reference is not gradient descent"));
    };
    let tasks = sizes.tasks;
    let built =
        Stack::new(vec![LinearSelfAttention::gd_construction(tasks.dimension, tasks.outputs, tasks.context, eta, None)?], tasks.outputs);
    let averaged = interpolate(&trained.stack, &built, 0.5)?;
    let snapshots = trained.snapshots.iter().map(|(step, stack)| Ok((*step, align(stack, descent, &test)?)));
    let [own_key, own_value] = products(&interpolate(&trained.stack, &built, 0.0)?);
    let [built_key, built_value] = products(&interpolate(&trained.stack, &built, 1.0)?);
    let thin = (options.steps / 250).max(1);
    Ok(OneLayer {
        seed,
        restarts: trained.restarts,
        snapshots: snapshots.collect::<Result<_, InContextError>>()?,
        history: trained.history.iter().copied().filter(|(step, _)| step % thin == 0).collect(),
        alignment: align(&trained.stack, descent, &test)?,
        interpolated: averaged.loss(&test)?,
        products: [own_key, built_key, own_value, built_value],
        ood: out_of_distribution(&trained.stack, descent, &tasks, seed)?,
    })
}

fn out_of_distribution(stack: &Stack, descent: &Reference, tasks: &RegressionTasks, seed: u64) -> Result<Vec<OodCurve>, ExperimentError> {
    let mut curves = Vec::new();
    for (law, axis, scales) in [
        (InputLaw::Uniform, OodAxis::InputRange, &[0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0][..]),
        (InputLaw::Normal, OodAxis::InputRange, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (InputLaw::Exponential, OodAxis::InputRange, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (InputLaw::Laplace, OodAxis::InputRange, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (InputLaw::Uniform, OodAxis::WeightScale, &[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ] {
        let points = ood_curve(stack, descent, &RegressionTasks { law, ..*tasks }, axis, scales, 2000, seed)?;
        curves.push(OodCurve { law, axis, points: points.iter().map(|p| [p.scale, p.loss_model, p.loss_reference]).collect() });
    }
    Ok(curves)
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

fn two_steps(
    context: &Context<'_>,
    sizes: &Sizes,
    tuned: &TwoStepReferences,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<TwoSteps, ExperimentError> {
    let config = StackConfig { repeats: 2, ..StackConfig::default() };
    let options = TrainOptions { seed, steps: 3000, snapshot_every: None, ..sizes.train };
    let trained: Trained<f32> = train(&config, &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test: Batch<f32> = sizes.tasks.sample(sizes.evaluated, &mut stream(seed, "icl-test", 0))?;
    let plus = Reference::GradientDescentPlusPlus { etas: vec![tuned.plus_eta; 2], gammas: vec![tuned.plus_gamma; 2] };
    Ok(TwoSteps {
        restarts: trained.restarts,
        losses: trained.stack.losses(&test)?,
        gd: Reference::GradientDescent { eta: tuned.eta, steps: 2 }.loss(&test)?,
        gd_plus_plus: plus.loss(&test)?,
    })
}

fn softmax(context: &Context<'_>, sizes: &Sizes, seed: u64, observer: &mut dyn Observer) -> Result<Alignment, ExperimentError> {
    let attention = AttentionOptions { kind: AttentionKind::Softmax, ..AttentionOptions::default() };
    let config = StackConfig { heads: 2, init_scale: 0.5, attention, ..StackConfig::default() };
    let options = TrainOptions { seed, restarts: None, snapshot_every: None, ..sizes.train };
    let trained: Trained<f32> = train(&config, &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test: Batch<f32> = sizes.tasks.sample(sizes.evaluated, &mut stream(seed, "icl-test", 0))?;
    Ok(align(&trained.stack, &Reference::GradientDescent { eta: optimal_eta(&sizes.tasks)?.eta, steps: 1 }, &test)?)
}

/// Mean gradient norms of the first layer's outputs with respect to its inputs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Copying {
    own: f64,
    next: f64,
    other: f64,
}

fn copying(context: &Context<'_>, sizes: &Sizes, seed: u64, observer: &mut dyn Observer) -> Result<Copying, ExperimentError> {
    let positions = 20;
    let layout = TokenLayout::Classic { positions, shared: false };
    let config = StackConfig { layers: 2, layout, init_scale: 0.5, ..StackConfig::default() };
    let options = TrainOptions { seed, restarts: None, snapshot_every: None, clip_norm: 10.0, ..sizes.train };
    let trained: Trained<f32> = train(&config, &sizes.tasks.into(), &options, observer, context.cancel())?;
    let test: Batch<f32> = sizes.tasks.sample(100, &mut stream(seed, "icl-test", 0))?;
    let CopyAnalysis { own, next, other, .. } = copy_analysis(&trained.stack.layers[0], &Tokens::of(&test, layout)?)?;
    Ok(Copying { own, next, other })
}

fn sine(context: &Context<'_>, seed: u64, observer: &mut dyn Observer) -> Result<Sine, ExperimentError> {
    let tasks = SineTasks::default();
    let options = TrainOptions { steps: 3000, batch: 128, seed, ..TrainOptions::default() };
    let config = NonlinearConfig { init_scale: 0.5, ..NonlinearConfig::default() };
    let mut fitted = |head| train_nonlinear::<f32>(&config, head, &tasks.into(), &options, observer, context.cancel());
    let (trained, fixed) = (fitted(NonlinearHead::Trained)?, fitted(NonlinearHead::GradientDescent { eta: 1.0 })?);
    let test: Batch<f32> = tasks.sample(10_000, &mut stream(seed, "icl-test", 0))?;
    let predicted = trained.model.predict(&test)?;
    let values = |x: &Tensor| x.as_slice().iter().take(200).map(|&x| f64::from(x)).collect::<Vec<_>>();
    let rows = values(test.queries()).into_iter().zip(values(test.query_targets())).zip(values(&predicted));
    Ok(Sine {
        loss: trained.model.loss(&test)?,
        fixed_head: fixed.model.loss(&test)?,
        zero: Reference::Zero.loss(&test)?,
        history: trained.history.iter().copied().filter(|(step, _)| step % 20 == 0).collect(),
        fits: rows.map(|((query, target), prediction)| [query, target, prediction]).collect(),
    })
}

/// The training curves under the keys of the JSON report.
fn trains(layers: &[OneLayer]) -> Vec<serde_json::Value> {
    let points = layers.first().into_iter().flat_map(|layer| &layer.snapshots);
    points
        .map(|(step, a)| serde_json::json!({ "step": step, "loss": a.loss_model, "cos": a.model_cos, "model_diff": a.model_diff, "pred_diff": a.preds_diff }))
        .collect()
}

impl From<InContextError> for ExperimentError {
    fn from(error: InContextError) -> Self {
        match error {
            InContextError::Interrupted(interrupted) => interrupted.into(),
            error => Self::method(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, reproduce};
    use gradus_base::{Cancel, Silent};
    use gradus_report::Verdict;

    fn smoke(tasks: Option<&std::path::Path>) -> Result<crate::Reproduction, ExperimentError> {
        let options = tasks.map(|file| ("tasks".to_owned(), file.display().to_string())).into_iter().collect();
        let settings = Settings { profile: Profile::Smoke, options, ..Settings::default() };
        reproduce(&EXPERIMENT, &settings, &Cancel::new(), &mut Silent)
    }

    #[test]
    fn the_smoke_profile_runs_and_the_construction_is_exact() {
        let run = smoke(None).unwrap();
        assert_eq!(run.report.system.claims[0].verdict, Verdict::Holds);
        assert_eq!(run.status, crate::Status::Holds);
        assert_eq!(smoke(None).unwrap().report.values, run.report.values);
    }

    #[test]
    fn a_difference_that_is_not_a_number_does_not_hold() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tasks.json");
        std::fs::write(&file, r#"[{"inputs": [[1e200, 1e200]], "targets": [[1e200]], "query": [1e200, 1e200], "query_target": [1]}]"#)
            .unwrap();
        let run = smoke(Some(&file)).unwrap();
        let claim = &run.report.system.claims[0];
        assert_eq!((claim.verdict, claim.measured, claim.seeds), (Verdict::DoesNotHold, None, 1));
        assert_eq!(run.status, crate::Status::Fails);
    }

    #[test]
    fn tasks_of_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tasks.json");
        assert!(matches!(smoke(Some(&file)), Err(ExperimentError::File { .. })));
        std::fs::write(&file, "[\n{").unwrap();
        let error = smoke(Some(&file)).unwrap_err();
        assert!(matches!(&error, ExperimentError::File { path, .. } if *path == file));
        assert!(error.to_string().contains("line 2 column 1"), "{error}");
    }
}
