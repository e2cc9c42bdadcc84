//! Comparisons and choices element by element.

use super::arithmetic::or_panic;
use crate::kernels::functions::is_nan;
use crate::kernels::{Buffer, pointwise};
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

/// `mask ? a : b`, all of one shape.
struct Choice<T: Scalar> {
    mask: Tensor<T>,
}

impl<T: Scalar> Rule<T> for Choice<T> {
    fn name(&self) -> &'static str {
        "where"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let (zero, mask) = (g.zeros_like(), self.mask.broadcast_to(g.shape()));
        // A choice and not a product with the mask: what was not chosen gets 0 even where the gradient is infinite.
        if cx.wants(0) {
            cx.add(0, choose(&mask, &g, &zero));
        }
        if cx.wants(1) {
            cx.add(1, choose(&mask, &zero, &g));
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

fn choose<T: Scalar>(mask: &Tensor<T>, a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
    let mut values: Buffer<T> = pointwise::map(mask.as_slice(), |m| m);
    pointwise::zip3_in_place(&mut values, a.as_slice(), b.as_slice(), |m, a, b| if m == T::ZERO { b } else { a });
    let y = Tensor::raw(values, *mask.shape_ref());
    y.record([a.node().cloned(), b.node().cloned(), None], || Choice { mask: mask.clone() })
}

impl<T: Scalar> Tensor<T> {
    /// `a` where this tensor is not 0, else `b`; all three broadcast. No gradient passes to this tensor, and what is not
    /// chosen gets a gradient of exactly 0. A function whose slope is not a number there still makes NaN of that 0, so its
    /// argument has to be chosen too:
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad};
    /// let root = |x: &Tensor| {
    ///     let positive = x.gt(&Tensor::scalar(0.0));
    ///     let safe = positive.where_(x, &Tensor::scalar(1.0));
    ///     positive.where_(&safe.sqrt(), &Tensor::scalar(0.0)).sum()
    /// };
    /// assert_eq!(root(&Tensor::vector(&[4.0, -4.0])).item(), 2.0);
    /// assert_eq!(grad(root, &Tensor::vector(&[4.0, -4.0])).to_vec(), [0.25, 0.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_where`] returns the error instead.
    #[track_caller]
    pub fn where_(&self, a: &Self, b: &Self) -> Self {
        or_panic(self.try_where(a, b))
    }

    /// [`Tensor::where_`], or the shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_where(&self, a: &Self, b: &Self) -> Result<Self, TensorError> {
        let both = common("where", a, b)?;
        let shape = self.shape_ref().broadcast(&both).ok_or_else(|| mismatch("where", self.shape(), &both))?;
        Ok(choose(&self.detach().broadcast_to(&shape), &a.broadcast_to(&shape), &b.broadcast_to(&shape)))
    }

    fn compare(&self, operation: &'static str, other: &Self, holds: impl Fn(T, T) -> bool + Sync) -> Result<Self, TensorError> {
        let shape = common(operation, self, other)?;
        let f = |a, b| if holds(a, b) { T::ONE } else { T::ZERO };
        let values = match (*self.shape_ref() == shape, *other.shape_ref() == shape) {
            (true, true) => pointwise::zip(self.as_slice(), other.as_slice(), f),
            (true, false) => pointwise::zip(self.as_slice(), &other.expanded(&shape), f),
            _ => pointwise::zip(&self.expanded(&shape), &other.expanded(&shape), f),
        };
        Ok(Tensor::raw(values, shape))
    }
}

/// A comparison and its `try_` form.
macro_rules! comparison {
    ($name:ident, $try_name:ident, $sign:literal, $holds:expr) => {
        impl<T: Scalar> Tensor<T> {
            #[doc = concat!("1 where `self ", $sign, " other`, else 0; broadcasts; a constant to every derivative.")]
            #[track_caller]
            pub fn $name(&self, other: &Self) -> Self {
                or_panic(self.$try_name(other))
            }

            #[doc = concat!("[`Tensor::", stringify!($name), "`], or the shapes that do not fit.\n\n# Errors\n[`TensorError::Mismatch`].")]
            pub fn $try_name(&self, other: &Self) -> Result<Self, TensorError> {
                self.compare(stringify!($name), other, $holds)
            }
        }
    };
}

comparison!(gt, try_gt, ">", |a, b| a > b);
comparison!(ge, try_ge, ">=", |a, b| a >= b);
comparison!(lt, try_lt, "<", |a, b| a < b);
comparison!(le, try_le, "<=", |a, b| a <= b);
comparison!(equal, try_equal, "==", |a, b| a == b);
comparison!(not_equal, try_not_equal, "!=", |a, b| a != b);

impl<T: Scalar> Tensor<T> {
    /// The greater of two elements; broadcasts. On ties this tensor's element takes the gradient; a NaN on either side
    /// gives NaN.
    #[track_caller]
    pub fn maximum(&self, other: &Self) -> Self {
        or_panic(self.try_maximum(other))
    }

    /// [`Tensor::maximum`], or the shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_maximum(&self, other: &Self) -> Result<Self, TensorError> {
        self.compare("maximum", other, |a, b| a >= b || is_nan(a))?.try_where(self, other)
    }

    /// The lesser of two elements; broadcasts. On ties this tensor's element takes the gradient; a NaN on either side
    /// gives NaN.
    #[track_caller]
    pub fn minimum(&self, other: &Self) -> Self {
        or_panic(self.try_minimum(other))
    }

    /// [`Tensor::minimum`], or the shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_minimum(&self, other: &Self) -> Result<Self, TensorError> {
        self.compare("minimum", other, |a, b| a <= b || is_nan(a))?.try_where(self, other)
    }
}

fn mismatch(operation: &'static str, left: &[usize], right: &[usize]) -> TensorError {
    TensorError::Mismatch { operation, left: left.to_vec(), right: right.to_vec() }
}

fn common<T: Scalar>(operation: &'static str, a: &Tensor<T>, b: &Tensor<T>) -> Result<Shape, TensorError> {
    a.shape_ref().broadcast(b.shape_ref()).ok_or_else(|| mismatch(operation, a.shape(), b.shape()))
}
