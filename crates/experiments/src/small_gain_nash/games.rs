//! Games of all kinds: certificates side by side, a needle that samples miss, and what branch and bound costs.

use std::time::Instant;

use gradus_base::Silent;
use gradus_games::game::Game;
use gradus_games::small_gain::{
    self, Certified, Certifier, Mode, Outcome, Region, Sampling, Search, SmallGainError, Test, Tolerance, Verdict, block_bounds, estimate,
    optimal_weights,
};
use gradus_games::zoo::{self, Demand, Example, Firm};
use serde::{Deserialize, Serialize};

use crate::{Context, ExperimentError};

/// The games that are compared, by their names in the collection.
pub(super) const COMPARED: [&str; 8] =
    ["scalar quadratic", "rotation", "linear quadratic", "waves", "needle", "ring", "cournot", "kelly auction"];
/// What they are compared by: equal weights in uniform bounds, and the tests of [`compare`](small_gain::compare).
pub(super) const CERTIFICATES: [&str; 9] =
    ["equal weights", "best weights", "box by box", "Euclid", "Rosen", "a matrix each", "one matrix", "spectrum, local", "one step, 1-q"];
const TESTS: [Test; 8] = [
    Test::SmallGain,
    Test::SmallGainPerBox,
    Test::EuclideanMonotone,
    Test::RosenDsc,
    Test::BlockLmi,
    Test::FullContraction,
    Test::Spectral,
    Test::StepMap,
];
/// Gaps to which the bounds of rings are found.
pub(super) const TOLERANCES: [f64; 3] = [1e-1, 1e-3, 1e-6];
const MOST_BOXES: usize = 10_000;

fn certifier(mode: Mode) -> Certifier {
    Certifier { mode, search: Search { most_boxes: MOST_BOXES, ..Search::default() }, ..Certifier::default() }
}

/// A game with the margins by which it is compared; none where there is no number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Compared {
    pub(super) name: String,
    pub(super) margins: Vec<Option<f64>>,
    pub(super) verdict: String,
}

/// A game of the collection by its name.
pub(super) fn example(name: &str) -> Result<Example, ExperimentError> {
    let missing = || ExperimentError::Method(format!("the collection has no game {name}"));
    zoo::all()?.into_iter().find(|example| example.name == name).ok_or_else(missing)
}

pub(super) fn compare(context: &Context<'_>, name: &str) -> Result<Compared, ExperimentError> {
    let Example { game, region: sides, .. } = example(name)?;
    let certifier = certifier(Mode::Uniform);
    // As many boxes as the certifier takes for the same bounds.
    let search = Search { most_boxes: MOST_BOXES - MOST_BOXES / 4, ..certifier.search };
    let equal = match block_bounds(&game, &sides, &search) {
        Ok(found) => Some(found.bounds.margin(&vec![1.0; game.dimensions().len()])?),
        Err(SmallGainError::NonFinite { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let report = small_gain::compare_until(&game, &Region::Local(sides), &certifier, context.cancel())?;
    let margin = |test: Test| match report.of(test).map(|row| &row.outcome) {
        Some(Outcome::Holds { margin } | Outcome::Fails { margin, .. }) => Some(*margin),
        _ => None,
    };
    let word = |test: Test| match report.of(test).map(|row| &row.outcome) {
        Some(Outcome::Holds { .. }) => "holds",
        Some(Outcome::Fails { .. }) => "fails",
        _ => "open",
    };
    Ok(Compared {
        name: name.into(),
        margins: std::iter::once(equal).chain(TESTS.map(margin)).collect(),
        verdict: TESTS.map(word).join(", "),
    })
}

/// What sampling and branch and bound say of the needle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Needle {
    /// The margin of the bounds at corners.
    pub(super) sampled: f64,
    pub(super) refused: bool,
    pub(super) boxes: usize,
    pub(super) reason: String,
}

pub(super) fn needle(context: &Context<'_>) -> Result<Needle, ExperimentError> {
    let Example { game, region, .. } = zoo::needle()?;
    let sampled = optimal_weights(&estimate(&game, &region, Sampling::Corners)?.bounds).margin;
    let verdict = certifier(Mode::Uniform).certify_watched(&game, &Region::Local(region), context.cancel(), &mut Silent)?;
    let (refused, boxes, reason) = match verdict {
        Verdict::Refused(refused) => (true, refused.boxes, refused.reasons.first().map(ToString::to_string).unwrap_or_default()),
        Verdict::Inconclusive(open) => (false, open.boxes, "inconclusive".into()),
        Verdict::Certified(found) => (false, found.boxes, "certified".into()),
    };
    Ok(Needle { sampled, refused, boxes, reason })
}

/// The certificate of the waves box by box, with few boxes.
pub(super) fn leaf_map(context: &Context<'_>) -> Result<Option<(Game, Box<Certified>)>, ExperimentError> {
    let Example { game, region, .. } = zoo::waves()?;
    let search = Search { tolerance: Tolerance::Absolute(0.05), most_boxes: 300 };
    match (Certifier { search, ..certifier(Mode::PerBox) }).certify_watched(&game, &Region::Local(region), context.cancel(), &mut Silent)? {
        Verdict::Certified(found) => Ok(Some((game, found))),
        Verdict::Refused(_) | Verdict::Inconclusive(_) => Ok(None),
    }
}

/// What a certificate of a ring costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) size: usize,
    pub(super) tolerance: f64,
    pub(super) boxes: usize,
    pub(super) seconds: f64,
    /// The certified margin; none without a certificate.
    pub(super) margin: Option<f64>,
    /// Whether all bounds are within the tolerance.
    pub(super) complete: bool,
}

/// Bounds of rings of players with a variable each.
pub(super) fn cost(context: &Context<'_>, size: usize, tolerance: f64) -> Result<Cost, ExperimentError> {
    let Example { game, region, .. } = zoo::ring(size, 1, 2.0, 1.0)?;
    let search = Search { tolerance: Tolerance::Absolute(tolerance), most_boxes: 200_000 };
    let start = Instant::now();
    let verdict =
        Certifier { search, ..Certifier::default() }.certify_watched(&game, &Region::Local(region), context.cancel(), &mut Silent)?;
    let seconds = start.elapsed().as_secs_f64();
    let (boxes, margin, complete) = match verdict {
        Verdict::Certified(found) => (found.boxes, Some(found.certificate.alpha), found.complete),
        Verdict::Refused(refused) => (refused.boxes, None, false),
        Verdict::Inconclusive(open) => (open.boxes, None, false),
    };
    Ok(Cost { size, tolerance, boxes, seconds, margin, complete })
}

/// The market whose certificate is on the page.
pub(super) const DEMAND: Demand = Demand::Linear { intercept: 10.0, slope: 0.5 };

/// The firms that come with Gradus.
pub(super) fn firms() -> Vec<Firm> {
    let firm = |name: &str, linear_cost, quadratic_cost| Firm { name: name.into(), linear_cost, quadratic_cost, capacity: 4.0 };
    vec![firm("north", 1.0, 0.8), firm("south", 1.5, 1.0), firm("east", 2.0, 0.6)]
}

pub(super) fn certify_firms(context: &Context<'_>, firms: &[Firm]) -> Result<(Game, Region, Verdict), ExperimentError> {
    let Example { game, region, .. } = zoo::cournot(firms, DEMAND)?;
    let region = Region::Constrained(region);
    let verdict = Certifier::default().certify_watched(&game, &region, context.cancel(), &mut Silent)?;
    Ok((game, region, verdict))
}
