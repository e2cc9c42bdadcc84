//! Fisher metrics of policies, and what is said of Markov games in them at points.

use nalgebra::{DMatrix, SymmetricEigen};

use super::tables::{at_least, check};
use super::{MarkovError, MarkovGame};
use crate::scalar::{Dual, Real};
use crate::small_gain::BlockBounds;

/// The most logits whose cube has its corners looked at.
const MOST_LOGITS: usize = 16;
/// Eigenvalues of a Fisher matrix up to this size are taken as 0.
const NO_DIRECTION: f64 = 1e-6;
/// Eigenvalues of a curvature up to this size are taken as 0.
const NO_CURVATURE: f64 = 1e-5;

impl MarkovGame {
    /// The Fisher matrix `diag(π) - ππᵀ` of a player's policies in its variables, one block for each state: the metric of Sharma (2025). To
    /// freeze it at a point, make a [`Metric`](crate::geometry::Metric) of it, and [`Coordinates`](crate::geometry::Coordinates) of
    /// these, in which [`Following::Gradient`](crate::geometry::Following::Gradient) is followed: the field is what it is.
    ///
    /// # Errors
    /// [`MarkovError::Dimension`] for a player who does not exist, and another number of variables.
    pub fn fisher(&self, player: usize, u: &[f64]) -> Result<DMatrix<f64>, MarkovError> {
        check("variables".into(), self.dimensions().iter().sum(), u.len())?;
        at_least("players".into(), player + 1, self.0.actions.len())?;
        Ok(fisher_block(&self.policies(u)[player], 1, |share| share))
    }
}

/// `diag(π) - ππᵀ` in each state, without the last actions that are so many `fewer`; `part` of each entry.
fn fisher_block<R: Real>(policies: &[Vec<R>], fewer: usize, part: impl Fn(R) -> f64) -> DMatrix<f64> {
    let own = policies.first().map_or(0, |policy| policy.len() - fewer);
    let entry = |state: usize, a: usize, b: usize| {
        let (p, q) = (policies[state][a], policies[state][b]);
        part(if a == b { p - p * q } else { -(p * q) })
    };
    let size = policies.len() * own;
    DMatrix::from_fn(size, size, |i, j| if i / own == j / own { entry(i / own, i % own, j % own) } else { 0.0 })
}

/// What a sample of corners suggests of a Markov game of two players in its Fisher metrics. It proves nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct FisherEstimate {
    /// The least curvatures and the greatest norms at the corners.
    pub bounds: BlockBounds,
    /// The weight of the second player, where that of the first is 1.
    pub ratio: f64,
    /// The margin `α` of the bounds at this ratio.
    pub margin: f64,
    /// The greatest norm `β` at this ratio.
    pub lipschitz: f64,
    /// `η_max = 2α/β²`.
    pub step_limit: f64,
    /// Corners that were looked at.
    pub points: usize,
}

/// The procedure of Sharma's (2025) code: the Jacobian `H` of the losses' gradients in all logits at the corners of the cube
/// `|θ - θ*|_∞ ≤ radius`, measured in the Fisher metric `G` of each corner,
///
/// ```text
/// μ_i = least eigenvalue, above 1e-5 in size, of G_i^{-1/2} H_ii G_i^{-1/2},   L_ij = ‖G_i^{-1/2} H_ij G_j^{-1/2}‖,
/// β = max ‖M^{1/2} G⁻¹ H M^{-1/2}‖ with M = blkdiag(w_i G_i),   η_max = 2α/β²,
/// ```
///
/// and the best of 200 ratios `w₂/w₁` from 0.01 to 100. `H` is exact, by dual numbers.
///
/// It is an estimate, and what is concluded from it need not hold:
/// 1. corners are samples, without even the centre, and bound nothing;
/// 2. `G` changes with `θ`, so that contraction in `M(θ)` needs the terms `-½ dM/dt`, which are left out ([`contraction_estimate`] has them);
/// 3. `G⁻¹H` is the Jacobian of the natural gradient only where the gradient is 0;
/// 4. thresholds of 1e-5 and 1e-6 decide which directions the softmax does not see;
/// 5. `α` takes the least curvature and the greatest coupling of different points, which holds, but is loose.
///
/// [`MarkovGame::game`] has none of these: its metric is constant, and a [`Certifier`](crate::small_gain::Certifier) bounds it on whole boxes.
///
/// # Errors
/// [`MarkovError::Dimension`] for other than two players, another number of logits, or more than 16; [`MarkovError::MarkovSpec`] for a radius
/// that is negative or not finite, and logits where the Jacobian is not finite or policies leave no direction to be seen.
pub fn fisher_estimate(game: &MarkovGame, logits: &[f64], radius: f64) -> Result<FisherEstimate, MarkovError> {
    let sizes: Vec<usize> = game.0.actions.iter().map(|actions| game.states() * actions).collect();
    check("players".into(), 2, sizes.len())?;
    check("logits".into(), sizes.iter().sum(), logits.len())?;
    if logits.len() > MOST_LOGITS {
        return Err(MarkovError::Dimension { what: "logits, at most".into(), expected: MOST_LOGITS, got: logits.len() });
    }
    if !(radius >= 0.0 && radius.is_finite()) {
        return Err(MarkovError::MarkovSpec { what: "the radius".into(), value: radius, expected: "finite and at least 0" });
    }
    let points = 1usize << logits.len();
    let corner = |bits: usize| -> Vec<f64> {
        logits.iter().enumerate().map(|(k, logit)| if bits >> k & 1 == 1 { logit + radius } else { logit - radius }).collect()
    };
    let (mut curvature, mut coupling, mut own) = ([f64::INFINITY; 2], DMatrix::zeros(2, 2), [0.0f64; 2]);
    let mut corners = Vec::with_capacity(points);
    for bits in 0..points {
        let scaled = scaled_jacobian(game, &corner(bits))?;
        for i in 0..2 {
            let block = |j: usize| scaled.view((i * sizes[0], j * sizes[0]), (sizes[i], sizes[j])).into_owned();
            let values = SymmetricEigen::new(0.5 * (block(i) + block(i).transpose())).eigenvalues;
            let least = values.iter().copied().filter(|value| value.abs() > NO_CURVATURE).fold(f64::INFINITY, f64::min);
            curvature[i] = curvature[i].min(least);
            own[i] = own[i].max(norm(block(i))).max(least.abs());
            coupling[(i, 1 - i)] = norm(block(1 - i)).max(coupling[(i, 1 - i)]);
        }
        corners.push(scaled);
    }
    let seen = curvature.iter().position(|mu| !mu.is_finite());
    let invisible = |player: usize| unusable(format!("the least curvature of player {}", player + 1), curvature[player]);
    seen.map_or(Ok(()), |player| Err(invisible(player)))?;
    let bounds = BlockBounds::new(curvature.to_vec(), coupling, own.to_vec()).map_err(|_| unusable("a bound".into(), f64::NAN))?;
    let (ratio, margin) = best_ratio(&bounds);
    let weighted = |scaled: &DMatrix<f64>| {
        let mut weighted = scaled.clone();
        weighted.view_mut((0, sizes[0]), (sizes[0], sizes[1])).scale_mut(1.0 / ratio.sqrt());
        weighted.view_mut((sizes[0], 0), (sizes[1], sizes[0])).scale_mut(ratio.sqrt());
        norm(weighted)
    };
    let lipschitz = corners.iter().map(weighted).fold(0.0, f64::max);
    Ok(FisherEstimate { bounds, ratio, margin, lipschitz, step_limit: 2.0 * margin / (lipschitz * lipschitz), points })
}

fn unusable(what: String, value: f64) -> MarkovError {
    MarkovError::MarkovSpec { what, value, expected: "finite: the logits are too far apart" }
}

fn norm(matrix: DMatrix<f64>) -> f64 {
    matrix.singular_values().max()
}

/// The best of the 200 ratios, and its margin.
fn best_ratio(bounds: &BlockBounds) -> (f64, f64) {
    let ratios = (0..200).map(|k| libm::pow(10.0, -2.0 + 4.0 * f64::from(k) / 199.0));
    let margins = ratios.map(|ratio| (ratio, bounds.margin(&[1.0, ratio]).unwrap_or(f64::NEG_INFINITY)));
    // The first of two that differ by rounding.
    margins.fold((1.0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 + 1e-12 { next } else { best })
}

/// `G^{-1/2} H G^{-1/2}` at all logits, with the inverse on the directions that the softmax sees.
fn scaled_jacobian(game: &MarkovGame, logits: &[f64]) -> Result<DMatrix<f64>, MarkovError> {
    let jacobian = jacobian(|x| game.policy_gradient(x), logits);
    if let Some(&value) = jacobian.iter().find(|entry| !entry.is_finite()) {
        return Err(unusable("an entry of the Jacobian".into(), value));
    }
    let policies = game.policies(&game.differences(logits));
    let mut root = DMatrix::zeros(logits.len(), logits.len());
    let mut start = 0;
    for own in &policies {
        let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(fisher_block(own, 0, |share| share));
        let values = eigenvalues.map(|value| if value > NO_DIRECTION { 1.0 / value.sqrt() } else { 0.0 });
        let block = &eigenvectors * DMatrix::from_diagonal(&values) * eigenvectors.transpose();
        root.view_mut((start, start), block.shape()).copy_from(&block);
        start += block.nrows();
    }
    Ok(&root * jacobian * &root)
}

/// The Jacobian of a function, by dual numbers.
fn jacobian(f: impl Fn(&[Dual<f64>]) -> Vec<Dual<f64>>, x: &[f64]) -> DMatrix<f64> {
    let column = |axis: usize| {
        let x: Vec<Dual<f64>> = x.iter().enumerate().map(|(k, &x)| if k == axis { Dual::variable(x) } else { Dual::constant(x) }).collect();
        f(&x).into_iter().map(|entry| entry.slope)
    };
    let columns: Vec<f64> = (0..x.len()).flat_map(column).collect();
    DMatrix::from_vec(columns.len() / x.len().max(1), x.len(), columns)
}

/// The least rate, at some points, at which the natural gradient flow `u' = -V(u)` contracts in the Fisher metric of the place,
/// `M(u) = blkdiag(w_i G_i(u))`, whose change along the flow counts (Lohmiller and Slotine 1998):
///
/// ```text
/// α = λ_min( M^{-1/2} [ sym(M DV) - ½ dM/dt ] M^{-1/2} ),   dM/dt = -Σ_k V_k ∂M/∂u_k
/// ```
///
/// An estimate: between the points anything may happen. All derivatives are exact, by dual numbers.
///
/// # Errors
/// [`MarkovError::Dimension`] for other numbers of weights and variables, or no point; [`MarkovError::MarkovSpec`] for a weight that is not
/// positive, and points where the metric is singular to rounding.
pub fn contraction_estimate(game: &MarkovGame, weights: &[f64], points: &[Vec<f64>]) -> Result<f64, MarkovError> {
    check("weights".into(), game.0.actions.len(), weights.len())?;
    at_least("points".into(), 1, points.len())?;
    if let Some(player) = weights.iter().position(|w| !(*w > 0.0 && w.is_finite())) {
        let what = format!("the weight of player {}", player + 1);
        return Err(MarkovError::MarkovSpec { what, value: weights[player], expected: "positive and finite" });
    }
    points.iter().map(|u| contraction(game, weights, u)).try_fold(f64::INFINITY, |least, next| Ok(least.min(next?)))
}

fn contraction(game: &MarkovGame, weights: &[f64], u: &[f64]) -> Result<f64, MarkovError> {
    check("variables".into(), game.dimensions().iter().sum(), u.len())?;
    let flow: Vec<Dual<f64>> = u.iter().zip(game.field(u)).map(|(&value, field)| Dual { value, slope: -field }).collect();
    let policies = game.policies(&flow);
    let joint = |part: fn(Dual<f64>) -> f64| {
        let mut joint = DMatrix::zeros(u.len(), u.len());
        let mut start = 0;
        for (weight, own) in weights.iter().zip(&policies) {
            let block = fisher_block(own, 1, part) * *weight;
            joint.view_mut((start, start), block.shape()).copy_from(&block);
            start += block.nrows();
        }
        joint
    };
    let (metric, change) = (joint(|entry| entry.value), joint(|entry| entry.slope));
    let product = &metric * jacobian(|u| game.field(u), u);
    let rate = 0.5 * (&product + product.transpose()) - 0.5 * change;
    let factor = metric.cholesky().map(|cholesky| cholesky.unpack());
    let half = factor.as_ref().and_then(|factor| factor.solve_lower_triangular(&rate));
    let scaled = factor.zip(half).and_then(|(factor, half)| factor.solve_lower_triangular(&half.transpose()));
    let scaled = scaled.filter(|scaled| scaled.iter().all(|entry| entry.is_finite()));
    scaled.map(|scaled| SymmetricEigen::new(scaled).eigenvalues.min()).ok_or_else(|| unusable("the rate at a point".into(), f64::NAN))
}
