//! Runs of update rules with steps of all sizes.

use std::ops::ControlFlow;

use gradus_base::{Silent, stream};
use gradus_games::dynamics::{
    AlternatingGda, ConsensusOptimization, Dynamics, Euler, Extragradient, LookAhead, OptimisticGda, Outcome, Record, Rk4, Stop,
    SymplecticGradientAdjustment, simulate,
};
use gradus_games::game::Game;
use gradus_games::small_gain::{Certificate, Certifier, Rates, Region, Verdict};
use nalgebra::DVector;
use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::games::example;
use super::linear::eigenvalues;
use super::stability::{euler_threshold, rk4_threshold};
use crate::{Context, ExperimentError};

/// The games, by their names in the collection; the first two are linear.
pub(super) const GAMES: [&str; 4] = ["scalar quadratic", "linear quadratic", "waves", "ring"];
/// The rules; of the first two, steps are certified.
pub(super) const RULES: [&str; 8] =
    ["gradient play", "Runge–Kutta", "extragradient", "optimistic", "consensus", "symplectic", "alternating", "look-ahead"];
/// Shares of the certified step at which none may diverge.
const BELOW: [f64; 4] = [0.25, 0.5, 0.75, 0.99];
/// Multiples of the exact threshold of linear games above which all must.
const ABOVE: [f64; 3] = [1.05, 1.2, 1.5];

fn rule(index: usize, step: f64) -> Box<dyn Dynamics> {
    match index {
        0 => Box::new(Euler { step }),
        1 => Box::new(Rk4 { step }),
        2 => Box::new(Extragradient { step, set: None }),
        3 => Box::new(OptimisticGda { step }),
        4 => Box::new(ConsensusOptimization { step, gamma: 0.1 }),
        5 => Box::new(SymplecticGradientAdjustment { step, lambda: 0.5, align: true }),
        6 => Box::new(AlternatingGda { step }),
        _ => Box::new(LookAhead { rule: Euler { step }, steps: 5, alpha: 0.5 }),
    }
}

/// A certified game, and the steps of its rules.
struct Certain {
    game: Game,
    certificate: Certificate,
    /// The suprema of the steps that are certified for gradient play and Runge–Kutta.
    limits: [f64; 2],
    /// The exact ones of a linear game.
    thresholds: Option<[f64; 2]>,
}

/// How many runs of a rule in a game diverged, by the step as a multiple of the certified one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sweep {
    pub(super) game: usize,
    pub(super) rule: usize,
    /// Multiples, and the shares of runs that diverged.
    pub(super) diverged: Vec<(f64, f64)>,
}

/// What comes of all runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Runs {
    pub(super) sweeps: Vec<Sweep>,
    /// Runs of gradient play and Runge–Kutta below their certified steps, and how many of them diverged.
    pub(super) below: usize,
    pub(super) below_diverged: usize,
    /// How many of them made a step that contracts less than is certified.
    pub(super) below_slow: usize,
    /// Runs of the same rules in linear games above the exact threshold, and how many of them diverged.
    pub(super) above: usize,
    pub(super) above_diverged: usize,
    /// The certified and the exact suprema, by game and rule.
    pub(super) limits: Vec<[f64; 2]>,
    pub(super) thresholds: Vec<Option<[f64; 2]>>,
}

fn certain(context: &Context<'_>, name: &str) -> Result<Certain, ExperimentError> {
    let example = example(name)?;
    let region = if example.game.is_affine() { Region::Free } else { Region::Local(example.region) };
    let verdict = Certifier::default().certify_watched(&example.game, &region, context.cancel(), &mut Silent)?;
    let Verdict::Certified(found) = verdict else { return Err(ExperimentError::Method(format!("no certificate of {name}"))) };
    let rates = found.rates();
    let thresholds = match example.game.is_affine() {
        true => {
            let values = eigenvalues(&example.game.jacobian(&vec![0.0; example.game.size()]))?;
            Some([euler_threshold(&values), rk4_threshold(&values)])
        }
        false => None,
    };
    Ok(Certain { game: example.game, limits: [rates.euler_limit(), rates.rk4_limit()], thresholds, certificate: found.certificate })
}

impl Certain {
    /// A state on the edge of the ball that iterates do not leave, or at distance 1 from the equilibrium in the metric if all points do.
    fn start(&self, seed: u64) -> Vec<f64> {
        let mut rng = stream(seed, "small-gain-start", 0);
        let direction = DVector::from_fn(self.game.size(), |_, _| rng.sample::<f64, _>(StandardNormal)).normalize();
        let radius = self.certificate.ball.as_ref().and_then(|ball| ball.invariant_radius).unwrap_or(1.0);
        let centre = self.certificate.equilibrium.as_ref().map_or_else(|| vec![0.0; self.game.size()], |ball| ball.centre.clone());
        let weights =
            self.game.dimensions().iter().zip(&self.certificate.weights).flat_map(|(size, w)| std::iter::repeat_n(w.sqrt(), *size));
        centre.iter().zip(direction.iter()).zip(weights).map(|((c, d), root)| c + 0.999 * radius * d / root).collect()
    }

    /// Whether a run diverges, and the greatest ratio of one step to the step before.
    fn run(&self, rule: &mut dyn Dynamics, seed: u64, steps: usize) -> Result<(bool, f64), ExperimentError> {
        let stop = Stop { steps, residual: Some(1e-9), radius: 1e6 };
        let record = Record { weights: self.certificate.weights.clone(), reference: None, every: 0 };
        let run = simulate(&self.game, rule, &self.start(seed), &stop, &record, |_, _| ControlFlow::Continue(()))?;
        Ok((matches!(run.outcome, Outcome::Diverged { .. }), run.largest_ratio))
    }
}

/// All rules on all games from a start for each seed, with steps of all multiples.
pub(super) fn runs(context: &Context<'_>, multiples: &[f64], seeds: &[u64]) -> Result<Runs, ExperimentError> {
    let games = GAMES.iter().map(|name| certain(context, name)).collect::<Result<Vec<_>, _>>()?;
    let pairs: Vec<(usize, usize)> = (0..GAMES.len()).flat_map(|game| (0..RULES.len()).map(move |rule| (game, rule))).collect();
    let sweep = |&(game, kind): &(usize, usize)| {
        let certain = &games[game];
        let limit = certain.limits[usize::from(kind == 1)];
        let share = |&multiple: &f64| {
            context.check()?;
            let diverge = |seed: &u64| certain.run(&mut *rule(kind, multiple * limit), *seed, 3000).map(|(diverged, _)| diverged);
            let diverged = seeds.iter().map(diverge).collect::<Result<Vec<bool>, _>>()?;
            Ok((multiple, diverged.iter().filter(|diverged| **diverged).count() as f64 / seeds.len() as f64))
        };
        let diverged = multiples.iter().map(share).collect::<Result<Vec<_>, ExperimentError>>()?;
        Ok(Sweep { game, rule: kind, diverged })
    };
    let sweeps = pairs.par_iter().map(sweep).collect::<Result<Vec<_>, ExperimentError>>()?;
    let mut runs = Runs {
        sweeps,
        below: 0,
        below_diverged: 0,
        below_slow: 0,
        above: 0,
        above_diverged: 0,
        limits: games.iter().map(|certain| certain.limits).collect(),
        thresholds: games.iter().map(|certain| certain.thresholds).collect(),
    };
    for (certain, kind) in games.iter().flat_map(|certain| [(certain, 0), (certain, 1)]) {
        for &seed in seeds {
            context.check()?;
            runs.below(certain, kind, seed)?;
            runs.above(certain, kind, seed)?;
        }
    }
    Ok(runs)
}

impl Runs {
    fn below(&mut self, certain: &Certain, kind: usize, seed: u64) -> Result<(), ExperimentError> {
        let rates = Rates::new(certain.certificate.alpha, certain.certificate.beta)?;
        for share in BELOW {
            let step = share * certain.limits[kind];
            let (diverged, ratio) = certain.run(&mut *rule(kind, step), seed, 5000)?;
            let factor = if kind == 0 { rates.euler_factor(step) } else { rates.rk4_factor(step) };
            self.below += 1;
            self.below_diverged += usize::from(diverged);
            // Ratios are of differences that have a few digits fewer than the states.
            self.below_slow += usize::from(ratio > factor + 1e-4);
        }
        Ok(())
    }

    fn above(&mut self, certain: &Certain, kind: usize, seed: u64) -> Result<(), ExperimentError> {
        let Some(thresholds) = certain.thresholds else { return Ok(()) };
        for multiple in ABOVE {
            let (diverged, _) = certain.run(&mut *rule(kind, multiple * thresholds[kind]), seed, 20_000)?;
            self.above += 1;
            self.above_diverged += usize::from(diverged);
        }
        Ok(())
    }
}
