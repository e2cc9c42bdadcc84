//! Analytic centres of the block-diagonal metrics whose margin is above a level.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};

use super::super::barrier::factors;
use super::Structure;

/// Newton steps of a stage.
const MOST_STEPS: usize = 60;
/// The squared Newton decrement below which one more whole step ends a stage.
const CENTRED: f64 = 0.1;
/// Times that a step is halved.
const MOST_HALVINGS: i32 = 40;
/// The part of the fall that its slope promises which a step must keep.
const KEPT: f64 = 0.1;

/// What the search for centres has in common at all levels.
pub(super) struct Centring {
    /// Rows and columns, `a ≤ b`, of the entries that a metric has above its blocks' diagonals and on them.
    entries: Vec<[usize; 2]>,
    /// Which unknown each entry is.
    unknown: Vec<usize>,
    unknowns: usize,
    size: usize,
}

/// A metric near the centre, in coordinates in which the stage's first metric is the identity.
pub(super) struct Centre {
    pub(super) metric: DMatrix<f64>,
    /// The derivative of the centre with respect to the level.
    pub(super) tangent: DMatrix<f64>,
    /// For each Jacobian, a positive definite matrix `Z_k`, about the inverse of `M J_k + J_kᵀ M - 2 α M`.
    pub(super) multipliers: Vec<DMatrix<f64>>,
    /// About by how much the level is below the greatest margin.
    pub(super) gap: f64,
}

/// Derivatives of the barrier at a metric.
struct Derivatives {
    gradient: DVector<f64>,
    hessian: DMatrix<f64>,
    /// The derivative of the gradient with respect to the level.
    drift: DVector<f64>,
    inverses: Vec<DMatrix<f64>>,
}

impl Centring {
    pub(super) fn new(players: &[Range<usize>], structure: Structure) -> Self {
        let size = players.last().map_or(0, |last| last.end);
        let (mut entries, mut unknown) = (Vec::new(), Vec::new());
        for (player, of) in players.iter().enumerate() {
            for a in of.clone() {
                for b in a..if structure == Structure::Full { of.end } else { a + 1 } {
                    unknown.push(if structure == Structure::Scalar { player } else { entries.len() });
                    entries.push([a, b]);
                }
            }
        }
        let unknowns = unknown.iter().max().map_or(0, |last| last + 1);
        Self { entries, unknown, unknowns, size }
    }

    /// The centre of a level, from the identity, whose margin is above it. None where rounding errors leave no way.
    pub(super) fn centre(&self, jacobians: &[DMatrix<f64>], level: f64) -> Option<Centre> {
        let shifted: Vec<DMatrix<f64>> = jacobians.iter().map(|jacobian| shifted(jacobian, level)).collect();
        let mut metric = DMatrix::identity(self.size, self.size);
        let mut value = self.value(jacobians, &metric, level)?;
        for _ in 0..MOST_STEPS {
            let derivatives = self.derivatives(&shifted, &metric)?;
            let factors = factors(&derivatives.hessian, 0.0)?;
            let step = -factors.solve(&derivatives.gradient);
            let slope = derivatives.gradient.dot(&step);
            if slope.is_nan() {
                return None;
            }
            let along = self.matrix(&step);
            if -slope <= CENTRED {
                let multipliers = multipliers(&shifted, &derivatives.inverses, &along);
                let traces = derivatives.inverses.iter().map(|inverse| inverse.dot(&metric)).sum::<f64>();
                let tangent = self.matrix(&-factors.solve(&derivatives.drift));
                let gap = 0.5 * (self.size * jacobians.len()) as f64 / traces;
                return Some(Centre { metric: metric + along, tangent, multipliers, gap });
            }
            (metric, value) = (0..MOST_HALVINGS).find_map(|halvings| {
                let share = 0.5f64.powi(halvings);
                let next = &metric + share * &along;
                let found = self.value(jacobians, &next, level)?;
                (found <= value + KEPT * share * slope).then_some((next, found))
            })?;
        }
        None
    }

    /// `K tr M - Σ_k log det (M J_k + J_kᵀ M - 2 α M)`; none where one of these matrices is not positive definite.
    fn value(&self, jacobians: &[DMatrix<f64>], metric: &DMatrix<f64>, level: f64) -> Option<f64> {
        Some(jacobians.len() as f64 * metric.trace() + barriers(jacobians, metric, level)?).filter(|value| value.is_finite())
    }

    /// With `B = J - αI`, `G` the inverse of `S = M B + Bᵀ M`, `Y = B G`, `X = B G Bᵀ`, and the symmetric matrix `E_p` of an unknown,
    /// `∂S/∂p = E_p B + Bᵀ E_p`, and
    ///
    /// ```text
    /// ∂/∂p -log det S = -2 tr(E_p Y),   ∂²/∂p∂q -log det S = 2 tr(E_p Y E_q Y) + 2 tr(E_p X E_q G),
    /// ```
    ///
    /// of which each entry takes some products of entries, whatever the size.
    fn derivatives(&self, shifted: &[DMatrix<f64>], metric: &DMatrix<f64>) -> Option<Derivatives> {
        let mut slopes = DMatrix::from_diagonal_element(self.size, self.size, shifted.len() as f64);
        let mut drifts = DMatrix::zeros(self.size, self.size);
        let mut hessian = DMatrix::zeros(self.unknowns, self.unknowns);
        let mut inverses = Vec::with_capacity(shifted.len());
        for b in shifted {
            let g = sum_with_transpose(&(metric * b)).cholesky()?.inverse();
            let y = b * &g;
            let x = &y * b.transpose();
            slopes -= sum_with_transpose(&y);
            drifts += 2.0 * (&g - sum_with_transpose(&(&y * metric * &g)));
            self.add_curvatures(&mut hessian, &y, &x, &g);
            inverses.push(g);
        }
        hessian.fill_upper_triangle_with_lower_triangle();
        Some(Derivatives { gradient: self.contracted(&slopes), hessian, drift: self.contracted(&drifts), inverses })
    }

    /// Adds the second derivatives of one matrix, on and below the diagonal.
    fn add_curvatures(&self, hessian: &mut DMatrix<f64>, y: &DMatrix<f64>, x: &DMatrix<f64>, g: &DMatrix<f64>) {
        let transposed = y.transpose();
        let column = |matrix: &'_ DMatrix<f64>, a: usize| -> Range<usize> { a * matrix.nrows()..(a + 1) * matrix.nrows() };
        let (y, rows, x, g) = (y.as_slice(), transposed.as_slice(), x.as_slice(), g.as_slice());
        for (p, &[a, b]) in self.entries.iter().enumerate() {
            let (of_a, of_b) = (column(&transposed, a), column(&transposed, b));
            let [ya, yb, ra, rb] = [&y[of_a.clone()], &y[of_b.clone()], &rows[of_a.clone()], &rows[of_b.clone()]];
            let [xa, xb, ga, gb] = [&x[of_a.clone()], &x[of_b.clone()], &g[of_a], &g[of_b]];
            for (q, &[c, d]) in self.entries.iter().enumerate().skip(p) {
                let by_y = rb[c] * ya[d] + rb[d] * ya[c] + ra[c] * yb[d] + ra[d] * yb[c];
                let by_x = xb[c] * ga[d] + xb[d] * ga[c] + xa[c] * gb[d] + xa[d] * gb[c];
                // An entry on the diagonal would count twice.
                let share = 2.0 * if a == b { 0.5 } else { 1.0 } * if c == d { 0.5 } else { 1.0 };
                let (row, column) = (self.unknown[q], self.unknown[p]);
                let both = if row == column && p != q { 2.0 } else { 1.0 };
                hessian[(row, column)] += both * share * (by_y + by_x);
            }
        }
    }

    /// `tr(E_p A)` of a symmetric matrix, for each unknown.
    fn contracted(&self, matrix: &DMatrix<f64>) -> DVector<f64> {
        let mut sums = DVector::zeros(self.unknowns);
        for (&[a, b], &p) in self.entries.iter().zip(&self.unknown) {
            sums[p] += if a == b { matrix[(a, a)] } else { 2.0 * matrix[(a, b)] };
        }
        sums
    }

    /// `Σ_p v_p E_p`.
    fn matrix(&self, values: &DVector<f64>) -> DMatrix<f64> {
        let mut matrix = DMatrix::zeros(self.size, self.size);
        for (&[a, b], &p) in self.entries.iter().zip(&self.unknown) {
            (matrix[(a, b)], matrix[(b, a)]) = (values[p], values[p]);
        }
        matrix
    }
}

/// `-Σ_k log det (M J_k + J_kᵀ M - 2 α M)`; none where one of these matrices is not positive definite.
pub(super) fn barriers(jacobians: &[DMatrix<f64>], metric: &DMatrix<f64>, level: f64) -> Option<f64> {
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

/// The inverses after a Newton step, to first order: with them, the centre's equations hold.
fn multipliers(shifted: &[DMatrix<f64>], inverses: &[DMatrix<f64>], along: &DMatrix<f64>) -> Vec<DMatrix<f64>> {
    let moved = |(b, g): (&DMatrix<f64>, &DMatrix<f64>)| g - g * sum_with_transpose(&(along * b)) * g;
    shifted.iter().zip(inverses).map(moved).collect()
}
