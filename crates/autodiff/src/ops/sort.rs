//! Orders along an axis: sorting, the greatest elements, the place of the greatest.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::sort;
use crate::{Scalar, Tensor, TensorError};

/// The direction of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// The least element first, NaN last.
    #[default]
    Ascending,
    /// The greatest element first, NaN before it.
    Descending,
}

impl<T: Scalar> Tensor<T> {
    /// The elements in order along an axis, and for each, row-major, the position along the axis that it had. Equal elements
    /// keep their order; NaN counts as greater than every number, as in PyTorch. The gradient goes to where each value came
    /// from.
    ///
    /// ```
    /// use gradus_autodiff::{SortOrder, Tensor};
    /// let (values, positions) = Tensor::vector(&[3.0, 1.0, 2.0]).sort(0, SortOrder::Ascending);
    /// assert_eq!((values.to_vec(), positions), (vec![1.0, 2.0, 3.0], vec![1, 2, 0]));
    /// ```
    #[track_caller]
    pub fn sort(&self, axis: isize, order: SortOrder) -> (Self, Vec<usize>) {
        or_panic(self.try_sort(axis, order))
    }

    /// [`Tensor::sort`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_sort(&self, axis: isize, order: SortOrder) -> Result<(Self, Vec<usize>), TensorError> {
        let axis = self.try_axis("sort", axis)?;
        Ok(self.ordered("sort", axis, order, self.shape()[axis]))
    }

    /// The positions of [`Tensor::sort`] alone: the row-major entries of a tensor of this one's shape.
    #[track_caller]
    pub fn argsort(&self, axis: isize, order: SortOrder) -> Vec<usize> {
        or_panic(self.try_argsort(axis, order))
    }

    /// [`Tensor::argsort`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    pub fn try_argsort(&self, axis: isize, order: SortOrder) -> Result<Vec<usize>, TensorError> {
        let axis = self.try_axis("argsort", axis)?;
        Ok(self.detach().ordered("argsort", axis, order, self.shape()[axis]).1)
    }

    /// The `k` greatest elements along an axis, the greatest first, and their positions, as by [`Tensor::sort`] descending:
    /// of equal elements the first are taken.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad};
    /// let x = Tensor::vector(&[3.0, 1.0, 4.0, 1.0]);
    /// assert_eq!(x.top_k(2, 0).1, [2, 0]);
    /// assert_eq!(grad(|x: &Tensor| x.top_k(2, 0).0.square().sum(), &x).to_vec(), [6.0, 0.0, 8.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn top_k(&self, k: usize, axis: isize) -> (Self, Vec<usize>) {
        or_panic(self.try_top_k(k, axis))
    }

    /// [`Tensor::top_k`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`]; [`TensorError::Argument`] for more than the axis has.
    #[track_caller]
    pub fn try_top_k(&self, k: usize, axis: isize) -> Result<(Self, Vec<usize>), TensorError> {
        let axis = self.try_axis("top_k", axis)?;
        if k > self.shape()[axis] {
            let what = format!("axis {axis} has fewer than {k} entries");
            return Err(TensorError::Argument { operation: "top_k", what, shape: self.shape().to_vec() });
        }
        Ok(self.ordered("top_k", axis, SortOrder::Descending, k))
    }

    /// The positions of the greatest elements along an axis, row-major over the other axes: the first of equals, the first
    /// NaN where there is one.
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> Vec<usize> {
        or_panic(self.try_argmax(axis))
    }

    /// [`Tensor::argmax`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`]; [`TensorError::Argument`] for an axis without entries.
    pub fn try_argmax(&self, axis: isize) -> Result<Vec<usize>, TensorError> {
        self.extreme("argmax", axis, false)
    }

    /// The positions of the least elements along an axis, row-major over the other axes: the first of equals, the first NaN
    /// where there is one.
    #[track_caller]
    pub fn argmin(&self, axis: isize) -> Vec<usize> {
        or_panic(self.try_argmin(axis))
    }

    /// [`Tensor::argmin`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`]; [`TensorError::Argument`] for an axis without entries.
    pub fn try_argmin(&self, axis: isize) -> Result<Vec<usize>, TensorError> {
        self.extreme("argmin", axis, true)
    }

    fn extreme(&self, operation: &'static str, axis: isize, least: bool) -> Result<Vec<usize>, TensorError> {
        let axis = self.try_axis(operation, axis)?;
        if self.shape()[axis] == 0 {
            let what = format!("axis {axis} has no entries");
            return Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() });
        }
        Ok(sort::extreme(self.as_slice(), self.around(axis), least))
    }

    /// The first `k` elements in order along an axis, and their positions along it.
    #[track_caller]
    fn ordered(&self, operation: &'static str, axis: usize, order: SortOrder, k: usize) -> (Self, Vec<usize>) {
        let sizes @ [outer, n, inner] = self.around(axis);
        let lines = sort::order(self.as_slice(), sizes, order == SortOrder::Descending, k);
        let mut shape = *self.shape_ref();
        shape.set(axis, k);
        // The kernel has each line in one piece, `[outer, inner, k]`.
        let position = |o: usize, i: usize, j: usize| lines[(o * inner + j) * k + i];
        let cells = || (0..outer).flat_map(move |o| (0..k).flat_map(move |i| (0..inner).map(move |j| (o, i, j))));
        let places: Arc<[usize]> = cells().map(|(o, i, j)| (o * n + position(o, i, j)) * inner + j).collect();
        let positions = if inner == 1 { lines } else { cells().map(|(o, i, j)| position(o, i, j)).collect() };
        (self.take(operation, &places, shape), positions)
    }
}
