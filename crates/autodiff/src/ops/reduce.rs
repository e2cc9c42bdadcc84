//! Reductions over axes, and what is made of them: mean, layer norm.

use super::arithmetic::or_panic;
use crate::kernels::reduce;
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

/// The sum over axis 1 of `[outer, n, inner]`.
struct SumMiddle {
    sizes: [usize; 3],
    input: Shape,
    output: Shape,
}

impl<T: Scalar> Rule<T> for SumMiddle {
    fn name(&self) -> &'static str {
        "sum"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if g.count() == 1 && cx.is_plain(&g) {
            return cx.add(0, Tensor::full(g.item(), &cx.shape(&self.input)));
        }
        let [outer, n, inner] = self.sizes;
        if outer * inner == 1 && cx.uniform(&g) {
            return cx.add(0, g.reshape(&[]));
        }
        let wide = g.reshape(&cx.shape(&[outer, 1, inner])).broadcast_to(&cx.shape(&[outer, n, inner]));
        cx.add(0, wide.reshape(&cx.shape(&self.input)));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.sizes[0].is_multiple_of(batch) && self.output.count() > 0
    }
}

/// The maximum over axis 1 of `[outer, n, inner]`, in which each element has a share.
struct MaxMiddle<T: Scalar> {
    sizes: [usize; 3],
    input: Shape,
    share: Tensor<T>,
}

impl<T: Scalar> Rule<T> for MaxMiddle<T> {
    fn name(&self) -> &'static str {
        "max"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let [outer, _, inner] = self.sizes;
        let shared = g.reshape(&cx.shape(&[outer, 1, inner])) * &self.share;
        cx.add(0, shared.reshape(&cx.shape(&self.input)));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.sizes[0].is_multiple_of(batch)
    }
}

/// The value repeated along new or unit axes.
struct Broadcast {
    input: Shape,
    output: Shape,
}

impl<T: Scalar> Rule<T> for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, cx.sum_to(&g, &self.input));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input.len() == self.output.len()
            && self.input.first() == self.output.first()
            && self.input.first().is_some_and(|n| n % batch == 0)
    }
    fn example_factor(&self, _: usize, g: &Tensor<T>, batch: usize, _: bool) -> Option<Factor<T>> {
        Factor::of_repeated(g, &self.input, batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The axis that `axis` means, negative ones counted from the end.
    pub(crate) fn try_axis(&self, operation: &'static str, axis: isize) -> Result<usize, TensorError> {
        let rank = self.rank() as isize;
        let found = if axis < 0 { axis.saturating_add(rank) } else { axis };
        if (0..rank).contains(&found) {
            Ok(found as usize)
        } else {
            Err(TensorError::Axis { operation, axis, shape: self.shape().to_vec() })
        }
    }

    /// This tensor's shape with another size of one axis.
    fn resized(&self, axis: usize, size: usize) -> Shape {
        let mut shape = *self.shape_ref();
        shape.set(axis, size);
        shape
    }

    /// This tensor's shape without one axis.
    fn without(&self, axis: usize) -> Result<Shape, TensorError> {
        let shape = self.shape();
        Shape::new(&[&shape[..axis], &shape[axis + 1..]].concat())
    }

    /// Sizes before, of and after an axis.
    pub(crate) fn around(&self, axis: usize) -> [usize; 3] {
        let s = self.shape();
        [s[..axis].iter().product(), s[axis], s[axis + 1..].iter().product()]
    }

    #[track_caller]
    fn sum_middle(&self, sizes: [usize; 3], output: Shape) -> Self {
        let [outer, n, inner] = sizes;
        let y = Tensor::raw(reduce::sum_middle(self.as_slice(), outer, n, inner), output);
        y.record([self.node().cloned(), None, None], || SumMiddle { sizes, input: *self.shape_ref(), output })
    }

    /// The sum of all elements, a scalar.
    #[track_caller]
    pub fn sum(&self) -> Self {
        self.sum_middle([1, self.count(), 1], crate::tensor::checked(&[]))
    }

    /// The sum over one axis, which disappears. Negative axes count from the end.
    #[track_caller]
    pub fn sum_axis(&self, axis: isize) -> Self {
        or_panic(self.try_sum_axis(axis))
    }

    /// [`Tensor::sum_axis`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_sum_axis(&self, axis: isize) -> Result<Self, TensorError> {
        let axis = self.try_axis("sum_axis", axis)?;
        Ok(self.sum_middle(self.around(axis), self.without(axis)?))
    }

    /// The sum over one axis, which stays with size 1.
    #[track_caller]
    pub fn sum_keep(&self, axis: isize) -> Self {
        or_panic(self.try_sum_keep(axis))
    }

    /// [`Tensor::sum_keep`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_sum_keep(&self, axis: isize) -> Result<Self, TensorError> {
        let axis = self.try_axis("sum_keep", axis)?;
        Ok(self.sum_middle(self.around(axis), self.resized(axis, 1)))
    }

    /// The mean of all elements; NaN for none.
    #[track_caller]
    pub fn mean(&self) -> Self {
        self.sum() * T::from_f64(1.0 / self.count() as f64)
    }

    /// The mean over one axis, which disappears; NaN for none.
    #[track_caller]
    pub fn mean_axis(&self, axis: isize) -> Self {
        or_panic(self.try_mean_axis(axis))
    }

    /// [`Tensor::mean_axis`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_mean_axis(&self, axis: isize) -> Result<Self, TensorError> {
        let n = self.shape()[self.try_axis("mean_axis", axis)?];
        Ok(self.try_sum_axis(axis)? * T::from_f64(1.0 / n as f64))
    }

    /// The mean over one axis, which stays with size 1; NaN for none.
    #[track_caller]
    pub fn mean_keep(&self, axis: isize) -> Self {
        or_panic(self.try_mean_keep(axis))
    }

    /// [`Tensor::mean_keep`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_mean_keep(&self, axis: isize) -> Result<Self, TensorError> {
        let n = self.shape()[self.try_axis("mean_keep", axis)?];
        Ok(self.try_sum_keep(axis)? * T::from_f64(1.0 / n as f64))
    }

    /// The sum over several axes, which disappear. Negative axes count from the end; an axis named twice counts once.
    #[track_caller]
    pub fn sum_axes(&self, axes: &[isize]) -> Self {
        or_panic(self.try_sum_axes(axes))
    }

    /// [`Tensor::sum_axes`], or the axis that does not exist.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_sum_axes(&self, axes: &[isize]) -> Result<Self, TensorError> {
        let axes = self.distinct_axes("sum_axes", axes)?;
        axes.into_iter().rev().try_fold(self.clone(), |x, axis| x.try_sum_axis(axis as isize))
    }

    /// The mean over several axes, which disappear; NaN for none. As [`Tensor::sum_axes`].
    #[track_caller]
    pub fn mean_axes(&self, axes: &[isize]) -> Self {
        or_panic(self.try_mean_axes(axes))
    }

    /// [`Tensor::mean_axes`], or the axis that does not exist.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_mean_axes(&self, axes: &[isize]) -> Result<Self, TensorError> {
        let count: usize = self.distinct_axes("mean_axes", axes)?.into_iter().map(|axis| self.shape()[axis]).product();
        Ok(self.try_sum_axes(axes)? * T::from_f64(1.0 / count as f64))
    }

    /// The axes that these mean, in ascending order.
    fn distinct_axes(&self, operation: &'static str, axes: &[isize]) -> Result<Vec<usize>, TensorError> {
        let mut axes = axes.iter().map(|&axis| self.try_axis(operation, axis)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// The least element along an axis, which disappears; infinity for none, NaN if there is one.
    /// Elements that tie for the minimum share its gradient equally.
    #[track_caller]
    pub fn min_axis(&self, axis: isize) -> Self {
        or_panic(self.try_min_axis(axis))
    }

    /// [`Tensor::min_axis`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_min_axis(&self, axis: isize) -> Result<Self, TensorError> {
        self.try_axis("min_axis", axis)?;
        Ok(-(-self).try_max_axis(axis)?)
    }

    /// The greatest element along an axis, which disappears; minus infinity for none, NaN if there is one.
    /// Elements that tie for the maximum share its gradient equally.
    #[track_caller]
    pub fn max_axis(&self, axis: isize) -> Self {
        or_panic(self.try_max_axis(axis))
    }

    /// [`Tensor::max_axis`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_max_axis(&self, axis: isize) -> Result<Self, TensorError> {
        let axis = self.try_axis("max_axis", axis)?;
        let [outer, n, inner] = self.around(axis);
        let shape = self.without(axis)?;
        let sizes = [outer, n, inner];
        let top = Tensor::raw(reduce::max_middle(self.as_slice(), outer, n, inner), shape);
        let share = || {
            let ties = self.detach().reshape(&sizes).equal(&top.reshape(&[outer, 1, inner]));
            &ties / &ties.sum_keep(1)
        };
        let (y, input) = (top.clone(), *self.shape_ref());
        Ok(y.record([self.node().cloned(), None, None], || MaxMiddle { sizes, input, share: share() }))
    }

    /// The tensor repeated to `shape` by NumPy's rules.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[usize]) -> Self {
        or_panic(self.try_broadcast_to(shape))
    }

    /// [`Tensor::broadcast_to`], or the shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`], [`TensorError::Rank`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_broadcast_to(&self, shape: &[usize]) -> Result<Self, TensorError> {
        let output = Shape::new(shape)?;
        let input = *self.shape_ref();
        if input.broadcast(&output) != Some(output) {
            return Err(TensorError::Mismatch { operation: "broadcast_to", left: input.to_vec(), right: output.to_vec() });
        }
        if input == output {
            return Ok(self.clone());
        }
        let y = Tensor::raw(self.expanded(&output), output);
        Ok(y.record([self.node().cloned(), None, None], || Broadcast { input, output }))
    }

    /// The transpose of broadcasting: sums over the axes along which `shape` was repeated to this tensor's shape.
    #[track_caller]
    pub fn sum_to(&self, shape: &[usize]) -> Self {
        or_panic(self.try_sum_to(shape))
    }

    /// [`Tensor::sum_to`], or that `shape` cannot be broadcast to this tensor's shape.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`], [`TensorError::Rank`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_sum_to(&self, shape: &[usize]) -> Result<Self, TensorError> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        if Shape::new(shape)?.broadcast(self.shape_ref()) != Some(*self.shape_ref()) {
            return Err(TensorError::Mismatch { operation: "sum_to", left: self.shape().to_vec(), right: shape.to_vec() });
        }
        let lead = self.rank() - shape.len();
        let mut out = self.clone();
        if lead > 0 {
            let n: usize = self.shape()[..lead].iter().product();
            let rest = crate::tensor::checked(&self.shape()[lead..]);
            out = out.sum_middle([1, n, rest.count()], rest);
        }
        for (axis, &size) in shape.iter().enumerate() {
            if size == 1 && out.shape()[axis] != 1 {
                out = out.try_sum_keep(axis as isize)?;
            }
        }
        Ok(out)
    }
}
