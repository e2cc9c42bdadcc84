//! Reductions over axes, and what is made of them: mean, layer norm.

use crate::kernels::{pointwise, reduce};
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor};

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
        let [outer, n, inner] = self.sizes;
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
}

impl<T: Scalar> Tensor<T> {
    /// The axis that `axis` means, negative ones counted from the end. Panics when it does not exist.
    #[track_caller]
    pub(crate) fn axis(&self, operation: &'static str, axis: isize) -> usize {
        let rank = self.rank() as isize;
        let found = if axis < 0 { axis + rank } else { axis };
        assert!((0..rank).contains(&found), "{operation}: axis {axis} does not exist in a tensor of shape {}", self.shape_ref());
        found as usize
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
        let axis = self.axis("sum_axis", axis);
        let mut shape = self.shape().to_vec();
        shape.remove(axis);
        self.sum_middle(self.around(axis), crate::tensor::checked(&shape))
    }

    /// The sum over one axis, which stays with size 1.
    #[track_caller]
    pub fn sum_keep(&self, axis: isize) -> Self {
        let axis = self.axis("sum_keep", axis);
        let mut shape = self.shape().to_vec();
        shape[axis] = 1;
        self.sum_middle(self.around(axis), crate::tensor::checked(&shape))
    }

    /// The mean of all elements; NaN for none.
    #[track_caller]
    pub fn mean(&self) -> Self {
        self.sum() * T::from_f64(1.0 / self.count() as f64)
    }

    /// The mean over one axis, which disappears.
    #[track_caller]
    pub fn mean_axis(&self, axis: isize) -> Self {
        let n = self.shape()[self.axis("mean_axis", axis)];
        self.sum_axis(axis) * T::from_f64(1.0 / n as f64)
    }

    /// The mean over one axis, which stays with size 1.
    #[track_caller]
    pub fn mean_keep(&self, axis: isize) -> Self {
        let n = self.shape()[self.axis("mean_keep", axis)];
        self.sum_keep(axis) * T::from_f64(1.0 / n as f64)
    }

    /// The greatest element along an axis, which disappears; minus infinity for none, NaN if there is one.
    /// Elements that tie for the maximum share its gradient equally.
    #[track_caller]
    pub fn max_axis(&self, axis: isize) -> Self {
        let axis = self.axis("max_axis", axis);
        let [outer, n, inner] = self.around(axis);
        let top = Tensor::raw(reduce::max_middle(self.as_slice(), outer, n, inner), crate::tensor::checked(&[outer, 1, inner]));
        let x = self.reshape(&[outer, n, inner]);
        let wide = top.expanded(x.shape_ref());
        let ties = Tensor::raw(pointwise::zip(x.as_slice(), &wide, |a, b| if a == b { T::ONE } else { T::ZERO }), *x.shape_ref());
        let share = &ties / &ties.sum_keep(1);
        let mut shape = self.shape().to_vec();
        shape.remove(axis);
        let y = if self.is_tracked() { (&x - &x.detach()).sum_weighted(&share) + top.reshape(&[outer, inner]) } else { top };
        y.reshape(&shape)
    }

    fn sum_weighted(&self, share: &Self) -> Self {
        (self * share).sum_axis(1)
    }

    /// The tensor repeated to `shape` by NumPy's rules. Panics when it does not fit.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[usize]) -> Self {
        let output = crate::tensor::checked(shape);
        let input = *self.shape_ref();
        assert!(input.broadcast(&output) == Some(output), "broadcast_to: shapes {input} and {output} do not fit");
        if input == output {
            return self.clone();
        }
        let y = Tensor::raw(self.expanded(&output), output);
        y.record([self.node().cloned(), None, None], || Broadcast { input, output })
    }

    /// The transpose of broadcasting: sums over the axes along which `shape` was repeated to this tensor's shape.
    #[track_caller]
    pub fn sum_to(&self, shape: &[usize]) -> Self {
        if self.shape() == shape {
            return self.clone();
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
                out = out.sum_keep(axis as isize);
            }
        }
        out
    }

    /// Layer normalisation of the last axis (Ba, Kiros, Hinton 2016) without scale and shift; `epsilon` is added to the variance.
    #[track_caller]
    pub fn layer_norm(&self, epsilon: T) -> Self {
        let centred = self - &self.mean_keep(-1);
        let variance = centred.square().mean_keep(-1);
        &centred / &(variance + epsilon).sqrt()
    }
}
