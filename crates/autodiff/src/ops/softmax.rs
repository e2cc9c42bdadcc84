//! The softmax family.

use super::arithmetic::or_panic;
use crate::kernels::rows;
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

/// The softmax of the last axis, saved as `y`.
struct Softmax<T: Scalar> {
    y: Tensor<T>,
}

impl<T: Scalar> Rule<T> for Softmax<T> {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if !cx.is_plain(&g) || g.shape() != self.y.shape() {
            let y = cx.output(&self.y);
            let mean = (&g * &y).sum_keep(-1);
            cx.add(0, y * (g - mean));
        } else {
            let values = rows::softmax_gradient(self.y.as_slice(), g.as_slice(), last(&self.y));
            cx.add(0, Tensor::raw(values, *self.y.shape_ref()));
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        (self.y.count() / last(&self.y).max(1)).is_multiple_of(batch)
    }
}

/// The logarithm of the softmax of the last axis, saved as `y`.
struct LogSoftmax<T: Scalar> {
    y: Tensor<T>,
}

impl<T: Scalar> Rule<T> for LogSoftmax<T> {
    fn name(&self) -> &'static str {
        "log_softmax"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if !cx.is_plain(&g) || g.shape() != self.y.shape() {
            let total = g.sum_keep(-1);
            let softmax = cx.output(&self.y).exp();
            cx.add(0, g - softmax * total);
        } else {
            let values = rows::log_softmax_gradient(self.y.as_slice(), g.as_slice(), last(&self.y));
            cx.add(0, Tensor::raw(values, *self.y.shape_ref()));
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        (self.y.count() / last(&self.y).max(1)).is_multiple_of(batch)
    }
}

fn last<T: Scalar>(x: &Tensor<T>) -> usize {
    x.shape().last().copied().unwrap_or(1)
}

impl<T: Scalar> Tensor<T> {
    /// `log Σ exp` along the last axis, which stays with size 1.
    #[track_caller]
    pub fn logsumexp_keep(&self) -> Self {
        or_panic(self.try_logsumexp_keep())
    }

    /// [`Tensor::logsumexp_keep`], or that a scalar has no last axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_logsumexp_keep(&self) -> Result<Self, TensorError> {
        self.try_axis("logsumexp_keep", -1)?;
        // An infinite maximum is not subtracted: `inf - inf` is not a number.
        let top = self.detach().max_axis(-1).unsqueeze(-1).constant_map(|x| if x.is_finite() { x } else { T::ZERO });
        Ok((self - &top).exp().sum_keep(-1).ln() + top)
    }

    /// The logarithm of the softmax along the last axis.
    #[track_caller]
    pub fn log_softmax(&self) -> Self {
        or_panic(self.try_log_softmax())
    }

    /// [`Tensor::log_softmax`], or that a scalar has no last axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_log_softmax(&self) -> Result<Self, TensorError> {
        self.try_axis("log_softmax", -1)?;
        let y = Tensor::raw(rows::log_softmax(self.as_slice(), last(self)), *self.shape_ref());
        let saved = y.detach();
        Ok(y.record([self.node().cloned(), None, None], || LogSoftmax { y: saved }))
    }

    /// The softmax along the last axis.
    #[track_caller]
    pub fn softmax(&self) -> Self {
        or_panic(self.try_softmax())
    }

    /// [`Tensor::softmax`], or that a scalar has no last axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_softmax(&self) -> Result<Self, TensorError> {
        self.try_axis("softmax", -1)?;
        let y = Tensor::raw(rows::softmax(self.as_slice(), last(self)), *self.shape_ref());
        let saved = y.detach();
        Ok(y.record([self.node().cloned(), None, None], || Softmax { y: saved }))
    }

    /// The softmax along any axis.
    #[track_caller]
    pub fn softmax_axis(&self, axis: isize) -> Self {
        or_panic(self.try_softmax_axis(axis))
    }

    /// [`Tensor::softmax_axis`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_softmax_axis(&self, axis: isize) -> Result<Self, TensorError> {
        let axis = self.try_axis("softmax_axis", axis)?;
        self.along_last(axis, Self::try_softmax)
    }

    /// The logarithm of the softmax along any axis.
    #[track_caller]
    pub fn log_softmax_axis(&self, axis: isize) -> Self {
        or_panic(self.try_log_softmax_axis(axis))
    }

    /// [`Tensor::log_softmax_axis`], or that there is no such axis.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_log_softmax_axis(&self, axis: isize) -> Result<Self, TensorError> {
        let axis = self.try_axis("log_softmax_axis", axis)?;
        self.along_last(axis, Self::try_log_softmax)
    }

    /// `f` with `axis` brought to the last place and back.
    #[track_caller]
    fn along_last(&self, axis: usize, f: impl Fn(&Self) -> Result<Self, TensorError>) -> Result<Self, TensorError> {
        let mut axes: Vec<usize> = (0..self.rank()).collect();
        axes.swap(axis, self.rank() - 1);
        if axis + 1 == self.rank() { f(self) } else { f(&self.try_permute(&axes)?)?.try_permute(&axes) }
    }
}
