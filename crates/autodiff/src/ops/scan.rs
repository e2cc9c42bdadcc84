//! Running sums.

use super::arithmetic::or_panic;
use crate::kernels::scan;
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

/// The running sum along axis 1 of `[outer, n, inner]`, from the end when `reversed`.
struct CumulativeSum {
    sizes: [usize; 3],
    shape: Shape,
    reversed: bool,
}

impl<T: Scalar> Rule<T> for CumulativeSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let lines = g.reshape(&cx.shape(&self.sizes));
        let axis = lines.rank() - 2;
        cx.add(0, lines.running_sum(axis, !self.reversed).reshape(&cx.shape(&self.shape)));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.sizes[0].is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The running sum along an axis: entry `i` is the sum of the entries up to and with `i`. Accumulated in `f64`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let x = Tensor::vector(&[1.0, 2.0, 3.0]);
    /// assert_eq!(x.cumsum(0).to_vec(), [1.0, 3.0, 6.0]);
    /// assert_eq!(x.cumsum_reversed(0).to_vec(), [6.0, 5.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Self {
        or_panic(self.try_cumsum(axis))
    }

    /// [`Tensor::cumsum`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_cumsum(&self, axis: isize) -> Result<Self, TensorError> {
        Ok(self.running_sum(self.try_axis("cumsum", axis)?, false))
    }

    /// The running sum from the end of an axis: entry `i` is the sum of the entries from `i` on, as for returns of rewards.
    #[track_caller]
    pub fn cumsum_reversed(&self, axis: isize) -> Self {
        or_panic(self.try_cumsum_reversed(axis))
    }

    /// [`Tensor::cumsum_reversed`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_cumsum_reversed(&self, axis: isize) -> Result<Self, TensorError> {
        Ok(self.running_sum(self.try_axis("cumsum_reversed", axis)?, true))
    }

    #[track_caller]
    fn running_sum(&self, axis: usize, reversed: bool) -> Self {
        let sizes = self.around(axis);
        let shape = *self.shape_ref();
        let y = Tensor::raw(scan::cumulative_sum(self.as_slice(), sizes[1], sizes[2], reversed), shape);
        y.record([self.node().cloned(), None, None], || CumulativeSum { sizes, shape, reversed })
    }
}
