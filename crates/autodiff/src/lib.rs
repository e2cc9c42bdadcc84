//! Tensors with composable derivative transforms: [`grad`], [`vjp`], [`jvp`], [`hvp`], [`jacobian`], [`hessian`] and its
//! diagonal, per-example gradients ([`per_example()`]), derivatives recorded for many products ([`linearize_gradient`]),
//! recomputation ([`checkpoint`]) and values in the middle ([`tap()`]). Derivatives are functions of functions, and a model is
//! plain data ([`Params`]).
//!
//! ```
//! use gradus_autodiff::{Params, Tensor, value_and_grad};
//!
//! #[derive(Clone, Params)]
//! struct Line {
//!     slope: Tensor,
//!     offset: Tensor,
//! }
//!
//! let (x, y) = (Tensor::vector(&[0.0, 1.0, 2.0]), Tensor::vector(&[1.0, 3.0, 5.0]));
//! let mut line = Line { slope: Tensor::scalar(0.0), offset: Tensor::scalar(0.0) };
//! for _ in 0..200 {
//!     let (_, gradient) = value_and_grad(|m: &Line| (&x * &m.slope + &m.offset - &y).square().mean(), &line);
//!     line = line.axpy(-0.2, &gradient);
//! }
//! assert!((line.slope.item() - 2.0).abs() < 1e-3 && (line.offset.item() - 1.0).abs() < 1e-3);
//! ```

extern crate self as gradus_autodiff;

pub mod check;
mod error;
mod interop;
mod kernels;
mod node;
mod ops;
mod params;
mod per_example;
mod scalar;
mod shape;
mod tensor;
#[cfg(test)]
mod tests;
mod transforms;

pub use error::TensorError;
pub use gradus_autodiff_derive::Params;
pub use interop::InteropError;
pub use ops::attention::{Attention, AttentionMask};
pub use ops::convolution::{Convolution, TransposedConvolution};
pub use ops::fuse::{Expression, Operand, fuse, fuse_many, try_fuse, try_fuse_many};
pub use ops::linear_algebra::Triangular;
pub use ops::normalisation::BatchStatistics;
pub use ops::pooling::Pooling;
pub use ops::recurrent::RecurrentWeights;
pub use ops::resize::Interpolation;
pub use ops::sort::SortOrder;
pub use params::{Params, Path};
pub use per_example::{ExampleGrads, PerExampleError, per_example};
pub use scalar::Scalar;
pub use shape::{MAX_RANK, Shape};
pub use tensor::Tensor;
pub use transforms::{
    Estimate, Linearization, LinearizedGradient, ReluRule, Tap, TappedGradient, checkpoint, custom_vjp, grad, grad_with, hessian,
    hessian_diagonal, hessian_diagonal_estimate, hessian_matrix, hessian_trace, hessian_trace_estimate, hvp, jacobian, jacobian_forward,
    jacobian_matrix, jacobian_reverse, jvp, linearize, linearize_gradient, stop_gradient, tap, tapped_grad, tapped_vjp, value_and_grad,
    vjp, vjp_with, with_taps, with_taps_replaced,
};
