//! The point of a polytope that is nearest to the origin: the dual active-set method of Goldfarb and Idnani (1983).

use nalgebra::{DMatrix, DVector};

use super::GeometryError;

/// Lengths of parts of unit vectors, and shares of them, that are taken for 0.
const NOTHING: f64 = 1e-10;

/// Where `normals.column(p) · u ≥ levels[p]` for all `p`, with columns of length 1; with equality in the first, if asked.
pub(super) struct Polytope {
    pub(super) normals: DMatrix<f64>,
    pub(super) levels: Vec<f64>,
    /// By how much each level may be missed, for the rounding errors that it was computed with.
    pub(super) tolerances: Vec<f64>,
    pub(super) first_is_equality: bool,
}

/// Constraints that hold with equality, and their multipliers: the point is `Σ multipliers[i] normals[active[i]]`.
#[derive(Default)]
struct Active {
    constraints: Vec<usize>,
    multipliers: Vec<f64>,
}

impl Polytope {
    /// The shortest `u`.
    ///
    /// From the origin on, the most violated constraint is added, and others leave when their multipliers reach 0. The length of the point
    /// grows with each constraint that is added, so no set of constraints comes twice.
    pub(super) fn nearest_to_origin(&self) -> Result<DVector<f64>, GeometryError> {
        let mut point = DVector::zeros(self.normals.nrows());
        let mut active = Active::default();
        if self.first_is_equality {
            point.axpy(self.levels[0], &self.normals.column(0), 1.0);
            active = Active { constraints: vec![0], multipliers: vec![self.levels[0]] };
        }
        // In exact arithmetic the method ends by itself.
        let limit = 100 + 50 * (self.normals.nrows() + self.levels.len());
        for _ in 0..limit {
            let Some(violated) = self.most_violated(&point, &active) else { return self.polished(point, &active) };
            self.add(violated, &mut point, &mut active, limit)?;
        }
        Err(GeometryError::Unsolved { steps: limit })
    }

    fn slack(&self, constraint: usize, point: &DVector<f64>) -> f64 {
        self.normals.column(constraint).dot(point) - self.levels[constraint]
    }

    fn most_violated(&self, point: &DVector<f64>, active: &Active) -> Option<usize> {
        let rounding = 1e-14 * point.norm();
        let violation = |p: usize| self.slack(p, point) + self.tolerances[p] + rounding;
        let open = (0..self.levels.len()).filter(|p| !active.constraints.contains(p));
        open.map(|p| (p, violation(p))).filter(|(_, v)| *v < 0.0).min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(p, _)| p)
    }

    /// Moves until the constraint `p` holds.
    fn add(&self, p: usize, point: &mut DVector<f64>, active: &mut Active, limit: usize) -> Result<(), GeometryError> {
        let mut multiplier = 0.0;
        for _ in 0..limit {
            let (shares, rest) = self.decompose(p, active);
            let size = rest.norm();
            let blocking = self.first_blocking(&shares, active);
            let full = if size > NOTHING { -self.slack(p, point) / (size * size) } else { f64::INFINITY };
            let partial = blocking.map_or(f64::INFINITY, |i| active.multipliers[i] / shares[i]);
            let step = full.min(partial);
            if step == f64::INFINITY {
                return Err(GeometryError::EmptySet { why: "no point lies in all half-spaces".into() });
            }
            active.multipliers.iter_mut().zip(shares.iter()).for_each(|(m, share)| *m -= step * share);
            multiplier += step;
            if size > NOTHING {
                point.axpy(step, &rest, 1.0);
            }
            match blocking {
                Some(leaving) if partial < full => {
                    active.constraints.remove(leaving);
                    active.multipliers.remove(leaving);
                }
                _ => {
                    active.constraints.push(p);
                    active.multipliers.push(multiplier);
                    return Ok(());
                }
            }
        }
        Err(GeometryError::Unsolved { steps: limit })
    }

    /// The normal of `p` as a sum of the active normals' shares and a rest that is orthogonal to them.
    fn decompose(&self, p: usize, active: &Active) -> (DVector<f64>, DVector<f64>) {
        let mut rest = self.normals.column(p).into_owned();
        if active.constraints.is_empty() {
            return (DVector::zeros(0), rest);
        }
        let qr = self.normals.select_columns(&active.constraints).qr();
        let (q, r) = (qr.q(), qr.r());
        let mut shares = q.tr_mul(&rest);
        rest -= &q * &shares;
        // Once more for what rounding left.
        rest -= &q * q.tr_mul(&rest);
        r.solve_upper_triangular_mut(&mut shares);
        (shares, rest)
    }

    /// The active inequality whose multiplier reaches 0 first, by its place.
    fn first_blocking(&self, shares: &DVector<f64>, active: &Active) -> Option<usize> {
        let first = usize::from(self.first_is_equality);
        let time = |i: usize| active.multipliers[i] / shares[i];
        (first..shares.len()).filter(|&i| shares[i] > NOTHING).min_by(|&i, &j| time(i).total_cmp(&time(j)))
    }

    /// The same point from its active constraints alone, without the steps' errors.
    fn polished(&self, point: DVector<f64>, active: &Active) -> Result<DVector<f64>, GeometryError> {
        if active.constraints.is_empty() {
            return Ok(point);
        }
        let qr = self.normals.select_columns(&active.constraints).qr();
        let mut levels = DVector::from_iterator(active.constraints.len(), active.constraints.iter().map(|&p| self.levels[p]));
        let solved = qr.r().tr_solve_upper_triangular_mut(&mut levels);
        Ok(if solved { qr.q() * levels } else { point })
    }
}
