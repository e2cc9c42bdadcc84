//! Derivatives as functions: they compose to any order.

use crate::node::{Cx, Level, Rule, leaf, pass};
use crate::{Params, Scalar, Tensor};

/// A model whose tensors are variables of the level `bit`, and their ids.
#[track_caller]
pub(crate) fn variables<P: Params>(params: &P, bit: u64) -> (P, Vec<u64>) {
    let mut ids = Vec::new();
    let model = params.map(|_, x| {
        let x = leaf(x, bit);
        ids.extend(x.node().map(|node| node.id));
        x
    });
    (model, ids)
}

/// A model like `params` holding the gradients, zeros where there is none.
fn gradients<P: Params>(params: &P, slots: Vec<Option<Tensor<P::Elem>>>) -> P {
    let mut slots = slots.into_iter();
    params.map(|_, x| slots.next().flatten().unwrap_or_else(|| x.zeros_like()))
}

#[track_caller]
fn assert_scalar<T: Scalar>(what: &str, y: &Tensor<T>) {
    assert!(y.count() == 1, "{what}: the function returned shape {}, but a gradient needs exactly one element", y.shape_ref());
}

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
    let level = Level::enter();
    let (model, ids) = variables(params, level.bit);
    let y = f(&model);
    drop(model);
    assert_scalar("grad", &y);
    // The pass may free the graph only if nothing else holds it: the value goes out without this level's history.
    let value = if y.node().is_some_and(|n| n.depends & (level.bit - 1) != 0) { y.clone() } else { y.detach() };
    let seed = y.ones_like();
    (value, gradients(params, pass(y, seed, level.bit, &ids, None)))
}

/// The value of a function, and the map from a cotangent of the value's shape to the cotangent of the parameters.
#[track_caller]
pub fn vjp<P: Params, F: FnOnce(&P) -> Tensor<P::Elem>>(f: F, params: &P) -> (Tensor<P::Elem>, impl Fn(&Tensor<P::Elem>) -> P + use<P, F>) {
    let level = Level::enter();
    let bit = level.bit;
    let (model, ids) = variables(params, bit);
    let y = f(&model);
    let params = params.clone();
    let value = if y.node().is_some_and(|n| n.depends & (bit - 1) != 0) { y.clone() } else { y.detach() };
    let pullback = move |cotangent: &Tensor<P::Elem>| {
        assert!(cotangent.shape() == y.shape(), "vjp: the cotangent has shape {}, the value {}", cotangent.shape_ref(), y.shape_ref());
        gradients(&params, pass(y.clone(), cotangent.clone(), bit, &ids, None))
    };
    (value, pullback)
}

/// The value of a function and its derivative along `tangent`: forward mode as the derivative of reverse mode.
#[track_caller]
pub fn jvp<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P, tangent: &P) -> (Tensor<P::Elem>, Tensor<P::Elem>) {
    let (value, pullback) = vjp(f, params);
    let derivative = grad(|u: &Tensor<P::Elem>| pullback(u).dot(tangent), &value.zeros_like());
    (value, derivative)
}

/// The Hessian of a scalar function times `v`: the gradient of the gradient's component along `v`.
///
/// ```
/// use gradus_autodiff::{Tensor, hvp};
/// let f = |x: &Tensor<f64>| (x * &(x * x)).sum();
/// let x = Tensor::vector(&[1.0, 2.0]);
/// assert_eq!(hvp(f, &x, &Tensor::vector(&[1.0, 1.0])).to_vec(), [6.0, 12.0]);
/// ```
#[track_caller]
pub fn hvp<P: Params>(f: impl Fn(&P) -> Tensor<P::Elem>, params: &P, v: &P) -> P {
    grad(|p: &P| grad(&f, p).dot(v), params)
}

/// Rows of a Jacobian that are pulled back together.
const ROWS: usize = 128;

/// The Jacobian of a function of one tensor, `[output.., input..]`: one backward pass for every 128 rows.
///
/// # Panics
/// When input and output have more than 8 axes together, or a value between them has 8: the rows take one.
#[track_caller]
pub fn jacobian<T: Scalar>(f: impl FnOnce(&Tensor<T>) -> Tensor<T>, x: &Tensor<T>) -> Tensor<T> {
    let level = Level::enter();
    let (variable, ids) = variables(x, level.bit);
    let y = f(&variable);
    let shape = [y.shape(), x.shape()].concat();
    let rows: Vec<Tensor<T>> = (0..y.count())
        .step_by(ROWS)
        .map(|first| {
            let count = ROWS.min(y.count() - first);
            let cotangents =
                Tensor::from_fn(&[count, y.count()], |i| if i % y.count() == first + i / y.count() { T::ONE } else { T::ZERO });
            let cotangents = cotangents.reshape(&[&[count], y.shape()].concat());
            let found = pass(y.clone(), cotangents, level.bit, &ids, Some(count)).pop().flatten();
            found.unwrap_or_else(|| Tensor::zeros(&[count, x.count()])).reshape(&[count, x.count()])
        })
        .collect();
    if rows.is_empty() { Tensor::zeros(&shape) } else { Tensor::concat(&rows, 0).reshape(&shape) }
}

/// The Hessian of a scalar function of one tensor, `[input.., input..]`.
#[track_caller]
pub fn hessian<T: Scalar>(f: impl Fn(&Tensor<T>) -> Tensor<T>, x: &Tensor<T>) -> Tensor<T> {
    jacobian(|x| grad(&f, x), x)
}

/// The same value, a constant to every derivative.
pub fn stop_gradient<P: Params>(params: &P) -> P {
    params.map(|_, x| x.detach())
}

struct Custom<T: Scalar, B> {
    x: Tensor<T>,
    backward: B,
}

impl<T: Scalar, B: Fn(&Tensor<T>, &Tensor<T>) -> Tensor<T> + Send + Sync + 'static> Rule<T> for Custom<T, B> {
    fn name(&self) -> &'static str {
        "custom_vjp"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let x = cx.get(&self.x);
        let gradient = (self.backward)(&x, &g);
        assert!(gradient.shape() == x.shape(), "custom_vjp: the gradient has shape {}, the input {}", gradient.shape_ref(), x.shape_ref());
        cx.add(0, gradient);
    }
}

/// `f(x)`, differentiated by `backward(x, g)` instead of by what `f` does. `backward` must be linear in `g`. What `f`
/// captures is a constant: no derivative passes to it.
#[track_caller]
pub fn custom_vjp<T: Scalar>(
    f: impl FnOnce(&Tensor<T>) -> Tensor<T>,
    backward: impl Fn(&Tensor<T>, &Tensor<T>) -> Tensor<T> + Send + Sync + 'static,
    x: &Tensor<T>,
) -> Tensor<T> {
    let y = f(&x.detach()).detach();
    y.record([x.node().cloned(), None, None], || Custom { x: x.clone(), backward })
}
