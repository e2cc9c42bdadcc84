//! Bounds of eigenvalues and norms that hold for every matrix of an interval matrix.

use nalgebra::{DMatrix, DVector};

use super::Interval;
use super::rounding::{add_down, add_up, div_up, mul_up, sqrt_up};
use crate::scalar::Real;

/// Times that a guess is loosened before a cruder bound is taken.
const TRIES: u32 = 40;
/// Times that a Perron vector is improved.
const POWERS: u32 = 20;

/// A lower bound of the eigenvalues of every symmetric matrix in `matrix`; `-∞` where an entry is unbounded.
///
/// ```
/// use gradus_games::rigorous::{Interval, least_eigenvalue};
/// use nalgebra::DMatrix;
///
/// let entry = |lo, hi| Interval::new(lo, hi).unwrap();
/// let matrix = DMatrix::from_row_slice(2, 2, &[entry(2.0, 2.1), entry(-1.0, 1.0), entry(-1.0, 1.0), entry(2.0, 2.1)]);
/// let bound = least_eigenvalue(&matrix);
/// assert!(bound <= 1.0 && bound > 0.9);
/// ```
///
/// # Panics
/// When the matrix is not square.
pub fn least_eigenvalue(matrix: &DMatrix<Interval>) -> f64 {
    assert!(matrix.is_square(), "least_eigenvalue: a matrix of {} rows and {} columns has no eigenvalues", matrix.nrows(), matrix.ncols());
    if !matrix.iter().all(|entry| entry.is_bounded()) {
        return f64::NEG_INFINITY;
    }
    let gershgorin = (0..matrix.nrows()).map(|i| {
        let others = (0..matrix.ncols()).filter(|&j| j != i).fold(0.0, |sum, j| add_up(sum, matrix[(i, j)].magnitude()));
        add_down(matrix[(i, i)].lo(), -others)
    });
    let gershgorin = gershgorin.fold(f64::INFINITY, f64::min);
    if matrix.nrows() < 2 {
        return gershgorin;
    }
    // The matrix in the middle, and how far the others are from it.
    let middle = DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i.min(j), i.max(j))].midpoint());
    let away = largest_row_sum(&distances(matrix, &middle));
    let guess = least_symmetric(&middle);
    let mut slack = 4.0 * f64::EPSILON * middle.nrows() as f64 * middle.norm().max(f64::MIN_POSITIVE);
    for _ in 0..TRIES {
        let least = guess - slack;
        let shifted =
            middle.map_with_location(|i, j, x| if i == j { Interval::point(x) - Interval::point(least) } else { Interval::point(x) });
        if is_positive_definite(&shifted) {
            return add_down(least, -away).max(gershgorin);
        }
        slack *= 4.0;
    }
    gershgorin
}

/// An upper bound of the spectral norm of every matrix in `matrix`; `∞` where an entry is unbounded.
pub fn greatest_norm(matrix: &DMatrix<Interval>) -> f64 {
    if matrix.is_empty() {
        return 0.0;
    }
    if !matrix.iter().all(|entry| entry.is_bounded()) {
        return f64::INFINITY;
    }
    let sizes = matrix.map(Interval::magnitude);
    if matrix.nrows() == 1 || matrix.ncols() == 1 {
        return of_vector(&sizes);
    }
    let by_sizes = by_row_and_column_sums(&sizes).min(by_collatz_wielandt(&sizes));
    let middle = matrix.map(Interval::midpoint);
    let away = by_row_and_column_sums(&distances(matrix, &middle));
    let guess = norm(&middle);
    let mut slack = 4.0 * f64::EPSILON * middle.len() as f64;
    for _ in 0..TRIES {
        // Above every singular value if c² I - MᵀM is positive definite.
        let norm = guess * (1.0 + slack);
        let square = Interval::point(norm).square();
        let gram = DMatrix::from_fn(middle.ncols(), middle.ncols(), |i, j| {
            let sum = (0..middle.nrows())
                .fold(Interval::point(0.0), |sum, k| sum + Interval::point(middle[(k, i)]) * Interval::point(middle[(k, j)]));
            if i == j { square - sum } else { -sum }
        });
        if is_positive_definite(&gram) {
            return add_up(norm, away).min(by_sizes);
        }
        slack *= 4.0;
    }
    by_sizes
}

/// Whether every symmetric matrix in `matrix` is known to be positive definite: by a Cholesky decomposition in intervals, of which only
/// entries on and below the diagonal are read.
pub fn is_positive_definite(matrix: &DMatrix<Interval>) -> bool {
    cholesky(matrix).is_some()
}

/// Lower triangular matrices around the factors `L` of every symmetric matrix `L Lᵀ` in `matrix`, if all are known to be positive definite.
pub(crate) fn cholesky(matrix: &DMatrix<Interval>) -> Option<DMatrix<Interval>> {
    let size = matrix.nrows();
    let mut factor = DMatrix::from_element(size, size, Interval::point(0.0));
    for j in 0..size {
        let inner = |factor: &DMatrix<Interval>, i: usize| (0..j).fold(matrix[(i, j)], |rest, k| rest - factor[(i, k)] * factor[(j, k)]);
        let squares = (0..j).fold(matrix[(j, j)], |rest, k| rest - factor[(j, k)].square());
        if squares.lo() <= 0.0 || !squares.is_bounded() {
            return None;
        }
        factor[(j, j)] = squares.sqrt();
        for i in j + 1..size {
            factor[(i, j)] = inner(&factor, i) / factor[(j, j)];
        }
    }
    Some(factor)
}

/// Whether the symmetric part of every matrix in the block has no eigenvalue below `bound`.
pub(crate) fn curvature_is_at_least(block: &DMatrix<Interval>, bound: f64) -> bool {
    if block.len() == 1 {
        return block[(0, 0)].lo() >= bound;
    }
    let symmetric = DMatrix::from_fn(block.nrows(), block.ncols(), |i, j| {
        let part = if i == j { block[(i, i)] } else { (block[(i, j)] + block[(j, i)]) * 0.5 };
        if i == j { part - Interval::point(bound) } else { part }
    });
    is_definite_around(&symmetric)
}

/// Whether the norm of every matrix in the block is at most `bound`.
pub(crate) fn norm_is_at_most(block: &DMatrix<Interval>, bound: f64) -> bool {
    let (m, n) = block.shape();
    let sizes = block.map(Interval::magnitude);
    if sizes.iter().all(|&size| size == 0.0) || m * n == 1 {
        return sizes.iter().all(|&size| size <= bound);
    }
    let whole = DMatrix::from_fn(m + n, m + n, |i, j| match (i < m, j < m) {
        (true, false) => block[(i, j - m)],
        (false, true) => block[(j, i - m)],
        _ => Interval::point(if i == j { bound } else { 0.0 }),
    });
    is_definite_around(&whole)
}

/// Whether every symmetric matrix in `matrix` is positive definite: that in the middle is, by more than the others are away; or the one
/// with the least diagonal and the largest other entries, negated, is, whose form is never greater.
pub(crate) fn is_definite_around(matrix: &DMatrix<Interval>) -> bool {
    let row = |row: usize| {
        let away = |entry: Interval| Interval::point((entry - Interval::point(entry.midpoint())).magnitude());
        matrix.row(row).iter().fold(Interval::point(0.0), |sum, &entry| sum + away(entry)).hi()
    };
    let away = Interval::point((0..matrix.nrows()).map(row).fold(0.0, f64::max));
    let middle =
        matrix.map_with_location(|i, j, entry| Interval::point(entry.midpoint()) - if i == j { away } else { Interval::point(0.0) });
    let least = matrix.map_with_location(|i, j, entry| Interval::point(if i == j { entry.lo() } else { -entry.magnitude() }));
    is_positive_definite(&middle) || is_positive_definite(&least)
}

/// Upper bounds of the distances of entries from those of `middle`.
fn distances(matrix: &DMatrix<Interval>, middle: &DMatrix<f64>) -> DMatrix<f64> {
    matrix.zip_map(middle, |entry, middle| add_up(entry.hi(), -middle).max(add_up(middle, -entry.lo())))
}

fn largest_row_sum(sizes: &DMatrix<f64>) -> f64 {
    sizes.row_iter().map(|row| row.iter().fold(0.0, |sum, &x| add_up(sum, x))).fold(0.0, f64::max)
}

fn largest_column_sum(sizes: &DMatrix<f64>) -> f64 {
    sizes.column_iter().map(|column| column.iter().fold(0.0, |sum, &x| add_up(sum, x))).fold(0.0, f64::max)
}

/// `‖A‖₂² ≤ ‖A‖₁ ‖A‖_∞`.
fn by_row_and_column_sums(sizes: &DMatrix<f64>) -> f64 {
    sqrt_up(mul_up(largest_row_sum(sizes), largest_column_sum(sizes)))
}

/// `‖A‖₂² ≤ max (AᵀA v)_i / v_i` for a matrix that is not negative and any positive `v`, close where `v` is its Perron vector: that is
/// looked for in plain numbers, and only what it proves is rounded up.
fn by_collatz_wielandt(sizes: &DMatrix<f64>) -> f64 {
    let vector = about_perron(&sizes.tr_mul(sizes));
    let rows = sizes.row_iter().map(|row| row.iter().zip(vector.iter()).fold(0.0, |sum, (&a, &x)| add_up(sum, mul_up(a, x))));
    let image: Vec<f64> = rows.collect();
    let columns = sizes.column_iter().map(|column| column.iter().zip(&image).fold(0.0, |sum, (&a, &x)| add_up(sum, mul_up(a, x))));
    sqrt_up(columns.zip(vector.iter()).map(|(a, &x)| div_up(a, x)).fold(0.0, f64::max))
}

/// About the Perron vector of a symmetric matrix that is not negative: positive, and finite, whatever the matrix.
fn about_perron(gram: &DMatrix<f64>) -> DVector<f64> {
    // Entries stay positive; `max` drops what is no number.
    let positive = |x: f64, greatest: f64| (x / greatest).clamp(1e-12, 1.0).max(1e-12);
    let mut vector = DVector::from_element(gram.nrows(), 1.0);
    if let (2, [a, b, _, d]) = (gram.nrows(), gram.as_slice()) {
        let half = 0.5 * (a - d);
        let long = half.abs() + half.hypot(*b);
        vector[usize::from(half >= 0.0)] = positive(*b, long);
        return vector;
    }
    let mut next = vector.clone();
    for _ in 0..POWERS {
        next.gemv(1.0, gram, &vector, 0.0);
        let greatest = next.max();
        if !(greatest > 0.0 && greatest.is_finite()) {
            break;
        }
        next.apply(|x| *x = positive(*x, greatest));
        let moved = next.iter().zip(vector.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        std::mem::swap(&mut vector, &mut next);
        if moved <= 4.0 * f64::EPSILON {
            break;
        }
    }
    vector
}

/// `‖A‖₂` for a matrix of one row or column with these absolute values.
fn of_vector(sizes: &DMatrix<f64>) -> f64 {
    match sizes.as_slice() {
        [size] => *size,
        sizes => sqrt_up(sizes.iter().fold(0.0, |sum, &x| add_up(sum, mul_up(x, x)))),
    }
}

/// The spectral norm, to rounding.
pub(crate) fn norm(matrix: &DMatrix<f64>) -> f64 {
    if let (2, [a, c, b, d]) = (matrix.nrows(), matrix.as_slice()) {
        return 0.5 * ((a + d).hypot(c - b) + (a - d).hypot(b + c));
    }
    // Of the largest, squares lose nothing.
    matrix.tr_mul(matrix).symmetric_eigenvalues().max().max(0.0).sqrt()
}

/// The least eigenvalue of a symmetric matrix, to rounding.
pub(crate) fn least_symmetric(matrix: &DMatrix<f64>) -> f64 {
    if let (2, [a, c, _, d]) = (matrix.nrows(), matrix.as_slice()) {
        return 0.5 * (a + d) - (0.5 * (a - d)).hypot(*c);
    }
    matrix.symmetric_eigenvalues().min()
}

#[cfg(test)]
mod tests {
    use nalgebra::SymmetricEigen;
    use proptest::prelude::*;

    use super::*;

    /// An interval matrix, and a matrix in it.
    fn matrices(rows: usize, columns: usize, radius: f64) -> impl Strategy<Value = (DMatrix<Interval>, DMatrix<f64>)> {
        let entry = (-2.0..2.0f64, 0.0..=radius, -1.0..=1.0f64);
        prop::collection::vec(entry, rows * columns).prop_map(move |entries| {
            let interval = |(middle, radius, _): (f64, f64, f64)| Interval::new(middle - radius, middle + radius).unwrap();
            let inside = |e: (f64, f64, f64)| (e.0 + e.1 * e.2).clamp(interval(e).lo(), interval(e).hi());
            let all = |f: &dyn Fn((f64, f64, f64)) -> f64| DMatrix::from_iterator(rows, columns, entries.iter().map(|&e| f(e)));
            (DMatrix::from_iterator(rows, columns, entries.iter().map(|&e| interval(e))), all(&inside))
        })
    }

    fn symmetric<T: nalgebra::Scalar>(matrix: &DMatrix<T>) -> DMatrix<T> {
        DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i.min(j), i.max(j))].clone())
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn no_eigenvalue_is_less((matrix, inside) in (1usize..7).prop_flat_map(|n| matrices(n, n, 0.3))) {
                let (matrix, inside) = (symmetric(&matrix), symmetric(&inside));
                let least = SymmetricEigen::new(inside).eigenvalues.min();
                prop_assert!(least_eigenvalue(&matrix) <= least + 1e-13);
            }

            #[test]
            fn eigenvalues_of_single_matrices_are_met((matrix, inside) in (2usize..7).prop_flat_map(|n| matrices(n, n, 0.0))) {
                let least = SymmetricEigen::new(symmetric(&inside)).eigenvalues.min();
                prop_assert!(least_eigenvalue(&symmetric(&matrix)) > least - 1e-12);
            }

            #[test]
            fn no_norm_is_greater((matrix, inside) in (1usize..6, 1usize..6).prop_flat_map(|(m, n)| matrices(m, n, 0.3))) {
                prop_assert!(greatest_norm(&matrix) >= inside.singular_values().max() - 1e-13);
            }

            #[test]
            fn norms_of_single_matrices_are_met((matrix, inside) in (1usize..6, 1usize..6).prop_flat_map(|(m, n)| matrices(m, n, 0.0))) {
                prop_assert!(greatest_norm(&matrix) <= inside.singular_values().max() * (1.0 + 1e-11) + 1e-300);
            }
        }
    }

    #[test]
    fn definite_and_not() {
        let point = |rows: &[f64]| DMatrix::from_row_slice(2, 2, rows).map(Interval::point);
        assert!(is_positive_definite(&point(&[2.0, 1.0, 1.0, 2.0])));
        assert!(!is_positive_definite(&point(&[1.0, 1.0, 1.0, 1.0])));
        assert!(!is_positive_definite(&point(&[1.0, 2.0, 2.0, 1.0])));
        assert!(!is_positive_definite(&DMatrix::from_element(1, 1, Interval::ENTIRE)));
        assert!(is_positive_definite(&DMatrix::from_element(0, 0, Interval::ENTIRE)));
    }

    #[test]
    fn unbounded_entries_and_zeros() {
        let entire = DMatrix::from_element(2, 2, Interval::ENTIRE);
        assert_eq!((least_eigenvalue(&entire), greatest_norm(&entire)), (f64::NEG_INFINITY, f64::INFINITY));
        let zero = DMatrix::from_element(3, 2, Interval::point(0.0));
        assert_eq!(greatest_norm(&zero), 0.0);
        let zero = DMatrix::from_element(3, 3, Interval::point(0.0));
        assert!(least_eigenvalue(&zero) <= 0.0 && least_eigenvalue(&zero) > -1e-300);
    }
}
