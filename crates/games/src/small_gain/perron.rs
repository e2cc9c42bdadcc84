//! Eigenvalues of Z-matrices and of non-negative matrices that have a positive vector.

use nalgebra::{DMatrix, DVector};

/// Steps after which the iteration is given up: it converges quadratically, in five or six.
const MOST_STEPS: usize = 100;
/// The relative distance of the Collatz–Wielandt bounds at which it ends.
const TOLERANCE: f64 = 1e-15;

/// The eigenvalue of least real part of a Z-matrix (none of whose entries off the diagonal is positive) and its vector, with sum 1, by
/// Noda's iteration (1971): inverse iteration that is shifted to the lower Collatz–Wielandt bound, which rises towards the value. Of a
/// reducible matrix, the value is a guess, and the vector is positive and proves the lower bound.
pub(super) fn least(matrix: &DMatrix<f64>) -> (f64, DVector<f64>) {
    let count = matrix.nrows();
    let mut vector = DVector::from_element(count, 1.0 / count as f64);
    let mut best = bounds(matrix, &vector);
    for _ in 0..MOST_STEPS {
        let [lower, upper] = best;
        if upper - lower <= TOLERANCE * upper.abs().max(lower.abs()) {
            break;
        }
        let shifted = matrix - DMatrix::from_diagonal_element(count, count, lower);
        let Some(next) = shifted.lu().solve(&vector) else { break };
        let next = &next / next.sum();
        let bounds = bounds(matrix, &next);
        // The lower bound rises until rounding decides.
        if !next.iter().all(|x| *x > 0.0 && x.is_finite()) || bounds[0] <= lower || bounds[0].is_nan() {
            break;
        }
        (vector, best) = (next, bounds);
    }
    (0.5 * (best[0] + best[1]), vector)
}

/// The Perron value of a non-negative matrix and its vector, with sum 1; of a reducible one as said of [`least`].
pub(super) fn perron(matrix: &DMatrix<f64>) -> (f64, DVector<f64>) {
    let (value, vector) = least(&-matrix);
    (-value, vector)
}

/// The least and the greatest `(A x)_i / x_i`, between which the value lies.
fn bounds(matrix: &DMatrix<f64>, vector: &DVector<f64>) -> [f64; 2] {
    let ratios = (matrix * vector).component_div(vector);
    [ratios.min(), ratios.max()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_vectors_of_known_matrices() {
        let (value, vector) = perron(&DMatrix::from_row_slice(2, 2, &[2.0, 1.0, 1.0, 2.0]));
        assert!((value - 3.0).abs() < 1e-15 && (vector[0] - 0.5).abs() < 1e-15);
        // A ring is periodic: its other eigenvalues have the same size.
        let (value, vector) = perron(&DMatrix::from_row_slice(3, 3, &[0.0, 8.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]));
        assert!((value - 2.0).abs() < 1e-14);
        assert!((vector[0] / vector[1] - 4.0).abs() < 1e-13 && (vector[1] / vector[2] - 0.5).abs() < 1e-13);
        let (value, _) = perron(&DMatrix::from_row_slice(2, 2, &[0.0, 1e8, 1e-8, 0.0]));
        assert!((value - 1.0).abs() < 1e-14);
    }
}
