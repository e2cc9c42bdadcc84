//! The Cholesky factor.

use nalgebra::{Cholesky, DMatrix};

use super::super::arithmetic::or_panic;
use super::triangular::{Triangular, solve};
use super::{each_matrix, gathered, row_major, square, symmetric_part};
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

/// `L Lᵀ` of symmetric `A [count, n, n]`, saved as `l`.
struct Factor<T: Scalar> {
    l: Tensor<T>,
}

impl<T: Scalar> Rule<T> for Factor<T> {
    fn name(&self) -> &'static str {
        "cholesky"
    }
    /// `L⁻ᵀ Φ(Lᵀ L̄) L⁻¹`, where `Φ` takes the lower triangle and halves the diagonal (Murray 2016, equation 8); the symmetric
    /// part is taken by the history of the symmetric input.
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let l = cx.output(&self.l);
        let product = l.t().matmul(&g.tril(0));
        let halved = (product.tril(0) + product.tril(-1)) * T::from_f64(0.5);
        let form = Triangular { transposed: true, ..Triangular::default() };
        let left = solve(&l, &halved, form);
        cx.add(0, solve(&l, &left.t(), form));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.l.shape()[0].is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The lower triangular `L` with a positive diagonal and `L Lᵀ = A`, for each positive definite matrix `A [.., n, n]`. Of a
    /// matrix that is not symmetric, the symmetric part `½ (A + Aᵀ)` is taken, so the gradient is symmetric.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let a = Tensor::from_vec(vec![4.0, 2.0, 2.0, 10.0], &[2, 2])?;
    /// assert_eq!(a.cholesky().to_vec(), [2.0, 0.0, 1.0, 3.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Tensor::try_cholesky`] returns an error.
    #[track_caller]
    pub fn cholesky(&self) -> Self {
        or_panic(self.try_cholesky())
    }

    /// [`Tensor::cholesky`], or what is wrong.
    ///
    /// # Errors
    /// [`TensorError::Axis`] and [`TensorError::Argument`] for a tensor that has no square matrices, [`TensorError::NotFinite`],
    /// [`TensorError::NotPositiveDefinite`].
    #[track_caller]
    pub fn try_cholesky(&self) -> Result<Self, TensorError> {
        let (a, _) = square("cholesky", self)?;
        let a = symmetric_part(&a);
        let factor = |i: usize, matrix: DMatrix<f64>| match Cholesky::new(matrix.clone()) {
            Some(factor) => Ok(row_major(&factor.l()).collect()),
            None => Err(TensorError::NotPositiveDefinite { matrix: i, pivot: first_bad_pivot(&matrix) }),
        };
        let l = gathered(&each_matrix("cholesky", &a, factor)?, a.shape())?;
        let saved = l.detach();
        l.record([a.node().cloned(), None, None], || Factor { l: saved }).try_reshape(self.shape())
    }
}

/// The row at which the factorisation fails: the leading blocks that end before it are positive definite.
fn first_bad_pivot(matrix: &DMatrix<f64>) -> usize {
    let definite = |size: usize| Cholesky::new(matrix.view((0, 0), (size, size)).clone_owned()).is_some();
    let (mut good, mut bad) = (0, matrix.nrows());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if definite(middle) { good = middle } else { bad = middle }
    }
    good
}
