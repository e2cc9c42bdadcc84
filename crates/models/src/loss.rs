//! Losses: means over a batch, scalars.

use gradus_autodiff::{Scalar, Tensor};

/// The mean of `(prediction - target)²` over all elements; the shapes broadcast.
#[track_caller]
pub fn mean_squared_error<T: Scalar>(prediction: &Tensor<T>, target: &Tensor<T>) -> Tensor<T> {
    (prediction - target).square().mean()
}

/// The mean of `|prediction - target|` over all elements; the shapes broadcast.
#[track_caller]
pub fn mean_absolute_error<T: Scalar>(prediction: &Tensor<T>, target: &Tensor<T>) -> Tensor<T> {
    (prediction - target).abs().mean()
}

/// The mean cross-entropy of logits `[batch, classes]` with their labels.
#[track_caller]
pub fn cross_entropy<T: Scalar>(logits: &Tensor<T>, labels: &[usize]) -> Tensor<T> {
    logits.softmax_cross_entropy(labels).mean()
}

/// The mean cross-entropy of Bernoulli logits with targets in `[0, 1]` of the same shape, `max(z, 0) - z t + log(1 + e^-|z|)`.
#[track_caller]
pub fn binary_cross_entropy<T: Scalar>(logits: &Tensor<T>, targets: &Tensor<T>) -> Tensor<T> {
    let softened = (-logits.abs()).exp() + T::ONE;
    (logits.relu() - logits * targets + softened.ln()).mean()
}
