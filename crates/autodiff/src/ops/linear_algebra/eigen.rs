//! Eigenvalues and eigenvectors of symmetric matrices.

use nalgebra::{DMatrix, SymmetricEigen};

use super::super::arithmetic::or_panic;
use super::{each_matrix, gathered, quotient, resolution, row_major, square, symmetric_part};
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

/// Iterations for each row and beyond, after which the factorisation is given up: a few for each row are usual.
const ITERATIONS: [usize; 2] = [100, 1000];

/// `A V = V diag(λ)` of symmetric `A [count, n, n]`, packed as `[count, 1 + n, n]`: `λ`, then `V`.
struct Eigen<T: Scalar> {
    packed: Tensor<T>,
}

impl<T: Scalar> Eigen<T> {
    /// `λ [count, 1, n]` and `V [count, n, n]`, or their gradients.
    #[track_caller]
    fn parts(packed: &Tensor<T>) -> [Tensor<T>; 2] {
        let n = packed.shape()[packed.rank() - 1];
        [packed.narrow(-2, 0, 1), packed.narrow(-2, 1, n)]
    }
}

impl<T: Scalar> Rule<T> for Eigen<T> {
    fn name(&self) -> &'static str {
        "symmetric_eigen"
    }
    /// `V (diag(λ̄) + F ∘ (Vᵀ V̄)) Vᵀ` with `F_ij = 1 / (λ_j - λ_i)` (Giles 2008, section 3.1); the symmetric part is taken by
    /// the history of the symmetric input.
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let [values, vectors] = Self::parts(&cx.output(&self.packed));
        let [values_gradient, vectors_gradient] = Self::parts(&g);
        let n = values.shape()[2];
        let gaps = &values - &values.t();
        let turned = quotient(&vectors.t().matmul(&vectors_gradient), &gaps, &resolution(&values, n));
        let inner = Tensor::eye(n) * values_gradient + turned;
        cx.add(0, vectors.matmul(&inner).matmul(&vectors.t()));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.packed.shape()[0].is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The eigenvalues `[.., n]` of each symmetric matrix `A [.., n, n]`, ascending, and the orthonormal eigenvectors in the
    /// columns of `[.., n, n]`. In each eigenvector, the first component of the greatest magnitude is positive. Of a matrix that
    /// is not symmetric, the symmetric part `½ (A + Aᵀ)` is taken, so the gradient is symmetric.
    ///
    /// Eigenvalues that differ by less than rounding (`n ε max |λ|`) count as equal. Eigenvectors of equal eigenvalues have no
    /// derivative: any rotation among them is as good. The gradient takes it as 0 within their subspace. That is right for
    /// symmetric functions of the eigenvalues and for those of whole subspaces, such as projectors. It is wrong for a matrix
    /// function `V diag(h(λ)) Vᵀ` with `h(λ)` not constant, and for derivatives above the first, at equal eigenvalues.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad};
    /// let a = Tensor::<f64>::from_vec(vec![2.0, 1.0, 1.0, 2.0], &[2, 2])?;
    /// let (values, _) = a.symmetric_eigen();
    /// assert!((values - Tensor::vector(&[1.0, 3.0])).abs().sum().item() < 1e-14);
    /// let spread = grad(|a: &Tensor<f64>| a.symmetric_eigen().0.square().sum(), &Tensor::eye(2));
    /// assert_eq!(spread, Tensor::eye(2) * 2.0); // finite although the eigenvalues are equal
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Tensor::try_symmetric_eigen`] returns an error.
    #[track_caller]
    pub fn symmetric_eigen(&self) -> (Self, Self) {
        or_panic(self.try_symmetric_eigen())
    }

    /// [`Tensor::symmetric_eigen`], or what is wrong.
    ///
    /// # Errors
    /// [`TensorError::Axis`] and [`TensorError::Argument`] for a tensor that has no square matrices, [`TensorError::NotFinite`],
    /// [`TensorError::NotConverged`].
    #[track_caller]
    pub fn try_symmetric_eigen(&self) -> Result<(Self, Self), TensorError> {
        let (a, lead) = square("symmetric_eigen", self)?;
        let a = symmetric_part(&a);
        let (count, n) = (a.shape()[0], a.shape()[1]);
        let pairs =
            |i: usize, matrix: DMatrix<f64>| packed(matrix).ok_or(TensorError::NotConverged { operation: "symmetric_eigen", matrix: i });
        let packed = gathered(&each_matrix("symmetric_eigen", &a, pairs)?, &[count, n + 1, n])?;
        let saved = packed.detach();
        let [values, vectors] = Eigen::parts(&packed.record([a.node().cloned(), None, None], || Eigen { packed: saved }));
        Ok((values.try_reshape(&[&lead[..], &[n]].concat())?, vectors.try_reshape(self.shape())?))
    }
}

/// The eigenvalues, ascending, and then the matrix of eigenvectors, row-major.
fn packed<T: Scalar>(matrix: DMatrix<f64>) -> Option<Vec<T>> {
    let n = matrix.nrows();
    if n == 0 {
        return Some(Vec::new());
    }
    let eigen = SymmetricEigen::try_new(matrix, f64::EPSILON, ITERATIONS[0] * n + ITERATIONS[1])?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[i].total_cmp(&eigen.eigenvalues[j]));
    let mut vectors = DMatrix::from_columns(&order.iter().map(|&i| eigen.eigenvectors.column(i)).collect::<Vec<_>>());
    for mut column in vectors.column_iter_mut() {
        if column[column.icamax()] < 0.0 {
            column.neg_mut();
        }
    }
    let values = order.iter().map(|&i| T::from_f64(eigen.eigenvalues[i]));
    Some(values.chain(row_major(&vectors)).collect())
}
