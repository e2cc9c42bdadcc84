//! Weights for other ends than the greatest margin, and the range of one weight.
//!
//! In the logarithms `z` of the weights, `log β(w)` is convex, as `β` is the norm of a matrix whose entries are exponentials; and `α(w)` is
//! concave, as it is the least of `uᵀ S u` over `u ≥ 0`, and where it is positive so is its logarithm. All objectives are convex problems
//! then, for any number of players: an optimum is global, and comes with a gap to what no weights exceed.

use nalgebra::{DMatrix, DVector};

use super::barrier::{Barrier, factors};
use super::components::strongly_connected;
use super::{Band, BlockBounds, SmallGainError, check_weights, optimal_weights};

/// The gap, of logarithms, at which the search ends.
const ENOUGH: f64 = 1e-9;
/// The greatest difference of the logarithms of two weights: their ratio is a number.
const MOST_SPREAD: f64 = 690.0;
/// By how much the barriers lose weight from stage to stage.
const RISE: f64 = 10.0;
/// The longest step of a logarithm: along directions with next to no curvature, rounding errors would make it any length.
const LONGEST: f64 = 4.0;
/// Newton steps of a stage.
const MOST_STEPS: usize = 100;
/// The squared Newton decrement at which a stage ends.
const CENTRED: f64 = 1e-6;

/// What weights are chosen for (Sharma 2025, arXiv 2512.06791, and the authors' code).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Objective {
    /// The greatest margin `α`.
    #[default]
    MaxMargin,
    /// The greatest `α / β`: the least factor `√(1 - (α/β)²)` of the best step of gradient play.
    MaxEulerRate,
    /// The greatest limit `2 α / β²` of the steps of gradient play.
    MaxEulerStep,
    /// The greatest `1 / β`, which the usual steps of Runge–Kutta are proportional to, with at least a margin.
    MaxRk4Step {
        /// The least margin.
        least_margin: f64,
    },
    /// The least `max w / min w` with at least a margin.
    MinConditionNumber {
        /// The least margin.
        least_margin: f64,
    },
}

/// Weights for an objective.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenWeights {
    /// The weights; the first is 1.
    pub weights: Vec<f64>,
    /// The margin `α(w)`.
    pub margin: f64,
    /// The Lipschitz constant `β(w)`.
    pub lipschitz: f64,
    /// What the objective makes as great or as small as it can.
    pub value: f64,
    /// About how much better, relative to it, the value of other weights may be at most: usually 1e-9, and more where rounding errors end
    /// the search early, up to `∞` where they do so at once. Of the greatest margin, the distance from its supremum.
    pub gap: f64,
}

/// The weights that are best for an objective, a global optimum for any number of players.
///
/// ```
/// use gradus_games::small_gain::{BlockBounds, Objective, weights_for};
/// use nalgebra::DMatrix;
///
/// let coupling = DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]);
/// let bounds = BlockBounds::new(vec![1.0, 1.0], coupling, vec![1.0, 1.0])?;
/// // A metric that is as round as it may be: the end of the timescale band.
/// let round = weights_for(&bounds, Objective::MinConditionNumber { least_margin: 0.1 })?;
/// assert!((round.weights[1] - 47.120_965_88).abs() < 1e-6 && round.margin >= 0.1);
/// # Ok::<(), gradus_games::small_gain::SmallGainError>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Infeasible`] where no weights have the margin, which is a positive one for steps of gradient play;
/// [`SmallGainError::InvalidBound`] for a least margin that is not finite.
pub fn weights_for(bounds: &BlockBounds, objective: Objective) -> Result<ChosenWeights, SmallGainError> {
    let best = optimal_weights(bounds);
    let least_margin = match objective {
        Objective::MaxMargin => {
            let gap = (best.supremum - best.margin).max(0.0) / best.supremum.abs().max(f64::MIN_POSITIVE);
            return Ok(objective.chosen(bounds, &best.weights, gap));
        }
        Objective::MaxEulerRate | Objective::MaxEulerStep => 0.0,
        Objective::MaxRk4Step { least_margin } | Objective::MinConditionNumber { least_margin } => least_margin,
    };
    if !least_margin.is_finite() {
        return Err(SmallGainError::InvalidBound { what: "the least margin".into(), value: least_margin, expected: "finite" });
    }
    let infeasible = SmallGainError::Infeasible { margin: least_margin, supremum: best.supremum };
    let equal = vec![1.0; bounds.players()];
    if matches!(objective, Objective::MinConditionNumber { .. }) && bounds.margin_at(&equal) >= least_margin {
        return Ok(objective.chosen(bounds, &equal, 0.0));
    }
    let start = if best.margin > least_margin { Some(best.weights.clone()) } else { feasible(bounds, least_margin, &best.weights) };
    let Some(start) = start else {
        // The weights with the greatest margin have no more than it.
        let positive = matches!(objective, Objective::MaxEulerRate | Objective::MaxEulerStep);
        let only = best.margin >= least_margin && !positive;
        return if only { Ok(objective.chosen(bounds, &best.weights, 0.0)) } else { Err(infeasible) };
    };
    let problem = Problem::new(bounds, objective, least_margin);
    let mut found = objective.chosen(bounds, &start, f64::INFINITY);
    problem.follow(problem.start(&start), |weights, gap| {
        let next = objective.chosen(bounds, weights, gap);
        if next.margin >= least_margin && next.margin > f64::NEG_INFINITY && objective.is_better(next.value, found.value) {
            found = next;
        } else {
            found.gap = gap;
        }
        false
    });
    Ok(found)
}

/// Weights with more than a margin, if there are any, where those with about the greatest have less.
fn feasible(bounds: &BlockBounds, least_margin: f64, start: &[f64]) -> Option<Vec<f64>> {
    let problem = Problem::greatest_margin(bounds, least_margin);
    let mut found = None;
    problem.follow(problem.start(start), |weights, _| {
        found = (bounds.margin_at(weights) > least_margin).then(|| weights.to_vec());
        found.is_some()
    });
    found
}

impl Objective {
    fn chosen(self, bounds: &BlockBounds, weights: &[f64], gap: f64) -> ChosenWeights {
        let (margin, lipschitz) = (bounds.margin_at(weights), bounds.lipschitz_at(weights));
        let ends = weights.iter().fold([f64::INFINITY, 0.0f64], |[least, most], &w| [least.min(w), most.max(w)]);
        let value = match self {
            Self::MaxMargin => margin,
            Self::MaxEulerRate => margin / lipschitz,
            Self::MaxEulerStep => 2.0 * margin / lipschitz / lipschitz,
            Self::MaxRk4Step { .. } => 1.0 / lipschitz,
            Self::MinConditionNumber { .. } => ends[1] / ends[0],
        };
        ChosenWeights { weights: weights.to_vec(), margin, lipschitz, value, gap }
    }

    fn is_better(self, value: f64, than: f64) -> bool {
        if matches!(self, Self::MinConditionNumber { .. }) { value < than } else { value > than }
    }
}

/// A convex problem in the variables `z = log w`, the logarithm `τ` of a margin, the logarithm `ρ` of a Lipschitz constant, and the ends
/// `l` and `l + s` of the range of `z`; solved by following the central path.
struct Problem<'b> {
    bounds: &'b BlockBounds,
    /// Added to all curvatures and to the margin, so that its logarithm exists.
    shift: f64,
    /// The margin to keep; none where it is a variable.
    margin: Option<f64>,
    /// What multiplies `-τ`, `ρ` and `s`: those that are 0 are no variables.
    costs: [f64; 3],
    /// The variables that move.
    free: Vec<usize>,
}

impl<'b> Problem<'b> {
    fn new(bounds: &'b BlockBounds, objective: Objective, least_margin: f64) -> Self {
        let costs = match objective {
            Objective::MaxMargin => [1.0, 0.0, 0.0],
            Objective::MaxEulerRate => [1.0, 1.0, 0.0],
            Objective::MaxEulerStep => [1.0, 2.0, 0.0],
            Objective::MaxRk4Step { .. } => [0.0, 1.0, 0.0],
            Objective::MinConditionNumber { .. } => [0.0, 0.0, 1.0],
        };
        let mut problem = Self { bounds, shift: 0.0, margin: (costs[0] == 0.0).then_some(least_margin), costs, free: Vec::new() };
        problem.free = problem.moving();
        problem
    }

    fn greatest_margin(bounds: &'b BlockBounds, least_margin: f64) -> Self {
        let scale = bounds.curvature.iter().fold(least_margin.abs(), |most, mu| most.max(mu.abs()));
        let reached = optimal_weights(bounds).margin;
        Self { shift: scale - reached, ..Self::new(bounds, Objective::MaxMargin, least_margin) }
    }

    /// The places of `τ`, `ρ`, `l` and `s` among the variables.
    fn places(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|k| self.bounds.players() + k)
    }

    /// All but one weight of those that couplings connect, which decide only together what the others do, and what has a cost.
    fn moving(&self) -> Vec<usize> {
        let players = self.bounds.players();
        let connected = |i: usize, j: usize| self.bounds.coupling[(i, j)] + self.bounds.coupling[(j, i)] > 0.0;
        let next: Vec<Vec<usize>> = (0..players).map(|i| (0..players).filter(|&j| connected(i, j)).collect()).collect();
        let ranged = self.costs[2] > 0.0;
        let fixed: Vec<usize> = strongly_connected(&next).0.iter().map(|members| members[0]).filter(|&i| i == 0 || !ranged).collect();
        let [tau, rho, low, spread] = self.places();
        let others = [(tau, self.costs[0] > 0.0), (rho, self.costs[1] > 0.0), (low, ranged), (spread, ranged)];
        (0..players).filter(|i| !fixed.contains(i)).chain(others.into_iter().filter(|(_, moves)| *moves).map(|(place, _)| place)).collect()
    }

    /// What the gap is in units of the barriers' weight: the sizes of all matrices.
    fn size(&self) -> f64 {
        let times = 1.0 + if self.costs[1] > 0.0 { 2.0 } else { 0.0 } + if self.costs[2] > 0.0 { 2.0 } else { 0.0 };
        times * self.bounds.players() as f64
    }

    /// Variables inside of all constraints, if the weights are.
    fn start(&self, weights: &[f64]) -> DVector<f64> {
        let mut variables: Vec<f64> = weights.iter().map(|w| (w / weights[0]).ln()).collect();
        let ends = variables.iter().fold([0.0f64; 2], |[low, high], &z| [low.min(z), high.max(z)]);
        let level = 0.5 * (self.bounds.margin_at(weights) + self.shift);
        variables.extend([level.ln(), (2.0 * self.bounds.lipschitz_at(weights)).ln(), ends[0] - 1.0, ends[1] - ends[0] + 2.0]);
        variables.into()
    }

    fn weights(&self, variables: &DVector<f64>) -> Vec<f64> {
        (0..self.bounds.players()).map(|i| (variables[i] - variables[0]).exp()).collect()
    }

    /// Follows the central path from a point inside, and shows the weights at the end of each stage and about their gap; until it is told
    /// to stop, or weights are too far apart, as they become where none attain the optimum.
    fn follow(&self, mut variables: DVector<f64>, mut see: impl FnMut(&[f64], f64) -> bool) {
        let mut sharpness = self.size();
        while self.centre(&mut variables, sharpness) {
            let gap = self.size() / sharpness;
            let z = variables.rows(0, self.bounds.players());
            if z.max() - z.min() > MOST_SPREAD || see(&self.weights(&variables), gap) || gap <= ENOUGH {
                break;
            }
            sharpness *= RISE;
        }
    }

    /// Newton's method, with steps that are shortened until the slope along them says that the value has not risen much; whether it ended.
    fn centre(&self, variables: &mut DVector<f64>, sharpness: f64) -> bool {
        let Some((mut gradient, mut hessian)) = self.derivatives(variables, sharpness) else { return false };
        for _ in 0..MOST_STEPS {
            let Some(factors) = factors(&hessian, CENTRED) else { return false };
            let step = -factors.solve(&gradient);
            let slope = gradient.dot(&step);
            if slope.is_nan() || -slope <= CENTRED {
                return !slope.is_nan();
            }
            let longest = (LONGEST / step.amax()).min(1.0);
            let tried = (0..50).map(|halvings| longest * 0.5f64.powi(halvings)).find_map(|share| {
                let mut next = variables.clone();
                self.free.iter().zip(step.iter()).for_each(|(&k, step)| next[k] += share * step);
                let found = self.derivatives(&next, sharpness)?;
                (found.0.dot(&step) <= -0.1 * slope).then_some((next, found))
            });
            let Some((next, found)) = tried else { return false };
            (*variables, (gradient, hessian)) = (next, found);
        }
        false
    }

    /// The gradient and the Hessian of the costs times `sharpness` and the barriers, for the variables that move; none outside.
    fn derivatives(&self, variables: &DVector<f64>, sharpness: f64) -> Option<(DVector<f64>, DMatrix<f64>)> {
        let players = self.bounds.players();
        let [tau, rho, low, spread] = self.places();
        let mut gradient = DVector::zeros(players + 4);
        let mut hessian = DMatrix::zeros(players + 4, players + 4);
        (gradient[tau], gradient[rho], gradient[spread]) =
            (-sharpness * self.costs[0], sharpness * self.costs[1], sharpness * self.costs[2]);
        let z: Vec<f64> = variables.iter().take(players).copied().collect();
        let mut add = |barrier: &Barrier, place: usize, slope: f64| {
            // The second derivative of an exponential is the first.
            gradient[place] += barrier.along_diagonal[0] * slope;
            hessian[(place, place)] += barrier.along_diagonal[1] * slope * slope + barrier.along_diagonal[0] * slope;
            for k in 0..players {
                gradient[k] += barrier.gradient[k];
                hessian[(k, place)] += barrier.mixed[k] * slope;
                hessian[(place, k)] += barrier.mixed[k] * slope;
                (0..players).for_each(|l| hessian[(k, l)] += barrier.hessian[(k, l)]);
            }
        };
        // S(w) - αI, positive definite.
        let margin = self.margin.unwrap_or_else(|| variables[tau].exp());
        let diagonal: Vec<f64> = self.bounds.curvature.iter().map(|mu| mu + self.shift - margin).collect();
        add(&Barrier::new(&(0.5 * &self.bounds.coupling), &diagonal, &z)?, tau, -margin);
        if self.costs[1] > 0.0 {
            // I - B/β and its transpose beside each other, times β: ‖B‖ ≤ β.
            let pattern = DMatrix::from_fn(2 * players, 2 * players, |r, s| match s.checked_sub(players) {
                Some(j) if r == j => self.bounds.own_lipschitz[j],
                Some(j) if r < players => self.bounds.coupling[(r, j)],
                _ => 0.0,
            });
            let lipschitz = variables[rho].exp();
            add(&Barrier::new(&pattern, &vec![lipschitz; 2 * players], &z)?, rho, lipschitz);
            // Without the factor β.
            gradient[rho] += 2.0 * players as f64;
        }
        if self.costs[2] > 0.0 {
            for (i, z) in z.iter().enumerate() {
                let [above, below] = [z - variables[low], variables[low] + variables[spread] - z];
                if !(above > 0.0 && below > 0.0) {
                    return None;
                }
                for (signs, distance) in [([(i, 1.0), (low, -1.0), (spread, 0.0)], above), ([(i, -1.0), (low, 1.0), (spread, 1.0)], below)]
                {
                    for (a, sign) in signs {
                        gradient[a] -= sign / distance;
                        signs.iter().for_each(|(b, other)| hessian[(a, *b)] += sign * other / distance / distance);
                    }
                }
            }
        }
        let gradient = gradient.select_rows(&self.free);
        let hessian = hessian.select_rows(&self.free).select_columns(&self.free);
        gradient.iter().chain(hessian.iter()).all(|x| x.is_finite()).then_some((gradient, hessian))
    }
}

/// The values of one player's weight at which the margin is at least `margin` while the others' weights stay, if there are any.
///
/// With `G = (S_RR - aI)⁻¹` of the others, it is where `w_k pᵀGp + 2 pᵀGq + qᵀGq / w_k ≤ 4 (μ_k - a)`, `p_i = L_ki / √w_i`,
/// `q_i = √w_i L_ik`: an interval, as the margin is concave in the weight's logarithm. Of two players, it is that of
/// [`timescale_band`](super::timescale_band).
///
/// # Errors
/// [`SmallGainError::Dimension`], also for a player that there is not; [`SmallGainError::InvalidWeight`].
pub fn weight_band(bounds: &BlockBounds, weights: &[f64], player: usize, margin: f64) -> Result<Option<Band>, SmallGainError> {
    check_weights(weights, bounds.players())?;
    if player >= bounds.players() {
        return Err(SmallGainError::Dimension {
            what: "players, more than the one of the band",
            expected: player + 1,
            got: bounds.players(),
        });
    }
    let connected = |i: usize, j: usize| bounds.coupling[(i, j)] + bounds.coupling[(j, i)] > 0.0;
    let others = |i: usize| (0..bounds.players()).filter(move |&j| i != player && j != player && connected(i, j)).collect();
    let next: Vec<Vec<usize>> = (0..bounds.players()).map(others).collect();
    let [mut pp, mut pq, mut qq] = [0.0; 3];
    for members in strongly_connected(&next).0.iter().filter(|members| members[0] != player) {
        let scaled = |i: usize, j: usize| (weights[i] / weights[j]).sqrt() * bounds.coupling[(i, j)];
        let part = DMatrix::from_fn(members.len(), members.len(), |a, b| {
            let (i, j) = (members[a], members[b]);
            if i == j { bounds.curvature[i] - margin } else { -0.5 * (scaled(i, j) + scaled(j, i)) }
        });
        if !members.iter().any(|&i| connected(i, player)) {
            if part.symmetric_eigenvalues().min() >= 0.0 {
                continue;
            }
            return Ok(None);
        }
        let p = DVector::from_fn(members.len(), |a, _| bounds.coupling[(player, members[a])] / weights[members[a]].sqrt());
        let q = DVector::from_fn(members.len(), |a, _| bounds.coupling[(members[a], player)] * weights[members[a]].sqrt());
        let Some(factors) = part.cholesky() else { return Ok(None) };
        let (gp, gq) = (factors.solve(&p), factors.solve(&q));
        pp += p.dot(&gp);
        pq += p.dot(&gq);
        qq += q.dot(&gq);
    }
    let room = 4.0 * (bounds.curvature[player] - margin) - 2.0 * pq;
    let square = room * room - 4.0 * pp * qq;
    if room.is_nan() || room < 0.0 || square < 0.0 {
        return Ok(None);
    }
    // The ends multiply to qᵀGq / pᵀGp: each as what does not cancel.
    let twice = room + square.sqrt();
    let end = |above: f64, below: f64, otherwise: f64| if above == 0.0 && below == 0.0 { otherwise } else { above / below };
    let band = Band { low: end(2.0 * qq, twice, 0.0), high: end(twice, 2.0 * pp, f64::INFINITY) };
    Ok(Some(band).filter(|band| band.low < f64::INFINITY && band.high > 0.0))
}

#[cfg(test)]
mod tests {
    use super::super::timescale_band;
    use super::*;

    fn bounds(mu: &[f64], coupling: DMatrix<f64>) -> BlockBounds {
        BlockBounds::new(mu.to_vec(), coupling, mu.iter().map(|mu| mu.abs()).collect()).unwrap()
    }

    fn toy() -> BlockBounds {
        bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]))
    }

    fn all(least_margin: f64) -> [Objective; 5] {
        [
            Objective::MaxMargin,
            Objective::MaxEulerRate,
            Objective::MaxEulerStep,
            Objective::MaxRk4Step { least_margin },
            Objective::MinConditionNumber { least_margin },
        ]
    }

    fn value(bounds: &BlockBounds, weights: &[f64], objective: Objective) -> f64 {
        objective.chosen(bounds, weights, 0.0).value
    }

    /// By how much, relative to it, the value of weights is better than what was chosen.
    fn excess(bounds: &BlockBounds, chosen: &ChosenWeights, weights: &[f64], objective: Objective) -> f64 {
        let other = value(bounds, weights, objective);
        let ratio = if matches!(objective, Objective::MinConditionNumber { .. }) { chosen.value / other } else { other / chosen.value };
        ratio - 1.0
    }

    #[test]
    fn the_toy_game() {
        // Equal curvatures: the ratio L₀₁ / L₁₀ has the greatest margin and the least norm at once.
        for objective in &all(0.1)[..4] {
            let best = weights_for(&toy(), *objective).unwrap();
            assert!((best.weights[1] / 200.0 - 1.0).abs() < 1e-4 && best.gap < 1e-8, "{objective:?} {best:?}");
            assert!((best.margin - 0.292_893_219).abs() < 1e-8 && (best.lipschitz - 1.707_106_78).abs() < 1e-8);
        }
        let round = weights_for(&toy(), Objective::MinConditionNumber { least_margin: 0.1 }).unwrap();
        assert!((round.value - 47.120_965_88).abs() < 1e-6 && round.margin >= 0.1 && round.gap < 1e-8);
        let equal = weights_for(&toy(), Objective::MinConditionNumber { least_margin: -5.0 }).unwrap();
        assert_eq!((equal.weights, equal.value), (vec![1.0, 1.0], 1.0));
    }

    #[test]
    fn margins_that_no_weights_have() {
        for objective in &all(0.3)[3..] {
            let found = weights_for(&toy(), *objective);
            assert!(matches!(found, Err(SmallGainError::Infeasible { margin: 0.3, .. })), "{found:?}");
        }
        let skew = bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 5.0, 5.0, 0.0]));
        for objective in &all(0.0)[1..4] {
            let error = weights_for(&skew, *objective).unwrap_err();
            assert_eq!(error.to_string(), "no weights have the margin 0: the greatest is -4");
        }
        assert!((weights_for(&skew, Objective::MaxMargin).unwrap().value + 4.0).abs() < 1e-12);
        for least_margin in [f64::NAN, f64::INFINITY] {
            let found = weights_for(&toy(), Objective::MaxRk4Step { least_margin });
            assert!(matches!(found, Err(SmallGainError::InvalidBound { .. })));
        }
    }

    #[test]
    fn players_that_nobody_influences_and_players_apart() {
        // Of the greatest margin, 1, nearly all is to be had, but not from the weights that were found for it.
        let chain = bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 0.0, 100.0, 0.0]));
        let found = weights_for(&chain, Objective::MaxRk4Step { least_margin: 0.9999 }).unwrap();
        assert!(found.margin >= 0.9999 && found.lipschitz < 1.0001, "{found:?}");
        // S has the entry 50 √w.
        let found = weights_for(&chain, Objective::MinConditionNumber { least_margin: 0.9999 }).unwrap();
        assert!((found.value / (50.0f64 / 1e-4).powi(2) - 1.0).abs() < 1e-6, "{found:?}");
        assert!((weights_for(&chain, Objective::MaxEulerRate).unwrap().value - 1.0).abs() < 1e-6);
        let mut coupling = DMatrix::zeros(5, 5);
        (coupling[(0, 1)], coupling[(1, 0)], coupling[(2, 3)], coupling[(3, 2)]) = (4.0, 0.1, 0.1, 6.0);
        let apart = bounds(&[1.0, 2.0, 3.0, 1.0, 0.7], coupling);
        for objective in all(0.1) {
            let found = weights_for(&apart, objective).unwrap();
            assert!(found.margin >= 0.1 && found.gap < 1e-8, "{objective:?} {found:?}");
        }
        assert!(weights_for(&bounds(&[1.0, 2.0], DMatrix::zeros(2, 2)), Objective::MaxEulerStep).unwrap().value == 0.5);
    }

    #[test]
    fn bands_of_one_weight_by_hand() {
        let chain = bounds(&[2.0, 3.0, 1.0], DMatrix::from_row_slice(3, 3, &[0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        let band = |player, margin| weight_band(&chain, &[1.0; 3], player, margin).unwrap();
        assert!((band(1, 0.0).unwrap().low - 1.5).abs() < 1e-12 && band(1, 0.0).unwrap().high == f64::INFINITY);
        assert!((band(0, 0.0).unwrap().high - 1.0 / 1.5).abs() < 1e-12 && band(0, 0.0).unwrap().low == 0.0);
        assert_eq!((band(2, 0.0), band(2, 1.5), band(2, -8.0)), (None, None, Some(Band { low: 0.0, high: f64::INFINITY })));
        // Without couplings up to the least curvature.
        let apart = bounds(&[1.0, 2.0, 1.0], DMatrix::zeros(3, 3));
        assert_eq!(weight_band(&apart, &[1.0; 3], 2, 1.0).unwrap(), Some(Band { low: 0.0, high: f64::INFINITY }));
        assert!(matches!(weight_band(&apart, &[1.0; 3], 3, 1.0), Err(SmallGainError::Dimension { expected: 4, got: 3, .. })));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        fn games() -> impl Strategy<Value = BlockBounds> {
            (2usize..=5).prop_flat_map(|n| {
                let coupling = prop::collection::vec(prop_oneof![3 => 0.01..1.0, 1 => Just(0.0)], n * n);
                (prop::collection::vec(0.3..5.0, n), coupling, prop::collection::vec(0.0..3.0, n)).prop_map(move |(mu, coupling, more)| {
                    let mut coupling = DMatrix::from_vec(n, n, coupling);
                    coupling.fill_diagonal(0.0);
                    let own = mu.iter().zip(more).map(|(mu, more): (&f64, f64)| mu + more).collect();
                    BlockBounds::new(mu, coupling, own).unwrap()
                })
            })
        }

        proptest! {
            #[test]
            fn no_weights_are_better(
                game in games(),
                share in 0.05..0.95,
                others in prop::collection::vec(prop::array::uniform5(-4.0..4.0f64), 30),
            ) {
                let best = optimal_weights(&game);
                prop_assume!(best.supremum > 0.01);
                for objective in &all(share * best.margin)[1..] {
                    let chosen = weights_for(&game, *objective).unwrap();
                    prop_assert!(chosen.weights[0] == 1.0 && chosen.gap < 1e-6, "{objective:?} {chosen:?}");
                    prop_assert!(excess(&game, &chosen, &best.weights, *objective) <= 0.0);
                    prop_assert!((game.margin(&chosen.weights).unwrap() - chosen.margin).abs() < 1e-12);
                    let constrained = matches!(objective, Objective::MaxRk4Step { .. } | Objective::MinConditionNumber { .. });
                    let least = if constrained { share * best.margin } else { 0.0 };
                    prop_assert!(chosen.margin >= least);
                    for near in [0.01, 1.0f64] {
                        for other in &others {
                            let move_by = |i: usize| chosen.weights[i] * (near * (other[i] - other[0])).exp();
                            let weights: Vec<f64> = (0..game.players()).map(move_by).collect();
                            if game.margin(&weights).unwrap() >= least {
                                let excess = excess(&game, &chosen, &weights, *objective);
                                prop_assert!(excess <= 2.0 * chosen.gap, "{objective:?} {chosen:?} {weights:?} {excess}");
                            }
                        }
                    }
                }
            }

            #[test]
            fn no_ratio_of_a_grid_is_better(
                mu in prop::array::uniform2(0.3..5.0),
                coupling in prop::array::uniform2(0.01..3.0),
                share in 0.05..0.95,
            ) {
                let game = bounds(&mu, DMatrix::from_row_slice(2, 2, &[0.0, coupling[0], coupling[1], 0.0]));
                let best = optimal_weights(&game);
                prop_assume!(best.supremum > 0.01);
                let least_margin = share * best.margin;
                let band = timescale_band(&game, least_margin).unwrap().unwrap();
                for objective in &all(least_margin)[1..] {
                    let chosen = weights_for(&game, *objective).unwrap();
                    for k in 0..=400 {
                        let ratio = band.low * (band.high / band.low).powf(f64::from(k) / 400.0);
                        let excess = excess(&game, &chosen, &[1.0, ratio], *objective);
                        prop_assert!(excess <= 2.0 * chosen.gap, "{objective:?} {chosen:?} {ratio} {excess}");
                    }
                }
            }

            #[test]
            fn ends_of_a_band_have_its_margin(
                game in games(),
                z in prop::array::uniform5(-1.0..1.0f64),
                player in 0usize..5,
                below in 0.01..3.0,
            ) {
                let player = player % game.players();
                let weights: Vec<f64> = z.iter().take(game.players()).map(|z| z.exp()).collect();
                let at = |w: f64| {
                    let mut weights = weights.clone();
                    weights[player] = w;
                    game.margin(&weights).unwrap()
                };
                let margin = at(weights[player]) - below;
                let band = weight_band(&game, &weights, player, margin).unwrap().unwrap();
                prop_assert!(band.contains(weights[player]));
                for end in [band.low, band.high] {
                    let open = end == 0.0 || end == f64::INFINITY;
                    prop_assert!(open || (at(end) - margin).abs() < 1e-9 * (1.0 + margin.abs()), "{band:?} {}", at(end));
                }
                // Above all that it reaches, there is none.
                let most = (-400..=400).map(|k| at((0.05 * f64::from(k)).exp())).fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(weight_band(&game, &weights, player, most + 0.1).unwrap().filter(|b| b.low < 1e8 && b.high > 1e-8), None);
            }

            #[test]
            fn bands_of_two_players_are_timescale_bands(
                mu in prop::array::uniform2(0.1..5.0),
                coupling in prop::array::uniform2(0.01..3.0),
                share in 0.0..0.99,
            ) {
                let game = bounds(&mu, DMatrix::from_row_slice(2, 2, &[0.0, coupling[0], coupling[1], 0.0]));
                let margin = optimal_weights(&game).supremum - 1.0 + share;
                let one = weight_band(&game, &[1.0, 3.0], 1, margin).unwrap().unwrap();
                let two = timescale_band(&game, margin).unwrap().unwrap();
                prop_assert!((one.low / two.low - 1.0).abs() < 1e-9 && (one.high / two.high - 1.0).abs() < 1e-9, "{one:?} {two:?}");
            }
        }
    }
}
