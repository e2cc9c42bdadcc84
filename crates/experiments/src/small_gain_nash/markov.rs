//! A Markov game with entropy: a certificate in a constant metric, and natural and plain policy gradients beside it.

use gradus_base::{Silent, stream};
use gradus_games::game::Game;
use gradus_games::markov::{MarkovGame, Tables, fisher_estimate};
use gradus_games::small_gain::{
    BlockBounds, Certifier, Mode, Monitor, Region, Rule, Search, Structure, Tolerance, Verdict, Verified, check,
};
use gradus_games::zoo::cooperative_tables;
use gradus_report::{Cell, LineChart, Reference, Scale, Series};
use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::table;
use crate::{Context, ExperimentError, Outcome, mean};

/// Half the side of the box of differences of logits.
const RADIUS: f64 = 0.2;
/// Half the side of the authors' cube of logits: the same differences.
const AUTHORS_RADIUS: f64 = 0.1;
/// The deviation of each difference of logits at the start.
const SPREAD: f64 = 0.01;
/// The distance from the equilibrium at which a run ends.
const CLOSE: f64 = 1e-8;
/// The divergence at which both kinds of gradients are compared: about a ten-thousandth of that at the start.
const SAME_DIVERGENCE: f64 = 1e-8;
const MOST_STEPS: usize = 10_000;
/// Where a run has diverged.
const FAR: f64 = 1e3;
/// Starts of the claims.
const STARTS: usize = 20;
/// Steps of the stability sweep over the certified one: the powers of ten from -1 to 1.
const MULTIPLES: usize = 20;

/// The certificate, and what runs with half of its greatest step come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Certain {
    pub(super) margin: f64,
    pub(super) lipschitz: f64,
    pub(super) weights: Vec<f64>,
    pub(super) curvature: Vec<f64>,
    pub(super) coupling: [f64; 2],
    pub(super) boxes: usize,
    pub(super) verified: bool,
    pub(super) step_limit: f64,
    /// Of each start: whether it came close, whether each step was within the factor, the steps of natural gradients to the divergence that
    /// both are compared at, and those of plain ones.
    pub(super) runs: Vec<(bool, bool, usize, usize)>,
    /// Of the first start and each step: the distance in the metric, the divergence, and the divergence by plain gradients.
    pub(super) decay: Vec<[f64; 3]>,
    pub(super) factor: f64,
}

/// Certifiers of the variants: to three digits.
fn certifier(mode: Mode) -> Certifier {
    Certifier { mode, search: Search { tolerance: Tolerance::Absolute(1e-3), most_boxes: 20_000 }, ..Certifier::default() }
}

fn region(size: usize) -> Result<Region, ExperimentError> {
    Ok(Region::local(&vec![-RADIUS; size], &vec![RADIUS; size])?)
}

pub(super) fn measure(context: &Context<'_>) -> Result<Certain, ExperimentError> {
    let markov = MarkovGame::new(cooperative_tables())?;
    let (natural, plain) = (markov.game()?, markov.policy_gradient_game()?);
    let verdict = Certifier::default().certify_watched(&natural, &region(natural.size())?, context.cancel(), &mut Silent)?;
    let Verdict::Certified(found) = verdict else { return Err(ExperimentError::Method(format!("no certificate: {verdict:?}"))) };
    let verified = check(&found.certificate, Some(&natural)) == Ok(Verified::Verified);
    let h = 0.5 * found.rates().euler_limit();
    let starts: Vec<Vec<f64>> = (0..STARTS).map(|index| start(context.seed(), index, natural.size())).collect();
    let run = |from: &Vec<f64>| -> Result<(bool, bool, usize, usize), ExperimentError> {
        let mut monitor = Monitor::new(&found.certificate, Rule::Euler, h)?;
        let (mut within, mut close) = (true, false);
        let mut same = None;
        for (step, u) in play(&natural, from, h).enumerate().take(MOST_STEPS) {
            within &= monitor.see(&u).is_ok();
            same = same.or((markov.kl(&[1.0; 2], &[0.0; 4], &u)? <= SAME_DIVERGENCE).then_some(step));
            close = norm(&u) < CLOSE;
            if close {
                break;
            }
        }
        let mut slow = MOST_STEPS;
        for (step, u) in play(&plain, from, h).enumerate().take(MOST_STEPS) {
            if markov.kl(&[1.0; 2], &[0.0; 4], &u)? <= SAME_DIVERGENCE {
                slow = step;
                break;
            }
        }
        Ok((close, within, same.unwrap_or(MOST_STEPS), slow))
    };
    let weights = found.certificate.weights.clone();
    let distance = |u: &[f64]| (weights[0] * (u[0] * u[0] + u[1] * u[1]) + weights[1] * (u[2] * u[2] + u[3] * u[3])).sqrt();
    let both = play(&natural, &starts[0], h).zip(play(&plain, &starts[0], h)).take(80);
    let decay = both.map(|(u, slow)| Ok([distance(&u), markov.kl(&weights, &[0.0; 4], &u)?, markov.kl(&weights, &[0.0; 4], &slow)?]));
    Ok(Certain {
        margin: found.certificate.alpha,
        lipschitz: found.certificate.beta,
        curvature: found.bounds.curvature().to_vec(),
        coupling: [found.bounds.coupling()[(0, 1)], found.bounds.coupling()[(1, 0)]],
        boxes: found.boxes,
        verified,
        step_limit: found.rates().euler_limit(),
        runs: starts.par_iter().map(run).collect::<Result<_, _>>()?,
        decay: decay.collect::<Result<_, ExperimentError>>()?,
        factor: found.rates().euler_factor(h),
        weights,
    })
}

fn start(seed: u64, index: usize, size: usize) -> Vec<f64> {
    let mut rng = stream(seed, "small-gain-markov", index as u64);
    (0..size).map(|_| SPREAD * rng.sample::<f64, _>(StandardNormal)).collect()
}

/// The states of gradient play, from the start on.
pub(super) fn play<'g>(game: &'g Game, from: &[f64], h: f64) -> impl Iterator<Item = Vec<f64>> + 'g {
    std::iter::successors(Some(from.to_vec()), move |u| Some(u.iter().zip(game.field(u)).map(|(u, f)| u - h * f).collect()))
}

fn norm(u: &[f64]) -> f64 {
    u.iter().fold(0.0, |norm: f64, x| norm.hypot(*x))
}

pub(super) fn judge(certain: &Certain, outcome: &mut Outcome) {
    let share = |holds: &dyn Fn(&(bool, bool, usize, usize)) -> bool| {
        certain.runs.iter().filter(|run| holds(run)).count() as f64 / certain.runs.len() as f64
    };
    outcome.measure("markov-margin", [certain.margin]);
    outcome.measure("markov-verified", [f64::from(certain.verified)]);
    outcome.measure("markov-converges", [share(&|run| run.0)]);
    outcome.measure("markov-factor", [share(&|run| run.1)]);
    outcome.measure("markov-natural", [certain.runs.iter().map(|run| run.2 as f64 / run.3 as f64).fold(0.0, f64::max)]);
    outcome.number("markov", certain);
}

/// The numbers beside those of the authors' procedure, and the runs.
pub(super) fn figures(certain: &Certain, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let markov = MarkovGame::new(cooperative_tables())?;
    let sampled = fisher_estimate(&markov, &[0.0; 8], AUTHORS_RADIUS)?;
    let row = |name: &str, ours: f64, procedure: f64, theirs: f64| vec![name.into(), ours.into(), procedure.into(), theirs.into()];
    outcome.tables.push(table(
        "The Markov game: what is proven, and what the authors' procedure samples",
        &["quantity", "proven on |u| ≤ 0.2, constant metric", "authors' procedure, 256 corners, here", "authors' code"],
        vec![
            row("least curvature", certain.curvature[0], sampled.bounds.curvature()[0], 0.934_394),
            row("coupling", certain.coupling[0], sampled.bounds.coupling()[(0, 1)], 0.600_919),
            row("margin", certain.margin, sampled.margin, 0.333_435),
            row("Lipschitz constant", certain.lipschitz, sampled.lipschitz, 1.571_832),
            row("limit of the step", certain.step_limit, sampled.step_limit, 0.269_916),
        ],
    ));
    outcome.note(format!(
        "The Markov game was cut into {} boxes. The authors' numbers are estimates in a metric that varies with the policies, of which the \
         derivative along the flow is left out; ours are bounds in one metric for all policies of the box.",
        certain.boxes
    ));
    let first = certain.decay.first().copied().unwrap_or([1.0; 3]);
    let column = |column: usize, name: &str| {
        Series::new(name, certain.decay.iter().enumerate().map(|(step, row)| (step as f64, row[column] / first[column])))
    };
    let steps = certain.decay.len();
    outcome.figures.push(
        LineChart {
            title: "A game of policies: the certified distance, and divergences".into(),
            alt: "On a logarithmic axis the distance in the metric falls below the certified line at every step. The divergence falls \
                  twice as fast by natural gradients, and by plain ones about as fast as the distance."
                .into(),
            x_label: "step, half of the greatest certified one".into(),
            y_label: "over its value at the start".into(),
            y_scale: Scale::Log,
            series: vec![
                column(0, "distance in the metric"),
                Series::new("certified factor", (0..steps).map(|step| (step as f64, certain.factor.powi(step as i32)))),
                column(1, "KL divergence, natural gradients"),
                column(2, "KL divergence, plain gradients"),
            ],
            ..Default::default()
        }
        .figure("markov-decay"),
    );
    let bounds = BlockBounds::new(
        certain.curvature.clone(),
        nalgebra::DMatrix::from_row_slice(2, 2, &[0.0, certain.coupling[0], certain.coupling[1], 0.0]),
        certain.curvature.iter().map(|mu| mu.max(certain.lipschitz)).collect(),
    )?;
    let ratio = |i: i32| 10f64.powf(-2.0 + 4.0 * f64::from(i) / 80.0);
    let margins: Result<Vec<(f64, f64)>, ExperimentError> = (0..=80).map(|i| Ok((ratio(i), bounds.margin(&[1.0, ratio(i)])?))).collect();
    outcome.figures.push(
        LineChart {
            title: "The timescale band of the game of policies".into(),
            alt: "The margin is greatest at equal weights and positive within a band around them.".into(),
            x_label: "weight of the second player over that of the first".into(),
            y_label: "proven margin".into(),
            x_scale: Scale::Log,
            series: vec![Series::new("margin", margins?)],
            references: vec![Reference::new("no contraction below", 0.0)],
            ..Default::default()
        }
        .figure("markov-band"),
    );
    Ok(())
}

/// A Markov game with another temperature or other rewards, and what is proven of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Variant {
    temperature: f64,
    scale: f64,
    /// The margin of the small-gain condition; none without a certificate.
    norms: Option<f64>,
    /// That of metrics with a matrix for each player.
    signs: Option<f64>,
    why: String,
}

/// All temperatures and scales of rewards, and the stability of both gradients at steps of all sizes.
pub(super) fn full(context: &Context<'_>, certain: &Certain, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let all = [0.25, 0.5, 1.0, 2.0].into_iter().flat_map(|temperature| [0.5, 1.0, 2.0].map(|scale| (temperature, scale)));
    let variants: Vec<Variant> = context.part("markov/variants", || {
        all.map(|(temperature, scale)| variant(context, temperature, scale)).collect::<Result<_, ExperimentError>>()
    })?;
    let rows = variants.iter().map(|variant| {
        let margin = |margin: Option<f64>| margin.map_or(Cell::Missing, Cell::Number);
        vec![variant.temperature.into(), variant.scale.into(), margin(variant.norms), margin(variant.signs), variant.why.as_str().into()]
    });
    let columns = ["temperature", "rewards times", "margin, norms", "margin, with signs", "why there is none"];
    outcome.tables.push(table("The Markov game at other temperatures and rewards, on |u| ≤ 0.2", &columns, rows.collect::<Vec<_>>()));
    outcome.number("markov-variants", &variants);
    let sweep: Vec<[f64; 3]> = context.part("markov/stability", || stability(context, certain.step_limit))?;
    let curve = |column: usize, name: &str| Series::new(name, sweep.iter().map(|row| (row[0], row[column])));
    outcome.figures.push(
        LineChart {
            title: "Steps of all sizes in the game of policies".into(),
            alt: "All runs of both gradients come to rest at and far above the certified step; natural gradients diverge from 1.29 on, \
                  plain ones from twice that."
                .into(),
            x_label: "step over the greatest certified one".into(),
            y_label: "share of 20 starts that come to rest".into(),
            x_scale: Scale::Log,
            series: vec![curve(1, "natural gradients"), curve(2, "plain gradients")],
            ..Default::default()
        }
        .figure("markov-stability"),
    );
    Ok(())
}

fn variant(context: &Context<'_>, temperature: f64, scale: f64) -> Result<Variant, ExperimentError> {
    let mut tables: Tables = cooperative_tables();
    tables.temperature = temperature;
    tables.rewards.iter_mut().flatten().flatten().for_each(|reward| *reward *= scale);
    let game = MarkovGame::new(tables)?.game()?;
    let certify = |mode: Mode| -> Result<(Option<f64>, String), ExperimentError> {
        Ok(match certifier(mode).certify_watched(&game, &region(game.size())?, context.cancel(), &mut Silent)? {
            Verdict::Certified(found) => (Some(found.certificate.alpha), String::new()),
            Verdict::Refused(refused) => (None, refused.reasons.first().map(|reason| reason.code().to_string()).unwrap_or_default()),
            Verdict::Inconclusive(_) => (None, "Inconclusive".into()),
        })
    };
    let ((norms, why), (signs, _)) = (certify(Mode::Uniform)?, certify(Mode::BlockLmi(Structure::Full))?);
    Ok(Variant { temperature, scale, norms, signs, why })
}

/// Multiples of the certified step, and the shares of runs that come to rest by natural and by plain gradients.
fn stability(context: &Context<'_>, limit: f64) -> Result<Vec<[f64; 3]>, ExperimentError> {
    let markov = MarkovGame::new(cooperative_tables())?;
    let games = [markov.game()?, markov.policy_gradient_game()?];
    let comes_to_rest = |game: &Game, index: usize, h: f64| {
        let run = play(game, &start(context.seed(), index, game.size()), h).take(MOST_STEPS);
        run.map(|u| norm(&u)).find(|size| !(CLOSE..=FAR).contains(size)).is_some_and(|size| size < CLOSE)
    };
    let row = |k: usize| {
        context.check()?;
        let multiple = 10f64.powf(-1.0 + 2.0 * k as f64 / (MULTIPLES - 1) as f64);
        let share = |game: &Game| {
            let rests: Vec<f64> = (0..STARTS).map(|index| f64::from(comes_to_rest(game, index, multiple * limit))).collect();
            mean(&rests)
        };
        Ok([multiple, share(&games[0]), share(&games[1])])
    };
    (0..MULTIPLES).into_par_iter().map(row).collect()
}
