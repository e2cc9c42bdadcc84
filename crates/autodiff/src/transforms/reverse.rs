//! Reverse mode: gradients and vector-Jacobian products.

use super::relu_rule::{ReluRule, vjp_with};
use super::{gradients, outside, variables};
use crate::node::{Level, Pass};
use crate::{Params, Scalar, Tensor};

/// The gradient of a scalar function of a model.
///
/// ```
/// use gradus_autodiff::{Tensor, grad};
/// let cube = |x: &Tensor<f64>| (x * &(x * x)).sum();
/// let slope = |x: &Tensor<f64>| grad(cube, x).sum();
/// assert_eq!(grad(slope, &Tensor::scalar(2.0)).item(), 12.0); // the second derivative
/// ```
#[track_caller]
pub fn grad<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> P {
    value_and_grad(f, params).1
}

/// The value and the gradient of a scalar function of a model. Panics when the value has more than one element.
#[track_caller]
pub fn value_and_grad<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> (Tensor<P::Elem>, P) {
    scalar_gradient(ReluRule::Plain, f, params)
}

#[track_caller]
pub(super) fn scalar_gradient<P: Params>(rule: ReluRule, f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> (Tensor<P::Elem>, P) {
    let level = Level::enter();
    let (model, ids) = variables(params, level.bit);
    let y = f(&model);
    drop(model);
    assert!(y.count() == 1, "grad: the function returned shape {}, but a gradient needs exactly one element", y.shape_ref());
    rule.assert_not_differentiated(&y, level.bit - 1);
    // The pass may free the graph only if nothing else holds it: the value goes out without this level's history.
    let value = outside(&y, level.bit);
    let seed = y.ones_like();
    let found = Pass { relu: rule, ..Pass::new(level.bit, &ids) }.run([(y, seed)]);
    drop(level);
    (value, gradients(params, found))
}

/// The value of a function, and the map from a cotangent of the value's shape to the cotangent of the parameters.
///
/// ```
/// use gradus_autodiff::{Tensor, vjp};
/// let (y, pullback) = vjp(|x: &Tensor<f64>| x.square(), &Tensor::vector(&[1.0, 2.0]));
/// assert_eq!(y.to_vec(), [1.0, 4.0]);
/// assert_eq!(pullback(&Tensor::vector(&[1.0, 10.0])).to_vec(), [2.0, 40.0]);
/// ```
#[track_caller]
pub fn vjp<P: Params, F: FnOnce(&P) -> Tensor<P::Elem>>(f: F, params: &P) -> (Tensor<P::Elem>, impl Fn(&Tensor<P::Elem>) -> P + use<P, F>) {
    vjp_with(ReluRule::Plain, f, params)
}

/// What a function at a point pulls back for one cotangent, or for a stack of them; the recording is freed on the way.
#[track_caller]
pub(super) fn pull_back<T: Scalar>(
    f: impl FnOnce(&Vec<Tensor<T>>) -> Tensor<T>,
    at: &Vec<Tensor<T>>,
    cotangent: Tensor<T>,
    stack: Option<usize>,
    relu: ReluRule,
) -> Vec<Option<Tensor<T>>> {
    let level = Level::enter();
    let (variables, ids) = variables(at, level.bit);
    let y = f(&variables);
    drop(variables);
    Pass { stack, relu, ..Pass::new(level.bit, &ids) }.run([(y, cotangent)])
}
