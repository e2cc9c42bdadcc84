//! Matena, Raffel, "Merging Models with Fisher-Weighted Averaging" (NeurIPS 2022), on digits.
//!
//! Eight tasks are the same digits, turned, mirrored, shifted or inverted. One encoder is trained a little on all of
//! them, fine-tuned on each alone, and the eight fine-tunes are merged; no step after the fine-tuning trains anything.

mod figures;
mod tasks;

use std::collections::BTreeMap;

use gradus_checkpoint::Checkpoint;
use gradus_merging::fisher::{DeadCoordinate, DiagonalFisher, FisherMerge, FisherMode};
use gradus_merging::search::{CoefficientSearch, search};
use gradus_merging::{NameFilter, linear};
use gradus_models::Mlp;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::common::statistics::largest_absolute;
use crate::{Bound, ByProfile, ClaimSpec, Context, Experiment, ExperimentError, OptionKind, OptionSpec, Outcome, Profile, mean};
use tasks::{Lengths, Tasks};

const FULL: &[Profile] = &[Profile::Full];

pub(crate) static EXPERIMENT: Experiment = Experiment {
    slug: "fisher-merging",
    title: "Merging Models with Fisher-Weighted Averaging",
    authors: "Michael Matena, Colin Raffel",
    year: 2022,
    arxiv: Some("2111.09832"),
    summary: "Fine-tunes of one model are merged without training: each parameter is averaged with the models' Fisher information \
              as weights, the precision of a Gaussian approximation of their posteriors. Here eight fine-tunes of one small encoder, \
              one for each of eight tasks made of the same digits, become one encoder for all eight tasks.",
    data: "By default the 1,797 embedded 8×8 digits. With --data: the original UCI optdigits files, or MNIST (IDX).",
    takes_data: true,
    claims: &[
        ClaimSpec {
            id: "most-probable",
            text: "The merge is where the models' Gaussian posteriors together are most probable (eq. 3): there the gradient is 0",
            metric: "largest gradient of a coordinate, relative to its terms",
            bound: Bound::AtMost(1e-6),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "gain",
            text: "Fisher merging with 128 examples beats the plain average on eight tasks",
            metric: "gain in mean accuracy, percentage points",
            bound: Bound::AtLeast(0.7),
            quick_bound: Some(Bound::AtLeast(1e-9)),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "gain-seeds",
            text: "It does so for most seeds",
            metric: "share of seeds with a gain above 0",
            bound: Bound::AtLeast(0.8),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "one-example",
            text: "It is the Fisher information that helps: estimated from one example it is worse than from 128",
            metric: "accuracy with 128 minus accuracy with 1, percentage points",
            bound: Bound::AtLeast(2.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "few-examples",
            text: "16 examples are nearly enough: the accuracy is close to that with 800",
            metric: "accuracy with 800 minus accuracy with 16, percentage points",
            bound: Bound::Within(-2.5, 2.5),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "output-ensemble",
            text: "Five fine-tunes of one task: the ensemble of their outputs is no worse than their Fisher merge",
            metric: "accuracy of the output ensemble minus the Fisher merge, percentage points",
            bound: Bound::AtLeast(-0.5),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "ensembling",
            text: "Five fine-tunes of one task: their Fisher merge is no worse than their plain average",
            metric: "accuracy of the Fisher merge minus the average, percentage points",
            bound: Bound::AtLeast(-1.0),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "pairs",
            text: "Pairs of tasks, merged half and half: Fisher merging is no worse than the average",
            metric: "accuracy of the Fisher merge minus the average, percentage points",
            bound: Bound::AtLeast(-1.0),
            profiles: FULL,
            ..ClaimSpec::DEFAULT
        },
    ],
    options: &[OptionSpec {
        name: "row-order",
        help: "Seed of the one random order of the rows, which says what is trained on and what is tested.",
        default: "0",
        kind: OptionKind::Integer(0, u64::MAX),
    }],
    seeds: ByProfile { smoke: 1, quick: 2, full: 5 },
    seconds: ByProfile { smoke: 0.2, quick: 1.5, full: 15.0 },
    run,
};

/// The numbers of examples for the Fisher information, by profile.
fn example_counts(profile: Profile) -> &'static [usize] {
    match profile {
        Profile::Smoke => &[4],
        Profile::Quick => &[1, 128],
        Profile::Full => &[1, 4, 16, 64, 128, 800],
    }
}

/// The number of examples where only one number is run.
fn main_count(profile: Profile) -> usize {
    if profile == Profile::Smoke { 4 } else { 128 }
}

/// Pairs of tasks, by their position.
const PAIRS: [(usize, usize); 3] = [(0, 1), (2, 3), (4, 5)];
const GRID: usize = 11;
const ENSEMBLE: usize = 5;
/// The task of which an ensemble of fine-tunes is made: rot90.
const ENSEMBLE_TASK: usize = 1;

/// What one seed gives. Accuracies are means over the eight tasks, in `[0, 1]`, unless said otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SeedResult {
    base: f64,
    individual: f64,
    average: f64,
    /// Fisher merging with exact expectations, by the number of examples.
    by_examples: BTreeMap<usize, f64>,
    /// Fisher merging with other choices, by name.
    variants: BTreeMap<String, f64>,
    /// Accuracy of each task: individual, average, Fisher.
    tasks: Vec<[f64; 3]>,
    /// The largest relative gradient of a coordinate at the merge.
    gradient: f64,
    /// The share of coordinates at which the floor acted.
    floored: f64,
    /// The mean share of each model in the merge, by array.
    shares: BTreeMap<String, Vec<f64>>,
    /// Decimal logarithms of the Fisher information of the first task's model, by array, zeros left out; of the first
    /// seed alone, as they are many.
    logarithms: BTreeMap<String, Vec<f64>>,
    pairs: Vec<PairResult>,
    ensemble: Option<EnsembleResult>,
}

/// Two fine-tunes: the mean accuracy over their tasks at each λ of the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PairResult {
    name: String,
    /// λ of the first model, accuracy of Fisher merging, accuracy of averaging.
    curve: Vec<[f64; 3]>,
}

impl PairResult {
    /// Fisher merging minus averaging, half and half.
    fn gain(&self) -> f64 {
        self.curve.iter().find(|point| point[0] == 0.5).map_or(f64::NAN, |point| point[1] - point[2])
    }
}

/// Five fine-tunes of one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct EnsembleResult {
    single: f64,
    average: f64,
    fisher: f64,
    outputs: f64,
}

fn run(context: &Context<'_>) -> Result<Outcome, ExperimentError> {
    let tasks = Tasks::load(context)?;
    let seeds = context.seeds();
    context.plan(seeds.iter().map(|&seed| stage(seed)));
    let mut results = Vec::with_capacity(seeds.len());
    for &seed in &seeds {
        results.push(context.part(&format!("seed-{seed}"), || run_seed(context, &tasks, seed))?);
    }
    Ok(outcome(context, &tasks, &seeds, &results))
}

fn stage(seed: u64) -> String {
    format!("seed {seed}")
}

fn run_seed(context: &Context<'_>, tasks: &Tasks, seed: u64) -> Result<SeedResult, ExperimentError> {
    let profile = context.profile();
    let lengths = Lengths::of(profile);
    let heads = tasks.heads(seed);
    let base = tasks.base(seed, &heads, &lengths, &mut context.observer(&stage(seed), "all tasks"))?;
    let tuned: Vec<Mlp> = (0..heads.len())
        .into_par_iter()
        .map(|task| {
            let observer = &mut context.observer(&stage(seed), tasks.name(task));
            tasks.fine_tune(&base, task, &heads[task], (seed, task as u64), &lengths, observer)
        })
        .collect::<Result<_, _>>()?;
    let models: Vec<Checkpoint> = tuned.iter().map(tasks::to_checkpoint).collect::<Result<_, _>>()?;
    let merges = Merges { context, seed, tasks, heads: &heads, tuned: &tuned, models: &models, base: &base };

    let individual: Vec<f64> = (0..heads.len()).map(|task| tasks.accuracy(&tuned[task], task, &heads[task])).collect();
    let average = merges.accuracies(&merges.average()?)?;
    let mut by_examples = BTreeMap::new();
    for &count in example_counts(profile) {
        let fishers = merges.fishers(FisherMode::Exact, count)?;
        by_examples.insert(count, mean(&merges.accuracies(&merges.merge(&fishers, FisherMerge::default())?.0)?));
    }
    let fishers = merges.fishers(FisherMode::Exact, main_count(profile))?;
    let (merged, report) = merges.merge(&fishers, FisherMerge::default())?;
    let fisher = merges.accuracies(&merged)?;
    let full = profile == Profile::Full;
    Ok(SeedResult {
        base: mean(&(0..heads.len()).map(|task| tasks.accuracy(&base, task, &heads[task])).collect::<Vec<_>>()),
        individual: mean(&individual),
        average: mean(&average),
        by_examples,
        variants: if full { merges.variants()? } else { BTreeMap::new() },
        tasks: (0..heads.len()).map(|task| [individual[task], average[task], fisher[task]]).collect(),
        gradient: relative_gradient(&models, &fishers, &merged)?,
        floored: report.floored_share(),
        shares: report.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shares.clone())).collect(),
        logarithms: if seed == context.seed() { logarithms(&fishers[0])? } else { BTreeMap::new() },
        pairs: if full { merges.pairs(&fishers)? } else { Vec::new() },
        ensemble: if full { Some(merges.ensemble(&lengths)?) } else { None },
    })
}

/// The fine-tunes of one seed, and what is made of them.
struct Merges<'a, 'c> {
    context: &'a Context<'c>,
    seed: u64,
    tasks: &'a Tasks,
    heads: &'a [gradus_autodiff::Tensor],
    tuned: &'a [Mlp],
    models: &'a [Checkpoint],
    base: &'a Mlp,
}

impl Merges<'_, '_> {
    fn all(&self) -> Vec<&Checkpoint> {
        self.models.iter().collect()
    }

    fn average(&self) -> Result<Checkpoint, ExperimentError> {
        linear::average(&self.all(), &NameFilter::default()).map_err(ExperimentError::method)
    }

    /// The Fisher information of each fine-tune at its own task.
    fn fishers(&self, mode: FisherMode, count: usize) -> Result<Vec<DiagonalFisher>, ExperimentError> {
        (0..self.heads.len())
            .into_par_iter()
            .map(|task| {
                let observer = &mut self.context.observer(&stage(self.seed), self.tasks.name(task));
                self.tasks.fisher(&self.tuned[task], task, &self.heads[task], mode, count, observer)
            })
            .collect()
    }

    fn merge(
        &self,
        fishers: &[DiagonalFisher],
        merge: FisherMerge,
    ) -> Result<(Checkpoint, gradus_merging::fisher::MergeReport), ExperimentError> {
        let lambdas = vec![1.0 / self.models.len() as f64; self.models.len()];
        merge.merge(&self.all(), fishers, &lambdas).map_err(ExperimentError::method)
    }

    /// The accuracy of one encoder on each task.
    fn accuracies(&self, merged: &Checkpoint) -> Result<Vec<f64>, ExperimentError> {
        let encoder = tasks::from_checkpoint(merged, self.base)?;
        Ok((0..self.heads.len()).into_par_iter().map(|task| self.tasks.accuracy(&encoder, task, &self.heads[task])).collect())
    }

    /// Other expectations than the exact one at 128 examples, and 800 examples without normalisation.
    fn variants(&self) -> Result<BTreeMap<String, f64>, ExperimentError> {
        let mut variants = BTreeMap::new();
        for (name, mode) in [
            ("sampled, 1 draw", FisherMode::Sampled { draws: 1, seed: self.seed }),
            ("sampled, 8 draws", FisherMode::Sampled { draws: 8, seed: self.seed }),
            ("empirical", FisherMode::Empirical),
        ] {
            let fishers = self.fishers(mode, 128)?;
            variants.insert(name.into(), mean(&self.accuracies(&self.merge(&fishers, FisherMerge::default())?.0)?));
        }
        let fishers = self.fishers(FisherMode::Exact, 800)?;
        let raw = FisherMerge { normalize: false, ..FisherMerge::default() };
        variants.insert("exact, 800 examples, not normalised".into(), mean(&self.accuracies(&self.merge(&fishers, raw)?.0)?));
        let all = FisherMerge { favor_target: false, ..FisherMerge::default() };
        variants.insert("exact, 800 examples, every model floored".into(), mean(&self.accuracies(&self.merge(&fishers, all)?.0)?));
        Ok(variants)
    }

    fn pairs(&self, fishers: &[DiagonalFisher]) -> Result<Vec<PairResult>, ExperimentError> {
        PAIRS.iter().map(|&(a, b)| self.pair(fishers, a, b)).collect()
    }

    fn pair(&self, fishers: &[DiagonalFisher], a: usize, b: usize) -> Result<PairResult, ExperimentError> {
        let models = [&self.models[a], &self.models[b]];
        let own = [fishers[a].clone(), fishers[b].clone()];
        let score = |merged: &Checkpoint| -> Result<f64, ExperimentError> {
            let encoder = tasks::from_checkpoint(merged, self.base)?;
            Ok(mean(&[a, b].map(|task| self.tasks.accuracy(&encoder, task, &self.heads[task]))))
        };
        let grid = CoefficientSearch::PairGrid { n: GRID };
        let fisher = search(&grid, 2, |lambdas| {
            self.context.check()?;
            // At λ = 0 the target, which alone is floored, drops out, and units that are dead in the other have no weight.
            let merge = FisherMerge { dead: DeadCoordinate::Mean, ..FisherMerge::default() };
            score(&merge.merge(&models, &own, lambdas).map_err(ExperimentError::method)?.0)
        })?;
        let average = search(&grid, 2, |lambdas| {
            score(&linear::weighted_average(&models, lambdas, &NameFilter::default()).map_err(ExperimentError::method)?)
        })?;
        let curve = fisher.points.iter().zip(&average.points).map(|((lambdas, fisher), (_, average))| [lambdas[0], *fisher, *average]);
        Ok(PairResult { name: format!("{} + {}", self.tasks.name(a), self.tasks.name(b)), curve: curve.collect() })
    }

    /// Fine-tunes of one task that differ in their batches.
    fn ensemble(&self, lengths: &Lengths) -> Result<EnsembleResult, ExperimentError> {
        let (task, head) = (ENSEMBLE_TASK, &self.heads[ENSEMBLE_TASK]);
        let observer = |member: usize| self.context.observer(&stage(self.seed), &format!("member {member} of the ensemble"));
        let tuned: Vec<Mlp> = (0..ENSEMBLE as u64)
            .into_par_iter()
            .map(|member| self.tasks.fine_tune(self.base, task, head, (self.seed, 100 + member), lengths, &mut observer(member as usize)))
            .collect::<Result<_, _>>()?;
        let models: Vec<Checkpoint> = tuned.iter().map(tasks::to_checkpoint).collect::<Result<_, _>>()?;
        let fishers: Vec<DiagonalFisher> = tuned
            .par_iter()
            .enumerate()
            .map(|(member, model)| self.tasks.fisher(model, task, head, FisherMode::Exact, 128, &mut observer(member)))
            .collect::<Result<_, _>>()?;
        let all: Vec<&Checkpoint> = models.iter().collect();
        let average = linear::average(&all, &NameFilter::default()).map_err(ExperimentError::method)?;
        let (merged, _) = FisherMerge::default().merge(&all, &fishers, &[1.0; ENSEMBLE]).map_err(ExperimentError::method)?;
        let accuracy =
            |merged: &Checkpoint| Ok::<_, ExperimentError>(self.tasks.accuracy(&tasks::from_checkpoint(merged, self.base)?, task, head));
        let outputs: Vec<Vec<f32>> = tuned.iter().map(|model| self.tasks.probabilities(model, task, head)).collect();
        let outputs = linear::output_ensemble(&outputs).map_err(ExperimentError::method)?;
        Ok(EnsembleResult {
            single: mean(&tuned.iter().map(|model| self.tasks.accuracy(model, task, head)).collect::<Vec<_>>()),
            average: accuracy(&average)?,
            fisher: accuracy(&merged)?,
            outputs: self.tasks.score(&outputs),
        })
    }
}

/// The largest gradient of the sum of the log-posteriors over coordinates, `Σ_i w_i F_ij (θ_ij - θ_j)`, relative to the
/// sum of its terms' sizes and that of the parameters, for a merge with equal λ.
fn relative_gradient(models: &[Checkpoint], fishers: &[DiagonalFisher], merged: &Checkpoint) -> Result<f64, ExperimentError> {
    let read = |arrays: &Checkpoint, name: &str| arrays.to_f64(name).map_err(ExperimentError::method);
    let defaults = FisherMerge::default();
    let mut norms = vec![0.0f64; models.len()];
    for (norm, fisher) in norms.iter_mut().zip(fishers) {
        for name in merged.names() {
            *norm += read(fisher.arrays(), name)?.iter().map(|f| f * f).sum::<f64>();
        }
    }
    let mut worst = 0.0f64;
    for name in merged.names() {
        let at = read(merged, name)?;
        let theta: Vec<Vec<f64>> = models.iter().map(|model| read(model, name)).collect::<Result<_, _>>()?;
        let fisher: Vec<Vec<f64>> = fishers.iter().map(|fisher| read(fisher.arrays(), name)).collect::<Result<_, _>>()?;
        for (j, &value) in at.iter().enumerate() {
            let (mut gradient, mut size) = (0.0, 0.0);
            for i in 0..models.len() {
                let floor = if i == 0 { defaults.floor } else { 0.0 };
                let weight = largest_absolute([fisher[i][j], floor]) / norms[i].sqrt();
                gradient += weight * (theta[i][j] - value);
                size += weight * (theta[i][j].abs() + value.abs());
            }
            // Where all terms are 0, so is the gradient.
            if size != 0.0 {
                worst = largest_absolute([worst, gradient / size]);
            }
        }
    }
    Ok(worst)
}

fn logarithms(fisher: &DiagonalFisher) -> Result<BTreeMap<String, Vec<f64>>, ExperimentError> {
    let arrays = fisher.arrays();
    let of = |name: &str| -> Result<Vec<f64>, ExperimentError> {
        let values = arrays.to_f64(name).map_err(ExperimentError::method)?;
        Ok(values.into_iter().filter(|f| *f > 0.0).map(f64::log10).collect())
    };
    arrays.names().map(|name| Ok((name.to_owned(), of(name)?))).collect()
}

/// Percentage points.
const POINTS: f64 = 100.0;

fn outcome(context: &Context<'_>, tasks: &Tasks, seeds: &[u64], results: &[SeedResult]) -> Outcome {
    let profile = context.profile();
    let mut outcome = Outcome::default();
    let with = |result: &SeedResult, count: usize| result.by_examples.get(&count).copied();
    let difference =
        |from: usize, to: usize| -> Vec<f64> { results.iter().filter_map(|r| Some(POINTS * (with(r, from)? - with(r, to)?))).collect() };
    // One number: the worst of all seeds.
    outcome.measure("most-probable", [largest_absolute(results.iter().map(|r| r.gradient))]);
    let gains: Vec<f64> = results.iter().filter_map(|r| Some(POINTS * (with(r, 128)? - r.average))).collect();
    if !gains.is_empty() {
        outcome.measure("gain-seeds", [gains.iter().filter(|gain| **gain > 0.0).count() as f64 / gains.len() as f64]);
    }
    outcome.measure("gain", gains);
    outcome.measure("one-example", difference(128, 1));
    outcome.measure("few-examples", difference(800, 16));
    let ensembles: Vec<&EnsembleResult> = results.iter().filter_map(|r| r.ensemble.as_ref()).collect();
    outcome.measure("output-ensemble", ensembles.iter().map(|e| POINTS * (e.outputs - e.fisher)));
    outcome.measure("ensembling", ensembles.iter().map(|e| POINTS * (e.fisher - e.average)));
    let pairs = results.iter().filter(|r| !r.pairs.is_empty());
    outcome.measure("pairs", pairs.map(|r| POINTS * mean(&r.pairs.iter().map(PairResult::gain).collect::<Vec<_>>())));

    figures::add(&mut outcome, tasks, seeds, results, main_count(profile));
    outcome.number("seeds", seeds);
    outcome.number("results", results);
    outcome.number("data", tasks.describe());
    notes(&mut outcome, profile, &ensembles, &results.iter().flat_map(|r| &r.pairs).collect::<Vec<_>>());
    outcome
}

fn notes(outcome: &mut Outcome, profile: Profile, ensembles: &[&EnsembleResult], pairs: &[&PairResult]) {
    outcome.note(
        "The paper's tables are of large fine-tuned transformers, which are not run here; its claims are checked on a small encoder, \
         and its numbers are not set beside ours. The later literature reports, for eight tasks of CLIP ViT-B/32, 66.0 % for the plain \
         average and 68.3 % for Fisher merging (collected in the results of tanganke/subspace_fusion, cited there to AdaMerging).",
    );
    if profile == Profile::Smoke {
        outcome.note("The smoke profile trains for three steps only: its accuracies mean nothing.");
    }
    outcome.note("The gain depends on which rows are trained on as well as on the seed: see the option row-order.");
    if !ensembles.is_empty() {
        let merged: [fn(&EnsembleResult) -> f64; 3] = [|e| e.average, |e| e.fisher, |e| e.outputs];
        let of = |f: fn(&EnsembleResult) -> f64| mean(&ensembles.iter().map(|e| f(e)).collect::<Vec<_>>());
        outcome.note(format!(
            "Ensembling of five fine-tunes of one task: a single model reaches {:.3}, the average {:.3}, the Fisher merge {:.3}, the \
             ensemble of outputs {:.3}. The paper finds the Fisher merge above the average, with larger models; here the last three \
             differ by at most {:.1} points in the mean, and each of them by up to {:.1} points between seeds.",
            of(|e| e.single),
            of(|e| e.average),
            of(|e| e.fisher),
            of(|e| e.outputs),
            POINTS * range(&merged.map(of)),
            POINTS * merged.map(|f| range(&ensembles.iter().map(|e| f(e)).collect::<Vec<_>>())).into_iter().fold(0.0, f64::max),
        ));
        let gains: Vec<f64> = pairs.iter().map(|pair| pair.gain()).collect();
        outcome.note(format!(
            "For pairs of tasks no gain is claimed: {} of {} merges of a pair gain over the average, {} lose.",
            gains.iter().filter(|gain| **gain > 0.0).count(),
            gains.len(),
            gains.iter().filter(|gain| **gain < 0.0).count(),
        ));
    }
}

/// The greatest value minus the least.
fn range(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - values.iter().copied().fold(f64::INFINITY, f64::min)
}

impl From<gradus_merging::MergeError> for ExperimentError {
    fn from(error: gradus_merging::MergeError) -> Self {
        match error {
            gradus_merging::MergeError::Interrupted(interrupted) => interrupted.into(),
            error => Self::method(error),
        }
    }
}

#[cfg(test)]
mod tests;
