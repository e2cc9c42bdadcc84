//! Certificates that keep the signs of couplings: of the whole Jacobian, in a metric with a matrix for each player.
//!
//! `M J(x) + J(x)ᵀ M ≥ 2 α M` for all `x` of a convex region, `M = blkdiag(M_i)`, says that the field is strongly monotone in `M` (Demidovich
//! 1961); for given Jacobians the best `M` solves linear matrix inequalities (Boyd et al. 1994). The small-gain condition implies it with
//! `M_i = w_i I`. That of a zero-sum game whose couplings cancel holds however strong they are.
//!
//! Where the Jacobian varies, the metric is found for a few points, and the margin proven on the region by branch and bound; the worst point of
//! that search joins the few (Kelley's cutting planes), as long as a greater margin may be found. Nothing depends on the solver: the proof is of
//! the matrices that it found.

use gradus_base::{Cancel, Observer};
use nalgebra::DMatrix;

use super::certificate::{Branch, Certificate, Whole};
use super::certify::{Certified, Certifier, Inconclusive, Mode, Proof, Refused, Region, Verdict, assemble, corners};
use super::checker::check;
use super::checker::whole::BlockMetric;
use super::lmi::{LmiSolution, Structure, block_lmi};
use super::refusal::Refusal;
use super::scaled::{Cover, Goal, Scaled};
use super::search::{Search, Tolerance, block_bounds};
use super::{Rates, SmallGainError, optimal_weights};
use crate::game::Game;
use crate::rigorous::Interval;

/// The most times that a metric is improved for one more point.
const ROUNDS: usize = 20;
/// The part of the margin that the metric may lack.
const GAP: f64 = 1e-3;
/// Points that the first metric is found for.
const FIRST_POINTS: usize = 16;
/// Unknown entries of a metric that is searched for several times.
pub(super) const AFFORDABLE_UNKNOWNS: usize = 600;
/// Times that rates are loosened until the checker agrees.
const TRIES: i32 = 24;

/// A metric `blkdiag(w_i P_i)`, and the margin of the field on a region in it.
pub(super) struct MetricFound<'a> {
    pub(super) weights: Vec<f64>,
    pub(super) blocks: Vec<DMatrix<f64>>,
    /// A lower bound, to rounding, of as few boxes as were looked at.
    pub(super) margin: f64,
    /// The least that was met at a point, to rounding.
    pub(super) met: f64,
    /// An upper bound of the margin in any metric of this structure, to rounding.
    pub(super) upper: f64,
    /// The worst point that was seen.
    pub(super) worst: Vec<f64>,
    /// Boxes that were looked at.
    pub(super) boxes: usize,
    game: &'a Game,
    dimensions: &'a [usize],
}

/// A rate, and the boxes on which it is confirmed.
pub(super) struct Rate {
    /// Not finite where one is not confirmed.
    pub(super) value: f64,
    tree: Vec<Branch>,
    boxes: usize,
    complete: bool,
}

/// A search for a metric.
pub(super) struct MetricSearch<'a> {
    pub(super) game: &'a Game,
    /// Variables of each block of the metric: of the players, or one block for all.
    pub(super) dimensions: &'a [usize],
    pub(super) structure: Structure,
    pub(super) sides: &'a [Interval],
    pub(super) search: Search,
}

impl<'a> MetricSearch<'a> {
    /// The middle, and unless the Jacobian is the same everywhere, some corners.
    fn first_points(&self) -> Result<Vec<Vec<f64>>, SmallGainError> {
        let middle: Vec<f64> = self.sides.iter().map(|side| side.midpoint()).collect();
        let varies = !self.game.is_affine();
        let all: Vec<Vec<f64>> = std::iter::once(middle).chain(corners(self.sides).filter(|_| varies)).collect();
        if let Some(point) = all.iter().find(|point| !self.game.is_finite_at(point)) {
            return Err(SmallGainError::NonFinite { what: "the field or its Jacobian", point: point.clone() });
        }
        let every = all.len().div_ceil(FIRST_POINTS);
        Ok(all.into_iter().step_by(every).collect())
    }

    /// The metric with the greatest margin, about.
    ///
    /// # Errors
    /// [`SmallGainError::NonFinite`] where the game is not finite; [`SmallGainError::Cancelled`].
    pub(super) fn best(&self, cancel: &Cancel, observer: &mut dyn Observer) -> Result<MetricFound<'a>, SmallGainError> {
        let mut points = self.first_points()?;
        let mut best: Option<MetricFound<'a>> = None;
        let (mut upper, mut boxes) = (f64::INFINITY, 0);
        // These only look for the worst point; the proof itself gets most of the boxes.
        let each = Search { most_boxes: (self.search.most_boxes / 32).max(1), tolerance: Tolerance::Relative(GAP) };
        for _ in 0..ROUNDS {
            let jacobians: Vec<DMatrix<f64>> = points.iter().map(|x| self.game.jacobian(x)).collect();
            let LmiSolution { blocks: solved, upper: bound, margin: sampled, .. } = block_lmi(&jacobians, self.dimensions, self.structure)?;
            upper = upper.min(bound);
            let (weights, blocks) = split(&solved);
            let cover = self.cover(&weights, &blocks, &each, if sampled > 0.0 { 0.0 } else { f64::NEG_INFINITY }, cancel)?;
            let (margin, met, worst) = match &cover {
                Some(cover) => (-cover.bound(), -cover.attained, cover.at.clone()),
                None => (f64::NEG_INFINITY, f64::NEG_INFINITY, Vec::new()),
            };
            boxes += cover.map_or(0, |cover| cover.boxes());
            observer.progress(boxes as u64, Some(self.search.most_boxes as u64), "boxes");
            if best.as_ref().is_none_or(|best| met > best.met) {
                best = Some(MetricFound {
                    weights,
                    blocks,
                    margin,
                    met,
                    upper,
                    worst: worst.clone(),
                    boxes,
                    ..MetricFound::none(self, &points, boxes)
                });
            }
            let enough = sampled - best.as_ref().map_or(0.0, |best| best.met) <= GAP * sampled.abs();
            if sampled <= 0.0 || enough || worst.is_empty() || points.contains(&worst) || 2 * boxes >= self.search.most_boxes {
                break;
            }
            points.push(worst);
        }
        let none = || MetricFound::none(self, &points, boxes);
        let best = best.unwrap_or_else(none);
        Ok(MetricFound { upper, boxes, ..best })
    }

    /// Boxes that bound the margin in a metric; none in one that is not positive definite to rounding.
    fn cover(
        &self,
        weights: &[f64],
        blocks: &[DMatrix<f64>],
        search: &Search,
        most: f64,
        cancel: &Cancel,
    ) -> Result<Option<Cover>, SmallGainError> {
        let metric = BlockMetric::new(self.dimensions, weights, blocks);
        let scaled = Scaled::in_metric(self.game, metric, Goal::Curvature);
        scaled.map(|scaled| scaled.cover(self.sides, search, most, cancel)).transpose()
    }
}

impl<'a> MetricFound<'a> {
    fn none(search: &MetricSearch<'a>, points: &[Vec<f64>], boxes: usize) -> Self {
        let blocks = search.dimensions.iter().map(|&size| DMatrix::identity(size, size)).collect();
        Self {
            weights: vec![1.0; search.dimensions.len()],
            blocks,
            margin: f64::NEG_INFINITY,
            met: f64::NEG_INFINITY,
            upper: f64::INFINITY,
            worst: points.first().cloned().unwrap_or_default(),
            boxes,
            game: search.game,
            dimensions: search.dimensions,
        }
    }

    /// The margin, or the Lipschitz constant, in this metric, confirmed box by box.
    pub(super) fn prove(&self, goal: Goal, sides: &[Interval], search: &Search, cancel: &Cancel) -> Result<Rate, SmallGainError> {
        let metric = BlockMetric::new(self.dimensions, &self.weights, &self.blocks);
        let Some(scaled) = Scaled::in_metric(self.game, metric, goal) else {
            return Ok(Rate { value: f64::NAN, tree: Vec::new(), boxes: 1, complete: false });
        };
        let most = if goal == Goal::Curvature { 0.0 } else { f64::INFINITY };
        let cover = scaled.cover(sides, search, most, cancel)?;
        let (tree, proven) = scaled.prove(&cover);
        let greatest = proven.into_iter().map(|leaf| leaf.bound).fold(f64::NEG_INFINITY, f64::max);
        let value = if goal == Goal::Curvature { -greatest } else { greatest };
        Ok(Rate { value, tree, boxes: cover.boxes(), complete: cover.complete })
    }
}

/// Looks for a certificate from the whole Jacobian.
pub(super) fn certify(
    certifier: &Certifier,
    structure: Structure,
    game: &Game,
    region: &Region,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Verdict, SmallGainError> {
    let everywhere = vec![Interval::point(0.0); game.size()];
    let sides = region.sides().unwrap_or(&everywhere);
    let structure = affordable(allowed(structure, region), game.dimensions());
    let mode = Mode::BlockLmi(structure);
    let setting = MetricSearch { game, dimensions: game.dimensions(), structure, sides, search: certifier.search };
    let found = match &certifier.weights {
        Some(weights) => given(&setting, weights, cancel)?,
        None => setting.best(cancel, observer)?,
    };
    let rest = Search { most_boxes: certifier.search.most_boxes.saturating_sub(found.boxes).max(2), ..certifier.search };
    // Bounds of the blocks tell what the metric does not.
    let few = Search { most_boxes: rest.most_boxes / 4, ..rest };
    let bounds = block_bounds(game, sides, &few);
    let half = Search { most_boxes: rest.most_boxes / 2, ..rest };
    let attempt = |found: &MetricFound<'_>| -> Result<Option<(Certificate, usize, bool)>, SmallGainError> {
        if found.met <= 0.0 {
            return Ok(None);
        }
        let margin = found.prove(Goal::Curvature, sides, &half, cancel)?;
        let lipschitz = found.prove(Goal::Norm, sides, &half, cancel)?;
        let (boxes, complete) = (found.boxes + margin.boxes + lipschitz.boxes, margin.complete && lipschitz.complete);
        Ok(confirmed(game, region, found, margin, lipschitz).map(|certificate| (certificate, boxes, complete)))
    };
    if let Ok(bounds) = &bounds {
        let mut proof = attempt(&found)?;
        if proof.is_none() && certifier.weights.is_none() {
            // The best metric may be too distorted for a proof; that of the small-gain condition may do.
            proof = attempt(&given(&setting, &optimal_weights(&bounds.bounds).weights, cancel)?)?;
        }
        if let Some((certificate, boxes, complete)) = proof {
            let bounds = bounds.bounds.clone();
            return Ok(Verdict::Certified(Box::new(Certified { certificate, bounds, attained: true, mode, boxes, complete })));
        }
    }
    let bounds = bounds.ok().map(|found| found.bounds);
    if let Some(reason) = refusal(&found, certifier.weights.is_some()) {
        return Ok(Verdict::Refused(Refused { reasons: vec![reason], bounds, mode, boxes: found.boxes }));
    }
    let worst_box = found.worst.iter().map(|&x| Interval::point(x)).collect();
    let (alpha_lower, alpha_upper) = (found.margin, found.upper.max(found.margin));
    Ok(Verdict::Inconclusive(Inconclusive { alpha_lower, alpha_upper, worst_box, bounds, boxes: found.boxes, mode }))
}

/// The projection of confined players onto a box is the Euclidean one in metrics that are diagonal.
pub(super) fn allowed(structure: Structure, region: &Region) -> Structure {
    match (structure, region) {
        (Structure::Full, Region::Constrained(_)) => Structure::Diagonal,
        _ => structure,
    }
}

/// With so many unknowns that a search of several metrics takes seconds.
fn affordable(structure: Structure, dimensions: &[usize]) -> Structure {
    let all = [Structure::Full, Structure::Diagonal, Structure::Scalar];
    let tried = all.into_iter().skip_while(|tried| *tried != structure);
    tried.into_iter().find(|tried| tried.unknowns(dimensions) <= AFFORDABLE_UNKNOWNS).unwrap_or(Structure::Scalar)
}

/// The metric of given weights.
fn given<'a>(setting: &MetricSearch<'a>, weights: &[f64], cancel: &Cancel) -> Result<MetricFound<'a>, SmallGainError> {
    let points = setting.first_points()?;
    let mut found = MetricFound { weights: weights.to_vec(), ..MetricFound::none(setting, &points, 0) };
    let few = Search { most_boxes: (setting.search.most_boxes / 4).max(1), ..setting.search };
    if let Some(cover) = setting.cover(&found.weights, &found.blocks, &few, 0.0, cancel)? {
        (found.margin, found.met, found.upper, found.boxes) = (-cover.bound(), -cover.attained, -cover.attained, cover.boxes());
        found.worst = cover.at;
    }
    Ok(found)
}

/// Weights, of which the first is 1, and matrices whose diagonals are 1 in the mean.
fn split(blocks: &[DMatrix<f64>]) -> (Vec<f64>, Vec<DMatrix<f64>>) {
    let means: Vec<f64> = blocks.iter().map(|block| block.trace() / block.nrows() as f64).collect();
    let own = blocks.iter().zip(&means).map(|(block, mean)| {
        let scaled = block / *mean;
        0.5 * (&scaled + scaled.transpose())
    });
    (means.iter().map(|mean| mean / means[0]).collect(), own.collect())
}

/// The certificate, with rates that are loosened until the checker follows it: it may round where the search did not.
fn confirmed(game: &Game, region: &Region, found: &MetricFound<'_>, margin: Rate, lipschitz: Rate) -> Option<Certificate> {
    let (alpha, beta) = (margin.value, lipschitz.value.max(margin.value));
    if !(alpha > 0.0 && beta.is_finite()) {
        return None;
    }
    // Where the Jacobian is the same everywhere, there is nothing to cut.
    let tree = |rate: Rate| if region.sides().is_some() { rate.tree } else { Vec::new() };
    let whole = Whole { blocks: found.blocks.clone(), margin: tree(margin), lipschitz: tree(lipschitz) };
    let attempt = |k: i32| {
        let slack = if k == 0 { 0.0 } else { f64::EPSILON * 4f64.powi(k) };
        let rates = Rates { margin: alpha * (1.0 - slack), lipschitz: beta * (1.0 + slack) };
        let proof = Proof { whole: Some(whole.clone()), ..Proof::default() };
        let certificate = assemble(game, region, found.weights.clone(), proof, rates);
        check(&certificate, Some(game)).is_ok().then_some(certificate)
    };
    (0..TRIES).find_map(attempt)
}

/// What shows that there is no such metric, in spite of rounding.
pub(super) fn refusal(found: &MetricFound<'_>, given: bool) -> Option<Refusal> {
    let point: Vec<Interval> = found.worst.iter().map(|&x| Interval::point(x)).collect();
    if given {
        let scaled = Scaled::new(found.game, &found.weights, Goal::Curvature);
        let margin = -scaled.reached(&found.worst);
        return (margin <= 0.0).then(|| Refusal::NonPositiveMargin { margin, point: found.worst.clone() });
    }
    let jacobian = found.game.jacobian_box(&point);
    let players = found.game.dimensions().len();
    let single = (0..players).map(|i| vec![i]);
    let pairs = (0..players).flat_map(|i| (0..i).map(move |j| vec![j, i]));
    let mut groups = single.chain(pairs).chain([(0..players).collect::<Vec<usize>>()]);
    let unstable = groups.find(|group| is_unstable(found.game, &jacobian, group))?;
    Some(Refusal::Unstable { players: unstable, point: found.worst.clone() })
}

/// Whether the Jacobian of some of the players has an eigenvalue without a positive real part: its determinant, the product of all, or its
/// trace, their sum, is not positive. Then no metric of blocks has a margin, as in it this part of the Jacobian would have one.
fn is_unstable(game: &Game, jacobian: &[Interval], players: &[usize]) -> bool {
    let (all, size) = (game.players(), game.size());
    let variables: Vec<usize> = players.iter().flat_map(|&player| all[player].clone()).collect();
    let part = DMatrix::from_fn(variables.len(), variables.len(), |i, j| jacobian[variables[i] * size + variables[j]]);
    let trace = part.diagonal().iter().fold(Interval::point(0.0), |sum, &entry| sum + entry);
    trace.hi() <= 0.0 || determinant(part).hi() <= 0.0
}

/// Numbers around the determinant, by elimination with the greatest pivots.
fn determinant(mut matrix: DMatrix<Interval>) -> Interval {
    let size = matrix.nrows();
    let mut product = Interval::point(1.0);
    for k in 0..size {
        let greatest = (k..size).max_by(|&a, &b| matrix[(a, k)].midpoint().abs().total_cmp(&matrix[(b, k)].midpoint().abs()));
        if let Some(row) = greatest.filter(|&row| row != k) {
            matrix.swap_rows(row, k);
            product = -product;
        }
        let pivot = matrix[(k, k)];
        if pivot.contains(0.0) || !pivot.is_bounded() {
            return if (k..size).all(|row| matrix[(row, k)] == Interval::point(0.0)) { Interval::point(0.0) } else { Interval::ENTIRE };
        }
        product = product * pivot;
        for row in k + 1..size {
            let factor = matrix[(row, k)] / pivot;
            for column in k + 1..size {
                matrix[(row, column)] = matrix[(row, column)] - factor * matrix[(k, column)];
            }
        }
    }
    product
}

#[cfg(test)]
mod tests;
