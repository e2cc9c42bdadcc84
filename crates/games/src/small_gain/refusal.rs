//! Points at which no weights give a margin, and why.

use std::fmt;

use nalgebra::{DMatrix, DVector};

use super::blocks::{Blocks, Quantity};
use super::components::strongly_connected;
use super::perron::perron;
use crate::rigorous::Interval;
use crate::scalar::Real;

/// Why no weights give a margin in a region: what was found, in spite of rounding, at one of its points.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// A player's loss is not strongly convex in its own variables.
    NonPositiveCurvature {
        /// The player, from 0.
        player: usize,
        /// An upper bound of the player's least curvature at the point, at most 0.
        mu: f64,
        /// The point.
        point: Vec<f64>,
    },
    /// Players answer each other more strongly than their own curvatures hold them back.
    SmallGainViolated {
        /// A lower bound, at least 1, of the spectral radius of the gains `L_ij / μ_i` at the point.
        rho: f64,
        /// The players, from 0, of the cycle with the largest mean gain: each influences the next, and the last the first.
        worst_cycle: Vec<usize>,
        /// The product of the gains along the cycle.
        gain: f64,
        /// The point.
        point: Vec<f64>,
    },
    /// The Jacobian of some players, the others' variables kept, has an eigenvalue without a positive real part: there is no metric of blocks.
    Unstable {
        /// The players, from 0.
        players: Vec<usize>,
        /// The point.
        point: Vec<f64>,
    },
    /// The margin is not positive: that of given weights, or that of any when the gain is 1 to rounding.
    NonPositiveMargin {
        /// About the margin.
        margin: f64,
        /// The point.
        point: Vec<f64>,
    },
}

impl Refusal {
    /// The name of the kind.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NonPositiveCurvature { .. } => "NonPositiveCurvature",
            Self::SmallGainViolated { .. } => "SmallGainViolated",
            Self::Unstable { .. } => "Unstable",
            Self::NonPositiveMargin { .. } => "NonPositiveMargin",
        }
    }

    /// The point.
    pub fn point(&self) -> &[f64] {
        match self {
            Self::NonPositiveCurvature { point, .. }
            | Self::SmallGainViolated { point, .. }
            | Self::Unstable { point, .. }
            | Self::NonPositiveMargin { point, .. } => point,
        }
    }
}

impl Refusal {
    /// Equal for refusals of one kind and player.
    pub(super) fn rank(&self) -> (usize, usize) {
        match self {
            Self::NonPositiveCurvature { player, .. } => (0, *player),
            Self::SmallGainViolated { .. } => (1, 0),
            Self::NonPositiveMargin { .. } => (2, 0),
            Self::Unstable { .. } => (3, 0),
        }
    }

    /// Of two of one rank.
    pub(super) fn is_worse_than(&self, other: &Self) -> bool {
        let badness = |refusal: &Self| match refusal {
            Self::NonPositiveCurvature { mu, .. } => -mu,
            Self::SmallGainViolated { rho, .. } => *rho,
            Self::NonPositiveMargin { margin, .. } => -margin,
            Self::Unstable { .. } => 0.0,
        };
        badness(self) > badness(other)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonPositiveCurvature { player, mu, point } => {
                write!(
                    f,
                    "player {player}'s own curvature is at most {mu:.6} at {point:?}: its loss must be strongly convex in its variables"
                )
            }
            Self::SmallGainViolated { rho, worst_cycle, gain, point } => {
                let cycle: Vec<String> = worst_cycle.iter().chain(worst_cycle.first()).map(usize::to_string).collect();
                write!(f, "the spectral gain is at least {rho:.6} at {point:?}: players {} have loop gain {gain:.6}", cycle.join(" -> "))
            }
            Self::Unstable { players, point } => {
                let players: Vec<String> = players.iter().map(usize::to_string).collect();
                write!(
                    f,
                    "the Jacobian of players {} has an eigenvalue without a positive real part at {point:?}: they drift apart in every metric",
                    players.join(", ")
                )
            }
            Self::NonPositiveMargin { margin, point } => write!(f, "the margin is {margin:.3e}, which is not positive, at {point:?}"),
        }
    }
}

/// What is wrong at a point, given upper bounds of the quantities there and its Jacobian; with given weights, or with any.
pub(super) fn refusal_at(
    blocks: &Blocks,
    upper: &[f64],
    jacobian: &[Interval],
    weights: Option<&[f64]>,
    point: impl Fn() -> Vec<f64>,
) -> Option<Refusal> {
    let count = blocks.players();
    let mut curvature: Vec<f64> = upper[..count].iter().map(|bound| -bound).collect();
    for (player, mu) in curvature.iter_mut().enumerate().filter(|(_, mu)| **mu <= 0.0) {
        *mu = -blocks.reached(Quantity::Curvature(player), jacobian);
        if *mu <= 0.0 {
            return Some(Refusal::NonPositiveCurvature { player, mu: *mu, point: point() });
        }
    }
    let coupling = DMatrix::from_fn(count, count, |i, j| if i == j { 0.0 } else { upper[count + i * count + j] });
    if weights.is_none() && has_margin(&curvature, &coupling) {
        return None;
    }
    // What is above is below the truth; what is said of the point must hold.
    let curvature: Vec<f64> = (0..count).map(|i| -blocks.reached(Quantity::Curvature(i), jacobian)).collect();
    let coupling = DMatrix::from_fn(count, count, |i, j| if i == j { 0.0 } else { blocks.reached(Quantity::Norm(i, j), jacobian) });
    if let Some((rho, worst_cycle, gain)) = spectral_gain(&curvature, &coupling) {
        if rho >= 1.0 {
            return Some(Refusal::SmallGainViolated { rho, worst_cycle, gain, point: point() });
        }
        if rho >= 1.0 - 4.0 * count as f64 * f64::EPSILON {
            return Some(Refusal::NonPositiveMargin { margin: 0.0, point: point() });
        }
    }
    let margin = margin_from_above(&curvature, &coupling, weights?);
    (margin <= 0.0).then(|| Refusal::NonPositiveMargin { margin, point: point() })
}

/// Whether `diag(μ) - L` is a nonsingular M-matrix, to rounding: elimination leaves positive pivots.
fn has_margin(curvature: &[f64], coupling: &DMatrix<f64>) -> bool {
    let mut rest = DMatrix::from_fn(curvature.len(), curvature.len(), |i, j| if i == j { curvature[i] } else { -coupling[(i, j)] });
    for k in 0..rest.nrows() {
        if rest[(k, k)].is_nan() || rest[(k, k)] <= 0.0 {
            return false;
        }
        for i in k + 1..rest.nrows() {
            let factor = rest[(i, k)] / rest[(k, k)];
            for j in k + 1..rest.nrows() {
                rest[(i, j)] -= factor * rest[(k, j)];
            }
        }
    }
    true
}

/// A lower bound of the spectral radius of the gains `L_ij / μ_i` of positive curvatures, and the cycle with the largest mean gain with
/// the product of its gains; none where there is no cycle.
pub(super) fn spectral_gain(curvature: &[f64], coupling: &DMatrix<f64>) -> Option<(f64, Vec<usize>, f64)> {
    let count = curvature.len();
    let gains = DMatrix::from_fn(count, count, |i, j| coupling[(i, j)] / curvature[i]);
    let next: Vec<Vec<usize>> = (0..count).map(|j| (0..count).filter(|&i| gains[(i, j)] > 0.0).collect()).collect();
    let (components, _) = strongly_connected(&next);
    let radius = |members: &Vec<usize>| {
        let part = DMatrix::from_fn(members.len(), members.len(), |a, b| gains[(members[a], members[b])]);
        let x = perron(&part).1.map(Interval::point);
        // Collatz and Wielandt: no spectral radius is less than the least of these.
        let ratio = |a: usize| {
            let sum = (0..members.len()).fold(Interval::point(0.0), |sum, b| sum + x[b] * coupling[(members[a], members[b])]);
            (sum / (x[a] * curvature[members[a]])).lo()
        };
        (0..members.len()).map(ratio).fold(f64::INFINITY, f64::min)
    };
    let cyclic = components.iter().filter(|members| members.len() > 1);
    let rho = cyclic.map(radius).fold(f64::NEG_INFINITY, f64::max);
    let cycle = worst_cycle(&gains)?;
    let gain = (0..cycle.len()).map(|k| gains[(cycle[(k + 1) % cycle.len()], cycle[k])]).product();
    Some((rho, cycle, gain))
}

/// The cycle `j → i → …` of a non-negative matrix of gains `(i, j)` with the largest geometric mean (Karp 1978), its least player first.
fn worst_cycle(gains: &DMatrix<f64>) -> Option<Vec<usize>> {
    let count = gains.nrows();
    let logs = gains.map(f64::ln);
    // The best walks of each length to each player, from anywhere, and the player before.
    let mut best = vec![DVector::from_element(count, 0.0)];
    let mut before: Vec<Vec<usize>> = Vec::new();
    for step in 0..count {
        let reach = |i: usize| {
            let from = |j: &usize| best[step][*j] + logs[(i, *j)];
            let j = (0..count).max_by(|a, b| from(a).total_cmp(&from(b))).unwrap_or(0);
            (j, from(&j))
        };
        let reached: Vec<(usize, f64)> = (0..count).map(reach).collect();
        before.push(reached.iter().map(|(j, _)| *j).collect());
        best.push(DVector::from_iterator(count, reached.iter().map(|(_, value)| *value)));
    }
    let mean = |i: &usize| (0..count).map(|k| (best[count][*i] - best[k][*i]) / (count - k) as f64).fold(f64::INFINITY, f64::min);
    let end = (0..count).filter(|&i| best[count][i] > f64::NEG_INFINITY).max_by(|a, b| mean(a).total_cmp(&mean(b)))?;
    // Back along the walk, until a player comes again.
    let mut walk = vec![end];
    for step in (0..count).rev() {
        let player = before[step][walk[walk.len() - 1]];
        if let Some(start) = walk.iter().position(|&seen| seen == player) {
            let mut cycle = walk[start..].to_vec();
            cycle.reverse();
            let least = (0..cycle.len()).min_by_key(|&k| cycle[k])?;
            cycle.rotate_left(least);
            return Some(cycle);
        }
        walk.push(player);
    }
    None
}

/// An upper bound of the margin of weights, from upper bounds of curvatures and lower bounds of couplings: the Rayleigh quotient of about
/// the vector of the least eigenvalue.
fn margin_from_above(curvature: &[f64], coupling: &DMatrix<f64>, weights: &[f64]) -> f64 {
    let count = curvature.len();
    let scaled = DMatrix::from_fn(count, count, |i, j| {
        let part = |i: usize, j: usize| (weights[i] / weights[j]).sqrt() * coupling[(i, j)];
        if i == j { curvature[i] } else { -0.5 * (part(i, j) + part(j, i)) }
    });
    let eigen = nalgebra::SymmetricEigen::new(scaled);
    let u = eigen.eigenvectors.column(eigen.eigenvalues.imin()).into_owned();
    let x: Vec<Interval> = (0..count).map(|i| Interval::point(u[i].abs() / weights[i].sqrt())).collect();
    let (mut form, mut norm) = (Interval::point(0.0), Interval::point(0.0));
    for i in 0..count {
        let w = Interval::point(weights[i]);
        norm = norm + w * x[i].square();
        form = form + w * x[i].square() * curvature[i];
        for j in 0..count {
            form = form - w * x[i] * x[j] * coupling[(i, j)];
        }
    }
    (form / norm).hi()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_cycle_and_its_gain() {
        // 0 → 1 → 2 → 0 with gains 2, 3, 1 and a smaller loop of 0 and 1.
        let mut coupling = DMatrix::zeros(3, 3);
        for (i, j, gain) in [(1, 0, 2.0), (2, 1, 3.0), (0, 2, 1.0), (0, 1, 0.1)] {
            coupling[(i, j)] = gain;
        }
        let (rho, cycle, gain) = spectral_gain(&[1.0, 1.0, 1.0], &coupling).unwrap();
        assert_eq!(cycle, [0, 1, 2]);
        assert!((gain - 6.0).abs() < 1e-12 && rho > 1.8 && rho < 1.9, "{rho} {gain}");
        coupling[(0, 1)] = 50.0;
        assert_eq!(spectral_gain(&[1.0, 1.0, 1.0], &coupling).unwrap().1, [0, 1]);
        assert_eq!(spectral_gain(&[1.0, 1.0], &DMatrix::from_row_slice(2, 2, &[0.0, 5.0, 0.0, 0.0])), None);
        assert!(!has_margin(&[1.0, 1.0, 1.0], &coupling) && has_margin(&[10.0, 11.0, 10.0], &coupling));
    }

    #[test]
    fn margins_from_above() {
        let coupling = DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]);
        let margin = margin_from_above(&[1.0, 1.0], &coupling, &[1.0, 1.0]);
        assert!((margin + 4.025).abs() < 1e-12 && margin >= -4.025);
        let margin = margin_from_above(&[1.0, 1.0], &coupling, &[1.0, 200.0]);
        assert!((margin - (1.0 - 0.5f64.sqrt())).abs() < 1e-12);
    }
}
