//! Sharma, "Small-Gain Nash: Certified Contraction to Nash Equilibria in Differentiable Games" (2025).
//!
//! Players who follow their own gradients may circle or fly apart even where each loss is convex. In a metric with a weight for each
//! player they often come closer at every moment, although in the Euclidean one they do not.

mod certificate;
#[cfg(test)]
mod chapter;
mod figures;
mod games;
mod linear;
mod markov;
mod stability;
mod steps;
mod toy;

use std::path::Path;

use gradus_games::dynamics::DynamicsError;
use gradus_games::game::GameError;
use gradus_games::markov::MarkovError;
use gradus_games::small_gain::{SmallGainError, Verdict, Violation};
use gradus_games::zoo::{Firm, ZooError, cournot, firms_from_csv};
use gradus_report::Table;
use rayon::prelude::*;
use serde_json::json;

use crate::common::statistics::largest_absolute;
use crate::{
    Bound, ByProfile, ClaimSpec, Context, Experiment, ExperimentError, Interrupted, OptionKind, OptionSpec, Outcome, PaperValue, Profile,
};
pub use certificate::certificate_figures;
use linear::{Member, Point};

const FULL: &[Profile] = &[Profile::Full];
const CODE: &str = "authors' code (AashVed/SmallGainNash), run unmodified";

/// A share of the authors' grid of resolvents, to their three decimals.
const fn resolvent_share(id: &'static str, text: &'static str, value: f64) -> ClaimSpec {
    ClaimSpec {
        id,
        text,
        metric: "share of the authors' 321 x 321 points z",
        bound: Bound::Within(value - 0.0005, value + 0.0005),
        paper: Some(PaperValue { value, source: CODE }),
        gate: false,
        profiles: FULL,
        ..ClaimSpec::DEFAULT
    }
}

pub(crate) static EXPERIMENT: Experiment = Experiment {
    slug: "small-gain-nash",
    title: "Small-Gain Nash: Certified Contraction to Nash Equilibria in Differentiable Games",
    authors: "Vedansh Sharma",
    year: 2025,
    arxiv: Some("2512.06791"),
    summary: "Players who each follow the gradient of their own loss need not come to rest. If every loss curves more in the player's own \
              variables than the others push, weights for the players can be found in whose metric any two states come closer at a known \
              rate, with steps up to a known size, even where in the Euclidean metric they first move apart. Here margins, weights and \
              steps are compared with the truth on games whose truth can be computed, and certificates are found for games where it \
              cannot.",
    data: "Generated games. With the option cournot, a market of your own firms (CSV) is certified.",
    takes_data: false,
    claims: &[
        ClaimSpec {
            id: "margin-closed-form",
            text: "The margin of the best weights is 1 - λ√½, for couplings of every strength λ from 0 to 2.5",
            metric: "largest difference over 61 strengths",
            bound: Bound::AtMost(1e-9),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "margin-exact",
            text: "Nothing is lost by bounding blocks: it is the true margin in that metric",
            metric: "largest difference over 61 strengths",
            bound: Bound::AtMost(1e-9),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "euclidean-margin",
            text: "The Euclidean margin is 1 - 5.025 λ",
            metric: "largest difference over 61 strengths",
            bound: Bound::AtMost(1e-9),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "certified-range",
            text: "With the best weights every strength up to 1.375 is certified",
            metric: "greatest of the 61 strengths up to which all are certified",
            bound: Bound::AtLeast(1.375),
            paper: Some(PaperValue { value: 1.375, source: CODE }),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "euclidean-range",
            text: "In the Euclidean metric none above 1/6 is",
            metric: "greatest of the 61 strengths with a positive margin",
            bound: Bound::AtMost(1.0 / 6.0),
            paper: Some(PaperValue { value: 1.0 / 6.0, source: CODE }),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "range-ratio",
            text: "The weights widen the certified range at least seven times",
            metric: "the one range over the other",
            bound: Bound::AtLeast(7.0),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "euler-stable",
            text: "Gradient play is stable at every certified step",
            metric: "share of certified strengths with spectral radius below 1 at 0.25, 0.5, 0.75 and 0.99 of the certified step",
            bound: Bound::AtLeast(1.0),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "euler-threshold",
            text: "The true threshold of gradient play is nowhere below the certified step",
            metric: "least ratio of the two over the certified strengths",
            bound: Bound::AtLeast(1.0),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "euler-ratio",
            text: "At λ = 1 the certified step is a sixth of the true threshold",
            metric: "true threshold over certified step",
            bound: Bound::Within(5.82, 5.84),
            paper: Some(PaperValue { value: 1.171_573 / 0.201_010, source: "the thresholds of the authors' code, divided" }),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "ensemble-certified",
            text: "Random games with couplings up to λ = 1.25 are certified",
            metric: "least certified share of the seeds at λ = 0, 0.4167, 0.8333, 1.25",
            bound: Bound::AtLeast(0.95),
            paper: Some(PaperValue { value: 1.0, source: CODE }),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "ensemble-refused",
            text: "From λ = 1.6667 on none is",
            metric: "greatest certified share of the seeds at λ = 1.6667, 2.0833, 2.5",
            bound: Bound::AtMost(0.0),
            paper: Some(PaperValue { value: 0.0, source: CODE }),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "ensemble-below-truth",
            text: "The margin never exceeds the true one in the same metric",
            metric: "share of games and strengths, up to a rounding of 1e-9",
            bound: Bound::AtLeast(1.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "ensemble-block-lmi",
            text: "Metrics of blocks that keep the signs of the Jacobian certify what norms refuse at λ = 2.5",
            metric: "share of the refused games with a certificate",
            bound: Bound::AtLeast(0.95),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "perron-grid",
            text: "For two players, the Perron weights are at least as good as a grid of 161 ratios",
            metric: "share of random sets of bounds, up to a rounding of 1e-12",
            bound: Bound::AtLeast(1.0),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "perron-random",
            text: "For three to six players, they are at least as good as random weights",
            metric: "share of random sets of bounds, up to a rounding of 1e-12",
            bound: Bound::AtLeast(1.0),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "markov-margin",
            text: "A Markov game with entropy is certified in a box around its equilibrium",
            metric: "certified margin on |u| ≤ 0.2",
            bound: Bound::AtLeast(0.35),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "markov-verified",
            text: "The independent checker verifies that certificate with the game at hand",
            metric: "share of certificates verified",
            bound: Bound::AtLeast(1.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "markov-converges",
            text: "Half of the greatest certified step leads to the equilibrium",
            metric: "share of 20 starts that come to |u| < 1e-8",
            bound: Bound::AtLeast(1.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "markov-factor",
            text: "Each of these steps is within the certified factor",
            metric: "share of 20 starts",
            bound: Bound::AtLeast(1.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "markov-natural",
            text: "Natural gradients need at most 0.6 of the steps of plain ones",
            metric: "steps over steps to the same divergence",
            bound: Bound::AtMost(0.6),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "steps-below",
            text: "Gradient play and Runge–Kutta do not diverge below their certified steps",
            metric: "runs that diverge, of four games and all starts, at 0.25, 0.5, 0.75 and 0.99 of the certified step",
            bound: Bound::Exact(0.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "steps-above",
            text: "In linear games they diverge above 1.05 times the exact threshold",
            metric: "share of runs at 1.05, 1.2 and 1.5 times the threshold",
            bound: Bound::AtLeast(1.0),
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "needle-sampled",
            text: "Samples at corners certify the needle, a game that does not contract",
            metric: "margin of the corners' bounds",
            bound: Bound::Within(0.6126, 0.6128),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        ClaimSpec {
            id: "needle-refused",
            text: "Branch and bound refuses it within 10,000 boxes",
            metric: "1 if it is refused",
            bound: Bound::Exact(1.0),
            profiles: &Profile::ALL,
            ..ClaimSpec::DEFAULT
        },
        resolvent_share("resolvent-euclid-0.5", "Euclidean resolvents of the toy reach 10^0.5", 0.796),
        resolvent_share("resolvent-euclid-1.0", "Euclidean resolvents of the toy reach 10", 0.278),
        resolvent_share("resolvent-euclid-1.5", "Euclidean resolvents of the toy reach 10^1.5", 0.031),
        resolvent_share("resolvent-metric-0.5", "Resolvents in the metric reach 10^0.5", 0.059),
        resolvent_share("resolvent-metric-1.0", "Resolvents in the metric reach 10", 0.006),
        resolvent_share("resolvent-metric-1.5", "Resolvents in the metric reach 10^1.5", 0.001),
    ],
    options: &[OptionSpec {
        name: "cournot",
        help: "A CSV file of firms, with the columns firm,linear_cost,quadratic_cost,capacity: a market of price 10 - Q/2 is certified.",
        default: "",
        kind: OptionKind::File(|file| read_firms(file).map(drop)),
    }],
    seeds: ByProfile { smoke: 1, quick: 5, full: 30 },
    seconds: ByProfile { smoke: 0.5, quick: 7.0, full: 50.0 },
    run,
};

/// The sizes of a profile.
struct Sizes {
    /// Variables of each player of the sweep.
    half: usize,
    /// Random sets of bounds, and random weights for each.
    sets: usize,
    weights: usize,
    /// Draws of noise.
    draws: usize,
    /// Steps as multiples of the certified one: how many from 0.1 to 10.
    multiples: usize,
    /// The most starts of the runs.
    starts: usize,
    /// Variables of the largest ring.
    ring: usize,
}

impl Sizes {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Smoke => Self { half: 4, sets: 20, weights: 100, draws: 0, multiples: 0, starts: 0, ring: 0 },
            Profile::Quick => Self { half: 32, sets: 200, weights: 2000, draws: 0, multiples: 9, starts: 5, ring: 0 },
            Profile::Full => Self { half: 32, sets: 200, weights: 2000, draws: 12, multiples: 20, starts: 20, ring: 8 },
        }
    }
}

/// Variables of each player of the ensemble and of the noisy games.
const HALF: usize = 32;
const STAGES: [&str; 10] = [
    "strengths",
    "weights",
    "needle",
    "certificates",
    "ensemble",
    "comparison",
    "steps",
    "policies",
    "noise and players",
    "boxes and resolvents",
];

fn run(context: &Context<'_>) -> Result<Outcome, ExperimentError> {
    let profile = context.profile();
    context.plan(STAGES.into_iter().take(match profile {
        Profile::Smoke => 4,
        Profile::Quick => 8,
        Profile::Full => STAGES.len(),
    }));
    let sizes = Sizes::of(profile);
    let mut outcome = Outcome::default();
    // A figure belongs to the idea that it shows: the toy comes first.
    outcome.figures.push(figures::portrait()?);
    strengths(context, &sizes, &mut outcome)?;
    stage(context, "weights", || weights(context, &sizes, &mut outcome))?;
    stage(context, "needle", || needle(context, &mut outcome))?;
    stage(context, "certificates", || market(context, &mut outcome))?;
    if profile != Profile::Smoke {
        ensemble(context, &mut outcome)?;
        comparison(context, &mut outcome)?;
        stage(context, "steps", || steps(context, &sizes, &mut outcome))?;
        stage(context, "policies", || policies(context, &mut outcome))?;
    }
    if profile == Profile::Full {
        stage(context, "noise and players", || {
            noise(context, &sizes, &mut outcome)?;
            players(context, &mut outcome)
        })?;
        stage(context, "boxes and resolvents", || {
            costs(context, &sizes, &mut outcome)?;
            resolvents(&mut outcome);
            Ok(())
        })?;
    }
    Ok(outcome)
}

fn stage(context: &Context<'_>, name: &str, work: impl FnOnce() -> Result<(), ExperimentError>) -> Result<(), ExperimentError> {
    context.check()?;
    context.progress(0, 1, name);
    work()?;
    context.progress(1, 1, name);
    Ok(())
}

/// The toy, and games of two players with couplings of every strength.
fn strengths(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    context.progress(0, 1, "strengths");
    let toy = toy::measure()?;
    let points: Vec<Point> = context.part("strengths", || linear::sweep(context, sizes.half))?;
    judge_strengths(&points, outcome);
    figures::toy(outcome, &toy)?;
    figures::strengths(outcome, &points)?;
    figures::flow_rates(outcome, &linear::flow_rates(context.seed(), sizes.half)?);
    outcome.number("toy", &toy);
    outcome.number("strengths", &points);
    context.progress(1, 1, "strengths");
    Ok(())
}

fn judge_strengths(points: &[Point], outcome: &mut Outcome) {
    let largest = |difference: &dyn Fn(&Point) -> f64| largest_absolute(points.iter().map(difference));
    outcome.measure("margin-closed-form", [largest(&|point| point.margin - (1.0 - point.lambda * 0.5f64.sqrt()))]);
    outcome.measure("margin-exact", [largest(&|point| point.margin - point.truth)]);
    outcome.measure("euclidean-margin", [largest(&|point| point.euclidean - (1.0 - 5.025 * point.lambda))]);
    let certified = points.iter().take_while(|point| point.margin > 0.0).last().map_or(f64::NAN, |point| point.lambda);
    let euclidean = points.iter().rfind(|point| point.euclidean > 0.0).map_or(f64::NAN, |point| point.lambda);
    outcome.measure("certified-range", [certified]);
    outcome.measure("euclidean-range", [euclidean]);
    outcome.measure("range-ratio", [certified / euclidean]);
    let radii: Vec<f64> = points.iter().filter_map(|point| point.largest_radius).collect();
    outcome.measure("euler-stable", [radii.iter().filter(|radius| **radius < 1.0).count() as f64 / radii.len() as f64]);
    let ratio = |point: &Point| Some(point.euler_threshold / point.steps?.euler);
    outcome.measure("euler-threshold", [points.iter().filter_map(ratio).fold(f64::INFINITY, f64::min)]);
    outcome.measure("euler-ratio", points.iter().filter(|point| point.lambda == 1.0).filter_map(ratio));
}

fn weights(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let found = context.part("weights", || linear::optimality(context, sizes.sets, sizes.weights))?;
    outcome.measure("perron-grid", [found.grid]);
    outcome.measure("perron-random", [found.random]);
    outcome.note(format!(
        "The Perron weights were compared on {} sets of bounds of two players with a grid, and on {} of three to six players with {} \
         random weights each.",
        sizes.sets, sizes.sets, sizes.weights
    ));
    Ok(())
}

fn needle(context: &Context<'_>, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let found = context.part("needle", || games::needle(context))?;
    outcome.measure("needle-sampled", [found.sampled]);
    outcome.measure("needle-refused", [f64::from(found.refused)]);
    outcome.note(format!("Of the needle, {} boxes were looked at: {}.", found.boxes, found.reason));
    outcome.number("needle", &found);
    Ok(())
}

fn read_firms(file: &Path) -> Result<Vec<Firm>, ExperimentError> {
    let text = std::fs::read_to_string(file).map_err(|error| ExperimentError::file(file, error))?;
    let firms = firms_from_csv(&text).map_err(|error| ExperimentError::file(file, error))?;
    cournot(&firms, games::DEMAND).map_err(|error| ExperimentError::file(file, error))?;
    Ok(firms)
}

/// The certificate of a market of firms, and the map of the boxes of another.
fn market(context: &Context<'_>, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    if let Some((game, found)) = games::leaf_map(context)? {
        outcome.figures.push(figures::leaf_map(&game, &found)?);
    }
    let firms = context.file("cournot")?.map_or_else(|| Ok(games::firms()), |file| read_firms(&file))?;
    let names: Vec<String> = firms.iter().map(|firm| firm.name.clone()).collect();
    match games::certify_firms(context, &firms)? {
        (game, region, Verdict::Certified(found)) => {
            outcome.figures.extend(certificate_figures(&game, &names, &found, &region));
            outcome.tables.push(figures::market(&names, &found));
            outcome.number("market", json!({ "alpha": found.certificate.alpha, "beta": found.certificate.beta, "boxes": found.boxes }));
        }
        (_, _, Verdict::Refused(refused)) => {
            let reasons: Vec<String> = refused.reasons.iter().map(ToString::to_string).collect();
            outcome.note(format!("The market has no certificate: {}.", reasons.join("; ")));
        }
        (_, _, Verdict::Inconclusive(open)) => outcome.note(format!("No certificate of the market was found with {} boxes.", open.boxes)),
    }
    Ok(())
}

fn ensemble(context: &Context<'_>, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let seeds = context.seeds();
    let mut members = Vec::new();
    for (done, &seed) in seeds.iter().enumerate() {
        context.progress(done as u64, seeds.len() as u64, "ensemble");
        members.extend(context.part(&format!("ensemble/seed-{seed}"), || linear::ensemble(seed, HALF))?);
    }
    context.progress(seeds.len() as u64, seeds.len() as u64, "ensemble");
    let at = |lambda: f64| members.iter().filter(move |member: &&Member| member.lambda == lambda);
    let certified = |lambda: f64| at(lambda).filter(|member| member.margin > 0.0).count() as f64 / at(lambda).count() as f64;
    let (weak, strong) = linear::ENSEMBLE.split_at(4);
    outcome.measure("ensemble-certified", [weak.iter().map(|&lambda| certified(lambda)).fold(f64::INFINITY, f64::min)]);
    outcome.measure("ensemble-refused", [strong.iter().map(|&lambda| certified(lambda)).fold(0.0, f64::max)]);
    let below = members.iter().filter(|member| member.margin <= member.truth + 1e-9).count();
    outcome.measure("ensemble-below-truth", [below as f64 / members.len() as f64]);
    // Norms refuse all but a few at the greatest strength.
    let refused: Vec<f64> = at(linear::ENSEMBLE[6]).filter_map(|member| member.signs).collect();
    outcome.measure("ensemble-block-lmi", [refused.iter().filter(|margin| **margin > 0.0).count() as f64 / refused.len() as f64]);
    let surprising = members.iter().enumerate().filter(|(_, member)| strong.contains(&member.lambda) && member.margin > 0.0);
    for (place, member) in surprising {
        let seed = seeds[place / linear::ENSEMBLE.len()];
        // Without couplings, the margin is the least curvature.
        let least = members[place / linear::ENSEMBLE.len() * linear::ENSEMBLE.len()].margin;
        outcome.note(format!(
            "The game of seed {seed} is certified at λ = {:.4}, with a margin of {:.4}: the smallest squared singular values of its own \
             matrices happen to be large (the smaller one is {:.3}), and it is certified as long as the product of the curvatures exceeds \
             λ²/2.",
            member.lambda,
            member.margin,
            least - 1.0
        ));
    }
    figures::ensemble(outcome, &members);
    outcome.number("ensemble", &members);
    Ok(())
}

/// The Markov game.
fn policies(context: &Context<'_>, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let certain = context.part("markov", || markov::measure(context))?;
    markov::judge(&certain, outcome);
    markov::figures(&certain, outcome)?;
    if context.profile() == Profile::Full { markov::full(context, &certain, outcome) } else { Ok(()) }
}

fn comparison(context: &Context<'_>, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let count = games::COMPARED.len() as u64;
    let mut compared = Vec::new();
    for (done, name) in games::COMPARED.into_iter().enumerate() {
        context.progress(done as u64, count, "comparison");
        compared.push(context.part(&format!("comparison/{name}"), || games::compare(context, name))?);
    }
    context.progress(count, count, "comparison");
    figures::comparison(outcome, &compared);
    Ok(())
}

fn steps(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let multiples: Vec<f64> = (0..sizes.multiples).map(|i| 10f64.powf(2.0 * i as f64 / (sizes.multiples - 1) as f64 - 1.0)).collect();
    let seeds: Vec<u64> = context.seeds().into_iter().take(sizes.starts).collect();
    let runs = context.part("steps", || steps::runs(context, &multiples, &seeds))?;
    outcome.measure("steps-below", [runs.below_diverged as f64]);
    outcome.measure("steps-above", [runs.above_diverged as f64 / runs.above as f64]);
    outcome.note(format!(
        "Below the certified step of gradient play and Runge–Kutta {} of {} runs diverged, and {} made a step that contracts less, by \
         more than 1e-4, than is certified; above the exact threshold of linear games {} of {} runs diverged. Of the other rules nothing \
         is certified.",
        runs.below_diverged, runs.below, runs.below_slow, runs.above_diverged, runs.above
    ));
    figures::steps(outcome, &runs);
    outcome.number("steps", &runs);
    Ok(())
}

fn noise(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let draws = context.part("noise", || linear::noise(context.seed(), sizes.draws, HALF))?;
    figures::noise(outcome, &draws);
    outcome.number("noise", &draws);
    Ok(())
}

fn players(context: &Context<'_>, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let games = context.part("players", || {
        let all: Vec<(u64, usize)> =
            [3, 5].into_iter().flat_map(|players| context.seeds().into_iter().map(move |seed| (seed, players))).collect();
        all.par_iter().map(|&(seed, players)| linear::many(seed, players)).collect::<Result<Vec<_>, ExperimentError>>()
    })?;
    figures::players(outcome, &games);
    outcome.number("players", &games);
    Ok(())
}

fn costs(context: &Context<'_>, sizes: &Sizes, outcome: &mut Outcome) -> Result<(), ExperimentError> {
    let mut costs = Vec::new();
    for tolerance in games::TOLERANCES {
        for size in 2..=sizes.ring {
            costs.push(context.part(&format!("boxes/{tolerance}/{size}"), || games::cost(context, size, tolerance))?);
        }
    }
    figures::costs(outcome, &costs);
    Ok(())
}

fn resolvents(outcome: &mut Outcome) {
    let found = toy::resolvents();
    for (metric, values) in ["euclid", "metric"].into_iter().zip(&found) {
        for (name, level) in [("0.5", 0.5), ("1.0", 1.0), ("1.5", 1.5)] {
            outcome.measure(&format!("resolvent-{metric}-{name}"), [toy::share_above(values, level)]);
        }
    }
    outcome.figures.push(figures::resolvents(&found));
}

/// A table of names and rows of numbers.
fn table(title: &str, columns: &[&str], rows: impl IntoIterator<Item = Vec<gradus_report::Cell>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(|&column| column.into()).collect(), rows: rows.into_iter().collect() }
}

impl From<SmallGainError> for ExperimentError {
    fn from(error: SmallGainError) -> Self {
        match error {
            SmallGainError::Cancelled => Interrupted.into(),
            error => Self::method(error),
        }
    }
}

impl From<MarkovError> for ExperimentError {
    fn from(error: MarkovError) -> Self {
        Self::method(error)
    }
}

impl From<Violation> for ExperimentError {
    fn from(error: Violation) -> Self {
        Self::method(error)
    }
}

impl From<DynamicsError> for ExperimentError {
    fn from(error: DynamicsError) -> Self {
        Self::method(error)
    }
}

impl From<ZooError> for ExperimentError {
    fn from(error: ZooError) -> Self {
        Self::method(error)
    }
}

impl From<GameError> for ExperimentError {
    fn from(error: GameError) -> Self {
        Self::method(error)
    }
}

#[cfg(test)]
mod tests;
