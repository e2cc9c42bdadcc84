//! Selection by index.

use std::sync::Arc;

use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor};

struct IndexSelect {
    axis: usize,
    indices: Arc<[usize]>,
    input: Shape,
}

impl<T: Scalar> Rule<T> for IndexSelect {
    fn name(&self) -> &'static str {
        "index_select"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.scatter(self.axis, &self.indices, self.input[self.axis]));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input[..self.axis].iter().product::<usize>() % batch == 0
    }
}

struct Scatter {
    axis: usize,
    indices: Arc<[usize]>,
    leading: usize,
}

impl<T: Scalar> Rule<T> for Scatter {
    fn name(&self) -> &'static str {
        "scatter_add"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.select(self.axis, &self.indices));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.leading.is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The entries `indices` of an axis, in that order; repeats allowed. Panics for an index beyond the axis.
    #[track_caller]
    pub fn index_select(&self, axis: isize, indices: &[usize]) -> Self {
        let axis = self.axis("index_select", axis);
        let n = self.shape()[axis];
        if let Some(bad) = indices.iter().find(|&&i| i >= n) {
            panic!("index_select: index {bad} lies outside axis {axis} of shape {}", self.shape_ref());
        }
        self.select(axis, &indices.into())
    }

    #[track_caller]
    fn select(&self, axis: usize, indices: &Arc<[usize]>) -> Self {
        let [outer, n, inner] = self.around(axis);
        let input = *self.shape_ref();
        let mut shape = input;
        shape.set(axis, indices.len());
        let mut values = Vec::with_capacity(shape.count());
        for o in 0..outer {
            for &i in indices.iter() {
                values.extend_from_slice(&self.as_slice()[(o * n + i) * inner..(o * n + i + 1) * inner]);
            }
        }
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || IndexSelect { axis, indices: indices.clone(), input })
    }

    /// Zeros with axis `axis` of size `size`, to whose entries `indices` this tensor's entries are added, in order.
    /// The transpose of [`Tensor::index_select`].
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, indices: &[usize], size: usize) -> Self {
        let axis = self.axis("scatter_add", axis);
        assert!(
            indices.len() == self.shape()[axis] && indices.iter().all(|&i| i < size),
            "scatter_add: {} indices below {size} are needed for axis {axis} of shape {}",
            self.shape()[axis],
            self.shape_ref()
        );
        self.scatter(axis, &indices.into(), size)
    }

    #[track_caller]
    fn scatter(&self, axis: usize, indices: &Arc<[usize]>, size: usize) -> Self {
        let [outer, n, inner] = self.around(axis);
        let mut sizes = self.shape().to_vec();
        sizes[axis] = size;
        let shape = crate::tensor::checked(&sizes);
        let mut values = vec![T::ZERO; shape.count()];
        for o in 0..outer {
            for (from, &to) in indices.iter().enumerate() {
                let source = &self.as_slice()[(o * n + from) * inner..(o * n + from + 1) * inner];
                let target = &mut values[(o * size + to) * inner..(o * size + to + 1) * inner];
                target.iter_mut().zip(source).for_each(|(t, &s)| *t += s);
            }
        }
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Scatter { axis, indices: indices.clone(), leading: outer })
    }

    /// The matrix `[n, classes]` with a one in row `i` at column `labels[i]`. Panics for a label beyond the classes.
    #[track_caller]
    pub fn one_hot(labels: &[usize], classes: usize) -> Self {
        let mut values = vec![T::ZERO; labels.len() * classes];
        for (row, &label) in labels.iter().enumerate() {
            assert!(label < classes, "one_hot: label {label} of row {row} is not below {classes}");
            values[row * classes + label] = T::ONE;
        }
        Tensor::raw(values, crate::tensor::checked(&[labels.len(), classes]))
    }
}
