//! Changes of shape and order; no arithmetic.

use crate::kernels::strided;
use crate::node::{Cx, NodeRef, Rule};
use crate::shape::MAX_RANK;
use crate::{Scalar, Shape, Tensor};

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
        let shape = crate::tensor::checked(shape);
        let input = *self.shape_ref();
        assert!(shape.count() == self.count(), "reshape: shape {input} has {} elements, shape {shape} has {}", self.count(), shape.count());
        if shape == input {
            return self.clone();
        }
        self.view(shape).record([self.node().cloned(), None, None], || Reshape { input })
    }

    /// A new axis of size 1 before position `axis`; `-1` appends it.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Self {
        let rank = self.rank() as isize;
        let at = if axis < 0 { axis + rank + 1 } else { axis };
        assert!((0..=rank).contains(&at), "unsqueeze: axis {axis} does not exist for shape {}", self.shape_ref());
        let mut shape = self.shape().to_vec();
        shape.insert(at as usize, 1);
        self.reshape(&shape)
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor. Panics unless `axes` is a permutation.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Self {
        let mut seen = [false; MAX_RANK];
        let valid = axes.len() == self.rank() && axes.iter().all(|&a| a < self.rank() && !std::mem::replace(&mut seen[a], true));
        assert!(valid, "permute: {axes:?} is not a permutation of the axes of shape {}", self.shape_ref());
        let own = self.shape_ref().strides_for(self.shape_ref());
        let mut strides = [0; MAX_RANK];
        axes.iter().enumerate().for_each(|(to, &from)| strides[to] = own[from]);
        let sizes: Vec<usize> = axes.iter().map(|&a| self.shape()[a]).collect();
        let shape = crate::tensor::checked(&sizes);
        let leading = sizes.first().copied().unwrap_or(1);
        let y = Tensor::raw(strided::gather(self.as_slice(), &shape, &strides), shape);
        y.record([self.node().cloned(), None, None], || Permute { axes: axes.to_vec(), leading })
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> Self {
        assert!(self.rank() >= 2, "t: shape {} has fewer than two axes", self.shape_ref());
        let mut axes: Vec<usize> = (0..self.rank()).collect();
        axes.swap(self.rank() - 1, self.rank() - 2);
        self.permute(&axes)
    }

    /// The slice `start .. start + length` of an axis.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, length: usize) -> Self {
        let axis = self.axis("narrow", axis);
        let [outer, n, inner] = self.around(axis);
        assert!(start + length <= n, "narrow: {start}..{} lies outside axis {axis} of shape {}", start + length, self.shape_ref());
        let mut shape = *self.shape_ref();
        let input = shape;
        shape.set(axis, length);
        let mut values = Vec::with_capacity(shape.count());
        for o in 0..outer {
            values.extend_from_slice(&self.as_slice()[(o * n + start) * inner..(o * n + start + length) * inner]);
        }
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Narrow { axis, start, input })
    }

    /// The axis continued with `before` zeros in front and `after` behind.
    #[track_caller]
    pub fn pad(&self, axis: isize, before: usize, after: usize) -> Self {
        let axis = self.axis("pad", axis);
        let [outer, n, inner] = self.around(axis);
        let input = *self.shape_ref();
        let mut sizes = self.shape().to_vec();
        sizes[axis] = n + before + after;
        let shape = crate::tensor::checked(&sizes);
        let mut values = vec![T::ZERO; shape.count()];
        for o in 0..outer {
            let to = (o * sizes[axis] + before) * inner;
            values[to..to + n * inner].copy_from_slice(&self.as_slice()[o * n * inner..(o + 1) * n * inner]);
        }
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Pad { axis, before, input })
    }

    /// The tensors one behind the other along an axis. Panics for none, or for shapes that differ elsewhere.
    #[track_caller]
    pub fn concat(parts: &[Self], axis: isize) -> Self {
        assert!(!parts.is_empty(), "concat: no tensors were given");
        let axis = parts[0].axis("concat", axis);
        let mut shape = *parts[0].shape_ref();
        for part in parts {
            let mut like = *part.shape_ref();
            let fits = like.len() == shape.len() && {
                like.set(axis, shape[axis]);
                like == shape
            };
            assert!(fits, "concat: shapes {} and {} differ elsewhere than along axis {axis}", parts[0].shape_ref(), part.shape_ref());
        }
        let sizes: Vec<usize> = parts.iter().map(|p| p.shape()[axis]).collect();
        let outer: usize = shape[..axis].iter().product();
        shape.set(axis, sizes.iter().sum());
        let mut values = Vec::with_capacity(shape.count());
        for o in 0..outer {
            for part in parts {
                let size = part.count() / outer;
                values.extend_from_slice(&part.as_slice()[o * size..(o + 1) * size]);
            }
        }
        let parents: Vec<Option<NodeRef<T>>> = parts.iter().map(|p| p.node().cloned()).collect();
        Tensor::raw(values, shape).record_many(parents, || Concat { axis, sizes, leading: outer })
    }

    /// The tensors, of equal shape, along a new axis.
    #[track_caller]
    pub fn stack(parts: &[Self], axis: isize) -> Self {
        let parts: Vec<Self> = parts.iter().map(|p| p.unsqueeze(axis)).collect();
        assert!(!parts.is_empty(), "stack: no tensors were given");
        let at = if axis < 0 { axis + parts[0].rank() as isize } else { axis };
        Self::concat(&parts, at)
    }
}
