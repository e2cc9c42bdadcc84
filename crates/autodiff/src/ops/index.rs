//! Selection by index.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::{Buffer, select};
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

#[cfg(test)]
mod tests;

/// Entries of an axis. A second parent is the tensor that the indices were read from, through which no gradient passes.
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
        let axis = self.axis + g.rank() - self.input.len();
        cx.add(0, g.scatter(axis, &self.indices, self.input[self.axis]));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        match parent {
            0 => self.input[..self.axis].iter().product::<usize>() % batch == 0,
            _ => self.axis == 0 && self.indices.len().is_multiple_of(batch),
        }
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, _: bool) -> Option<Factor<T>> {
        (parent == 0 && self.axis == 0 && self.indices.len().is_multiple_of(batch)).then(|| Factor::of_rows(&self.indices, g, batch))
    }
}

struct Scatter {
    axis: usize,
    indices: Arc<[usize]>,
    input: Shape,
}

impl<T: Scalar> Rule<T> for Scatter {
    fn name(&self) -> &'static str {
        "scatter_add"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let axis = self.axis + g.rank() - self.input.len();
        cx.add(0, g.select(axis, &self.indices, None));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input[..self.axis].iter().product::<usize>() % batch == 0
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
    /// [`TensorError::Axis`], [`TensorError::Index`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_index_select(&self, axis: isize, indices: &[usize]) -> Result<Self, TensorError> {
        let axis = self.try_axis("index_select", axis)?;
        inside("index_select", indices, self.shape()[axis])?;
        let mut output = self.shape().to_vec();
        output[axis] = indices.len();
        Shape::new(&output)?;
        Ok(self.select(axis, &indices.into(), None))
    }

    /// `from` is the tensor that the indices were read from.
    #[track_caller]
    pub(crate) fn select(&self, axis: usize, indices: &Arc<[usize]>, from: Option<&Self>) -> Self {
        let input = *self.shape_ref();
        let mut shape = self.shape().to_vec();
        shape[axis] = indices.len();
        let shape = crate::tensor::checked(&shape);
        let values = select::select(self.as_slice(), indices, self.around(axis));
        let parents = [self.node().cloned(), from.and_then(Self::node).cloned(), None];
        Tensor::raw(values, shape).record(parents, || IndexSelect { axis, indices: indices.clone(), input })
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
    /// entries, [`TensorError::Index`] for one that is not below `size`.
    #[track_caller]
    pub fn try_scatter_add(&self, axis: isize, indices: &[usize], size: usize) -> Result<Self, TensorError> {
        let axis = self.try_axis("scatter_add", axis)?;
        if indices.len() != self.shape()[axis] {
            let what = format!("{} indices do not fit axis {axis}", indices.len());
            return Err(TensorError::Argument { operation: "scatter_add", what, shape: self.shape().to_vec() });
        }
        let mut output = self.shape().to_vec();
        output[axis] = size;
        Shape::new(&output)?;
        inside("scatter_add", indices, size)?;
        Ok(self.scatter(axis, &indices.into(), size))
    }

    #[track_caller]
    pub(crate) fn scatter(&self, axis: usize, indices: &Arc<[usize]>, size: usize) -> Self {
        let [outer, _, inner] = self.around(axis);
        let input = *self.shape_ref();
        let mut sizes = self.shape().to_vec();
        sizes[axis] = size;
        let shape = crate::tensor::checked(&sizes);
        let values = select::scatter_add(self.as_slice(), indices, [outer, size, inner]);
        Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Scatter { axis, indices: indices.clone(), input })
    }

    /// Rows of this table `[vocabulary, ..]` by index, as `[shape.., ..]`: `indices` are the row-major entries of a tensor of
    /// `shape`. The gradient of each row is the sum over its uses; that of one example ([`crate::per_example()`]) is held as
    /// the rows which it uses.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad};
    /// let table: Tensor = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2])?;
    /// let sentence = table.embedding(&[2, 0, 2], &[1, 3]);
    /// assert_eq!(sentence.shape(), [1, 3, 2]);
    /// assert_eq!(sentence.to_vec(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    /// let uses = grad(|table: &Tensor| table.embedding(&[2, 0, 2], &[3]).sum(), &table);
    /// assert_eq!(uses.to_vec(), [1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// When something does not fit; [`Tensor::try_embedding`] returns the error instead.
    #[track_caller]
    pub fn embedding(&self, indices: &[usize], shape: &[usize]) -> Self {
        or_panic(self.try_embedding(indices, shape))
    }

    /// [`Tensor::embedding`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Index`] for an index beyond the vocabulary, [`TensorError::Count`] for another number of indices,
    /// [`TensorError::Axis`] for a table without axes, [`TensorError::Rank`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_embedding(&self, indices: &[usize], shape: &[usize]) -> Result<Self, TensorError> {
        self.lookup(indices, shape, None)
    }

    /// [`Tensor::embedding`] of the whole numbers in `indices`, whose shape is the result's leading part. No gradient passes
    /// to them, but they say to which example each row belongs: per-example gradients of a language model take its tokens
    /// as inputs in this form.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, per_example};
    /// let table: Tensor = Tensor::from_vec(vec![1.0, 2.0, 3.0], &[3, 1])?;
    /// let sentences = Tensor::from_vec(vec![0.0, 1.0, 2.0, 2.0], &[2, 2])?;
    /// let loss = |table: &Tensor, tokens: &Tensor| table.embedding_of(tokens).sum_axis(2).sum_axis(1);
    /// assert_eq!(per_example(loss, &table, &sentences)?.squared_norms().to_vec(), [2.0, 4.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When something does not fit; [`Tensor::try_embedding_of`] returns the error instead.
    #[track_caller]
    pub fn embedding_of(&self, indices: &Self) -> Self {
        or_panic(self.try_embedding_of(indices))
    }

    /// [`Tensor::embedding_of`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_embedding`]; [`TensorError::Argument`] for an index that is no whole number from 0 on.
    #[track_caller]
    pub fn try_embedding_of(&self, indices: &Self) -> Result<Self, TensorError> {
        let whole = |x: &T| Some(x.to_f64()).filter(|x| *x >= 0.0 && x.fract() == 0.0 && *x < u64::MAX as f64).map(|x| x as usize);
        let mut found = Vec::with_capacity(indices.count());
        for (position, x) in indices.as_slice().iter().enumerate() {
            found.push(whole(x).ok_or_else(|| {
                let what = format!("the index {x} at position {position} is no whole number from 0 on");
                TensorError::Argument { operation: "embedding", what, shape: indices.shape().to_vec() }
            })?);
        }
        self.lookup(&found, indices.shape(), Some(indices))
    }

    #[track_caller]
    fn lookup(&self, indices: &[usize], shape: &[usize], from: Option<&Self>) -> Result<Self, TensorError> {
        self.try_axis("embedding", 0)?;
        let lead = Shape::new(shape)?;
        if lead.count() != indices.len() {
            return Err(TensorError::Count { shape: shape.to_vec(), found: indices.len() });
        }
        let output = Shape::new(&[&lead[..], &self.shape()[1..]].concat())?;
        inside("embedding", indices, self.shape()[0])?;
        self.select(0, &indices.into(), from).try_reshape(&output)
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
    /// differs elsewhere, [`TensorError::Count`] for another number of indices, [`TensorError::Index`] for one beyond the
    /// axis.
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
        inside("gather", indices, n)?;
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
    pub(super) fn put(&self, name: &'static str, places: &Arc<[usize]>, shape: Shape) -> Self {
        let mut values = Buffer::filled(T::ZERO, shape.count());
        let sums = &mut values[..];
        places.iter().zip(self.as_slice()).for_each(|(&i, &x)| sums[i] += x);
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

/// Every index is below the number of entries.
fn inside(operation: &'static str, indices: &[usize], size: usize) -> Result<(), TensorError> {
    match indices.iter().enumerate().find(|(_, index)| **index >= size) {
        Some((position, &index)) => Err(TensorError::Index { operation, index, position, size }),
        None => Ok(()),
    }
}

/// Every label is below the number of classes.
pub(super) fn below(operation: &'static str, labels: &[usize], classes: usize, shape: &[usize]) -> Result<(), TensorError> {
    let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) else { return Ok(()) };
    Err(TensorError::Argument { operation, what: format!("label {label} of row {row} is not below {classes}"), shape: shape.to_vec() })
}
