//! Losses: means over a batch, scalars.

use gradus_autodiff::{Scalar, Tensor};

/// The mean of `(prediction - target)²` over all elements.
///
/// # Panics
/// When the shapes differ: `[batch, 1]` against `[batch]` would broadcast to all pairs.
#[track_caller]
pub fn mean_squared_error<T: Scalar>(prediction: &Tensor<T>, target: &Tensor<T>) -> Tensor<T> {
    assert_same("mean_squared_error", prediction, target);
    (prediction - target).square().mean()
}

/// The mean of `|prediction - target|` over all elements.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn mean_absolute_error<T: Scalar>(prediction: &Tensor<T>, target: &Tensor<T>) -> Tensor<T> {
    assert_same("mean_absolute_error", prediction, target);
    (prediction - target).abs().mean()
}

/// The mean cross-entropy of logits `[batch, classes]` with their labels.
#[track_caller]
pub fn cross_entropy<T: Scalar>(logits: &Tensor<T>, labels: &[usize]) -> Tensor<T> {
    logits.softmax_cross_entropy(labels).mean()
}

/// The mean cross-entropy of Bernoulli logits with targets in `[0, 1]` of the same shape, `ln(1 + eᶻ) - z t`.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn binary_cross_entropy<T: Scalar>(logits: &Tensor<T>, targets: &Tensor<T>) -> Tensor<T> {
    assert_same("binary_cross_entropy", logits, targets);
    (logits.softplus() - logits * targets).mean()
}

#[track_caller]
fn assert_same<T: Scalar>(loss: &str, a: &Tensor<T>, b: &Tensor<T>) {
    assert!(a.shape() == b.shape(), "{loss}: shapes {:?} and {:?} differ", a.shape(), b.shape());
}
