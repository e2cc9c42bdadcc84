//! Several certificates of contraction side by side: what each says of the same game in the same region.

use gradus_base::{Cancel, Silent};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::blocks::Blocks;
use super::certify::{Certifier, Mode, Region, Verdict, corners, stationary_point};
use super::checker::whole::ratios;
use super::estimate::quantities_at;
use super::linear::eigenvalues;
use super::lmi::Structure;
use super::map::{MapCertifier, MapVerdict, Update};
use super::scaled::{Goal, Scaled, least_symmetric, norm};
use super::search::Search;
use super::signs::{self, AFFORDABLE_UNKNOWNS, MetricSearch};
use super::{SmallGainError, optimal_weights};
use crate::game::Game;
use crate::rigorous::Interval;

/// The most times that Rosen's weights are improved for one more point.
const ROUNDS: usize = 20;
/// The part of the margin that Rosen's weights may lack.
const ROSEN_GAP: f64 = 1e-3;
/// Steps of an ascent.
const ASCENT_STEPS: u32 = 300;
/// Logarithms of weights that are looked at.
const LOG_WEIGHTS: [f64; 2] = [-40.0, 40.0];
/// Steps of a golden section.
const SECTIONS: usize = 100;
/// Rounds of the game between weights and vectors that shows that there are none.
const DUAL_ROUNDS: u32 = 2_000;

/// A sufficient condition for contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// The least eigenvalue of `(J + Jᵀ)/2` is positive on the region.
    EuclideanMonotone,
    /// There are weights `ρ > 0`, one for each player, for which `diag(ρ) J + Jᵀ diag(ρ)` is positive definite on the region (Rosen 1965,
    /// diagonal strict concavity). Its margin is `α` in `diag(ρ) J + Jᵀ diag(ρ) ≥ 2 α diag(ρ)`. It keeps the signs of couplings.
    RosenDsc,
    /// The same with a symmetric positive definite matrix `M_i` for each player instead of `ρ_i I`, diagonal for players that are confined to a
    /// box: a linear matrix inequality (Boyd et al. 1994).
    BlockLmi,
    /// The same with one matrix for all variables (Demidovich 1961). What holds in no such metric holds in no constant metric; a projection
    /// onto a product of sets is no projection of each player's in it.
    FullContraction,
    /// The small-gain condition of bounds on the whole region. It knows only norms.
    SmallGain,
    /// The small-gain condition on each box of the region, in one metric.
    SmallGainPerBox,
    /// The eigenvalues of the Jacobian at an equilibrium lie in the right half plane, to rounding. Local: of no region, and no step.
    Spectral,
    /// One step of gradient play contracts. Its margin is `1 - q`.
    StepMap,
}

/// What comes of a test.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It holds on the region; proven, except for [`Test::Spectral`].
    Holds {
        /// By how much.
        margin: f64,
    },
    /// It does not; shown at a point, except for [`Test::Spectral`] in intervals.
    Fails {
        /// About the margin at the point, at most 0.
        margin: f64,
        /// The point.
        point: Vec<f64>,
    },
    /// Neither could be shown.
    Unknown,
}

/// A test of a game.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The test.
    pub test: Test,
    /// What came of it.
    pub outcome: Outcome,
    /// The players' weights of the metric, if it has one.
    pub weights: Option<Vec<f64>>,
    /// The step of [`Test::StepMap`].
    pub step: Option<f64>,
}

impl Comparison {
    /// With the margin of a test of fewer metrics, if that is greater: its metric is one of this test's, too.
    fn at_least(self, special: &Self) -> Self {
        match (&self.outcome, &special.outcome) {
            (Outcome::Holds { margin }, Outcome::Holds { margin: other }) if margin >= other => self,
            (_, Outcome::Holds { margin }) => Self { outcome: Outcome::Holds { margin: *margin }, ..self },
            _ => self,
        }
    }
}

/// Tests of a game, in the order of [`Test`].
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonReport {
    /// The tests.
    pub rows: Vec<Comparison>,
}

impl ComparisonReport {
    /// A test.
    pub fn of(&self, test: Test) -> Option<&Comparison> {
        self.rows.iter().find(|row| row.test == test)
    }

    /// Whether a test holds.
    pub fn holds(&self, test: Test) -> bool {
        self.of(test).is_some_and(|row| matches!(row.outcome, Outcome::Holds { .. }))
    }
}

/// Tests a game in a region in all ways, each with the search of `certifier`.
///
/// The small-gain condition is blind to signs: of `J = [[1, 5], [-5, 1]]`, a regularised zero-sum game, it sees couplings of 5 against
/// curvatures of 1 and refuses, with `α° = 1 - 5 = -4`. Rosen's condition sees that the couplings cancel and holds with the margin 1 at
/// equal weights; the eigenvalues are `1 ± 5i`, and gradient play contracts with all steps below `2·1/26`.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::small_gain::{Certifier, Outcome, Region, Test, compare, spectral_euler_threshold};
/// use nalgebra::DMatrix;
///
/// let jacobian = DMatrix::from_row_slice(2, 2, &[1.0, 5.0, -5.0, 1.0]);
/// assert!((spectral_euler_threshold(&jacobian) - 0.076_923).abs() < 1e-6);
/// let game = Game::affine(&[1, 1], jacobian, vec![0.0; 2])?;
/// let report = compare(&game, &Region::Free, &Certifier::default())?;
/// assert!(!report.holds(Test::SmallGain) && report.holds(Test::Spectral) && report.holds(Test::StepMap));
/// let rosen = report.of(Test::RosenDsc).unwrap();
/// assert!(matches!(rosen.outcome, Outcome::Holds { margin } if (margin - 1.0).abs() < 1e-9));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As of [`Certifier::certify`].
pub fn compare(game: &Game, region: &Region, certifier: &Certifier) -> Result<ComparisonReport, SmallGainError> {
    compare_until(game, region, certifier, &Cancel::new())
}

/// As [`compare`]; ends when it is cancelled.
///
/// # Errors
/// As of [`compare`], and [`SmallGainError::Cancelled`].
pub fn compare_until(game: &Game, region: &Region, certifier: &Certifier, cancel: &Cancel) -> Result<ComparisonReport, SmallGainError> {
    region.check(game)?;
    let setting = Setting { game, region, certifier, cancel };
    let uniform = setting.small_gain(Mode::Uniform)?;
    let per_box = setting.small_gain(Mode::PerBox)?;
    let euclidean = setting.euclidean()?;
    let rosen = setting.rosen(per_box.weights.as_deref().or(uniform.weights.as_deref()))?;
    let blocks = setting.metric(Test::BlockLmi, game.dimensions(), signs::allowed(Structure::Full, region))?.at_least(&rosen);
    let full = setting.metric(Test::FullContraction, &[game.size()], Structure::Full)?.at_least(&blocks);
    let spectral = setting.spectral();
    let equal = vec![1.0; game.dimensions().len()];
    let metrics = [&uniform, &per_box, &rosen].into_iter().filter_map(|row| row.weights.clone()).chain([equal]).collect();
    let step = setting.step_map(metrics)?;
    Ok(ComparisonReport { rows: vec![euclidean, rosen, blocks, full, uniform, per_box, spectral, step] })
}

/// What is tested, and how.
struct Setting<'a> {
    game: &'a Game,
    region: &'a Region,
    certifier: &'a Certifier,
    cancel: &'a Cancel,
}

impl Setting<'_> {
    fn sides(&self) -> Vec<Interval> {
        self.region.sides().map_or_else(|| vec![Interval::point(0.0); self.game.size()], <[Interval]>::to_vec)
    }

    fn middle(&self) -> Vec<f64> {
        self.sides().iter().map(|side| side.midpoint()).collect()
    }

    /// The middle, and unless the Jacobian is the same everywhere, the corners.
    fn points(&self) -> Vec<Vec<f64>> {
        let most = if self.game.is_affine() { 0 } else { usize::MAX };
        std::iter::once(self.middle()).chain(corners(&self.sides()).take(most)).collect()
    }

    fn small_gain(&self, mode: Mode) -> Result<Comparison, SmallGainError> {
        let test = if mode == Mode::Uniform { Test::SmallGain } else { Test::SmallGainPerBox };
        let certifier = Certifier { mode, ..self.certifier.clone() };
        let (outcome, weights) = match certifier.certify_watched(self.game, self.region, self.cancel, &mut Silent)? {
            Verdict::Certified(found) if found.mode == mode => {
                (Outcome::Holds { margin: found.certificate.alpha }, Some(found.certificate.weights.clone()))
            }
            Verdict::Refused(refused) => (self.refused(&refused.reasons)?, None),
            _ => (Outcome::Unknown, None),
        };
        Ok(Comparison { test, outcome, weights, step: None })
    }

    fn refused(&self, reasons: &[super::Refusal]) -> Result<Outcome, SmallGainError> {
        let Some(reason) = reasons.first() else { return Ok(Outcome::Unknown) };
        let blocks = Blocks::new(self.game);
        let bounds = blocks.bounds(&quantities_at(self.game, &blocks, reason.point())?)?;
        let best = || optimal_weights(&bounds).supremum;
        let margin = self.certifier.weights.as_ref().map_or_else(best, |weights| bounds.margin_at(weights));
        Ok(Outcome::Fails { margin: margin.min(0.0), point: reason.point().to_vec() })
    }

    fn euclidean(&self) -> Result<Comparison, SmallGainError> {
        let weights = vec![1.0; self.game.dimensions().len()];
        let (outcome, _) = self.monotone(&weights)?;
        Ok(Comparison { test: Test::EuclideanMonotone, outcome, weights: Some(weights), step: None })
    }

    /// Whether the field is monotone in a metric, and the worst point that was seen.
    fn monotone(&self, weights: &[f64]) -> Result<(Outcome, Vec<f64>), SmallGainError> {
        let scaled = Scaled::new(self.game, weights, Goal::Curvature);
        let cover = scaled.cover(&self.sides(), &self.certifier.search, 0.0, self.cancel)?;
        if cover.attained >= 0.0 {
            let margin = -scaled.reached(&cover.at);
            let fails = || Outcome::Fails { margin, point: cover.at.clone() };
            return Ok((if margin <= 0.0 { fails() } else { Outcome::Unknown }, cover.at));
        }
        let margin = scaled.prove(&cover).1.iter().map(|leaf| -leaf.bound).fold(f64::INFINITY, f64::min);
        Ok((if margin > 0.0 { Outcome::Holds { margin } } else { Outcome::Unknown }, cover.at))
    }

    /// Weights for the Jacobians at some points, and then a proof for the region, or one more point, as long as that finds a greater margin.
    /// Where the small-gain condition holds, its weights are tried first: they have at least its margin.
    fn rosen(&self, known: Option<&[f64]>) -> Result<Comparison, SmallGainError> {
        let row = |outcome, weights| Ok(Comparison { test: Test::RosenDsc, outcome, weights, step: None });
        let mut points = self.points();
        let mut weights = known.map_or_else(|| vec![1.0; self.game.dimensions().len()], <[f64]>::to_vec);
        let mut best = (0.0, None);
        if known.is_some()
            && let (Outcome::Holds { margin }, worst) = self.monotone(&weights)?
        {
            best = (margin, Some(weights.clone()));
            points.push(worst);
        }
        for _ in 0..ROUNDS {
            let samples = Samples { game: self.game, jacobians: points.iter().map(|x| self.game.jacobian(x)).collect() };
            weights = samples.best_weights(&weights);
            let (margin, worst) = samples.margin(&weights);
            if margin <= 0.0 {
                let none = samples.no_weights_exist(&weights, &points);
                return row(if none { Outcome::Fails { margin, point: points[worst].clone() } } else { Outcome::Unknown }, None);
            }
            // No weights have more than these have at the points.
            if margin <= best.0 * (1.0 + ROSEN_GAP) {
                break;
            }
            let (outcome, worst) = self.monotone(&weights)?;
            if let Outcome::Holds { margin } = outcome
                && margin > best.0
            {
                best = (margin, Some(weights.clone()));
            }
            if points.contains(&worst) {
                break;
            }
            points.push(worst);
        }
        let (margin, weights) = best;
        row(if weights.is_some() { Outcome::Holds { margin } } else { Outcome::Unknown }, weights)
    }

    /// Whether the field is monotone in a metric of blocks of these sizes.
    fn metric(&self, test: Test, dimensions: &[usize], structure: Structure) -> Result<Comparison, SmallGainError> {
        let (sides, search) = (self.sides(), self.certifier.search);
        if structure.unknowns(dimensions) > AFFORDABLE_UNKNOWNS {
            return Ok(Comparison { test, outcome: Outcome::Unknown, weights: None, step: None });
        }
        let found = MetricSearch { game: self.game, dimensions, structure, sides: &sides, search }.best(self.cancel, &mut Silent)?;
        let rest = Search { most_boxes: search.most_boxes.saturating_sub(found.boxes).max(1), ..search };
        let margin = if found.met > 0.0 { found.prove(Goal::Curvature, &sides, &rest, self.cancel)?.value } else { 0.0 };
        let outcome = match signs::refusal(&found, false) {
            _ if margin > 0.0 && margin.is_finite() => Outcome::Holds { margin },
            Some(reason) => Outcome::Fails { margin: found.upper.min(0.0), point: reason.point().to_vec() },
            None => Outcome::Unknown,
        };
        Ok(Comparison { test, outcome, weights: None, step: None })
    }

    fn spectral(&self) -> Comparison {
        let equilibrium = stationary_point(|x| self.game.field(x), |x| self.game.jacobian(x), self.middle(), self.region.sides());
        let outcome = equilibrium.filter(|x| is_stationary(self.game, x)).map_or(Outcome::Unknown, |point| {
            let margin = eigenvalues(&self.game.jacobian(&point)).iter().map(|l| l.re).fold(f64::INFINITY, f64::min);
            match margin {
                _ if !margin.is_finite() => Outcome::Unknown,
                _ if margin > 0.0 => Outcome::Holds { margin },
                _ => Outcome::Fails { margin, point },
            }
        });
        Comparison { test: Test::Spectral, outcome, weights: None, step: None }
    }

    /// The step and the metric among some that look best at points, and a proof for the region.
    fn step_map(&self, metrics: Vec<Vec<f64>>) -> Result<Comparison, SmallGainError> {
        let points = self.points();
        let samples = Samples { game: self.game, jacobians: points.iter().map(|x| self.game.jacobian(x)).collect() };
        let tried = metrics.into_iter().map(|weights| (samples.best_step(&weights), weights));
        let best = tried.min_by(|a, b| a.0.1.total_cmp(&b.0.1)).filter(|((h, _), _)| *h > 0.0 && h.is_finite());
        let unknown = Comparison { test: Test::StepMap, outcome: Outcome::Unknown, weights: None, step: None };
        let Some(((h, _), weights)) = best else { return Ok(unknown) };
        let certifier = MapCertifier { update: Update::Euler { h }, weights: weights.clone(), search: self.certifier.search };
        let outcome = match certifier.certify_until(self.game, self.region, self.cancel) {
            Ok(MapVerdict::Contracts { certificate, .. }) => {
                Outcome::Holds { margin: (Interval::point(1.0) - Interval::point(certificate.q)).lo() }
            }
            Ok(MapVerdict::Expands { norm, point }) => Outcome::Fails { margin: 1.0 - norm, point },
            Ok(MapVerdict::Inconclusive { .. }) => Outcome::Unknown,
            // Of a game of which only the Jacobian is known there is no map.
            Err(SmallGainError::NonFinite { .. }) => return Ok(unknown),
            Err(error) => return Err(error),
        };
        Ok(Comparison { test: Test::StepMap, outcome, weights: Some(weights), step: Some(h) })
    }
}

/// Whether Newton's method ended at a point where the field is 0 but for rounding: a last step is short.
fn is_stationary(game: &Game, x: &[f64]) -> bool {
    let step = game.jacobian(x).lu().solve(&DVector::from_vec(game.field(x)));
    let size = 1.0 + x.iter().fold(0.0, |size: f64, x| size.max(x.abs()));
    step.is_some_and(|step| step.amax() <= 1e-8 * size)
}

/// Jacobians of a game at points.
struct Samples<'a> {
    game: &'a Game,
    jacobians: Vec<DMatrix<f64>>,
}

impl Samples<'_> {
    /// `M^{1/2} J M^{-1/2}`.
    fn scaled(&self, jacobian: &DMatrix<f64>, weights: &[f64]) -> DMatrix<f64> {
        let of = self.player_of();
        DMatrix::from_fn(of.len(), of.len(), |i, j| jacobian[(i, j)] * (weights[of[i]] / weights[of[j]]).sqrt())
    }

    /// The player of each variable.
    fn player_of(&self) -> Vec<usize> {
        self.game.dimensions().iter().enumerate().flat_map(|(player, &size)| std::iter::repeat_n(player, size)).collect()
    }

    /// The least margin in a metric, and at which point it is met.
    fn margin(&self, weights: &[f64]) -> (f64, usize) {
        let margin = |jacobian| {
            let scaled = self.scaled(jacobian, weights);
            least_symmetric(&(0.5 * (&scaled + scaled.transpose())))
        };
        let margins = self.jacobians.iter().map(margin).enumerate().map(|(place, margin)| (margin, place));
        margins.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NEG_INFINITY, 0))
    }

    /// Weights with about the greatest least margin, which is quasi-concave in them: an ascent along its subgradients in the logarithms
    /// of the weights, with ever shorter steps, and golden sections along each. Of two players that is exact.
    fn best_weights(&self, start: &[f64]) -> Vec<f64> {
        let players = start.len();
        let mut best = (self.margin(start).0, start.to_vec());
        let take = |best: &mut (f64, Vec<f64>), weights: Vec<f64>| {
            let margin = self.margin(&weights).0;
            if margin > best.0 {
                *best = (margin, weights);
            }
        };
        let mut logs: Vec<f64> = start.iter().map(|w| w.ln()).collect();
        for step in 1..=if players > 2 { ASCENT_STEPS } else { 0 } {
            let weights: Vec<f64> = logs.iter().map(|z| z.exp()).collect();
            let slope = self.slope(&weights);
            let length = slope.norm();
            take(&mut best, weights);
            if length <= 1e-15 {
                break;
            }
            logs.iter_mut()
                .zip(slope.iter())
                .for_each(|(z, g)| *z = (*z + 2.0 / f64::from(step) * g / length).clamp(LOG_WEIGHTS[0], LOG_WEIGHTS[1]));
        }
        for player in (1..players).chain(if players > 2 { 1..players } else { 0..0 }) {
            let fixed = best.1.clone();
            let with = |log: f64| (0..players).map(|i| if i == player { fixed[0] * log.exp() } else { fixed[i] }).collect::<Vec<f64>>();
            let log = golden(LOG_WEIGHTS, |log| -self.margin(&with(log)).0);
            take(&mut best, with(log));
        }
        let first = best.1[0];
        best.1.iter().map(|w| w / first).collect()
    }

    /// The derivatives of the least margin with respect to the logarithms of the weights.
    fn slope(&self, weights: &[f64]) -> DVector<f64> {
        let scaled = self.scaled(&self.jacobians[self.margin(weights).1], weights);
        let u = least_vector(&scaled);
        // `½ (z_i - z_j)` is in the exponent of each entry.
        let (image, pulled) = (&scaled * &u, scaled.tr_mul(&u));
        let mut slope = DVector::zeros(weights.len());
        self.player_of().into_iter().enumerate().for_each(|(a, player)| slope[player] += 0.5 * u[a] * (image[a] - pulled[a]));
        slope
    }

    /// Whether it can be shown that no weights are positive definite at all these points: by vectors `v_t` with
    /// `Σ_t Σ_{a in i} v_a (J(x_t) v)_a ≤ 0` for every player `i`, as `Σ_i ρ_i` times these is positive otherwise. They are the answers to
    /// weights that grow where the sums do (multiplicative weights), and the sums are bounded in intervals.
    fn no_weights_exist(&self, around: &[f64], points: &[Vec<f64>]) -> bool {
        let (players, of) = (around.len(), self.player_of());
        let near: Vec<DMatrix<f64>> = self.jacobians.iter().map(|jacobian| self.scaled(jacobian, around)).collect();
        let largest = near.iter().map(norm).fold(f64::MIN_POSITIVE, f64::max);
        let ratios = ratios(self.game, around);
        let enclosed: Vec<Vec<Interval>> = points
            .iter()
            .map(|x| self.game.jacobian_box(&x.iter().map(|&x| Interval::point(x)).collect::<Vec<_>>()))
            .map(|jacobian| jacobian.iter().zip(&ratios).map(|(&entry, &ratio)| entry * ratio).collect())
            .collect();
        let (mut sums, mut proof) = (vec![0.0; players], vec![Interval::point(0.0); players]);
        for round in 1..=DUAL_ROUNDS {
            let rate = 1.0 / (largest * f64::from(round).sqrt());
            let most = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // The weights that are worst for what was answered so far.
            let weights: Vec<f64> = sums.iter().map(|sum| (rate * (sum - most)).exp()).collect();
            let answers = near.iter().enumerate().map(|(place, matrix)| {
                let rows = DMatrix::from_fn(of.len(), of.len(), |i, j| weights[of[i]] * matrix[(i, j)]);
                let u = least_vector(&rows);
                (u.dot(&(rows * &u)), place, u)
            });
            let Some((_, place, u)) = answers.min_by(|a, b| a.0.total_cmp(&b.0)) else { return false };
            let image = &near[place] * &u;
            for (a, &player) in of.iter().enumerate() {
                sums[player] += u[a] * image[a];
                let row =
                    (0..of.len()).fold(Interval::point(0.0), |sum, b| sum + enclosed[place][a * of.len() + b] * Interval::point(u[b]));
                proof[player] = proof[player] + row * Interval::point(u[a]);
            }
            if proof.iter().all(|sum| sum.hi() <= 0.0) {
                return true;
            }
        }
        false
    }

    /// The step of gradient play with the least greatest norm, which is convex in it, and that norm.
    fn best_step(&self, weights: &[f64]) -> (f64, f64) {
        let scaled: Vec<DMatrix<f64>> = self.jacobians.iter().map(|jacobian| self.scaled(jacobian, weights)).collect();
        let greatest = scaled.iter().map(norm).fold(0.0, f64::max);
        let worst = |h: f64| {
            let step = |matrix: &DMatrix<f64>| norm(&(DMatrix::identity(matrix.nrows(), matrix.nrows()) - matrix * h));
            scaled.iter().map(step).fold(0.0, f64::max)
        };
        let h = golden([0.0, 2.0 / greatest], worst);
        (h, worst(h))
    }
}

/// The vector of the least eigenvalue of a matrix's symmetric part.
fn least_vector(matrix: &DMatrix<f64>) -> DVector<f64> {
    let eigen = SymmetricEigen::new(0.5 * (matrix + matrix.transpose()));
    eigen.eigenvectors.column(eigen.eigenvalues.imin()).into_owned()
}

/// About where a function of one number that falls and then rises is least.
fn golden([mut low, mut high]: [f64; 2], f: impl Fn(f64) -> f64) -> f64 {
    let share = 0.5 * (5f64.sqrt() - 1.0);
    let [mut left, mut right] = [high - share * (high - low), low + share * (high - low)];
    let [mut at_left, mut at_right] = [f(left), f(right)];
    for _ in 0..SECTIONS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - share * (high - low);
            at_left = f(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + share * (high - low);
            at_right = f(right);
        }
    }
    if at_left <= at_right { left } else { right }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::Real;
    use crate::small_gain::{Search, Tolerance, check_map, spectral_euler_threshold};

    fn affine(entries: [f64; 4]) -> Game {
        Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &entries), vec![0.0; 2]).unwrap()
    }

    fn outcome(report: &ComparisonReport, test: Test) -> Outcome {
        report.of(test).unwrap().outcome.clone()
    }

    fn holds(report: &ComparisonReport, test: Test, margin: f64) -> bool {
        matches!(outcome(report, test), Outcome::Holds { margin: found } if (found - margin).abs() < 1e-9)
    }

    fn fails(report: &ComparisonReport, test: Test, margin: f64) -> bool {
        matches!(outcome(report, test), Outcome::Fails { margin: found, .. } if (found - margin).abs() < 1e-9)
    }

    #[test]
    fn the_small_gain_condition_is_blind_to_signs() {
        let game = affine([1.0, 5.0, -5.0, 1.0]);
        for region in [Region::Free, Region::local(&[-1.0; 2], &[1.0; 2]).unwrap()] {
            let report = compare(&game, &region, &Certifier::default()).unwrap();
            assert!(fails(&report, Test::SmallGain, -4.0) && fails(&report, Test::SmallGainPerBox, -4.0), "{report:?}");
            assert!(holds(&report, Test::RosenDsc, 1.0) && holds(&report, Test::EuclideanMonotone, 1.0));
            assert_eq!(report.of(Test::RosenDsc).unwrap().weights, Some(vec![1.0, 1.0]));
            assert!(holds(&report, Test::Spectral, 1.0));
            // The best step is half the longest.
            let step = report.of(Test::StepMap).unwrap().step.unwrap();
            assert!((step - 1.0 / 26.0).abs() < 1e-6 && holds(&report, Test::StepMap, 1.0 - (25.0f64 / 26.0).sqrt()), "{report:?}");
        }
        // The matrix is normal: the bound of the step is exact.
        let limit = crate::small_gain::Rates::new(1.0, 26f64.sqrt()).unwrap().euler_limit();
        assert!((limit - 0.076_923).abs() < 1e-6 && (limit - spectral_euler_threshold(&game.jacobian(&[0.0; 2]))).abs() < 1e-15);
        let step = |h| {
            MapCertifier { update: Update::Euler { h }, weights: vec![1.0; 2], search: Search::default() }.certify(&game, &Region::Free)
        };
        let MapVerdict::Contracts { certificate, .. } = step(limit * (1.0 - 1e-9)).unwrap() else { panic!() };
        assert_eq!(check_map(&certificate, &game), Ok(()));
        assert!(matches!(step(limit * (1.0 + 1e-9)), Ok(MapVerdict::Expands { .. })));
    }

    #[test]
    fn one_metric_may_be_monotone_and_another_not() {
        let report = compare(&affine([1.0, 10.0, 0.05, 1.0]), &Region::Free, &Certifier::default()).unwrap();
        let margin = 1.0 - 0.5f64.sqrt();
        assert!(fails(&report, Test::EuclideanMonotone, -4.025), "{report:?}");
        assert!(holds(&report, Test::SmallGain, margin) && holds(&report, Test::SmallGainPerBox, margin), "{report:?}");
        assert!(holds(&report, Test::RosenDsc, margin) && holds(&report, Test::Spectral, margin), "{report:?}");
        assert!((report.of(Test::RosenDsc).unwrap().weights.as_ref().unwrap()[1] - 200.0).abs() < 1e-3);
        // A symmetric matrix in this metric, of eigenvalues 1 ± √½: the best step is 1.
        assert!(matches!(outcome(&report, Test::StepMap), Outcome::Holds { margin: found } if (found - margin).abs() < 1e-6));
    }

    #[test]
    fn games_that_contract_in_no_metric() {
        let report = compare(&affine([1.0, 2.0, 3.0, 1.0]), &Region::Free, &Certifier::default()).unwrap();
        let margin = 1.0 - 6f64.sqrt();
        assert!(
            fails(&report, Test::RosenDsc, margin) && fails(&report, Test::SmallGain, margin) && fails(&report, Test::Spectral, margin),
            "{report:?}"
        );
        assert!(!report.holds(Test::StepMap));
        // Stable, but not by two weights: the first player's own curvature is negative.
        let report = compare(&affine([-0.5, 2.0, -2.0, 1.0]), &Region::Free, &Certifier::default()).unwrap();
        assert!(holds(&report, Test::Spectral, 0.25), "{report:?}");
        assert!(matches!(outcome(&report, Test::RosenDsc), Outcome::Fails { .. }), "{report:?}");
    }

    #[test]
    fn nonlinear_games_and_several_variables() {
        let search = Search { tolerance: Tolerance::Relative(1e-2), most_boxes: 4_000 };
        let certifier = Certifier { search, ..Certifier::default() };
        let game = Game::from_field(&[2, 1, 1], |x| {
            let push = x[2] * 3.0 + (x[0] * x[3]).sin() * 0.1;
            vec![
                x[0] * 2.0 + x[1] * 0.3 + push,
                x[1] * 2.0 - x[0] * 0.3 + x[3].tanh() * 0.2,
                x[2] * 2.0 + x[2].powi(3) * 0.2 - x[0] * 3.0,
                x[3] * 2.0 + x[1].sin() * 0.3,
            ]
        });
        let game = game.unwrap();
        let report = compare(&game, &Region::local(&[-0.5; 4], &[0.5; 4]).unwrap(), &certifier).unwrap();
        assert!(matches!(outcome(&report, Test::SmallGain), Outcome::Fails { .. }), "{report:?}");
        assert!(
            [Test::RosenDsc, Test::EuclideanMonotone, Test::Spectral, Test::StepMap].iter().all(|&test| report.holds(test)),
            "{report:?}"
        );
        let margin = |test| match outcome(&report, test) {
            Outcome::Holds { margin } => margin,
            _ => f64::NAN,
        };
        assert!(margin(Test::RosenDsc) >= margin(Test::EuclideanMonotone) - 0.03, "{report:?}");
        // Of a Jacobian alone nothing is said that needs the field.
        let alone = Game::from_jacobian(&[1, 1], |x| vec![x[0].cosh(), x[1] * 3.0, x[1] * -3.0, x[1].cosh()]).unwrap();
        let report = compare(&alone, &Region::local(&[-1.0; 2], &[1.0; 2]).unwrap(), &certifier).unwrap();
        assert!(report.holds(Test::RosenDsc) && outcome(&report, Test::Spectral) == Outcome::Unknown && !report.holds(Test::StepMap));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            /// Of two players with a number each there are weights exactly if the own curvatures are positive and the product of the couplings
            /// is below theirs.
            #[test]
            fn two_players_have_weights_exactly_if_they_should(entries in prop::array::uniform4(-3.0..3.0f64)) {
                let [a, b, c, d] = entries;
                let truth = (a.min(d)).min(a * d - b * c);
                prop_assume!(truth.abs() > 0.05 && b.abs() > 0.01 && c.abs() > 0.01);
                let report = compare(&affine(entries), &Region::Free, &Certifier::default()).unwrap();
                prop_assert_eq!(report.holds(Test::RosenDsc), truth > 0.0, "{:?}", report);
                // What knows less never holds without what knows more.
                prop_assert!(!report.holds(Test::SmallGain) || report.holds(Test::RosenDsc));
                prop_assert!(!report.holds(Test::EuclideanMonotone) || report.holds(Test::RosenDsc));
                prop_assert!(!report.holds(Test::RosenDsc) || report.holds(Test::BlockLmi));
                prop_assert!(!report.holds(Test::BlockLmi) || report.holds(Test::FullContraction));
                prop_assert!(!report.holds(Test::FullContraction) || report.holds(Test::Spectral));
                prop_assert!(!report.holds(Test::RosenDsc) || report.holds(Test::Spectral) && report.holds(Test::StepMap));
            }
        }
    }
}
