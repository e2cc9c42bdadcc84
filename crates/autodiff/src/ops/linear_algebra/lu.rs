//! Systems of equations, inverses and determinants, by the LU factorisation with partial pivoting.

use std::sync::Arc;

use nalgebra::{DMatrix, LU};

use super::super::arithmetic::or_panic;
use super::triangular::Triangular;
use super::{each_block, each_matrix, row_major, square, system, unflattened, with_columns};
use crate::kernels::{Buffer, triangular};
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

/// `P A = L U` of one matrix.
struct Factors<T> {
    /// `L` below the diagonal, of which it has ones, and `U` at and above it; row-major.
    packed: Vec<T>,
    /// Row `i` of `P A` is row `rows[i]` of `A`.
    rows: Vec<usize>,
    sign: f64,
    log_magnitude: f64,
}

impl<T: Scalar> Factors<T> {
    fn new(matrix: DMatrix<f64>) -> Self {
        let n = matrix.nrows();
        let lu = LU::new(matrix);
        let mut rows = DMatrix::from_fn(n, 1, |i, _| i);
        lu.p().permute_rows(&mut rows);
        let diagonal = lu.lu_internal().diagonal();
        let signs = diagonal.iter().map(|x| if *x == 0.0 { 0.0 } else { x.signum() }).product::<f64>();
        Self {
            packed: row_major(lu.lu_internal()).collect(),
            rows: rows.as_slice().to_vec(),
            sign: signs * lu.p().determinant::<f64>(),
            log_magnitude: diagonal.iter().map(|x| x.abs().ln()).sum(),
        }
    }

    fn pivot(&self, i: usize) -> T {
        self.packed[i * self.rows.len() + i]
    }

    /// `X` of `A X = B`, or `Aᵀ X = B`, for `b [n, k]` into `x [n, k]`.
    fn solve(&self, b: &[T], x: &mut [T], k: usize, transposed: bool, threads: usize) {
        let n = self.rows.len();
        let lower = Triangular { unit_diagonal: true, transposed, ..Triangular::default() };
        let upper = Triangular { upper: true, transposed, ..Triangular::default() };
        if transposed {
            let mut permuted = b.to_vec();
            for form in [upper, lower] {
                triangular::solve(&self.packed, n, &mut permuted, k, form, threads);
            }
            self.rows.iter().zip(permuted.chunks_exact(k)).for_each(|(&to, row)| x[to * k..(to + 1) * k].copy_from_slice(row));
        } else {
            self.rows.iter().zip(x.chunks_exact_mut(k)).for_each(|(&from, row)| row.copy_from_slice(&b[from * k..(from + 1) * k]));
            for form in [lower, upper] {
                triangular::solve(&self.packed, n, x, k, form, threads);
            }
        }
    }
}

/// The factors of each matrix of `[count, n, n]`.
type Batch<T> = Arc<[Factors<T>]>;

fn factored<T: Scalar>(operation: &'static str, a: &Tensor<T>) -> Result<Batch<T>, TensorError> {
    Ok(each_matrix(operation, a, |_, matrix| Ok(Factors::new(matrix)))?.into())
}

/// `op(A) X = B` for `A [count, n, n]` and `X, B [count, n, k]`.
struct Solve<T: Scalar> {
    a: Tensor<T>,
    factors: Batch<T>,
    transposed: bool,
    x: Tensor<T>,
}

impl<T: Scalar> Rule<T> for Solve<T> {
    fn name(&self) -> &'static str {
        "solve"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let pulled = solve(&cx.get(&self.a), &self.factors, !self.transposed, &g);
        if cx.wants(0) {
            let x = cx.output(&self.x);
            cx.add(0, -(if self.transposed { x.matmul(&pulled.t()) } else { pulled.matmul(&x.t()) }));
        }
        if cx.wants(1) {
            cx.add(1, pulled);
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.a.shape()[0].is_multiple_of(batch)
    }
}

/// `X` of `op(A) X = B` for `A [count, n, n]` with its factors and `B [count, n, k]`, or a stack of such `B`.
#[track_caller]
fn solve<T: Scalar>(a: &Tensor<T>, factors: &Batch<T>, transposed: bool, b: &Tensor<T>) -> Tensor<T> {
    with_columns(b, |b| {
        let &[count, n, k] = b.shape() else { return b.clone() };
        let mut values = Buffer::stale(b.count());
        let threads = if count == 1 { rayon::current_num_threads() } else { 1 };
        each_block(&mut values, n * k, count * n * n * k, |i, x| {
            factors[i].solve(&b.as_slice()[i * n * k..(i + 1) * n * k], x, k, transposed, threads);
        });
        let x = Tensor::raw(values, *b.shape_ref());
        let saved = x.detach();
        x.record([a.node().cloned(), b.node().cloned(), None], || Solve { a: a.clone(), factors: factors.clone(), transposed, x: saved })
    })
}

/// `log |det A|` of `A [count, n, n]`.
struct LogDeterminant<T: Scalar> {
    a: Tensor<T>,
    factors: Batch<T>,
}

impl<T: Scalar> Rule<T> for LogDeterminant<T> {
    fn name(&self) -> &'static str {
        "slogdet"
    }
    /// The transposed inverse.
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let inverse = solve(&cx.get(&self.a), &self.factors, true, &identities(&self.a));
        cx.add(0, g.unsqueeze(-1).unsqueeze(-1) * inverse);
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.a.shape()[0].is_multiple_of(batch)
    }
}

/// Identity matrices of the shape of `a [count, n, n]`.
fn identities<T: Scalar>(a: &Tensor<T>) -> Tensor<T> {
    Tensor::eye(a.shape()[1]).broadcast_to(a.shape())
}

impl<T: Scalar> Tensor<T> {
    /// `X` of `A X = B` for this tensor's matrices `A [.., n, n]` and right sides `B [.., n, k]`, whose leading axes broadcast; a
    /// vector `[n]` is one right side. Better than the product with the inverse in speed and accuracy. The matrices are factored
    /// in `f64`; where one serves many right sides, give them as columns, since a broadcast matrix is factored each time.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let a = Tensor::from_vec(vec![0.0, 2.0, 4.0, 1.0], &[2, 2])?;
    /// assert_eq!(a.solve(&Tensor::vector(&[2.0, 9.0])).to_vec(), [2.0, 1.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Tensor::try_solve`] returns an error.
    #[track_caller]
    pub fn solve(&self, b: &Self) -> Self {
        or_panic(self.try_solve(b))
    }

    /// [`Tensor::solve`], or what is wrong.
    ///
    /// # Errors
    /// [`TensorError::Axis`] and [`TensorError::Argument`] for a tensor that has no square matrices, [`TensorError::Mismatch`],
    /// [`TensorError::Rank`], [`TensorError::TooLarge`], [`TensorError::NotFinite`]; [`TensorError::Singular`] for a pivot of
    /// exactly 0.
    #[track_caller]
    pub fn try_solve(&self, b: &Self) -> Result<Self, TensorError> {
        let (a, right, lead) = system("solve", self, b)?;
        let factors = invertible("solve", &a)?;
        unflattened(&solve(&a, &factors, false, &right), &lead, b.rank() == 1)
    }

    /// The inverse of each matrix `[.., n, n]`.
    ///
    /// # Panics
    /// Where [`Tensor::try_inverse`] returns an error.
    #[track_caller]
    pub fn inverse(&self) -> Self {
        or_panic(self.try_inverse())
    }

    /// [`Tensor::inverse`], or what is wrong.
    ///
    /// # Errors
    /// As [`Tensor::try_solve`].
    #[track_caller]
    pub fn try_inverse(&self) -> Result<Self, TensorError> {
        let (a, _) = square("inverse", self)?;
        let factors = invertible("inverse", &a)?;
        solve(&a, &factors, false, &identities(&a)).try_reshape(self.shape())
    }

    /// The sign of the determinant of each matrix `[.., n, n]`, -1, 0 or 1, a constant to every derivative, and the logarithm of
    /// its magnitude. For a singular matrix they are 0 and minus infinity, and there is no gradient: it is not finite.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let a = Tensor::<f64>::from_vec(vec![0.0, 2.0, 4.0, 1.0], &[2, 2])?;
    /// let (sign, log) = a.slogdet();
    /// assert_eq!(sign.item(), -1.0);
    /// assert!((log.item() - 8f64.ln()).abs() < 1e-14);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Tensor::try_slogdet`] returns an error.
    #[track_caller]
    pub fn slogdet(&self) -> (Self, Self) {
        or_panic(self.try_slogdet())
    }

    /// [`Tensor::slogdet`], or what is wrong.
    ///
    /// # Errors
    /// [`TensorError::Axis`] and [`TensorError::Argument`] for a tensor that has no square matrices, [`TensorError::NotFinite`].
    #[track_caller]
    pub fn try_slogdet(&self) -> Result<(Self, Self), TensorError> {
        let (a, lead) = square("slogdet", self)?;
        let factors = factored("slogdet", &a)?;
        let each = |f: fn(&Factors<T>) -> f64| Tensor::vector(&factors.iter().map(|own| T::from_f64(f(own))).collect::<Vec<T>>());
        let sign = each(|own| own.sign).try_reshape(&lead)?;
        let log = each(|own| own.log_magnitude);
        let log = log.record([a.node().cloned(), None, None], || LogDeterminant { a: a.clone(), factors: factors.clone() });
        Ok((sign, log.try_reshape(&lead)?))
    }

    /// The logarithm of the determinant of each matrix `[.., n, n]`: minus infinity for a singular matrix, NaN for a negative
    /// determinant. Of a positive definite matrix, the logarithms of the diagonal of [`Tensor::cholesky`] cost half as much.
    ///
    /// # Panics
    /// Where [`Tensor::try_logdet`] returns an error.
    #[track_caller]
    pub fn logdet(&self) -> Self {
        or_panic(self.try_logdet())
    }

    /// [`Tensor::logdet`], or what is wrong.
    ///
    /// # Errors
    /// As [`Tensor::try_slogdet`].
    #[track_caller]
    pub fn try_logdet(&self) -> Result<Self, TensorError> {
        let (sign, log) = self.try_slogdet()?;
        // The logarithm of a negative sign is NaN; that of 0 is already in the magnitude.
        Ok(log + sign.constant_map(|sign| if sign < T::ZERO { sign.ln() } else { T::ZERO }))
    }
}

/// The factors of matrices without a pivot of exactly 0.
fn invertible<T: Scalar>(operation: &'static str, a: &Tensor<T>) -> Result<Batch<T>, TensorError> {
    let factors = factored(operation, a)?;
    for (matrix, own) in factors.iter().enumerate() {
        if let Some(pivot) = (0..own.rows.len()).find(|&i| own.pivot(i) == T::ZERO) {
            return Err(TensorError::Singular { operation, matrix, pivot });
        }
    }
    Ok(factors)
}
