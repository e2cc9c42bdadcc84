//! von Oswald et al., "Transformers Learn In-Context by Gradient Descent" (ICML 2023).
//!
//! A layer of linear self-attention can be built that performs one step of gradient descent on the examples in its
//! context. Trained on nothing but regression tasks, such a layer becomes the built one.

mod construction;
mod figures;
mod trained;

use std::path::Path;

use gradus_base::{Observer, stream};
use gradus_learning::in_context::gradient_descent::{
    Batch, InContextError, Reference, RegressionTasks, TrainOptions, optimal_eta, tune_gd, tune_gd_plus_plus,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Bound, ByProfile, ClaimSpec, Context, Experiment, ExperimentError, OptionKind, OptionSpec, Outcome, Profile, mean};
use trained::{Classic, OneLayer, Sine, TwoSteps};

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
            metric: "largest difference of a prediction over the tasks, in f64, from zero and from random initial weights; on tasks of \
                     your own, as a share of the largest prediction or target above 1",
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
    seconds: ByProfile { smoke: 0.5, quick: 2.5, full: 160.0 },
    run,
};

/// The sizes of a profile.
struct Sizes {
    tasks: RegressionTasks,
    /// Tasks of the construction check.
    checked: usize,
    /// Tasks that step sizes are tuned on.
    tuning: usize,
    /// Tasks of every comparison.
    evaluated: usize,
    /// Tasks of each point out of distribution.
    shifted: usize,
    /// Training of one layer, of softmax attention and of two layers on classic tokens.
    train: TrainOptions,
    /// Training of the recurrent layer.
    two_steps: TrainOptions,
    /// Training on sine waves.
    sine: TrainOptions,
}

impl Sizes {
    fn of(profile: Profile) -> Self {
        let tasks = |dimension| RegressionTasks { dimension, context: 10, ..RegressionTasks::default() };
        let train = |steps, batch, every| TrainOptions { steps, batch, snapshot_every: every, ..TrainOptions::default() };
        let full = Self {
            tasks: tasks(10),
            checked: 1000,
            tuning: 2000,
            evaluated: 10_000,
            shifted: 2000,
            train: train(5000, 512, Some(250)),
            two_steps: train(3000, 512, None),
            sine: train(3000, 128, None),
        };
        match profile {
            Profile::Smoke => Self {
                tasks: tasks(5),
                checked: 100,
                tuning: 50,
                evaluated: 500,
                shifted: 100,
                train: train(20, 32, Some(10)),
                two_steps: train(20, 32, None),
                sine: train(20, 16, None),
            },
            Profile::Quick => Self { tasks: tasks(5), train: train(1500, 256, Some(100)), ..full },
            Profile::Full => full,
        }
    }
}

/// The references, tuned and in closed form.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct References {
    /// One step of gradient descent, in closed form: step size and expected loss.
    eta_one: f64,
    expected_one: f64,
    /// Two steps of gradient descent, tuned.
    eta: f64,
    /// Two steps of GD++, tuned.
    plus_eta: f64,
    gamma: f64,
}

impl References {
    fn of(sizes: &Sizes, seed: u64) -> Result<Self, InContextError> {
        let one = optimal_eta(&sizes.tasks)?;
        let tuning: Batch<f32> = sizes.tasks.sample(sizes.tuning, &mut stream(seed, "icl-tuning", 0))?;
        let (two, plus) = (tune_gd(&tuning, 2)?, tune_gd_plus_plus(&tuning, 2)?);
        Ok(Self { eta_one: one.eta, expected_one: one.loss, eta: two.eta, plus_eta: plus.eta, gamma: plus.gamma })
    }

    fn one_step(&self) -> Reference {
        Reference::GradientDescent { eta: self.eta_one, steps: 1 }
    }

    fn two_steps(&self) -> Reference {
        Reference::GradientDescent { eta: self.eta, steps: 2 }
    }

    fn two_steps_plus(&self) -> Reference {
        Reference::GradientDescentPlusPlus { etas: vec![self.plus_eta; 2], gammas: vec![self.gamma; 2] }
    }
}

/// The stages; the quick profile ends after the third.
const STAGES: [&str; 7] = ["construction", "tuning", "one layer", "two steps", "softmax", "classic tokens", "sine waves"];

fn run(context: &Context<'_>) -> Result<Outcome, ExperimentError> {
    let everything = context.profile() != Profile::Quick;
    context.plan(STAGES.into_iter().take(if everything { STAGES.len() } else { 3 }));
    let sizes = Sizes::of(context.profile());
    let seeds = context.seeds();
    let mut outcome = Outcome::default();
    construction(context, &sizes, &mut outcome)?;
    let references = context.part("references", || {
        context.progress(0, 1, "tuning");
        let references = References::of(&sizes, context.seed())?;
        context.progress(1, 1, "tuning");
        Ok(references)
    })?;
    reference_losses(context, &sizes, &references, &mut outcome)?;
    one_layer(context, &sizes, &references, &seeds, &mut outcome)?;
    if everything {
        let few = &seeds[..seeds.len().min(3)];
        two_steps(context, &sizes, &references, few, &mut outcome)?;
        softmax(context, &sizes, &references, &mut outcome)?;
        classic(context, &sizes, &references, &mut outcome)?;
        sine(context, &sizes, few, &mut outcome)?;
    }
    if context.profile() == Profile::Smoke {
        outcome.note("The smoke profile trains for twenty steps only: its losses mean nothing.");
    }
    Ok(outcome)
}

/// Constructed layers against gradient descent in f64.
fn construction(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let tasks: Batch<f64> =
        RegressionTasks { dimension: 10, ..sizes.tasks }.sample(sizes.checked, &mut stream(context.seed(), "icl-check", 0))?;
    let mut worst = construction::difference(&tasks, context.seed())?.absolute;
    if let Some(file) = context.file("tasks")? {
        let own = read_tasks(&file)?;
        let difference = construction::difference(&own, context.seed())?;
        outcome.note(format!(
            "On the {} tasks of {} the construction differs from gradient descent by at most {:.1e}, {:.1e} of the largest prediction \
             or target above 1.",
            own.len(),
            file.display(),
            difference.absolute,
            difference.relative(),
        ));
        worst = worst.max(difference.relative());
    }
    outcome.measure("construction", [worst]);
    outcome.number("construction", json!({ "max_abs_diff": worst }));
    Ok(())
}

fn read_tasks(file: &Path) -> Result<Batch<f64>, ExperimentError> {
    let text = std::fs::read_to_string(file).map_err(|error| ExperimentError::file(file, error))?;
    Batch::from_json(&text).map_err(|error| ExperimentError::file(file, error))
}

/// The losses of the references on the evaluation tasks of the first seed.
fn reference_losses(context: &Context<'_>, sizes: &Sizes, references: &References, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let test = trained::evaluation_tasks(sizes, context.seed())?;
    outcome.number(
        "reference",
        json!({
            "gd_loss": references.two_steps().loss(&test)?, "gdpp_loss": references.two_steps_plus().loss(&test)?,
            "eta": references.eta, "gdpp_eta": references.plus_eta, "gamma": references.gamma,
            "one_step": {
                "gd_loss": references.one_step().loss(&test)?, "eta": references.eta_one, "expected_loss": references.expected_one,
            },
        }),
    );
    Ok(())
}

fn one_layer(
    context: &Context<'_>,
    sizes: &Sizes,
    references: &References,
    seeds: &[u64],
    outcome: &mut Outcome,
) -> Result<(), ExperimentError> {
    let one = |seed, observer: &mut dyn Observer| trained::one_layer(context, sizes, references, seed, observer);
    let layers: Vec<OneLayer> = each_seed(context, seeds, "one layer", one)?;
    outcome.measure("loss", layers.iter().map(|layer| layer.alignment.loss_model / layer.alignment.loss_reference));
    outcome.measure("cosine", layers.iter().map(|layer| layer.alignment.model_cos));
    outcome.measure("predictions", layers.iter().map(|layer| layer.alignment.preds_diff));
    outcome.measure("interpolation", layers.iter().map(|layer| layer.interpolated / layer.alignment.loss_reference));
    figures::one_layer(outcome, &sizes.tasks, &layers);
    outcome.note(restarts("one-layer", layers.iter().map(|layer| layer.restarts)));
    outcome.number("train", trains(&layers));
    outcome.number("interpolation", json!({ "loss": mean_of(&layers, |layer| layer.interpolated) }));
    outcome.number("ood", layers.first().map(|layer| &layer.ood));
    outcome.number("layers", &layers);
    Ok(())
}

fn restarts(what: &str, restarts: impl ExactSizeIterator<Item = u32>) -> String {
    let runs = restarts.len();
    let count: u32 = restarts.sum();
    format!(
        "Trainings that ended role-swapped (values reading inputs and keys reading targets) and were started again, over {runs} {what} \
         runs: {count}."
    )
}

/// The training curves of the first seed under the keys of the JSON report.
fn trains(layers: &[OneLayer]) -> Vec<serde_json::Value> {
    let points = layers.first().into_iter().flat_map(|layer| &layer.snapshots);
    points
        .map(|(step, a)| json!({ "step": step, "loss": a.loss_model, "cos": a.model_cos, "model_diff": a.model_diff, "pred_diff": a.preds_diff }))
        .collect()
}

fn two_steps(
    context: &Context<'_>,
    sizes: &Sizes,
    references: &References,
    seeds: &[u64],
    outcome: &mut Outcome,
) -> Result<(), ExperimentError> {
    let one = |seed, observer: &mut dyn Observer| trained::two_steps(context, sizes, references, seed, observer);
    let two: Vec<TwoSteps> = each_seed(context, seeds, "two steps", one)?;
    outcome.measure("two-steps", two.iter().filter_map(|run| Some(run.losses.last()? / run.gd)));
    outcome.note(restarts("two-step", two.iter().map(|run| run.restarts)));
    outcome.figures.push(figures::two_steps(&two));
    outcome.number("two_steps", &two);
    Ok(())
}

fn softmax(context: &Context<'_>, sizes: &Sizes, references: &References, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let train = || trained::softmax(context, sizes, references, context.seed(), &mut context.observer("softmax", "two heads"));
    let softmax = context.part("softmax", train)?;
    outcome.note(format!(
        "Softmax attention with two heads, trained as long from weights of variance scale 0.5: loss {:.4} against {:.4} of gradient \
         descent, cosine {:.3} (not gated).",
        softmax.loss_model, softmax.loss_reference, softmax.model_cos
    ));
    outcome.number("softmax", softmax);
    Ok(())
}

fn classic(context: &Context<'_>, sizes: &Sizes, references: &References, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let train = || trained::classic(context, sizes, references, context.seed(), &mut context.observer("classic tokens", "two layers"));
    let classic: Classic = context.part("classic tokens", train)?;
    let copied = classic.copied;
    outcome.note(format!(
        "Classic tokens, inputs and targets in turn behind 20 entries of position encoding, two layers trained as long from weights of \
         variance scale 0.5 with gradients clipped at 10: loss {:.4} against {:.4} of one step of gradient descent. A token's output of \
         the first layer depends on the token itself with mean gradient norm {:.2}, on the token after it with {:.2}, on others with \
         {:.2} (not gated).",
        classic.loss, classic.loss_reference, copied.own, copied.next, copied.other
    ));
    outcome.number("copying", classic);
    Ok(())
}

fn sine(context: &Context<'_>, sizes: &Sizes, seeds: &[u64], outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let one = |seed, observer: &mut dyn Observer| trained::sine(context, sizes, seed, observer);
    let sine: Vec<Sine> = each_seed(context, seeds, "sine waves", one)?;
    outcome.measure("sine", sine.iter().map(|run| run.loss / run.zero));
    figures::sine(outcome, &sine);
    outcome.number(
        "nonlinear",
        json!({
            "loss_tf": mean_of(&sine, |run| run.loss), "loss_mlp_gd": mean_of(&sine, |run| run.fixed_head),
            "loss_zero": mean_of(&sine, |run| run.zero), "runs": sine,
        }),
    );
    outcome.note(format!(
        "The sine waves are trained for {} steps of {} tasks from weights of variance scale 0.5; the paper's 0.002 goes with its 20,000 \
         steps of 2,048 tasks.",
        sizes.sine.steps, sizes.sine.batch
    ));
    Ok(())
}

fn mean_of<T>(runs: &[T], f: impl Fn(&T) -> f64) -> f64 {
    mean(&runs.iter().map(f).collect::<Vec<_>>())
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
    fn the_smoke_profile_runs_every_block_and_the_construction_is_exact() {
        let run = smoke(None).unwrap();
        assert_eq!(run.report.system.claims[0].verdict, Verdict::Holds);
        assert_eq!(run.status, crate::Status::Holds);
        let figures = run.report.system.figures.iter().map(|figure| figure.file.trim_end_matches(".svg").rsplit('/').next().unwrap());
        let figures: Vec<&str> = figures.collect();
        assert_eq!(figures, ["loss", "alignment", "weights", "out-of-distribution", "two-steps", "sine-training", "sine-fits"]);
        assert_eq!(smoke(None).unwrap().report.values, run.report.values);
    }

    #[test]
    fn the_report_has_its_keys() {
        let report = smoke(None).unwrap().report;
        let numbers = &report.numbers;
        for path in [
            "/construction/max_abs_diff",
            "/train/0/step",
            "/train/0/loss",
            "/train/0/cos",
            "/train/0/model_diff",
            "/train/0/pred_diff",
            "/reference/gd_loss",
            "/reference/gdpp_loss",
            "/reference/eta",
            "/reference/gamma",
            "/interpolation/loss",
            "/ood/0/scale",
            "/ood/0/loss_tf",
            "/ood/0/loss_gd",
            "/nonlinear/loss_tf",
            "/nonlinear/loss_mlp_gd",
        ] {
            assert!(numbers.pointer(path).is_some_and(serde_json::Value::is_number), "{path}");
        }
        for path in ["/ood/0/law", "/ood/0/axis"] {
            assert!(numbers.pointer(path).is_some_and(serde_json::Value::is_string), "{path}");
        }
    }

    #[test]
    fn tasks_of_any_range() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tasks.json");
        let task = r#"{"inputs": [[900, 100], [-800, 300]], "targets": [[2e6], [-1e6]], "query": [500, -700], "query_target": [0]}"#;
        let small = r#"{"inputs": [[1, 0], [0.5, 1]], "targets": [[1], [2]], "query": [1, 1], "query_target": [0]}"#;
        std::fs::write(&file, format!("[{task}, {small}]")).unwrap();
        let run = smoke(Some(&file)).unwrap();
        assert_eq!(run.report.system.claims[0].verdict, Verdict::Holds, "{:?}", run.report.system.claims[0]);
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
