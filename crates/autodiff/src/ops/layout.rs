//! Changes of shape and order; no arithmetic.

use super::arithmetic::or_panic;
use crate::kernels::{Buffer, strided};
use crate::node::{Cx, NodeRef, Rule};
use crate::shape::MAX_RANK;
use crate::{Scalar, Shape, Tensor, TensorError};

struct Reshape {
    input: Shape,
}

impl<T: Scalar> Rule<T> for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.reshape(&cx.shape(&self.input)));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input.count().is_multiple_of(batch)
    }
}

struct Permute {
    axes: Vec<usize>,
    leading: usize,
}

impl<T: Scalar> Rule<T> for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let mut inverse = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            inverse[from] = to;
        }
        cx.add(0, g.permute(&cx.axes(&inverse)));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.axes.first() == Some(&0) && self.leading.is_multiple_of(batch)
    }
}

/// The slice `start..start + length` of an axis.
struct Narrow {
    axis: usize,
    start: usize,
    input: Shape,
}

impl<T: Scalar> Rule<T> for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let after = self.input[self.axis] - self.start - g.shape()[self.axis];
        cx.add(0, g.pad(self.axis as isize, self.start, after));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input[..self.axis].iter().product::<usize>() % batch == 0
    }
}

/// Zeros before and after an axis.
struct Pad {
    axis: usize,
    before: usize,
    input: Shape,
}

impl<T: Scalar> Rule<T> for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.narrow(self.axis as isize, self.before, self.input[self.axis]));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input[..self.axis].iter().product::<usize>() % batch == 0
    }
}

struct Concat {
    axis: usize,
    sizes: Vec<usize>,
    leading: usize,
}

impl<T: Scalar> Rule<T> for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let mut start = 0;
        for (i, &size) in self.sizes.iter().enumerate() {
            if cx.wants(i) {
                cx.add(i, g.narrow(self.axis as isize, start, size));
            }
            start += size;
        }
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.leading.is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The same elements in row-major order under another shape of equal count.
    #[track_caller]
    pub fn reshape(&self, shape: &[usize]) -> Self {
        or_panic(self.try_reshape(shape))
    }

    /// [`Tensor::reshape`], or why the shape is not possible.
    ///
    /// # Errors
    /// [`TensorError::Count`] for another number of elements, [`TensorError::Rank`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_reshape(&self, shape: &[usize]) -> Result<Self, TensorError> {
        let shape = Shape::new(shape)?;
        let input = *self.shape_ref();
        if shape.count() != self.count() {
            return Err(TensorError::Count { shape: shape.to_vec(), found: self.count() });
        }
        if shape == input {
            return Ok(self.clone());
        }
        Ok(self.view(shape).record([self.node().cloned(), None, None], || Reshape { input }))
    }

    /// A new axis of size 1 before position `axis`; `-1` appends it.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Self {
        or_panic(self.try_unsqueeze(axis))
    }

    /// [`Tensor::unsqueeze`], or why there is no such place.
    ///
    /// # Errors
    /// [`TensorError::Axis`]; [`TensorError::Rank`] for a ninth axis.
    #[track_caller]
    pub fn try_unsqueeze(&self, axis: isize) -> Result<Self, TensorError> {
        let rank = self.rank() as isize;
        let at = if axis < 0 { axis.saturating_add(rank + 1) } else { axis };
        if !(0..=rank).contains(&at) {
            return Err(TensorError::Axis { operation: "unsqueeze", axis, shape: self.shape().to_vec() });
        }
        let mut shape = self.shape().to_vec();
        shape.insert(at as usize, 1);
        self.try_reshape(&shape)
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Self {
        or_panic(self.try_permute(axes))
    }

    /// [`Tensor::permute`], or that `axes` is not a permutation.
    ///
    /// # Errors
    /// [`TensorError::Argument`].
    #[track_caller]
    pub fn try_permute(&self, axes: &[usize]) -> Result<Self, TensorError> {
        let mut seen = [false; MAX_RANK];
        let valid = axes.len() == self.rank() && axes.iter().all(|&a| a < self.rank() && !std::mem::replace(&mut seen[a], true));
        if !valid {
            let what = format!("{axes:?} is not a permutation of the axes");
            return Err(TensorError::Argument { operation: "permute", what, shape: self.shape().to_vec() });
        }
        let sizes: Vec<usize> = axes.iter().map(|&a| self.shape()[a]).collect();
        let shape = Shape::new(&sizes)?;
        let leading = sizes.first().copied().unwrap_or(1);
        let y = Tensor::raw(strided::permute(self.as_slice(), self.shape_ref(), axes, &shape), shape);
        Ok(y.record([self.node().cloned(), None, None], || Permute { axes: axes.to_vec(), leading }))
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> Self {
        or_panic(self.try_t())
    }

    /// [`Tensor::t`], or that there are fewer than two axes.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_t(&self) -> Result<Self, TensorError> {
        let second = self.try_axis("t", -2)?;
        let mut axes: Vec<usize> = (0..self.rank()).collect();
        axes.swap(second, second + 1);
        self.try_permute(&axes)
    }

    /// The slice `start .. start + length` of an axis.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, length: usize) -> Self {
        or_panic(self.try_narrow(axis, start, length))
    }

    /// [`Tensor::narrow`], or what lies outside.
    ///
    /// # Errors
    /// [`TensorError::Axis`], [`TensorError::Argument`].
    #[track_caller]
    pub fn try_narrow(&self, axis: isize, start: usize, length: usize) -> Result<Self, TensorError> {
        let axis = self.try_axis("narrow", axis)?;
        let [outer, n, inner] = self.around(axis);
        if start.checked_add(length).is_none_or(|end| end > n) {
            let what = format!("{length} entries from {start} on lie outside axis {axis}");
            return Err(TensorError::Argument { operation: "narrow", what, shape: self.shape().to_vec() });
        }
        let mut shape = *self.shape_ref();
        let input = shape;
        shape.set(axis, length);
        let mut values = Buffer::stale(shape.count());
        strided::copy_lines(self.as_slice(), [n * inner, start * inner], &mut values, [length * inner, 0], [outer, length * inner]);
        Ok(Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Narrow { axis, start, input }))
    }

    /// The axis continued with `before` zeros in front and `after` behind.
    #[track_caller]
    pub fn pad(&self, axis: isize, before: usize, after: usize) -> Self {
        or_panic(self.try_pad(axis, before, after))
    }

    /// [`Tensor::pad`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_pad(&self, axis: isize, before: usize, after: usize) -> Result<Self, TensorError> {
        let axis = self.try_axis("pad", axis)?;
        let [outer, n, inner] = self.around(axis);
        let input = *self.shape_ref();
        let mut sizes = self.shape().to_vec();
        sizes[axis] = n.saturating_add(before).saturating_add(after);
        let shape = Shape::new(&sizes)?;
        let mut values = Buffer::filled(T::ZERO, shape.count());
        let to = [sizes[axis] * inner, before * inner];
        strided::copy_lines(self.as_slice(), [n * inner, 0], &mut values, to, [outer, n * inner]);
        Ok(Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Pad { axis, before, input }))
    }

    /// The tensors, whose shapes agree elsewhere, one behind the other along an axis.
    #[track_caller]
    pub fn concat(parts: &[Self], axis: isize) -> Self {
        or_panic(Self::try_concat(parts, axis))
    }

    /// [`Tensor::concat`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for no tensors, [`TensorError::Axis`], [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_concat(parts: &[Self], axis: isize) -> Result<Self, TensorError> {
        let first = some("concat", parts)?;
        let axis = first.try_axis("concat", axis)?;
        let mut shape = *first.shape_ref();
        for part in parts {
            let mut like = *part.shape_ref();
            let fits = like.len() == shape.len() && {
                like.set(axis, shape[axis]);
                like == shape
            };
            if !fits {
                return Err(TensorError::Mismatch { operation: "concat", left: shape.to_vec(), right: part.shape().to_vec() });
            }
        }
        let sizes: Vec<usize> = parts.iter().map(|p| p.shape()[axis]).collect();
        let outer: usize = shape[..axis].iter().product();
        shape.set(axis, sizes.iter().sum());
        let shape = Shape::new(&shape)?;
        let mut values = Buffer::stale(shape.count());
        let line = shape.count().checked_div(outer).unwrap_or(0);
        let mut first = 0;
        for part in parts {
            let size = part.count().checked_div(outer).unwrap_or(0);
            strided::copy_lines(part.as_slice(), [size, 0], &mut values, [line, first], [outer, size]);
            first += size;
        }
        let parents: Vec<Option<NodeRef<T>>> = parts.iter().map(|p| p.node().cloned()).collect();
        Ok(Tensor::raw(values, shape).record_many(parents, || Concat { axis, sizes, leading: outer }))
    }

    /// The tensors, of equal shape, along a new axis.
    #[track_caller]
    pub fn stack(parts: &[Self], axis: isize) -> Self {
        or_panic(Self::try_stack(parts, axis))
    }

    /// [`Tensor::stack`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for no tensors, [`TensorError::Axis`], [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_stack(parts: &[Self], axis: isize) -> Result<Self, TensorError> {
        let first = some("stack", parts)?;
        if let Some(other) = parts.iter().find(|p| p.shape() != first.shape()) {
            return Err(TensorError::Mismatch { operation: "stack", left: first.shape().to_vec(), right: other.shape().to_vec() });
        }
        let parts = parts.iter().map(|p| p.try_unsqueeze(axis)).collect::<Result<Vec<Self>, _>>()?;
        Self::try_concat(&parts, axis)
    }
}

fn some<'a, T: Scalar>(operation: &'static str, parts: &'a [Tensor<T>]) -> Result<&'a Tensor<T>, TensorError> {
    let none = || TensorError::Argument { operation, what: "no tensors were given".to_owned(), shape: Vec::new() };
    parts.first().ok_or_else(none)
}
