//! Checks of derivatives against central differences, for users' own tests too. With the feature `proptest`,
//! `strategies` has random shapes, broadcastable pairs of them, and tensors.

#[cfg(any(test, feature = "proptest"))]
pub mod strategies;

use crate::{Params, Tensor, TensorError, grad, hvp};

/// How a derivative disagrees with central differences.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("component {index}: the derivative is {derivative}, central differences give {difference} (tolerance {tolerance})")]
pub struct Disagreement {
    /// Which component of the flattened parameters.
    pub index: usize,
    /// What the transform returned.
    pub derivative: f64,
    /// What central differences give.
    pub difference: f64,
    /// The tolerance, relative to `1 + |difference|`.
    pub tolerance: f64,
}

/// Compares `grad` of a scalar function with central differences of step `h`, to `tolerance` relative to `1 + |difference|`.
///
/// # Errors
/// The first [`Disagreement`].
pub fn gradient<P: Params<Elem = f64>>(f: impl Fn(&P) -> Tensor<f64>, at: &P, h: f64, tolerance: f64) -> Result<(), Disagreement> {
    let derivative = grad(&f, at).flatten();
    compare(derivative.as_slice(), tolerance, |i| Ok((f(&moved(at, i, h)?).item() - f(&moved(at, i, -h)?).item()) / (2.0 * h)))
}

/// Compares `hvp` along `v` with central differences of the gradient.
///
/// # Errors
/// The first [`Disagreement`].
pub fn second_order<P: Params<Elem = f64>>(
    f: impl Fn(&P) -> Tensor<f64>,
    at: &P,
    v: &P,
    h: f64,
    tolerance: f64,
) -> Result<(), Disagreement> {
    let derivative = hvp(&f, at, v).flatten();
    let difference = (grad(&f, &at.axpy(h, v)).flatten() - grad(&f, &at.axpy(-h, v)).flatten()) / (2.0 * h);
    compare(derivative.as_slice(), tolerance, |i| Ok(difference[i]))
}

fn moved<P: Params<Elem = f64>>(at: &P, i: usize, h: f64) -> Result<P, TensorError> {
    let mut flat = at.flatten();
    flat[i] += h;
    at.unflatten(&flat)
}

fn compare(derivative: &[f64], tolerance: f64, difference: impl Fn(usize) -> Result<f64, TensorError>) -> Result<(), Disagreement> {
    for (index, &derivative) in derivative.iter().enumerate() {
        let difference = difference(index).unwrap_or(f64::NAN);
        let close = (derivative - difference).abs() <= tolerance * (1.0 + difference.abs());
        if !close {
            return Err(Disagreement { index, derivative, difference, tolerance });
        }
    }
    Ok(())
}
