//! Forward mode: Jacobian-vector products.
//!
//! There are no forward rules. A pull-back is linear in its cotangent, so its own pull-back is the push-forward: the
//! backward pass is recorded as a function of the cotangent, once, and passes through that recording push tangents forward.

use super::{left, outside, stop_gradient, variables};
use crate::node::{Level, Pass, leaf};
use crate::params::assert_alike;
use crate::{Params, Scalar, Tensor};

/// The value of a function and its derivative along `tangent`.
///
/// ```
/// use gradus_autodiff::{Tensor, jvp};
/// let x = Tensor::vector(&[1.0, 2.0]);
/// let (y, derivative) = jvp(|x: &Tensor<f64>| x.square(), &x, &Tensor::vector(&[1.0, -1.0]));
/// assert_eq!((y.to_vec(), derivative.to_vec()), (vec![1.0, 4.0], vec![2.0, -4.0]));
/// ```
///
/// # Panics
/// When `tangent` has other tensors than `params`: another number, or other shapes.
#[track_caller]
pub fn jvp<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P, tangent: &P) -> (Tensor<P::Elem>, Tensor<P::Elem>) {
    assert_alike("jvp", params, tangent);
    let level = Level::enter();
    let (model, ids) = variables(params, level.bit);
    let y = f(&model);
    drop(model);
    let value = outside(&y, level.bit);
    let forward = PushForward::record(y, level.bit, &ids);
    let seeds: Vec<_> = tangent.leaves().into_iter().cloned().collect();
    drop(level);
    let derivative = left(forward.into_push(seeds));
    (value, derivative)
}

/// The derivative of a function at a point, as a linear map that can be applied many times: [`linearize`] makes it.
pub struct Linearization<P: Params> {
    params: P,
    value: Tensor<P::Elem>,
    forward: PushForward<P::Elem>,
}

/// Evaluates a function and records its derivative once; each [`Linearization::jvp`] then costs about one evaluation and
/// repeats none.
///
/// It is a value like any other: inside another derivative its products are differentiated, as functions of the point and
/// of the tangent; products at a constant point may be taken on several threads at once.
///
/// ```
/// use gradus_autodiff::{Tensor, linearize};
/// let at = linearize(|x: &Tensor<f64>| x.square(), &Tensor::vector(&[1.0, 2.0]));
/// assert_eq!(at.value().to_vec(), [1.0, 4.0]);
/// assert_eq!(at.jvp(&Tensor::vector(&[1.0, 0.0])).to_vec(), [2.0, 0.0]);
/// assert_eq!(at.jvp(&Tensor::vector(&[0.0, 1.0])).to_vec(), [0.0, 4.0]);
/// ```
#[track_caller]
pub fn linearize<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> Linearization<P> {
    let level = Level::enter();
    let (model, ids) = variables(params, level.bit);
    let y = f(&model);
    drop(model);
    let value = outside(&y, level.bit);
    Linearization { params: stop_gradient(params), value, forward: PushForward::record(y, level.bit, &ids) }
}

impl<P: Params> Linearization<P> {
    /// The function's value at the point.
    pub fn value(&self) -> &Tensor<P::Elem> {
        &self.value
    }

    /// The derivative along `tangent`, of the value's shape.
    ///
    /// # Panics
    /// When `tangent` has other tensors than the parameters: another number, or other shapes.
    #[track_caller]
    pub fn jvp(&self, tangent: &P) -> Tensor<P::Elem> {
        assert_alike("jvp", &self.params, tangent);
        left(self.forward.push(tangent.leaves().into_iter().cloned().enumerate(), None))
    }
}

/// A pull-back that was recorded as a function of its cotangent.
pub(super) struct PushForward<T: Scalar> {
    /// The cotangents of the parameters, where there are any.
    roots: Vec<Option<Tensor<T>>>,
    bit: u64,
    cotangent: u64,
    shape: Vec<usize>,
}

impl<T: Scalar> PushForward<T> {
    /// Pulls back `y`, which depends on variables of the level `bit`.
    #[track_caller]
    pub(super) fn record(y: Tensor<T>, bit: u64, ids: &[u64]) -> Self {
        let level = Level::enter();
        let cotangent = leaf(y.zeros_like(), level.bit);
        let id = cotangent.node().map_or(0, |node| node.id);
        let shape = y.shape().to_vec();
        Self { roots: Pass::new(bit, ids).run([(y, cotangent)]), bit: level.bit, cotangent: id, shape }
    }

    /// What the tangents of some of the parameters, or stacks of tangents, push forward to.
    pub(super) fn push(&self, tangents: impl IntoIterator<Item = (usize, Tensor<T>)>, stack: Option<usize>) -> Tensor<T> {
        let seeds = tangents.into_iter().filter_map(|(i, tangent)| Some((self.roots.get(i)?.clone()?, tangent)));
        let found = Pass { stack, ..Pass::new(self.bit, &[self.cotangent]) }.run(seeds).pop().flatten();
        found.unwrap_or_else(|| Tensor::zeros(&stack.into_iter().chain(self.shape.iter().copied()).collect::<Vec<_>>()))
    }

    /// As [`PushForward::push`], for all parameters and for the last time: the recording is freed on the way.
    fn into_push(self, tangents: Vec<Tensor<T>>) -> Tensor<T> {
        let seeds = self.roots.into_iter().zip(tangents).filter_map(|(root, tangent)| Some((root?, tangent)));
        let found = Pass::new(self.bit, &[self.cotangent]).run(seeds).pop().flatten();
        found.unwrap_or_else(|| Tensor::zeros(&self.shape))
    }
}
