//! Derivatives as functions: they compose to any order.

mod checkpoint;
mod custom;
mod forward;
mod hessian;
mod jacobian;
pub(crate) mod relu_rule;
mod reverse;
mod tap;
#[cfg(test)]
mod tests;

pub use checkpoint::checkpoint;
pub use custom::{custom_vjp, stop_gradient};
pub use forward::{Linearization, jvp, linearize};
pub use hessian::{
    Estimate, LinearizedGradient, hessian, hessian_diagonal, hessian_diagonal_estimate, hessian_matrix, hessian_trace,
    hessian_trace_estimate, hvp, linearize_gradient,
};
pub use jacobian::{jacobian, jacobian_forward, jacobian_matrix, jacobian_reverse};
pub use relu_rule::{ReluRule, grad_with, vjp_with};
pub use reverse::{grad, value_and_grad, vjp};
pub use tap::{Tap, TappedGradient, tap, tapped_grad, tapped_vjp, with_taps, with_taps_replaced};

use crate::kernels::Buffer;
use crate::node::{Level, ended, leaf};
use crate::params::map_nameless;
use crate::tensor::checked;
use crate::{Params, Scalar, Tensor};

/// A model whose tensors are variables of the level `bit`, and their ids.
#[track_caller]
pub(crate) fn variables<P: Params>(params: &P, bit: u64) -> (P, Vec<u64>) {
    let mut ids = Vec::new();
    let model = map_nameless(params, |x| {
        let x = leaf(x, bit);
        ids.extend(x.node().map(|node| node.id));
        x
    });
    (model, ids)
}

/// A model like `params` holding the gradients, zeros where there is none. Their own level has ended.
#[track_caller]
fn gradients<P: Params>(params: &P, slots: Vec<Option<Tensor<P::Elem>>>) -> P {
    let mut slots = slots.into_iter();
    map_nameless(params, |x| slots.next().flatten().map_or_else(|| x.zeros_like(), left))
}

/// What leaves a derivative whose levels have ended.
#[track_caller]
pub(crate) fn left<T: Scalar>(x: Tensor<T>) -> Tensor<T> {
    ended(x, Level::enter().bit - 1)
}

/// The value without the history of the level `bit` and deeper ones: a constant, unless an outer derivative needs it.
fn outside<T: Scalar>(y: &Tensor<T>, bit: u64) -> Tensor<T> {
    ended(y.clone(), bit - 1)
}

/// Rows or columns of a matrix of derivatives that are made together.
const STACK: usize = 128;

/// The unit tensors `first..first + count` of a shape, stacked: `[count, shape..]`.
#[track_caller]
fn units<T: Scalar>(first: usize, count: usize, shape: &[usize]) -> Tensor<T> {
    let shape = checked(&[&[count], shape].concat());
    let size = shape.count() / count.max(1);
    let mut values = Buffer::filled(T::ZERO, shape.count());
    for i in 0..count {
        values[i * size + first + i] = T::ONE;
    }
    Tensor::raw(values, shape)
}

/// The blocks of at most [`STACK`] that `0..count` is cut into: where each begins, and its size.
fn blocks(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(STACK).map(move |first| (first, STACK.min(count - first)))
}
