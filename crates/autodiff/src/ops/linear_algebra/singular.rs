//! The singular value decomposition.

use nalgebra::DMatrix;

use super::super::arithmetic::or_panic;
use super::jacobi::{Decomposition, decompose};
use super::{each_matrix, gathered, matrices, quotient, resolution, row_major, skew_part};
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

/// `U diag(S) Vᵀ` of `A [count, m, n]`, packed as `[count, m + 1 + n, k]`: `U`, `S`, `V`.
struct Svd<T: Scalar> {
    rows: usize,
    packed: Tensor<T>,
}

/// `U [count, m, k]`, `S [count, 1, k]` and `V [count, n, k]`, or their gradients.
#[track_caller]
fn parts<T: Scalar>(packed: &Tensor<T>, rows: usize) -> [Tensor<T>; 3] {
    let columns = packed.shape()[packed.rank() - 2] - rows - 1;
    [packed.narrow(-2, 0, rows), packed.narrow(-2, rows, 1), packed.narrow(-2, rows + 1, columns)]
}

impl<T: Scalar> Rule<T> for Svd<T> {
    fn name(&self) -> &'static str {
        "svd"
    }
    /// With `X` and `Y` the skew parts of `Uᵀ Ū` and `Vᵀ V̄`, in the basis of the singular vectors:
    /// `diag(S̄)_ij + (X + Y)_ij / (s_j - s_i) + (X - Y)_ij / (s_j + s_i)`, which is Townsend's (2016) form with its quotient by
    /// `s_j² - s_i²` split in two; and outside their spans `(I - U Uᵀ) Ū S⁻¹ Vᵀ + U S⁻¹ V̄ᵀ (I - V Vᵀ)`. Rotations of equal
    /// singular values' vectors turn `U` and `V` alike, and meet the first quotient alone.
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let [u, s, v] = parts(&cx.output(&self.packed), self.rows);
        let [u_gradient, s_gradient, v_gradient] = parts(&g, self.rows);
        let (m, n, k) = (u.shape()[1], v.shape()[1], s.shape()[2]);
        let tolerance = resolution(&s, m.max(n));
        let (of_u, of_v) = (u.t().matmul(&u_gradient), v.t().matmul(&v_gradient));
        let (x, y) = (skew_part(&of_u), skew_part(&of_v));
        let together = quotient(&(&x + &y), &(&s - &s.t()), &tolerance);
        let apart = quotient(&(&x - &y), &(&s + &s.t()), &tolerance);
        let inner = Tensor::eye(k) * s_gradient + together + apart;
        let mut gradient = u.matmul(&inner).matmul(&v.t());
        if m > k {
            gradient = gradient + quotient(&(u_gradient - u.matmul(&of_u)), &s, &tolerance).matmul(&v.t());
        }
        if n > k {
            gradient = gradient + u.matmul(&quotient(&(v_gradient - v.matmul(&of_v)), &s, &tolerance).t());
        }
        cx.add(0, gradient);
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.packed.shape()[0].is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The thin singular value decomposition `A = U diag(S) Vᵀ` of each matrix `[.., m, n]`: `U [.., m, k]` with orthonormal
    /// columns, `S [.., k]` descending and not negative, and `Vᵀ [.., k, n]` with orthonormal rows, `k = min(m, n)`. In each
    /// column of `U`, the first component of the greatest magnitude is positive. Where a scaling of the rows and columns leaves a
    /// well-conditioned matrix, each singular value has a small relative error, down to 10⁻³⁰⁰ of the greatest (in `f64`).
    ///
    /// Singular values that differ by less than rounding (`max(m, n) ε max S`) count as equal, and those as small as zero. Vectors
    /// of equal singular values have no derivative, nor have those of zeros; the gradient takes it as 0 where they turn among
    /// themselves. That is right for symmetric functions of the singular values and for functions that such a turn does not
    /// change, such as the polar factor `U Vᵀ` of an invertible matrix; derivatives above the first are not right there.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let a = Tensor::<f64>::from_vec(vec![3.0, 0.0, 0.0, 0.0, 0.0, 2.0], &[2, 3])?;
    /// let (u, s, vt) = a.svd();
    /// assert_eq!((u.shape(), vt.shape()), (&[2, 2][..], &[2, 3][..]));
    /// assert!((s.to_vec()[0] - 3.0).abs() < 1e-14 && (s.to_vec()[1] - 2.0).abs() < 1e-14);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Tensor::try_svd`] returns an error.
    #[track_caller]
    pub fn svd(&self) -> (Self, Self, Self) {
        or_panic(self.try_svd())
    }

    /// [`Tensor::svd`], or what is wrong.
    ///
    /// # Errors
    /// [`TensorError::Axis`] for fewer than two axes, [`TensorError::NotFinite`], [`TensorError::NotConverged`].
    #[track_caller]
    pub fn try_svd(&self) -> Result<(Self, Self, Self), TensorError> {
        let (a, lead) = matrices("svd", self)?;
        let (count, m, n) = (a.shape()[0], a.shape()[1], a.shape()[2]);
        let k = m.min(n);
        let decompose = |i: usize, matrix: DMatrix<f64>| packed(matrix).ok_or(TensorError::NotConverged { operation: "svd", matrix: i });
        let packed = gathered(&each_matrix("svd", &a, decompose)?, &[count, m + 1 + n, k])?;
        let saved = packed.detach();
        let [u, s, v] = parts(&packed.record([a.node().cloned(), None, None], || Svd { rows: m, packed: saved }), m);
        let leading = |matrix: &[usize]| [&lead[..], matrix].concat();
        Ok((u.try_reshape(&leading(&[m, k]))?, s.try_reshape(&leading(&[k]))?, v.t().try_reshape(&leading(&[k, n]))?))
    }
}

/// `U`, `S` and `V`, row-major one after another.
fn packed<T: Scalar>(matrix: DMatrix<f64>) -> Option<Vec<T>> {
    let Decomposition { u, s, v } = decompose(matrix)?;
    Some(row_major(&u).chain(s.iter().map(|&s| T::from_f64(s))).chain(row_major(&v)).collect())
}
