//! Analytic centres of the block-diagonal metrics and levels with the level below the margin.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};

use super::super::barrier::factors;
use super::Structure;

/// Newton steps of a stage whose level is fixed, which is convex: a few are usual.
const MOST_STEPS: usize = 60;
/// Newton steps of a stage whose level is free: where they are not enough, the way is long and curved, and a centre of the level that was
/// reached is nearer.
const MOST_FREE_STEPS: usize = 12;
/// The squared Newton decrement below which one more whole step ends a stage.
const CENTRED: f64 = 0.1;
/// Times that a step is halved.
const MOST_HALVINGS: i32 = 40;
/// The part of the fall that its slope promises which a step must keep.
const KEPT: f64 = 0.1;

/// The unknowns of a metric.
pub(super) struct Unknowns {
    /// Rows and columns, `a ≤ b`, of the entries that a metric has above its blocks' diagonals and on them.
    entries: Vec<[usize; 2]>,
    /// Which unknown each entry is.
    of: Vec<usize>,
    count: usize,
}

/// What is minimised in a stage, in coordinates in which the stage's first metric is the identity:
/// `K tr(C M) - t α - Σ_k log det (M J_k + J_kᵀ M - 2 α M)`, for all metrics `M`, and for all levels `α` or for one.
pub(super) struct Stage<'a> {
    pub(super) unknowns: &'a Unknowns,
    pub(super) jacobians: &'a [DMatrix<f64>],
    /// `C`.
    pub(super) measure: DMatrix<f64>,
    /// The level to begin with, below the margin of the identity.
    pub(super) level: f64,
    /// `t`; none where the level stays.
    pub(super) sharpness: Option<f64>,
}

/// A metric and a level below its margin.
pub(super) struct Reached {
    pub(super) metric: DMatrix<f64>,
    pub(super) level: f64,
    /// What the centre shows; none if it was not reached.
    pub(super) shown: Option<Shown>,
}

pub(super) struct Shown {
    /// For each Jacobian, a positive definite matrix `Z_k`, about the inverse of `M J_k + J_kᵀ M - 2 α M`.
    pub(super) multipliers: Vec<DMatrix<f64>>,
    /// By how much the level may be below the greatest margin, of metrics that are not far from this one: a little more than it is.
    pub(super) gap: f64,
}

/// Derivatives at a metric and a level; of the unknowns, the level is the last.
struct Derivatives {
    gradient: DVector<f64>,
    /// The second derivatives without those of `2 α M`: positive semidefinite.
    hessian: DMatrix<f64>,
    /// Those, which has only an unknown of the metric and the level at once.
    mixed: DVector<f64>,
    inverses: Vec<DMatrix<f64>>,
}

impl Unknowns {
    pub(super) fn new(players: &[Range<usize>], structure: Structure) -> Self {
        let (mut entries, mut of) = (Vec::new(), Vec::new());
        for (player, variables) in players.iter().enumerate() {
            for a in variables.clone() {
                for b in a..if structure == Structure::Full { variables.end } else { a + 1 } {
                    of.push(if structure == Structure::Scalar { player } else { entries.len() });
                    entries.push([a, b]);
                }
            }
        }
        let count = of.iter().max().map_or(0, |last| last + 1);
        Self { entries, of, count }
    }

    /// `tr(E_p A)` of a symmetric matrix, for each unknown.
    fn contracted(&self, matrix: &DMatrix<f64>) -> DVector<f64> {
        let mut sums = DVector::zeros(self.count);
        for (&[a, b], &p) in self.entries.iter().zip(&self.of) {
            sums[p] += if a == b { matrix[(a, a)] } else { 2.0 * matrix[(a, b)] };
        }
        sums
    }

    /// `Σ_p v_p E_p`.
    fn matrix(&self, values: &DVector<f64>, size: usize) -> DMatrix<f64> {
        let mut matrix = DMatrix::zeros(size, size);
        for (&[a, b], &p) in self.entries.iter().zip(&self.of) {
            (matrix[(a, b)], matrix[(b, a)]) = (values[p], values[p]);
        }
        matrix
    }

    /// Adds `2 tr(E_p Y E_q Y) + 2 tr(E_p X E_q G)` on and below the diagonal.
    fn add_curvatures(&self, hessian: &mut DMatrix<f64>, y: &DMatrix<f64>, x: &DMatrix<f64>, g: &DMatrix<f64>) {
        let size = y.nrows();
        let rows = y.transpose();
        for (p, &[a, b]) in self.entries.iter().enumerate() {
            let [ya, yb] = [a, b].map(|a| &y.as_slice()[a * size..(a + 1) * size]);
            let [ra, rb] = [a, b].map(|a| &rows.as_slice()[a * size..(a + 1) * size]);
            let [xa, xb] = [a, b].map(|a| &x.as_slice()[a * size..(a + 1) * size]);
            let [ga, gb] = [a, b].map(|a| &g.as_slice()[a * size..(a + 1) * size]);
            for (q, &[c, d]) in self.entries.iter().enumerate().skip(p) {
                let by_y = rb[c] * ya[d] + rb[d] * ya[c] + ra[c] * yb[d] + ra[d] * yb[c];
                let by_x = xb[c] * ga[d] + xb[d] * ga[c] + xa[c] * gb[d] + xa[d] * gb[c];
                // An entry on the diagonal would count twice.
                let share = 2.0 * if a == b { 0.5 } else { 1.0 } * if c == d { 0.5 } else { 1.0 };
                let (row, column) = (self.of[q], self.of[p]);
                let both = if row == column && p != q { 2.0 } else { 1.0 };
                hessian[(row, column)] += both * share * (by_y + by_x);
            }
        }
    }
}

impl Stage<'_> {
    fn size(&self) -> usize {
        self.measure.nrows()
    }

    /// As near to the centre as Newton's method comes, from the identity. None where that is outside, or rounding errors make it so.
    pub(super) fn reach(&self) -> Option<Reached> {
        let (mut metric, mut level) = (DMatrix::identity(self.size(), self.size()), self.level);
        let mut value = self.value(&metric, level)?;
        for _ in 0..if self.sharpness.is_some() { MOST_FREE_STEPS } else { MOST_STEPS } {
            let Some(derivatives) = self.derivatives(&metric, level) else { break };
            let Some(step) = self.step(&derivatives) else { break };
            let slope = derivatives.gradient.dot(&step);
            let (along, up) = (self.unknowns.matrix(&step, self.size()), step[self.unknowns.count]);
            if -slope <= CENTRED {
                let shown = Some(self.shown(&derivatives, &metric, level, &along, up));
                let whole = (&metric + along, level + up);
                let inside = barriers(self.jacobians, &whole.0, whole.1).is_some();
                let (metric, level) = if inside { whole } else { (metric, level) };
                return Some(Reached { metric, level, shown });
            }
            let tried = (0..MOST_HALVINGS).find_map(|halvings| {
                let share = 0.5f64.powi(halvings);
                let next = (&metric + share * &along, level + share * up);
                let found = self.value(&next.0, next.1)?;
                (found <= value + KEPT * share * slope).then_some((next.0, next.1, found))
            });
            let Some(next) = tried else { break };
            (metric, level, value) = next;
        }
        Some(Reached { metric, level, shown: None })
    }

    /// None where a matrix is not positive definite. Only differences mean something, and the level's own is all that is multiplied.
    fn value(&self, metric: &DMatrix<f64>, level: f64) -> Option<f64> {
        let linear = self.jacobians.len() as f64 * self.measure.dot(metric) - self.sharpness.unwrap_or(0.0) * (level - self.level);
        Some(linear + barriers(self.jacobians, metric, level)?).filter(|value| value.is_finite())
    }

    /// With `B = J - αI`, `G` the inverse of `S = M B + Bᵀ M`, `Y = B G`, `X = B G Bᵀ`, and the symmetric matrix `E_p` of an unknown,
    /// `∂S/∂p = E_p B + Bᵀ E_p` and `∂S/∂α = -2 M`, so that of `-log det S`
    ///
    /// ```text
    /// ∂/∂p = -2 tr(E_p Y),   ∂²/∂p∂q = 2 tr(E_p Y E_q Y) + 2 tr(E_p X E_q G),
    /// ∂/∂α = 2 tr(G M),      ∂²/∂α² = 4 tr(G M G M),   ∂²/∂p∂α = -4 tr(E_p Y M G) + 2 tr(E_p G),
    /// ```
    ///
    /// where each entry takes a few products of entries, whatever the size.
    fn derivatives(&self, metric: &DMatrix<f64>, level: f64) -> Option<Derivatives> {
        let last = self.unknowns.count;
        let mut slopes = self.jacobians.len() as f64 * &self.measure;
        let mut upward = -self.sharpness.unwrap_or(0.0);
        let [mut across, mut mixed] = [(); 2].map(|()| DMatrix::zeros(self.size(), self.size()));
        let mut hessian = DMatrix::zeros(last + 1, last + 1);
        let mut inverses = Vec::with_capacity(self.jacobians.len());
        for jacobian in self.jacobians {
            let b = shifted(jacobian, level);
            let g = sum_with_transpose(&(metric * &b)).cholesky()?.inverse();
            let y = &b * &g;
            let mg = metric * &g;
            slopes -= sum_with_transpose(&y);
            upward += 2.0 * mg.trace();
            across -= 2.0 * sum_with_transpose(&(&y * &mg));
            mixed += 2.0 * &g;
            hessian[(last, last)] += 4.0 * mg.dot(&mg.transpose());
            self.unknowns.add_curvatures(&mut hessian, &y, &(&y * b.transpose()), &g);
            inverses.push(g);
        }
        hessian.view_mut((last, 0), (1, last)).tr_copy_from(&self.unknowns.contracted(&across));
        hessian.fill_upper_triangle_with_lower_triangle();
        Some(Derivatives {
            gradient: self.unknowns.contracted(&slopes).push(upward),
            hessian,
            mixed: self.unknowns.contracted(&mixed),
            inverses,
        })
    }

    /// Newton's step; without the mixed derivatives where the Hessian is not positive definite with them.
    fn step(&self, derivatives: &Derivatives) -> Option<DVector<f64>> {
        let last = self.unknowns.count;
        if self.sharpness.is_none() {
            let inner = derivatives.hessian.view((0, 0), (last, last)).into_owned();
            return Some(-factors(&inner, 0.0)?.solve(&derivatives.gradient.rows(0, last)).push(0.0));
        }
        let mut whole = derivatives.hessian.clone();
        derivatives.mixed.iter().enumerate().for_each(|(p, mixed)| whole[(last, p)] += mixed);
        let factors = whole.cholesky().or_else(|| factors(&derivatives.hessian, 0.0))?;
        Some(-factors.solve(&derivatives.gradient))
    }

    /// The multipliers are the inverses after Newton's step, to first order: with them, the centre's equations hold.
    fn shown(&self, derivatives: &Derivatives, metric: &DMatrix<f64>, level: f64, along: &DMatrix<f64>, up: f64) -> Shown {
        let moved = |(jacobian, g): (&DMatrix<f64>, &DMatrix<f64>)| {
            g - g * (sum_with_transpose(&(along * shifted(jacobian, level))) - 2.0 * up * metric) * g
        };
        let multipliers = self.jacobians.iter().zip(&derivatives.inverses).map(moved).collect();
        let traces = derivatives.inverses.iter().map(|inverse| inverse.dot(metric)).sum::<f64>();
        Shown { multipliers, gap: 0.5 * self.jacobians.len() as f64 * self.measure.dot(metric) / traces }
    }
}

/// `-Σ_k log det (M J_k + J_kᵀ M - 2 α M)`; none where one of these matrices is not positive definite, or the metric itself is not: above
/// all margins, its negative may be.
fn barriers(jacobians: &[DMatrix<f64>], metric: &DMatrix<f64>, level: f64) -> Option<f64> {
    metric.clone().cholesky()?;
    let barrier = |jacobian: &DMatrix<f64>| {
        let factor = sum_with_transpose(&(metric * shifted(jacobian, level))).cholesky()?;
        Some(-2.0 * factor.l_dirty().diagonal().iter().map(|entry| entry.ln()).sum::<f64>())
    };
    jacobians.iter().map(barrier).sum()
}

/// `J - αI`.
fn shifted(jacobian: &DMatrix<f64>, level: f64) -> DMatrix<f64> {
    jacobian.map_with_location(|a, b, entry| if a == b { entry - level } else { entry })
}

fn sum_with_transpose(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    matrix + matrix.transpose()
}
