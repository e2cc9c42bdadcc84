//! Selection by index.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::Buffer;
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

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

/// Elements by their row-major places.
struct Take {
    name: &'static str,
    places: Arc<[usize]>,
    input: Shape,
}

impl<T: Scalar> Rule<T> for Take {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.put(self.name, &self.places, self.input));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        stay_in_chunks(&self.places, self.input.count(), batch)
    }
}

/// Elements added at row-major places.
struct Put {
    name: &'static str,
    places: Arc<[usize]>,
    input: Shape,
    output: Shape,
}

impl<T: Scalar> Rule<T> for Put {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.take(self.name, &self.places, self.input));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        stay_in_chunks(&self.places, self.output.count(), batch)
    }
}

/// Whether places of example `b` point into the values of example `b`.
fn stay_in_chunks(places: &[usize], values: usize, batch: usize) -> bool {
    if !places.len().is_multiple_of(batch) || !values.is_multiple_of(batch) || places.is_empty() {
        return false;
    }
    let (chunk, size) = (places.len() / batch, values / batch);
    places.iter().enumerate().all(|(at, &place)| at / chunk == place / size)
}

impl<T: Scalar> Tensor<T> {
    /// The entries `indices` of an axis, in that order; repeats allowed.
    #[track_caller]
    pub fn index_select(&self, axis: isize, indices: &[usize]) -> Self {
        or_panic(self.try_index_select(axis, indices))
    }

    /// [`Tensor::index_select`], or the index that lies outside.
    ///
    /// # Errors
    /// [`TensorError::Axis`], [`TensorError::Argument`].
    #[track_caller]
    pub fn try_index_select(&self, axis: isize, indices: &[usize]) -> Result<Self, TensorError> {
        let axis = self.try_axis("index_select", axis)?;
        inside("index_select", indices, axis, self.shape()[axis], self.shape())?;
        Ok(self.select(axis, &indices.into()))
    }

    #[track_caller]
    fn select(&self, axis: usize, indices: &Arc<[usize]>) -> Self {
        let [outer, n, inner] = self.around(axis);
        let input = *self.shape_ref();
        let mut shape = input;
        shape.set(axis, indices.len());
        let mut values: Vec<T> = Vec::with_capacity(shape.count());
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
        or_panic(self.try_scatter_add(axis, indices, size))
    }

    /// [`Tensor::scatter_add`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`], [`TensorError::TooLarge`], [`TensorError::Argument`] for another number of indices than
    /// entries or an index that is not below `size`.
    #[track_caller]
    pub fn try_scatter_add(&self, axis: isize, indices: &[usize], size: usize) -> Result<Self, TensorError> {
        let axis = self.try_axis("scatter_add", axis)?;
        if indices.len() != self.shape()[axis] {
            let what = format!("{} indices do not fit axis {axis}", indices.len());
            return Err(TensorError::Argument { operation: "scatter_add", what, shape: self.shape().to_vec() });
        }
        let mut output = self.shape().to_vec();
        output[axis] = size;
        inside("scatter_add", indices, axis, size, &Shape::new(&output)?)?;
        Ok(self.scatter(axis, &indices.into(), size))
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

    /// `output[.., i, ..] = self[.., indices[.., i, ..], ..]` along `axis`: `indices` are the row-major entries of a tensor
    /// of `shape`, which is this one's except along `axis`. One class of each row is
    /// `logits.gather(1, &labels, &[batch, 1])`.
    ///
    /// # Panics
    /// When something does not fit; [`Tensor::try_gather`] returns the error instead.
    #[track_caller]
    pub fn gather(&self, axis: isize, indices: &[usize], shape: &[usize]) -> Self {
        or_panic(self.try_gather(axis, indices, shape))
    }

    /// [`Tensor::gather`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`], [`TensorError::Rank`], [`TensorError::TooLarge`], [`TensorError::Mismatch`] for a shape that
    /// differs elsewhere, [`TensorError::Count`] for another number of indices, [`TensorError::Argument`] for an index
    /// beyond the axis.
    #[track_caller]
    pub fn try_gather(&self, axis: isize, indices: &[usize], shape: &[usize]) -> Result<Self, TensorError> {
        let axis = self.try_axis("gather", axis)?;
        let [_, n, inner] = self.around(axis);
        let output = Shape::new(shape)?;
        let mut like = *self.shape_ref();
        if output.len() == like.len() {
            like.set(axis, output[axis]);
        }
        if like != output {
            return Err(TensorError::Mismatch { operation: "gather", left: self.shape().to_vec(), right: output.to_vec() });
        }
        if output.count() != indices.len() {
            return Err(TensorError::Count { shape: output.to_vec(), found: indices.len() });
        }
        inside("gather", indices, axis, n, self.shape())?;
        let line = output[axis] * inner;
        let places: Arc<[usize]> = indices.iter().enumerate().map(|(at, &i)| (at / line * n + i) * inner + at % inner).collect();
        Ok(self.take("gather", &places, output))
    }

    /// The elements at the given row-major places, as a tensor of `shape`.
    #[track_caller]
    pub(super) fn take(&self, name: &'static str, places: &Arc<[usize]>, shape: Shape) -> Self {
        let x = self.as_slice();
        let values: Vec<T> = places.iter().map(|&i| x[i]).collect();
        let input = *self.shape_ref();
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Take { name, places: places.clone(), input })
    }

    /// The transpose of [`Tensor::take`]: zeros of `shape`, to which the elements are added at the given places.
    #[track_caller]
    fn put(&self, name: &'static str, places: &Arc<[usize]>, shape: Shape) -> Self {
        let mut values = Buffer::filled(T::ZERO, shape.count());
        places.iter().zip(self.as_slice()).for_each(|(&i, &x)| values[i] += x);
        let input = *self.shape_ref();
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Put { name, places: places.clone(), input, output: shape })
    }

    /// The matrix `[n, classes]` with a one in row `i` at column `labels[i]`.
    #[track_caller]
    pub fn one_hot(labels: &[usize], classes: usize) -> Self {
        or_panic(Self::try_one_hot(labels, classes))
    }

    /// [`Tensor::one_hot`], or the label beyond the classes.
    ///
    /// # Errors
    /// [`TensorError::Argument`], [`TensorError::TooLarge`].
    pub fn try_one_hot(labels: &[usize], classes: usize) -> Result<Self, TensorError> {
        let shape = Shape::new(&[labels.len(), classes])?;
        below("one_hot", labels, classes, &shape)?;
        let mut values = vec![T::ZERO; shape.count()];
        for (row, &label) in labels.iter().enumerate() {
            values[row * classes + label] = T::ONE;
        }
        Ok(Tensor::raw(values, shape))
    }
}

fn inside(operation: &'static str, indices: &[usize], axis: usize, n: usize, shape: &[usize]) -> Result<(), TensorError> {
    let Some(bad) = indices.iter().find(|&&i| i >= n) else { return Ok(()) };
    Err(TensorError::Argument { operation, what: format!("index {bad} lies outside axis {axis}"), shape: shape.to_vec() })
}

/// Every label is below the number of classes.
pub(super) fn below(operation: &'static str, labels: &[usize], classes: usize, shape: &[usize]) -> Result<(), TensorError> {
    let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) else { return Ok(()) };
    Err(TensorError::Argument { operation, what: format!("label {label} of row {row} is not below {classes}"), shape: shape.to_vec() })
}
