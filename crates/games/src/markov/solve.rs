//! Linear systems of any kind of number.

use crate::scalar::Real;

/// A matrix `L U` by Gauss's elimination, without pivots: for matrices whose leading minors are not 0.
pub(super) struct Elimination<R> {
    /// `U` on and above the diagonal, and below it `L`, whose diagonal is 1.
    rows: Vec<Vec<R>>,
}

impl<R: Real> Elimination<R> {
    /// Of a square matrix, row by row.
    pub(super) fn new(mut rows: Vec<Vec<R>>) -> Self {
        for pivot in 0..rows.len() {
            let (above, below) = rows.split_at_mut(pivot + 1);
            let upper = &above[pivot];
            for row in below {
                let factor = row[pivot] / upper[pivot];
                row[pivot] = factor;
                row.iter_mut().zip(upper).skip(pivot + 1).for_each(|(entry, &above)| *entry = *entry - factor * above);
            }
        }
        Self { rows }
    }

    /// `(L U)⁻¹ b`.
    pub(super) fn solve(&self, mut b: Vec<R>) -> Vec<R> {
        for i in 0..b.len() {
            b[i] = (0..i).fold(b[i], |rest, j| rest - self.rows[i][j] * b[j]);
        }
        for i in (0..b.len()).rev() {
            b[i] = (i + 1..b.len()).fold(b[i], |rest, j| rest - self.rows[i][j] * b[j]) / self.rows[i][i];
        }
        b
    }

    /// `((L U)ᵀ)⁻¹ b`.
    pub(super) fn solve_transposed(&self, mut b: Vec<R>) -> Vec<R> {
        for i in 0..b.len() {
            b[i] = (0..i).fold(b[i], |rest, j| rest - self.rows[j][i] * b[j]) / self.rows[i][i];
        }
        for i in (0..b.len()).rev() {
            b[i] = (i + 1..b.len()).fold(b[i], |rest, j| rest - self.rows[j][i] * b[j]);
        }
        b
    }
}
