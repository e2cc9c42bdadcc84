//! The least changes of a game that bring its margin to a target.

use std::fmt;

use nalgebra::{DMatrix, DVector};

use super::BlockBounds;
use super::barrier::factors;
use super::components::strongly_connected;
use super::perron::least;

/// By how much the smoothing of the least total increase falls from stage to stage, and how many stages there are at most.
const FALL: f64 = 0.03;
const MOST_STAGES: usize = 16;
/// Newton steps of a stage: few where the last stage led near, and many along a curved valley.
const MOST_STEPS: usize = 100;
/// What a Newton step may still gain at the end of a stage, relative to the smoothing.
const CENTRED: f64 = 1e-3;
/// The gap to the optimum, relative to it, at which the search ends.
const ENOUGH: f64 = 1e-12;
/// Increases below this part of the total are tried to be done without.
const NEGLIGIBLE: f64 = 1e-7;
/// How many times as much as all curvatures together a single one is advised to be raised by.
const MUCH: f64 = 10.0;
/// What is 0 to rounding, relative to the numbers that it is the difference of.
const ROUNDING: f64 = 1e-13;

/// The least changes of bounds with which the greatest margin of any weights is a target, and how the margin depends on each bound.
///
/// As text, one line:
///
/// ```
/// use gradus_games::small_gain::{BlockBounds, advise};
/// use nalgebra::DMatrix;
///
/// let coupling = DMatrix::from_row_slice(2, 2, &[0.0, 2.0, 1.0, 0.0]);
/// let bounds = BlockBounds::new(vec![1.0, 1.5], coupling, vec![1.0, 1.5])?;
/// let advice = advise(&bounds, 0.5);
/// assert_eq!(
///     advice.to_string(),
///     "raise the curvature of player 0 by 1.5, or lower the coupling of player 1 to 0 by 0.75, and the margin is 0.5; \
///      together, least: player 0 by 0.915 and player 1 by 0.415"
/// );
/// # Ok::<(), gradus_games::small_gain::SmallGainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// The greatest margin `α°` of any weights as it is, or the least that none reaches.
    pub margin: f64,
    /// The margin to reach.
    pub target: f64,
    /// For each player, the least increase of its curvature alone that reaches the target, if one does.
    pub raise_one: Vec<Option<f64>>,
    /// The increases of all curvatures together that reach the target with about the least sum.
    pub raise_together: Raise,
    /// The couplings of which each alone reaches the target when it is lowered; in the order of players.
    pub lower_one: Vec<Lowering>,
    /// How the margin depends on each bound.
    pub sensitivity: Sensitivity,
}

/// Increases of all curvatures.
#[derive(Debug, Clone, PartialEq)]
pub struct Raise {
    /// The increase of each player's curvature, at least 0.
    pub increases: Vec<f64>,
    /// Their sum.
    pub total: f64,
    /// By how much the sum may be above the least one, at most: a lower bound comes from the dual problem.
    pub gap: f64,
}

/// A coupling that is lowered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lowering {
    /// The player that is influenced, from 0: `i` of `L_ij`.
    pub player: usize,
    /// The player that influences it: `j`.
    pub other: usize,
    /// The coupling as it is.
    pub coupling: f64,
    /// The least decrease that reaches the target.
    pub decrease: f64,
}

/// Derivatives of the greatest margin `α°`, of the strongly connected component of players with the least one; 0 for all other players.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// `∂α°/∂μ_i = x_i y_i / ⟨x, y⟩`.
    pub curvature: Vec<f64>,
    /// `∂α°/∂L_ij = -x_j y_i / ⟨x, y⟩` for `i ≠ j`.
    pub coupling: DMatrix<f64>,
}

/// A strongly connected component of players.
struct Part {
    members: Vec<usize>,
    curvature: Vec<f64>,
    coupling: DMatrix<f64>,
    /// Its own greatest margin `α°`.
    margin: f64,
    /// `A x = α° x` and `Aᵀ y = α° y`, `A = diag(μ) - L`.
    right: DVector<f64>,
    left: DVector<f64>,
}

/// The least changes of bounds with which the greatest margin of any weights (Sharma 2025, arXiv 2512.06791; a Perron value, see
/// [`optimal_weights`](super::optimal_weights)) is at least `target`, a finite number.
///
/// With `A = diag(μ) - L`, the margin is at least `t` if and only if `A - tI` is an M-matrix: of one player `k` by
/// `μ_k ≥ t + L_kR (A_RR - tI)⁻¹ L_Rk`, `R` all others, if `A_RR - tI` is one; of one coupling as the determinant is affine in it. The
/// least sum of increases is the convex problem `min_z Σ_i max(0, t - μ_i + Σ_j L_ij exp(z_j - z_i))`. Players that are not strongly
/// connected count apart: no coupling between them lowers the supremum of the margins, which need not be attained.
pub fn advise(bounds: &BlockBounds, target: f64) -> Advice {
    let parts = parts(&bounds.curvature, &bounds.coupling);
    let margin = parts.iter().map(|part| part.margin).fold(f64::INFINITY, f64::min);
    let lacking: Vec<&Part> = parts.iter().filter(|part| !part.reaches(target)).collect();
    let players = bounds.players();
    let mut advice = Advice {
        margin,
        target,
        raise_one: vec![if lacking.is_empty() { Some(0.0) } else { None }; players],
        raise_together: Raise { increases: vec![0.0; players], total: 0.0, gap: 0.0 },
        lower_one: Vec::new(),
        sensitivity: sensitivity(&parts, players),
    };
    // Of two components that lack something, none can be helped by what is done to the other.
    if let &[part] = &lacking[..] {
        change_one(part, target, &mut advice);
    }
    for part in lacking {
        let alone = part.members.iter().map(|&i| advice.raise_one[i]).collect();
        let raise = together(part, target, alone);
        part.members.iter().zip(&raise.increases).for_each(|(&i, &increase)| advice.raise_together.increases[i] = increase);
        advice.raise_together.total += raise.total;
        advice.raise_together.gap += raise.gap;
    }
    advice
}

fn parts(curvature: &[f64], coupling: &DMatrix<f64>) -> Vec<Part> {
    let players = curvature.len();
    let next: Vec<Vec<usize>> = (0..players).map(|j| (0..players).filter(|&i| coupling[(i, j)] > 0.0).collect()).collect();
    strongly_connected(&next).0.into_iter().map(|members| Part::new(curvature, coupling, members)).collect()
}

impl Part {
    fn new(curvature: &[f64], coupling: &DMatrix<f64>, members: Vec<usize>) -> Self {
        let size = members.len();
        let curvature: Vec<f64> = members.iter().map(|&i| curvature[i]).collect();
        let coupling = DMatrix::from_fn(size, size, |a, b| coupling[(members[a], members[b])]);
        let matrix = DMatrix::from_fn(size, size, |a, b| if a == b { curvature[a] } else { -coupling[(a, b)] });
        let ((margin, right), (_, left)) = (least(&matrix), least(&matrix.transpose()));
        Self { members, curvature, coupling, margin, right, left }
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn reaches(&self, target: f64) -> bool {
        self.margin >= target
    }
}

fn sensitivity(parts: &[Part], players: usize) -> Sensitivity {
    let mut sensitivity = Sensitivity { curvature: vec![0.0; players], coupling: DMatrix::zeros(players, players) };
    let Some(part) = parts.iter().min_by(|a, b| a.margin.total_cmp(&b.margin)) else { return sensitivity };
    let product = part.right.dot(&part.left);
    for (a, &i) in part.members.iter().enumerate() {
        for (b, &j) in part.members.iter().enumerate() {
            let slope = part.right[b] * part.left[a] / product;
            if i == j { sensitivity.curvature[i] = slope } else { sensitivity.coupling[(i, j)] = -slope }
        }
    }
    sensitivity
}

/// Why there is no vector.
enum Stuck {
    /// The other players' own margin is the target, to rounding.
    AtTarget,
    /// It is below the target.
    Below,
}

/// The vector `x` with `x_k = 1` that solves `(A - tI) x = 0` in all rows but row `k`, and what that row lacks: `t - μ_k + Σ L_kj x_j`.
fn completion(curvature: &[f64], coupling: &DMatrix<f64>, target: f64, k: usize) -> Result<(Vec<f64>, f64), Stuck> {
    let size = curvature.len();
    let others: Vec<usize> = (0..size).filter(|&i| i != k).collect();
    // `A_RR - tI` and `L_Rk`, row by row. Of an M-matrix, elimination without exchanges subtracts nothing but on the diagonal.
    let mut rows: Vec<Vec<f64>> = others
        .iter()
        .map(|&i| {
            let entry = |&j: &usize| if i == j { curvature[i] - target } else { -coupling[(i, j)] };
            others.iter().map(entry).chain([coupling[(i, k)]]).collect()
        })
        .collect();
    for pivot in 0..others.len() {
        let (done, rest) = rows.split_at_mut(pivot + 1);
        let row = &done[pivot];
        let least = ROUNDING * (curvature[others[pivot]].abs() + target.abs());
        if row[pivot].is_nan() || row[pivot] <= least {
            return Err(if row[pivot] >= -least { Stuck::AtTarget } else { Stuck::Below });
        }
        for other in rest {
            let factor = other[pivot] / row[pivot];
            if factor != 0.0 {
                other[pivot + 1..].iter_mut().zip(&row[pivot + 1..]).for_each(|(x, y)| *x -= factor * y);
            }
        }
    }
    let mut x = vec![1.0; size];
    for (a, &i) in others.iter().enumerate().rev() {
        let known = others.iter().enumerate().skip(a + 1).map(|(b, &j)| rows[a][b] * x[j]).sum::<f64>();
        x[i] = (rows[a][others.len()] - known) / rows[a][a];
    }
    let lack = target - curvature[k] + (0..size).filter(|&j| j != k).map(|j| coupling[(k, j)] * x[j]).sum::<f64>();
    Ok((x, lack.max(0.0)))
}

/// What one curvature or one coupling must change by, of the only component that lacks something. A row's lack is made up for by its
/// curvature, or by a coupling whose share of the row is large enough.
fn change_one(part: &Part, target: f64, advice: &mut Advice) {
    for (k, &player) in part.members.iter().enumerate() {
        let lower = |j: usize, decrease: f64| Lowering { player, other: part.members[j], coupling: part.coupling[(k, j)], decrease };
        let influences = (0..part.size()).filter(|&j| part.coupling[(k, j)] > 0.0);
        match completion(&part.curvature, &part.coupling, target, k) {
            Ok((x, lack)) => {
                advice.raise_one[player] = Some(lack).filter(|lack| lack.is_finite());
                // The whole coupling is not missed by rounding.
                let decreases = influences.map(|j| (j, lack / x[j])).filter(|&(j, by)| by <= part.coupling[(k, j)] * (1.0 + ROUNDING));
                advice.lower_one.extend(decreases.map(|(j, by)| lower(j, by.min(part.coupling[(k, j)]))));
            }
            // Only without any influence on the others is their margin the one of all.
            Err(Stuck::AtTarget) => {
                let enough = influences.filter(|&j| reaches_without(part, target, k, j));
                advice.lower_one.extend(enough.map(|j| lower(j, part.coupling[(k, j)])));
            }
            Err(Stuck::Below) => {}
        }
    }
}

fn reaches_without(part: &Part, target: f64, i: usize, j: usize) -> bool {
    let mut coupling = part.coupling.clone();
    coupling[(i, j)] = 0.0;
    let scale = part.curvature.iter().chain(coupling.iter()).fold(target.abs(), |most, x| most.max(x.abs()));
    parts(&part.curvature, &coupling).iter().all(|part| part.reaches(target - ROUNDING * scale))
}

/// The least total increase of a component, by Newton's method on ever less smoothed forms of the problem.
///
/// Any `z` gives increases that reach the target, as `x = exp z` proves it (Collatz, Wielandt); and a lower bound, by the multipliers
/// for which it minimises the Lagrangian.
fn together(part: &Part, target: f64, alone: Vec<Option<f64>>) -> Raise {
    if !target.is_finite() {
        return Raise { increases: vec![f64::INFINITY; part.size()], total: f64::INFINITY, gap: 0.0 };
    }
    let problem = Together { part, target };
    let mut z = part.right.map(|x| x.max(f64::MIN_POSITIVE).ln());
    let (mut increases, mut lower) = problem.bounds(&z);
    let sum = |increases: &[f64]| increases.iter().sum::<f64>();
    // Where `x` is the Perron vector, all rows lack the same.
    let mut smoothing = target - part.margin;
    for _ in 0..MOST_STAGES {
        if sum(&increases) - lower <= ENOUGH * sum(&increases) {
            break;
        }
        smoothing *= FALL;
        problem.descend(&mut z, smoothing);
        let (next, bound) = problem.bounds(&z);
        lower = lower.max(bound);
        if sum(&next) < sum(&increases) {
            increases = next;
        }
    }
    let polished = problem.polished(&increases).filter(|polished| sum(polished) <= sum(&increases).max(lower * (1.0 + 1e-9)));
    let mut increases = polished.unwrap_or(increases);
    let best = alone.iter().enumerate().filter_map(|(k, increase)| Some((k, (*increase)?))).min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((k, increase)) = best.filter(|(_, increase)| *increase <= sum(&increases)) {
        increases = vec![0.0; part.size()];
        increases[k] = increase;
    }
    let total = sum(&increases);
    Raise { increases, total, gap: (total - lower).max(0.0) }
}

struct Together<'p> {
    part: &'p Part,
    target: f64,
}

impl Together<'_> {
    /// `L_ij exp(z_j - z_i)`.
    fn scaled(&self, z: &DVector<f64>) -> DMatrix<f64> {
        self.part.coupling.map_with_location(|i, j, bound| if bound > 0.0 { bound * (z[j] - z[i]).exp() } else { 0.0 })
    }

    /// What each row lacks; negative where it has more than it needs.
    fn lacks(&self, scaled: &DMatrix<f64>) -> Vec<f64> {
        let sums = scaled.column_sum();
        self.part.curvature.iter().zip(sums.iter()).map(|(mu, sum)| self.target - mu + sum).collect()
    }

    /// Increases that reach the target, and a lower bound of the least sum of any.
    fn bounds(&self, z: &DVector<f64>) -> (Vec<f64>, f64) {
        let scaled = self.scaled(z);
        let lacks = self.lacks(&scaled);
        let multipliers = stationary(scaled);
        let greatest = multipliers.iter().copied().fold(0.0, f64::max);
        let lower = multipliers.iter().zip(&lacks).map(|(p, lack)| p / greatest * lack).sum::<f64>();
        // Not `f64::max`, which drops what is no number.
        let lower = if lower > 0.0 { lower } else { 0.0 };
        (lacks.into_iter().map(|lack| lack.max(0.0)).collect(), lower)
    }

    /// The sum of the smoothed increases `(e + √(e² + 4ε²)) / 2`.
    fn smoothed(&self, z: &DVector<f64>, smoothing: f64) -> f64 {
        self.lacks(&self.scaled(z)).into_iter().map(|lack| smooth(lack, smoothing)[0]).sum()
    }

    /// Newton's method with shortened steps; `z` of the first player stays.
    fn descend(&self, z: &mut DVector<f64>, smoothing: f64) {
        let size = z.len();
        let mut value = self.smoothed(z, smoothing);
        for _ in 0..MOST_STEPS {
            let scaled = self.scaled(z);
            let parts: Vec<[f64; 3]> = self.lacks(&scaled).into_iter().map(|lack| smooth(lack, smoothing)).collect();
            let slopes = DVector::from_iterator(size, parts.iter().map(|part| part[1]));
            let mut lean = scaled.clone();
            lean.set_diagonal(&-scaled.column_sum());
            let gradient = lean.tr_mul(&slopes);
            let mut bent = lean.clone();
            bent.row_iter_mut().zip(&parts).for_each(|(mut row, part)| row *= part[2]);
            let mut hessian = lean.tr_mul(&bent);
            for i in 0..size {
                for j in (0..size).filter(|&j| j != i) {
                    let weight = slopes[i] * scaled[(i, j)];
                    for (a, b, sign) in [(i, i, 1.0), (j, j, 1.0), (i, j, -1.0), (j, i, -1.0)] {
                        hessian[(a, b)] += sign * weight;
                    }
                }
            }
            let reduced = hessian.view((1, 1), (size - 1, size - 1)).into_owned();
            let Some(factors) = factors(&reduced, 0.0) else { return };
            let step = factors.solve(&gradient.rows(1, size - 1).into_owned()).insert_row(0, 0.0);
            let decrement = gradient.dot(&step);
            if decrement.is_nan() || decrement <= CENTRED * smoothing {
                return;
            }
            let tried = (0..40).map(|halvings| 0.5f64.powi(halvings)).find_map(|share| {
                let next = &*z - share * &step;
                let found = self.smoothed(&next, smoothing);
                (found <= value * (1.0 + 4.0 * f64::EPSILON) - 1e-4 * share * decrement).then_some((next, found))
            });
            let Some((next, found)) = tried else { return };
            (*z, value) = (next, found);
        }
    }

    /// The same increases without those that are about nothing, with the largest one as exactly as it is needed then.
    fn polished(&self, increases: &[f64]) -> Option<Vec<f64>> {
        let total: f64 = increases.iter().sum();
        let mut polished: Vec<f64> = increases.iter().map(|&x| if x <= NEGLIGIBLE * total { 0.0 } else { x }).collect();
        let largest = (0..polished.len()).max_by(|&a, &b| polished[a].total_cmp(&polished[b]))?;
        polished[largest] = 0.0;
        let curvature: Vec<f64> = self.part.curvature.iter().zip(&polished).map(|(mu, increase)| mu + increase).collect();
        polished[largest] = completion(&curvature, &self.part.coupling, self.target, largest).ok()?.1;
        polished.iter().all(|x| x.is_finite()).then_some(polished)
    }
}

/// `s(e) = (e + √(e² + 4ε²)) / 2`, its slope, which is between 0 and 1, and its second derivative.
fn smooth(lack: f64, smoothing: f64) -> [f64; 3] {
    let root = lack.hypot(2.0 * smoothing);
    let value = if lack > 0.0 { 0.5 * (lack + root) } else { 2.0 * smoothing * smoothing / (root - lack) };
    let share = 2.0 * smoothing / root;
    [value, value / root, 0.5 * share * share / root]
}

/// The stationary vector `p` of the rates `i → j`, `p_i Σ_j rates_ij = Σ_k p_k rates_ki`, without a subtraction (Grassmann, Taksar, Heyman
/// 1985).
fn stationary(mut rates: DMatrix<f64>) -> Vec<f64> {
    let size = rates.nrows();
    for k in (1..size).rev() {
        let away: f64 = rates.view((k, 0), (1, k)).sum();
        for i in 0..k {
            rates[(i, k)] /= away;
        }
        for j in 0..k {
            let onward = rates[(k, j)];
            if onward > 0.0 {
                for i in 0..k {
                    rates[(i, j)] += rates[(i, k)] * onward;
                }
            }
        }
    }
    let mut vector = vec![1.0; size];
    for k in 1..size {
        vector[k] = (0..k).map(|i| vector[i] * rates[(i, k)]).sum();
    }
    vector
}

/// A positive number with three digits, which is not less but for rounding.
fn rounded_up(x: f64) -> f64 {
    let digits = |x: f64| format!("{x:.2e}").parse().unwrap_or(x);
    let near: f64 = digits(x);
    if near >= x * (1.0 - 1e-9) { near } else { digits(x + 10f64.powf(x.log10().floor() - 2.0)) }
}

impl Advice {
    /// The player for whom the least increase of its curvature alone is enough, and the increase.
    pub fn least_raise(&self) -> Option<(usize, f64)> {
        let all = self.raise_one.iter().enumerate().filter_map(|(player, increase)| Some((player, (*increase)?)));
        all.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The coupling that must be lowered least.
    pub fn least_lowering(&self) -> Option<Lowering> {
        self.lower_one.iter().copied().min_by(|a, b| a.decrease.total_cmp(&b.decrease))
    }

    /// Whether nothing needs to change.
    pub fn is_reached(&self) -> bool {
        self.margin >= self.target
    }

    fn raise_together_text(&self) -> String {
        let raised: Vec<(usize, f64)> =
            self.raise_together.increases.iter().copied().enumerate().filter(|(_, increase)| *increase > 0.0).collect();
        if raised.len() > 4 {
            return format!("{} players by {} in all", raised.len(), rounded_up(self.raise_together.total));
        }
        raised.iter().map(|(player, increase)| format!("player {player} by {}", rounded_up(*increase))).collect::<Vec<_>>().join(" and ")
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_reached() {
            return write!(f, "the margin {} is already reached: it is {:.6}", self.target, self.margin);
        }
        let single = self.least_raise().filter(|(_, increase)| *increase <= MUCH * self.raise_together.total);
        match single {
            Some((player, increase)) => write!(f, "raise the curvature of player {player} by {}", rounded_up(increase))?,
            None => write!(f, "raise the curvature of {}", self.raise_together_text())?,
        }
        if let Some(Lowering { player, other, coupling, decrease }) = self.least_lowering() {
            write!(f, ", or lower the coupling of player {player} to {other} by {}", rounded_up(decrease).min(coupling))?;
        }
        write!(f, ", and the margin is {}", self.target)?;
        if single.is_some_and(|(_, increase)| self.raise_together.total < 0.9 * increase) {
            write!(f, "; together, least: {}", self.raise_together_text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::optimal_weights;
    use super::*;

    fn bounds(mu: &[f64], coupling: DMatrix<f64>) -> BlockBounds {
        BlockBounds::new(mu.to_vec(), coupling, mu.iter().map(|mu| mu.abs()).collect()).unwrap()
    }

    fn changed(bounds: &BlockBounds, raises: &[f64], lowering: Option<(Lowering, f64)>) -> BlockBounds {
        let mu: Vec<f64> = bounds.curvature.iter().zip(raises).map(|(mu, raise)| mu + raise).collect();
        let mut coupling = bounds.coupling.clone();
        if let Some((lowering, share)) = lowering {
            coupling[(lowering.player, lowering.other)] -= share * lowering.decrease;
        }
        self::bounds(&mu, coupling)
    }

    fn supremum(bounds: &BlockBounds) -> f64 {
        optimal_weights(bounds).supremum
    }

    fn scale(bounds: &BlockBounds) -> f64 {
        bounds.curvature.iter().chain(bounds.coupling.iter()).fold(1.0, |most, x| most.max(x.abs()))
    }

    /// Every change that is advised is enough, and a hundredth less of it is not.
    fn check(bounds: &BlockBounds, target: f64) -> Result<(), String> {
        let advice = advise(bounds, target);
        let (players, tolerance) = (bounds.players(), 1e-9 * scale(bounds).max(target.abs()));
        let all = |share: f64| advice.raise_together.increases.iter().map(|raise| share * raise).collect::<Vec<f64>>();
        let one = |player: usize, by: f64| (0..players).map(|i| if i == player { by } else { 0.0 }).collect::<Vec<f64>>();
        let least = vec![0.0; players];
        let mut changes = vec![("together".to_string(), changed(bounds, &all(1.0), None), changed(bounds, &all(0.99), None))];
        for (player, raise) in advice.raise_one.iter().enumerate() {
            match raise {
                Some(by) => {
                    let of = |share: f64| changed(bounds, &one(player, share * by), None);
                    changes.push((format!("player {player}"), of(1.0), of(0.99)));
                }
                None => {
                    let found = supremum(&changed(bounds, &one(player, 1e3), None));
                    if found > target + tolerance {
                        return Err(format!("player {player} alone: {found}"));
                    }
                }
            }
        }
        for i in 0..players {
            for j in (0..players).filter(|&j| bounds.coupling[(i, j)] > 0.0) {
                let lowering = advice.lower_one.iter().find(|lowering| (lowering.player, lowering.other) == (i, j));
                if let Some(&lowering) = lowering {
                    let of = |share: f64| changed(bounds, &least, Some((lowering, share)));
                    changes.push((format!("{lowering:?}"), of(1.0), of(0.99)));
                } else if !advice.is_reached() {
                    let gone = Lowering { player: i, other: j, coupling: 0.0, decrease: bounds.coupling[(i, j)] };
                    let found = supremum(&changed(bounds, &least, Some((gone, 1.0))));
                    if found > target + tolerance {
                        return Err(format!("the coupling of {i} to {j}: {found}"));
                    }
                }
            }
        }
        for (which, enough, less) in changes {
            let (found, below) = (supremum(&enough), supremum(&less));
            if found < target - tolerance {
                return Err(format!("{which} is not enough: {found}"));
            }
            // Of changes that matter at all.
            if advice.margin < target - 1e-6 && below >= target {
                return Err(format!("{which} is more than enough: {below}"));
            }
        }
        let Raise { total, gap, .. } = advice.raise_together;
        if advice.least_raise().is_some_and(|(_, increase)| total > increase * (1.0 + 1e-12)) {
            return Err(format!("together {total}, alone {:?}", advice.least_raise()));
        }
        if gap.is_nan() || gap > 1e-6 * total + 1e-12 * scale(bounds) {
            return Err(format!("a gap of {gap} of {total}"));
        }
        Ok(())
    }

    #[test]
    fn two_players_by_hand() {
        // (μ₀ - t)(μ₁ - t) ≥ L₀₁ L₁₀: 0.5 ⋅ 1 < 2.
        let game = bounds(&[1.0, 1.5], DMatrix::from_row_slice(2, 2, &[0.0, 2.0, 1.0, 0.0]));
        let advice = advise(&game, 0.5);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(advice.raise_one[0].unwrap(), 1.5) && near(advice.raise_one[1].unwrap(), 3.0));
        // The least sum has both at √2.
        assert!((advice.raise_together.total - (2.0 * 2f64.sqrt() - 1.5)).abs() < 1e-9, "{advice:?}");
        let by: Vec<f64> = advice.lower_one.iter().map(|lowering| lowering.decrease).collect();
        assert!(near(by[0], 1.5) && near(by[1], 0.75));
        check(&game, 0.5).unwrap();
    }

    #[test]
    fn targets_that_are_reached_and_games_of_all_kinds() {
        let toy = bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]));
        let advice = advise(&toy, 0.1);
        assert_eq!(advice.to_string(), "the margin 0.1 is already reached: it is 0.292893");
        assert!(
            advice.is_reached() && advice.raise_one == [Some(0.0); 2] && advice.lower_one.is_empty() && advice.raise_together.total == 0.0
        );
        // The whole coupling must go, or the other player's curvature grow without end.
        let edge = bounds(&[2.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 1.0, 1.0, 0.0]));
        let advice = advise(&edge, 1.0);
        assert!(advice.raise_one[0].is_none() && (advice.raise_one[1].unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(advice.lower_one.iter().map(|lowering| lowering.decrease).collect::<Vec<_>>(), [1.0, 1.0]);
        // Nobody influences anyone.
        let apart = bounds(&[-1.0, 0.0, 3.0], DMatrix::zeros(3, 3));
        let advice = advise(&apart, 0.5);
        assert_eq!((advice.raise_one, advice.raise_together.increases), (vec![None; 3], vec![1.5, 0.5, 0.0]));
        assert_eq!(advise(&apart, 0.0).to_string(), "raise the curvature of player 0 by 1, and the margin is 0");
        // One direction only: as if there were none.
        let chain = bounds(&[0.5, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 100.0, 0.0, 0.0]));
        assert_eq!(advise(&chain, 1.0).raise_one, [Some(0.5), None]);
        for game in [toy, edge, apart, chain] {
            for target in [-2.0, 0.0, 0.3, 1.0, 2.5] {
                check(&game, target).unwrap();
            }
        }
    }

    #[test]
    fn targets_that_are_no_numbers() {
        let toy = bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]));
        assert!(advise(&toy, f64::NEG_INFINITY).is_reached());
        for target in [f64::INFINITY, f64::NAN] {
            let advice = advise(&toy, target);
            assert!(
                advice.raise_one == [None; 2] && advice.lower_one.is_empty() && advice.raise_together.total.is_infinite(),
                "{advice:?}"
            );
        }
    }

    #[test]
    fn flat_valleys_with_sharp_edges() {
        let coupling =
            DMatrix::from_column_slice(3, 3, &[0.0, 0.008818469926336715, 0.0, 0.01, 0.0, 0.6106043518399306, 0.0, 0.455101759762187, 0.0]);
        let game = bounds(&[-0.47008391039004577, 4.346814780489297, -0.38358039372979613], coupling);
        let advice = advise(&game, supremum(&game) + 0.05305708631825251);
        assert!(advice.raise_together.gap < 1e-9, "{advice:?}");
    }

    #[test]
    fn many_players() {
        let n = 100;
        let full = DMatrix::from_fn(n, n, |i, j| if i == j { 0.0 } else { 0.02 * (1.0 + ((7 * i + 13 * j) % 17) as f64 / 17.0) });
        let ring = DMatrix::from_fn(n, n, |i, j| if i == (j + 1) % n { 0.1 + (j % 7) as f64 } else { 0.0 });
        let mu: Vec<f64> = (0..n).map(|i| 1.0 + (i % 5) as f64).collect();
        for (coupling, target) in [(full.clone(), 0.9), (full, 0.0), (ring.clone(), 0.9), (ring.clone(), 1.0), (ring, -0.2)] {
            let game = bounds(&mu, coupling);
            let Raise { increases, total, gap } = advise(&game, target).raise_together;
            assert!(supremum(&changed(&game, &increases, None)) >= target - 1e-9);
            assert!(gap <= 1e-8 * total, "{gap} of {total}");
        }
    }

    #[test]
    fn numbers_are_rounded_up() {
        assert_eq!([0.75, 0.914_213_5, 0.999_9, 1234.0, 3.0, 1e-7].map(rounded_up), [0.75, 0.915, 1.0, 1240.0, 3.0, 1e-7]);
    }

    fn entry() -> impl proptest::strategy::Strategy<Value = f64> {
        use proptest::prelude::*;
        prop_oneof![3 => 0.01..2.0, 2 => Just(0.0), 1 => (-4.0..2.0).prop_map(|x: f64| 10f64.powf(x))]
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        fn games() -> impl Strategy<Value = BlockBounds> {
            (2usize..=6).prop_flat_map(|n| {
                (prop::collection::vec(prop_oneof![4 => -1.0..5.0, 1 => Just(0.0)], n), prop::collection::vec(entry(), n * n)).prop_map(
                    move |(mu, coupling)| {
                        let mut coupling = DMatrix::from_vec(n, n, coupling);
                        coupling.fill_diagonal(0.0);
                        bounds(&mu, coupling)
                    },
                )
            })
        }

        proptest! {
            #[test]
            fn advice_is_enough_and_no_more(game in games(), above in prop_oneof![0.0..3.0, Just(1.0), -1.0..0.0]) {
                let target = supremum(&game) + above;
                if let Err(message) = check(&game, target) {
                    prop_assert!(false, "{message} for {target}: {:?}", advise(&game, target));
                }
            }

            #[test]
            fn no_other_increases_are_less(game in games(), z in prop::collection::vec(-2.0..2.0f64, 6), above in 0.1..3.0f64) {
                let target = supremum(&game) + above;
                let other: f64 = (0..game.players()).map(|i| {
                    let sum: f64 = (0..game.players()).map(|j| game.coupling[(i, j)] * (z[j] - z[i]).exp()).sum();
                    (target - game.curvature[i] + sum).max(0.0)
                }).sum();
                prop_assert!(advise(&game, target).raise_together.total <= other * (1.0 + 1e-9) + 1e-12);
            }

            #[test]
            fn sensitivities_are_central_differences(
                mu in prop::array::uniform4(-1.0..3.0),
                coupling in prop::array::uniform16(0.05..2.0),
                i in 0usize..4,
                j in 0usize..4,
            ) {
                let step = 1e-5;
                let mut coupling = DMatrix::from_row_slice(4, 4, &coupling);
                coupling.fill_diagonal(0.0);
                let at = |by: f64| {
                    let (mut mu, mut coupling) = (mu, coupling.clone());
                    if i == j { mu[i] += by } else { coupling[(i, j)] += by }
                    supremum(&bounds(&mu, coupling))
                };
                let slope = (at(step) - at(-step)) / (2.0 * step);
                let sensitivity = advise(&bounds(&mu, coupling.clone()), 0.0).sensitivity;
                let found = if i == j { sensitivity.curvature[i] } else { sensitivity.coupling[(i, j)] };
                prop_assert!((found - slope).abs() < 1e-7, "{found} {slope}");
            }
        }
    }
}
