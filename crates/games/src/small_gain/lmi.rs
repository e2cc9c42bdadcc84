//! The metric of a given structure in which some Jacobians have the greatest common margin: a generalised eigenvalue problem in linear
//! matrix inequalities.
//!
//! Of Jacobians `J_k` and a block-diagonal metric `M = blkdiag(M_i)`, one block for each player, the margin is the greatest `α` with
//!
//! ```text
//! M J_k + J_kᵀ M ≥ 2 α M   for all k.
//! ```
//!
//! It keeps the signs of couplings, of which the small-gain condition knows only the norms. It is quasi-concave in `M`, and found along
//! analytic centres (Boyd and El Ghaoui 1993, "Method of centers for minimizing generalized eigenvalues"; Boyd, El Ghaoui, Feron and
//! Balakrishnan 1994, "Linear Matrix Inequalities in System and Control Theory", sections 2.2.3 and 2.4; Vandenberghe and Boyd 1996,
//! "Semidefinite programming").

use std::ops::Range;

use nalgebra::{DMatrix, DVector};

use super::linear::eigenvalues;
use super::scaled::{least_symmetric, norm};
use super::{BlockBounds, SmallGainError, optimal_weights};

mod centre;
mod dual;
#[cfg(test)]
mod tests;

use centre::{Stage, Unknowns};

/// The gap, relative to the margin, at which the search ends, and that relative to the spread of the curvatures, for margins near 0.
const ENOUGH: [f64; 2] = [1e-8, 1e-12];
/// The greatest ratio of eigenvalues of a metric, in the coordinates that the search begins with.
const MOST_CONDITION: f64 = 1e8;
/// Stages of the search: each leaves about a tenth of the gap.
const MOST_STAGES: usize = 100;
/// The part of the last gap that a stage may leave.
const STALLED: f64 = 0.95;
/// By how much the sharpness grows from stage to stage.
const RISE: f64 = 10.0;
/// The part of the way to the margin by which the level is raised where that does not lead to a centre.
const RAISED: f64 = 0.9;

/// What each player's block of a metric may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Structure {
    /// `w_i I`: the weights of Rosen's condition.
    Scalar,
    /// A diagonal matrix: projections onto boxes are the same in it.
    Diagonal,
    /// Any positive definite matrix.
    #[default]
    Full,
}

/// The most unknown entries of a metric: the equations of a step are as many.
pub(super) const MOST_UNKNOWNS: usize = 2_000;

impl Structure {
    /// How many entries of a metric of such blocks are free.
    pub(super) fn unknowns(self, dimensions: &[usize]) -> usize {
        let of_block = |&size: &usize| match self {
            Self::Scalar => 1,
            Self::Diagonal => size,
            Self::Full => size.saturating_mul(size.saturating_add(1)) / 2,
        };
        dimensions.iter().map(of_block).fold(0, usize::saturating_add)
    }
}

/// Why a search for a metric ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LmiEnd {
    /// The margin is the greatest to about eight digits.
    Gap,
    /// Only metrics with eigenvalues further apart than 1e8, in the coordinates that the search begins with, have more: the greatest
    /// margin may be approached without being attained.
    Conditioning,
    /// Rounding errors ended it before the gap was closed.
    Precision,
}

/// A block-diagonal metric, and its margin.
#[derive(Debug, Clone, PartialEq)]
pub struct LmiSolution {
    /// The players' blocks, symmetric; the mean of the first one's diagonal is 1.
    pub blocks: Vec<DMatrix<f64>>,
    /// The margin in this metric, as [`block_margin`] has it: to rounding.
    pub margin: f64,
    /// No metric of the structure has a greater margin, to rounding: by multipliers, and by eigenvalues of the Jacobians and of players'
    /// own blocks. Usually within some thousandths of the margin, and much nearer for scalar and diagonal blocks; where there are directions
    /// of a full block that the margin does not depend on, multipliers show nothing, and it may be only what the eigenvalues show.
    pub upper: f64,
    /// About by how much the margin may be below that of other metrics, of which no eigenvalue is far from this one's.
    pub gap: f64,
    /// Why the search ended.
    pub end: LmiEnd,
}

/// The block-diagonal metric of a structure with about the greatest margin common to some Jacobians: the vertices of a polytope, say, all
/// of which has the margin then. With one player, this is the best constant metric of all: of one Jacobian, the margin is the least real
/// part of its eigenvalues.
///
/// Metrics `M` and levels `α` below their margins are followed along the minimisers, for a growing sharpness `t`, of
///
/// ```text
/// K tr M - t α - Σ_k log det (M J_k + J_kᵀ M - 2 α M),
/// ```
///
/// the analytic centres of the metrics above each level, by Newton's method in coordinates in which the last stage's metric is the identity.
/// For one level the problem is convex, and that is what is fallen back on where metric and level together lead to no centre. The search
/// begins in the coordinates of the small-gain condition's best weights, and its metric has at least their margin. The inverses of the
/// matrices are about multipliers, which bound the margins of all metrics: see [`LmiSolution::upper`].
///
/// All is computed to rounding. A proof takes the same inequality in interval arithmetic, for which the margin is lowered a little.
///
/// ```
/// use gradus_games::small_gain::{BlockBounds, Structure, block_lmi, optimal_weights};
/// use nalgebra::DMatrix;
///
/// // A regularised zero-sum game: the small-gain condition refuses, as it sees couplings of 5 against curvatures of 1.
/// let jacobian = DMatrix::from_row_slice(2, 2, &[1.0, 5.0, -5.0, 1.0]);
/// let coupling = DMatrix::from_row_slice(2, 2, &[0.0, 5.0, 5.0, 0.0]);
/// let bounds = BlockBounds::new(vec![1.0; 2], coupling, vec![1.0; 2])?;
/// assert!((optimal_weights(&bounds).margin + 4.0).abs() < 1e-9);
/// let found = block_lmi(&[jacobian], &[1, 1], Structure::Scalar)?;
/// assert!((found.margin - 1.0).abs() < 1e-9 && (found.upper - 1.0).abs() < 1e-9);
/// # Ok::<(), gradus_games::small_gain::SmallGainError>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Dimension`] without a Jacobian or a player, for a player without variables, for sizes that differ, and for a metric
/// with more than 2,000 unknown entries; [`SmallGainError::NonFinite`] for entries of Jacobians.
pub fn block_lmi(jacobians: &[DMatrix<f64>], dimensions: &[usize], structure: Structure) -> Result<LmiSolution, SmallGainError> {
    check(jacobians, dimensions)?;
    let got = structure.unknowns(dimensions);
    if got > MOST_UNKNOWNS {
        return Err(SmallGainError::Dimension { what: "unknown entries of the metric, at most", expected: MOST_UNKNOWNS, got });
    }
    let players = ranges(dimensions);
    let scale = jacobians.iter().map(|jacobian| jacobian.amax()).fold(0.0, f64::max);
    if scale == 0.0 {
        let blocks = dimensions.iter().map(|&size| DMatrix::identity(size, size)).collect();
        return Ok(LmiSolution { blocks, margin: 0.0, upper: 0.0, gap: 0.0, end: LmiEnd::Gap });
    }
    let jacobians: Vec<DMatrix<f64>> = jacobians.iter().map(|jacobian| jacobian / scale).collect();
    let start = start(&jacobians, &players, structure);
    let search = Search { jacobians: scaled(&jacobians, &start), players: &players, structure };
    let found = search.climb(simple_bound(&jacobians, &players, structure));
    let metric = found.metric.map_with_location(|a, b, entry| entry * (start[a].sqrt() * start[b].sqrt()));
    let first = metric.view((0, 0), (dimensions[0], dimensions[0])).trace() / dimensions[0] as f64;
    let blocks: Vec<DMatrix<f64>> = players.iter().map(|of| metric.view((of.start, of.start), (of.len(), of.len())) / first).collect();
    let margin = margin_of(&jacobians, &players, &blocks);
    let upper = found.upper.max(margin);
    let gap = found.gap.min(upper - margin);
    Ok(LmiSolution { blocks, margin: scale * margin, upper: scale * upper, gap: scale * gap, end: found.end })
}

/// The margin common to some Jacobians in a block-diagonal metric, to rounding: the least eigenvalue of `(M J_k + J_kᵀ M)/2` against `M`;
/// `-∞` where a block is not positive definite to rounding.
///
/// # Errors
/// As of [`block_lmi`], and [`SmallGainError::Dimension`] for blocks of other sizes.
pub fn block_margin(jacobians: &[DMatrix<f64>], dimensions: &[usize], blocks: &[DMatrix<f64>]) -> Result<f64, SmallGainError> {
    check(jacobians, dimensions)?;
    if blocks.len() != dimensions.len() {
        return Err(SmallGainError::Dimension { what: "blocks of the metric", expected: dimensions.len(), got: blocks.len() });
    }
    for (block, &expected) in blocks.iter().zip(dimensions) {
        for (what, got) in [("rows of a block of the metric", block.nrows()), ("columns of a block of the metric", block.ncols())] {
            if got != expected {
                return Err(SmallGainError::Dimension { what, expected, got });
            }
        }
    }
    let scale = jacobians.iter().map(|jacobian| jacobian.amax()).fold(f64::MIN_POSITIVE, f64::max);
    let jacobians: Vec<DMatrix<f64>> = jacobians.iter().map(|jacobian| jacobian / scale).collect();
    Ok(scale * margin_of(&jacobians, &ranges(dimensions), blocks))
}

fn check(jacobians: &[DMatrix<f64>], dimensions: &[usize]) -> Result<(), SmallGainError> {
    let size = dimensions.iter().sum();
    let least = [("Jacobians, at least", jacobians.len()), ("players, at least", dimensions.len())];
    let variables = dimensions.iter().map(|&own| ("variables of a player, at least", own));
    if let Some((what, got)) = least.into_iter().chain(variables).find(|(_, count)| *count == 0) {
        return Err(SmallGainError::Dimension { what, expected: 1, got });
    }
    for jacobian in jacobians {
        for (what, got) in [("rows of a Jacobian", jacobian.nrows()), ("columns of a Jacobian", jacobian.ncols())] {
            if got != size {
                return Err(SmallGainError::Dimension { what, expected: size, got });
            }
        }
        if !jacobian.iter().all(|entry| entry.is_finite()) {
            return Err(SmallGainError::NonFinite { what: "a Jacobian", point: vec![0.0; size] });
        }
    }
    Ok(())
}

/// The variables of each player.
fn ranges(dimensions: &[usize]) -> Vec<Range<usize>> {
    let start = |player: usize| dimensions[..player].iter().sum::<usize>();
    dimensions.iter().enumerate().map(|(player, &size)| start(player)..start(player) + size).collect()
}

/// `D^{1/2} J D^{-1/2}` of each Jacobian.
fn scaled(jacobians: &[DMatrix<f64>], weights: &[f64]) -> Vec<DMatrix<f64>> {
    let entry = |a: usize, b: usize, entry: f64| if entry == 0.0 { 0.0 } else { entry * (weights[a] / weights[b]).sqrt() };
    jacobians.iter().map(|jacobian| jacobian.map_with_location(entry)).collect()
}

/// The least eigenvalue of the matrices' symmetric parts.
fn least_curvature(matrices: &[DMatrix<f64>]) -> f64 {
    // The decompositions do not end for what is no number.
    if !matrices.iter().flat_map(|matrix| matrix.iter()).all(|entry| entry.is_finite()) {
        return f64::NEG_INFINITY;
    }
    matrices.iter().map(|matrix| least_symmetric(&(0.5 * (matrix + matrix.transpose())))).fold(f64::INFINITY, f64::min)
}

fn margin_of(jacobians: &[DMatrix<f64>], players: &[Range<usize>], blocks: &[DMatrix<f64>]) -> f64 {
    let size = players.last().map_or(0, |last| last.end);
    let mut metric = DMatrix::zeros(size, size);
    for (of, block) in players.iter().zip(blocks) {
        metric.view_mut((of.start, of.start), (of.len(), of.len())).copy_from(block);
    }
    in_coordinates_of(jacobians, &metric).map_or(f64::NEG_INFINITY, |jacobians| least_curvature(&jacobians))
}

/// `T J T⁻¹` of each Jacobian, with `TᵀT = M`: the Jacobians in coordinates in which the metric is the identity. None where it is not
/// positive definite.
fn in_coordinates_of(jacobians: &[DMatrix<f64>], metric: &DMatrix<f64>) -> Option<Vec<DMatrix<f64>>> {
    let factor = metric.clone().cholesky()?.unpack();
    let moved =
        |jacobian: &DMatrix<f64>| factor.solve_lower_triangular(&factor.tr_mul(jacobian).transpose()).map(|moved| moved.transpose());
    jacobians.iter().map(moved).collect()
}

/// The weight of each variable to begin with: equal ones, or those that are best for the small-gain condition of players, or of single
/// variables where they may differ; whichever have the greatest margin.
fn start(jacobians: &[DMatrix<f64>], players: &[Range<usize>], structure: Structure) -> Vec<f64> {
    let size = players.last().map_or(0, |last| last.end);
    let singles: Vec<Range<usize>> = (0..size).map(|variable| variable..variable + 1).collect();
    let small_gain = |groups: &[Range<usize>]| {
        let weights = small_gain_weights(jacobians, groups)?;
        Some(groups.iter().zip(weights).flat_map(|(of, w)| std::iter::repeat_n(w, of.len())).collect::<Vec<f64>>())
    };
    let of_singles = if structure == Structure::Scalar { None } else { small_gain(&singles) };
    let tried = [Some(vec![1.0; size]), small_gain(players), of_singles].into_iter().flatten();
    let margins = tried.map(|weights| (least_curvature(&scaled(jacobians, &weights)), weights));
    margins.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, weights)| weights).unwrap_or_default()
}

/// The weights with the greatest margin that bounds of the Jacobians' blocks allow to see.
fn small_gain_weights(jacobians: &[DMatrix<f64>], groups: &[Range<usize>]) -> Option<Vec<f64>> {
    let block = |jacobian: &DMatrix<f64>, i: usize, j: usize| {
        jacobian.view((groups[i].start, groups[j].start), (groups[i].len(), groups[j].len())).into_owned()
    };
    let greatest = |i: usize, j: usize| jacobians.iter().map(|jacobian| norm(&block(jacobian, i, j))).fold(0.0, f64::max);
    let curvature = |i: usize| {
        let own: Vec<DMatrix<f64>> = jacobians.iter().map(|jacobian| block(jacobian, i, i)).collect();
        least_curvature(&own)
    };
    let curvatures: Vec<f64> = (0..groups.len()).map(curvature).collect();
    let coupling = DMatrix::from_fn(groups.len(), groups.len(), |i, j| if i == j { 0.0 } else { greatest(i, j) });
    let own = curvatures.iter().enumerate().map(|(i, mu)| greatest(i, i).max(mu.abs())).collect();
    let weights = optimal_weights(&BlockBounds::new(curvatures, coupling, own).ok()?).weights;
    weights.iter().all(|w| *w > 0.0 && w.is_finite()).then_some(weights)
}

/// What no margin exceeds: the least real part of the eigenvalues of a Jacobian, of their mean, and of each player's own block, whose
/// margin is no less in the player's own block of a metric; of scalar blocks also the least curvature, and of diagonal ones the entries on
/// the diagonal.
fn simple_bound(jacobians: &[DMatrix<f64>], players: &[Range<usize>], structure: Structure) -> f64 {
    let mean = jacobians.iter().fold(DMatrix::zeros(jacobians[0].nrows(), jacobians[0].nrows()), |sum, jacobian| sum + jacobian)
        / jacobians.len() as f64;
    let real = |matrix: &DMatrix<f64>| eigenvalues(matrix).iter().map(|value| value.re).fold(f64::INFINITY, f64::min);
    let own = |matrix: &DMatrix<f64>| match structure {
        Structure::Scalar => least_curvature(std::slice::from_ref(matrix)),
        Structure::Diagonal => matrix.diagonal().min().min(real(matrix)),
        Structure::Full => real(matrix),
    };
    let blocks = |matrix: &DMatrix<f64>| {
        let of = |of: &Range<usize>| own(&matrix.view((of.start, of.start), (of.len(), of.len())).into_owned());
        players.iter().map(of).fold(f64::INFINITY, f64::min)
    };
    jacobians.iter().chain([&mean]).map(|matrix| real(matrix).min(blocks(matrix))).fold(f64::INFINITY, f64::min)
}

/// A search for a metric, in coordinates in which the identity is a good one.
struct Search<'a> {
    jacobians: Vec<DMatrix<f64>>,
    players: &'a [Range<usize>],
    structure: Structure,
}

/// Where a stage ends, in the coordinates of the search.
struct Stop {
    metric: DMatrix<f64>,
    margin: f64,
    level: f64,
    /// What no margin exceeds, and by about how much the level is below the greatest one; none where the centre was not reached.
    shown: Option<[f64; 2]>,
}

/// What a search found.
struct Climbed {
    metric: DMatrix<f64>,
    upper: f64,
    /// About by how much the margin may be below the greatest one.
    gap: f64,
    end: LmiEnd,
}

impl Search<'_> {
    /// A metric with about the greatest margin; no margin exceeds `upper`.
    fn climb(&self, upper: f64) -> Climbed {
        let size = self.jacobians[0].nrows();
        let (identity, margin) = (DMatrix::identity(size, size), least_curvature(&self.jacobians));
        let spread = self.greatest_curvature() - margin;
        let mut found = Climbed { metric: identity.clone(), upper, gap: f64::INFINITY, end: LmiEnd::Precision };
        let (mut best, unknowns) = (margin, Unknowns::new(self.players, self.structure));
        let mut stop = Stop { metric: identity, margin, level: margin - spread, shown: None };
        for _ in 0..MOST_STAGES {
            if found.gap.min(found.upper - best) <= enough(best, spread) {
                found.end = LmiEnd::Gap;
                break;
            }
            let Some((next, [bound, gap])) = self.advance(&unknowns, &stop) else { break };
            if condition(&next.metric) > MOST_CONDITION {
                found.end = LmiEnd::Conditioning;
                break;
            }
            if next.margin > best {
                (best, found.metric) = (next.margin, next.metric.clone());
            }
            found.upper = found.upper.min(bound);
            if gap > STALLED * found.gap || gap.is_nan() {
                break;
            }
            (stop, found.gap) = (next, gap);
        }
        found
    }

    /// The next centre, at a higher level. Mostly all unknowns lead there at once; if not, the level that they led to is kept, or one below
    /// the margin.
    fn advance(&self, unknowns: &Unknowns, from: &Stop) -> Option<(Stop, [f64; 2])> {
        let centred = |stop: Option<Stop>| stop.and_then(|stop| stop.shown.map(|shown| (stop, shown)));
        let Some([_, gap]) = from.shown else { return centred(self.stage(unknowns, &from.metric, from.level, None)) };
        let sharpness = RISE * (from.metric.nrows() * self.jacobians.len()) as f64 / gap;
        let free = self.stage(unknowns, &from.metric, from.level, Some(sharpness));
        let kept = || {
            let free = free.as_ref().filter(|stop| stop.level > from.level && condition(&stop.metric) <= MOST_CONDITION)?;
            centred(self.stage(unknowns, &free.metric, free.level, None))
        };
        let below = || centred(self.stage(unknowns, &from.metric, from.level + RAISED * (from.margin - from.level), None));
        match free {
            Some(Stop { shown: Some(_), .. }) => centred(free),
            _ => kept().or_else(below),
        }
    }

    /// One stage, from a metric and a level below its margin, which stays unless a sharpness is given.
    fn stage(&self, unknowns: &Unknowns, metric: &DMatrix<f64>, level: f64, sharpness: Option<f64>) -> Option<Stop> {
        let factor = metric.clone().cholesky()?.unpack();
        let near = in_coordinates_of(&self.jacobians, metric)?;
        // Traces stay those of the search's coordinates.
        let inverse = factor.solve_lower_triangular(&DMatrix::identity(factor.nrows(), factor.nrows()))?;
        let measure = &inverse * inverse.transpose();
        let reached = Stage { unknowns, jacobians: &near, measure, level, sharpness }.reach()?;
        let outer = &factor * &reached.metric * factor.transpose();
        let outer = &outer * (outer.nrows() as f64 / outer.trace());
        let metric = 0.5 * (&outer + outer.transpose());
        let margin = least_curvature(&in_coordinates_of(&self.jacobians, &metric)?);
        let shown = reached.shown.map(|shown| [dual::bound(&near, &shown.multipliers, self.groups()), shown.gap]);
        Some(Stop { metric, margin, level: reached.level, shown })
    }

    fn greatest_curvature(&self) -> f64 {
        let negated: Vec<DMatrix<f64>> = self.jacobians.iter().map(|jacobian| -jacobian).collect();
        -least_curvature(&negated)
    }

    /// The sets of variables on which a metric's inequalities can be weighed apart.
    fn groups(&self) -> Vec<dual::Group> {
        match self.structure {
            Structure::Scalar => self.players.iter().cloned().map(dual::Group::Trace).collect(),
            Structure::Diagonal => (0..self.jacobians[0].nrows()).map(|a| dual::Group::Trace(a..a + 1)).collect(),
            Structure::Full => self.players.iter().cloned().map(dual::Group::Block).collect(),
        }
    }
}

/// The gap that is small enough.
fn enough(margin: f64, spread: f64) -> f64 {
    (ENOUGH[0] * margin.abs()).max(ENOUGH[1] * spread)
}

/// The ratio of the greatest eigenvalue of a metric to the least.
fn condition(metric: &DMatrix<f64>) -> f64 {
    if !metric.iter().all(|entry| entry.is_finite()) {
        return f64::INFINITY;
    }
    let values: DVector<f64> = metric.symmetric_eigenvalues();
    if values.min() > 0.0 { values.max() / values.min() } else { f64::INFINITY }
}
