//! Losses that are worth a kernel.

use std::sync::Arc;

use crate::kernels::rows;
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

struct CrossEntropy<T: Scalar> {
    logits: Tensor<T>,
    probabilities: Tensor<T>,
    labels: Arc<[usize]>,
}

impl<T: Scalar> Rule<T> for CrossEntropy<T> {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let classes = self.logits.shape()[1];
        if !cx.is_plain(&g) || g.rank() != 1 {
            let residual = cx.get(&self.logits).softmax() - Tensor::one_hot(&self.labels, classes);
            cx.add(0, residual * g.unsqueeze(-1));
        } else {
            let values = rows::cross_entropy_gradient(self.probabilities.as_slice(), &self.labels, g.as_slice(), classes);
            cx.add(0, Tensor::raw(values, *self.logits.shape_ref()));
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.labels.len().is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The cross-entropy of each row of logits `[batch, classes]` with its label, `[batch]`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let logits: Tensor<f64> = Tensor::zeros(&[1, 4]);
    /// assert!((logits.softmax_cross_entropy(&[2]).item() - 4f64.ln()).abs() < 1e-12);
    /// ```
    ///
    /// # Panics
    /// When something does not fit; [`Tensor::try_softmax_cross_entropy`] returns the error instead.
    #[track_caller]
    pub fn softmax_cross_entropy(&self, labels: &[usize]) -> Self {
        super::arithmetic::or_panic(self.try_softmax_cross_entropy(labels))
    }

    /// [`Tensor::softmax_cross_entropy`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for logits that are no matrix, another number of labels than rows, and a label beyond the
    /// classes.
    #[track_caller]
    pub fn try_softmax_cross_entropy(&self, labels: &[usize]) -> Result<Self, TensorError> {
        let operation = "softmax_cross_entropy";
        let &[rows, classes] = self.shape() else {
            let what = "logits need the axes [batch, classes]".to_owned();
            return Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() });
        };
        if rows != labels.len() {
            let what = format!("{} labels do not fit the logits", labels.len());
            return Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() });
        }
        super::index::below(operation, labels, classes, self.shape())?;
        let (losses, probabilities) = rows::cross_entropy(self.as_slice(), labels, classes);
        let y = Tensor::raw(losses, Shape::new(&[rows])?);
        Ok(y.record([self.node().cloned(), None, None], || CrossEntropy {
            logits: self.clone(),
            probabilities: Tensor::raw(probabilities, *self.shape_ref()),
            labels: labels.into(),
        }))
    }
}
