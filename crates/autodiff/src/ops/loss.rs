//! Losses that are worth one name.

use crate::{Scalar, Tensor};

impl<T: Scalar> Tensor<T> {
    /// The cross-entropy of each row of logits `[batch, classes]` with its label, `[batch]`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let logits: Tensor<f64> = Tensor::zeros(&[1, 4]);
    /// assert!((logits.softmax_cross_entropy(&[2]).item() - 4f64.ln()).abs() < 1e-12);
    /// ```
    #[track_caller]
    pub fn softmax_cross_entropy(&self, labels: &[usize]) -> Self {
        assert!(
            self.rank() == 2 && self.shape()[0] == labels.len(),
            "softmax_cross_entropy: logits of shape {} do not fit {} labels",
            self.shape_ref(),
            labels.len()
        );
        -(self.log_softmax() * Tensor::one_hot(labels, self.shape()[1])).sum_axis(-1)
    }
}
