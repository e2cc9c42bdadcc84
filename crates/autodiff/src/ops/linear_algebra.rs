//! Linear algebra on batches of matrices `[.., rows, columns]`.
//!
//! nalgebra factors, in `f64` for both element types; singular values are our own. Each derivative is made of recorded products
//! and substitutions that share the factors, so that derivatives of every order factor once. An operation with several results
//! keeps them in one packed tensor, whose slices they are: its rule sees the gradients of all of them.

mod cholesky;
mod eigen;
mod jacobi;
mod lu;
mod singular;
mod triangular;

pub use triangular::Triangular;

use crate::kernels::parallel::*;
use nalgebra::DMatrix;

use crate::kernels::{Buffer, PARALLEL};
use crate::{Scalar, Shape, Tensor, TensorError};

/// The tensor as matrices `[count, rows, columns]`, and its leading axes.
#[track_caller]
fn matrices<T: Scalar>(operation: &'static str, x: &Tensor<T>) -> Result<(Tensor<T>, Vec<usize>), TensorError> {
    let at = x.try_axis(operation, -2)?;
    let (lead, matrix) = x.shape().split_at(at);
    let count = lead.iter().product();
    Ok((x.reshape(&[count, matrix[0], matrix[1]]), lead.to_vec()))
}

/// The tensor as square matrices `[count, n, n]`, and its leading axes.
#[track_caller]
fn square<T: Scalar>(operation: &'static str, x: &Tensor<T>) -> Result<(Tensor<T>, Vec<usize>), TensorError> {
    let (flat, lead) = matrices(operation, x)?;
    if flat.shape()[1] != flat.shape()[2] {
        let what = "the matrices are not square".to_owned();
        return Err(TensorError::Argument { operation, what, shape: x.shape().to_vec() });
    }
    Ok((flat, lead))
}

/// `½ (A + Aᵀ)`, which is `A` to the bit where `A` is symmetric.
#[track_caller]
fn symmetric_part<T: Scalar>(a: &Tensor<T>) -> Tensor<T> {
    let half = T::from_f64(0.5);
    a.clone() * half + a.t() * half
}

/// `f` of each matrix of `[count, rows, columns]`, in parallel when there is enough to do; the first error in order. A matrix
/// with an element that is infinite or not a number is an error.
fn each_matrix<T: Scalar, R: Send>(
    operation: &'static str,
    x: &Tensor<T>,
    f: impl Fn(usize, DMatrix<f64>) -> Result<R, TensorError> + Sync,
) -> Result<Vec<R>, TensorError> {
    let &[count, rows, columns] = x.shape() else { return Ok(Vec::new()) };
    let size = rows * columns;
    let one = |i: usize| {
        let values = &x.as_slice()[i * size..(i + 1) * size];
        if !values.iter().all(|x| x.is_finite()) {
            return Err(TensorError::NotFinite { operation, matrix: i });
        }
        f(i, DMatrix::from_row_iterator(rows, columns, values.iter().map(|x| x.to_f64())))
    };
    if count == 1 || x.count() * rows.min(columns) < PARALLEL {
        return (0..count).map(one).collect();
    }
    // Collected before the errors are looked at: which one is met first must not depend on the threads.
    let all: Vec<Result<R, TensorError>> = (0..count).into_par_iter().map(one).collect();
    all.into_iter().collect()
}

/// The elements of a matrix, row-major.
fn row_major<T: Scalar>(matrix: &DMatrix<f64>) -> impl Iterator<Item = T> + '_ {
    (0..matrix.nrows()).flat_map(move |i| (0..matrix.ncols()).map(move |j| T::from_f64(matrix[(i, j)])))
}

/// The tensor `[count, ..]` of matrices, each a list of elements.
fn gathered<T: Scalar>(parts: &[Vec<T>], shape: &[usize]) -> Result<Tensor<T>, TensorError> {
    Ok(Tensor::raw(parts.concat(), Shape::new(shape)?))
}

/// Calls `f(i, matrix)` for each matrix of `size` elements, in parallel when there is enough to do.
fn each_block<T: Scalar>(values: &mut Buffer<T>, size: usize, work: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if size == 0 {
        return;
    }
    if values.len() == size || work < PARALLEL {
        values.chunks_exact_mut(size).enumerate().for_each(|(i, block)| f(i, block));
    } else {
        values.par_chunks_exact_mut(size).enumerate().for_each(|(i, block)| f(i, block));
    }
}

/// `solve(b)` for right sides `b [count, n, k]`, or `[stack, count, n, k]`, whose stack becomes columns.
#[track_caller]
fn with_columns<T: Scalar>(b: &Tensor<T>, solve: impl Fn(&Tensor<T>) -> Tensor<T>) -> Tensor<T> {
    let &[stack, count, n, k] = b.shape() else { return solve(b) };
    let wide = solve(&b.permute(&[1, 2, 0, 3]).reshape(&[count, n, stack * k]));
    wide.reshape(&[count, n, stack, k]).permute(&[2, 0, 1, 3])
}

/// The matrix `A [.., n, n]` and the right sides `B [.., n, k]` with common leading axes, as `[count, ..]`, and those axes. A
/// vector `[n]` is one column.
#[track_caller]
fn system<T: Scalar>(operation: &'static str, a: &Tensor<T>, b: &Tensor<T>) -> Result<(Tensor<T>, Tensor<T>, Vec<usize>), TensorError> {
    let (_, lead) = square(operation, a)?;
    let mismatch = || TensorError::Mismatch { operation, left: a.shape().to_vec(), right: b.shape().to_vec() };
    let b = if b.rank() == 1 { b.unsqueeze(-1) } else { b.clone() };
    let (n, rank) = (a.shape()[lead.len()], b.rank());
    if rank < 2 || b.shape()[rank - 2] != n {
        return Err(mismatch());
    }
    let both = Shape::new(&lead)?.broadcast(&Shape::new(&b.shape()[..rank - 2])?).ok_or_else(mismatch)?;
    let k = b.shape()[rank - 1];
    let a = a.try_broadcast_to(&[&both[..], &[n, n]].concat())?.reshape(&[both.count(), n, n]);
    let b = b.try_broadcast_to(&[&both[..], &[n, k]].concat())?.reshape(&[both.count(), n, k]);
    Ok((a, b, both.to_vec()))
}

/// The solution `[count, n, k]` in the shape of the right sides: `[lead.., n, k]`, or without its column for a vector.
#[track_caller]
fn unflattened<T: Scalar>(x: &Tensor<T>, lead: &[usize], vector: bool) -> Result<Tensor<T>, TensorError> {
    let matrix = if vector { &x.shape()[1..2] } else { &x.shape()[1..] };
    x.try_reshape(&[lead, matrix].concat())
}

/// `x / divisor` where the divisor is greater than `tolerance` in magnitude, else 0; all broadcast.
#[track_caller]
fn quotient<T: Scalar>(x: &Tensor<T>, divisor: &Tensor<T>, tolerance: &Tensor<T>) -> Tensor<T> {
    let apart = divisor.detach().abs().gt(tolerance);
    // The divisor is chosen too: the derivative of a quotient by 0 would not be a number.
    let safe = apart.where_(divisor, &Tensor::scalar(T::ONE));
    apart.where_(&(x / &safe), &Tensor::scalar(T::ZERO))
}

/// `½ (A - Aᵀ)`.
#[track_caller]
fn skew_part<T: Scalar>(a: &Tensor<T>) -> Tensor<T> {
    (a - &a.t()) * T::from_f64(0.5)
}

/// The magnitude below which differences of the values `[count, 1, k]` are rounding: `size · ε · max |values|`, `[count, 1, 1]`.
fn resolution<T: Scalar>(values: &Tensor<T>, size: usize) -> Tensor<T> {
    let values = values.detach();
    if values.count() == 0 {
        return Tensor::zeros(&[values.shape()[0], 1, 1]);
    }
    values.abs().max_axis(-1).unsqueeze(-1) * T::from_f64(size as f64 * T::EPSILON.to_f64())
}
