//! The singular value decomposition of one matrix, by one-sided Jacobi rotations.
//!
//! nalgebra's, by bidiagonalisation, is not used: in 0.35 its `U diag(S) Vᵀ` is far from some matrices of deficient rank, at
//! any tolerance. Jacobi's is also the more accurate: where a scaling of the rows and columns leaves a well-conditioned matrix, the
//! smallest singular values too have a small relative error (Demmel, Veselić 1992).

use nalgebra::{ColPivQR, DMatrix};

use crate::kernels::vectorised;

/// Sweeps over all pairs of columns, after which the decomposition is given up; fewer than ten are usual.
const SWEEPS: usize = 60;
/// The binary exponent to which the greatest element is scaled: squares of norms do not overflow, and the range below is wide.
const EXPONENT: i32 = 496;
/// Squares of norms below which a column is zero, about 10⁻³⁰² of the greatest element: sums of smaller squares are inexact.
const NEGLIGIBLE: f64 = 16.0 * f64::MIN_POSITIVE;

/// `A = U diag(S) Vᵀ`, with `U [m, k]`, `S [k]` descending and `V [n, k]`.
pub(super) struct Decomposition {
    pub u: DMatrix<f64>,
    pub s: Vec<f64>,
    pub v: DMatrix<f64>,
}

/// The thin decomposition of a finite matrix; in each column of `U`, the first component of the greatest magnitude is positive.
/// Nothing when the rotations do not converge.
pub(super) fn decompose(a: DMatrix<f64>) -> Option<Decomposition> {
    let wide = a.nrows() < a.ncols();
    let Decomposition { u, s, v } = tall(if wide { a.transpose() } else { a })?;
    let (mut u, mut v) = if wide { (v, u) } else { (u, v) };
    for (mut left, mut right) in u.column_iter_mut().zip(v.column_iter_mut()) {
        if left[left.icamax()] < 0.0 {
            left.neg_mut();
            right.neg_mut();
        }
    }
    Some(Decomposition { u, s, v })
}

/// With `A P = Q R` pivoted, the rotations `J` make the columns of `Rᵀ J = W diag(S)` orthogonal, so `A = (Q J) diag(S) (P W)ᵀ`.
/// They converge sooner on `Rᵀ`, which is near to diagonal, than on `A` (Drmač, Veselić 2008). The rows of `A` stand by size, so
/// that the error in each is small beside it (Cox, Higham 1998).
fn tall(mut a: DMatrix<f64>) -> Option<Decomposition> {
    let (m, n) = a.shape();
    if n == 0 {
        return Some(Decomposition { u: DMatrix::zeros(m, 0), s: Vec::new(), v: DMatrix::zeros(0, 0) });
    }
    let shift = EXPONENT - libm::frexp(a.amax()).1;
    a.apply(|x| *x = libm::ldexp(*x, shift));
    let rows = descending(a.row_iter().map(|row| row.amax()));
    let qr = ColPivQR::new(a.select_rows(&rows));
    let (mut scaled, mut rotations) = (qr.r().transpose(), DMatrix::identity(n, n));
    if !orthogonalise(scaled.as_mut_slice(), rotations.as_mut_slice(), n) {
        return None;
    }
    let norms: Vec<f64> = scaled.column_iter().map(|column| square(column.as_slice()).sqrt()).collect();
    let order = descending(norms.iter().copied());
    let (left, mut w) = (qr.q() * rotations.select_columns(&order), scaled.select_columns(&order));
    let rank = norms.iter().filter(|norm| **norm > 0.0).count();
    w.column_iter_mut().zip(&order).take(rank).for_each(|(mut column, &i)| column /= norms[i]);
    complete(&mut w, rank);
    qr.p().inv_permute_rows(&mut w);
    let mut u = DMatrix::zeros(m, n);
    rows.iter().zip(left.row_iter()).for_each(|(&to, row)| u.set_row(to, &row));
    Some(Decomposition { u, s: order.iter().map(|&i| libm::ldexp(norms[i], -shift)).collect(), v: w })
}

/// The places of the values from the greatest to the least, of equals in order.
fn descending(values: impl Iterator<Item = f64>) -> Vec<usize> {
    let values: Vec<f64> = values.collect();
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    places
}

/// Rotates the columns of `x [n, n]`, column-major, until they are orthogonal, and those of `turned` alike (Hestenes 1958);
/// whether that ended. In each row of the sweep, the longest column left goes first (de Rijk 1989).
fn orthogonalise(x: &mut [f64], turned: &mut [f64], n: usize) -> bool {
    let tolerance = 4.0 * f64::EPSILON * (n as f64).sqrt();
    let mut squares = vec![0.0; n];
    for _ in 0..SWEEPS {
        for (square_of, column) in squares.iter_mut().zip(x.chunks_exact_mut(n)) {
            *square_of = square(column);
            if *square_of < NEGLIGIBLE {
                column.fill(0.0);
                *square_of = 0.0;
            }
        }
        let mut done = true;
        for p in 0..n {
            let longest = (p..n).fold(p, |best, q| if squares[q] > squares[best] { q } else { best });
            if longest > p {
                squares.swap(p, longest);
                [&mut *x, &mut *turned].into_iter().for_each(|x| swap(pair(x, n, p, longest)));
            }
            for q in p + 1..n {
                let (long, short) = pair(x, n, p, q);
                let dot = dot(long, short);
                if dot.abs() <= tolerance * squares[p].sqrt() * squares[q].sqrt() {
                    continue;
                }
                done = false;
                // The tangent of the lesser of the two angles that make the columns orthogonal.
                let half_gap = 0.5 * (squares[p] - squares[q]);
                let tangent = dot / (half_gap + half_gap.hypot(dot).copysign(half_gap));
                rotate(long, short, tangent);
                (squares[p], squares[q]) = (square(long), square(short));
                let (long, short) = pair(turned, n, p, q);
                rotate(long, short, tangent);
            }
        }
        if done {
            return true;
        }
    }
    false
}

/// Columns `p < q`.
fn pair(x: &mut [f64], n: usize, p: usize, q: usize) -> (&mut [f64], &mut [f64]) {
    let (before, after) = x.split_at_mut(q * n);
    (&mut before[p * n..(p + 1) * n], &mut after[..n])
}

fn swap((x, y): (&mut [f64], &mut [f64])) {
    x.swap_with_slice(y);
}

fn square(x: &[f64]) -> f64 {
    dot(x, x)
}

/// `Σ x y` in lanes, so that the loop vectorises and its order is fixed.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    vectorised(
        #[inline(always)]
        || {
            let (x, y) = (x.as_chunks::<8>(), y.as_chunks::<8>());
            let mut lanes = [0.0; 8];
            for (x, y) in x.0.iter().zip(y.0) {
                lanes.iter_mut().zip(x).zip(y).for_each(|((lane, x), y)| *lane += x * y);
            }
            lanes.iter().sum::<f64>() + x.1.iter().zip(y.1).map(|(x, y)| x * y).sum::<f64>()
        },
    )
}

/// `(x, y) ← (cos x + sin y, cos y - sin x)`.
fn rotate(x: &mut [f64], y: &mut [f64], tangent: f64) {
    let cosine = 1.0 / 1f64.hypot(tangent);
    let sine = cosine * tangent;
    vectorised(
        #[inline(always)]
        || {
            for (x, y) in x.iter_mut().zip(y) {
                (*x, *y) = (cosine * *x + sine * *y, cosine * *y - sine * *x);
            }
        },
    );
}

/// Orthonormal columns from `known` on, after those that are so already: each is the unit vector that lies farthest from their
/// span, made orthogonal to them, twice for the rounding of the first time.
fn complete(x: &mut DMatrix<f64>, known: usize) {
    let mut covered: Vec<f64> = x.row_iter().map(|row| row.columns(0, known).norm_squared()).collect();
    for at in known..x.ncols() {
        let farthest = (0..covered.len()).fold(0, |best, i| if covered[i] < covered[best] { i } else { best });
        let (before, mut after) = x.columns_range_pair_mut(..at, at..);
        let mut new = after.column_mut(0);
        new.fill(0.0);
        new[farthest] = 1.0;
        for _ in 0..2 {
            for column in before.column_iter() {
                let along = column.dot(&new);
                new.axpy(-along, &column, 1.0);
            }
            new.normalize_mut();
        }
        covered.iter_mut().zip(new.iter()).for_each(|(covered, x)| *covered += x * x);
    }
}
