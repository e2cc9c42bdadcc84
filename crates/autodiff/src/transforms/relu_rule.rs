//! Backward modes for rectifiers: pictures of what an input excites, not derivatives.

use super::reverse::scalar_gradient;
use super::{gradients, outside, variables};
use crate::node::{Activation, Level, Pass};
use crate::{Params, Scalar, Tensor};

/// How a pass goes back through `max(x, 0)`, for the gradient `g` that comes in. The function itself is never changed.
/// Only [`Tensor::relu`] is seen as a rectifier: one that is written as a choice or a maximum is differentiated as usual.
///
/// By the deconvnet and guided rules, other rectifiers (softplus, GELU, SiLU and the like) are refused by a panic that
/// names them, except by [`ReluRule::GuidedBySign`]. A chain in [`fuse`](crate::fuse()) that holds a rectifier is refused by
/// every rule but the plain one, since the pass does not see the gradients inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReluRule {
    /// The derivative, `g · [x > 0]`.
    #[default]
    Plain,
    /// `g · [g > 0]`, whatever the sign of the input (Zeiler and Fergus, 2014).
    Deconvnet,
    /// `g · [x > 0] · [g > 0]`: guided backpropagation (Springenberg et al., 2015).
    Guided,
    /// Guided, and other rectifiers gate by the sign too: `g · [g > 0]` times their derivative.
    GuidedBySign,
}

/// The gradient at a rectifier.
pub(crate) enum Gated<T: Scalar> {
    /// What its rule is to be run on.
    Incoming(Tensor<T>),
    /// Already the gradient of its input.
    Pulled(Tensor<T>),
}

impl ReluRule {
    pub(crate) fn gate<T: Scalar>(self, activation: Activation, name: &str, g: Tensor<T>) -> Gated<T> {
        match (self, activation) {
            (Self::Plain, _) | (_, Activation::None) => Gated::Incoming(g),
            (Self::Deconvnet, Activation::Relu) => Gated::Pulled(g.relu()),
            (Self::Guided | Self::GuidedBySign, Activation::Relu) | (Self::GuidedBySign, Activation::Other) => Gated::Incoming(g.relu()),
            (_, Activation::Fused) => {
                panic!(
                    "{self:?}: the function uses `{name}` with a rectifier inside, where the rule cannot reach it; take it out of the chain"
                )
            }
            (Self::Deconvnet | Self::Guided, Activation::Other) => {
                panic!(
                    "{self:?}: the rule is defined for ReLU, and the function uses `{name}`; GuidedBySign gates it by the sign of its gradient"
                )
            }
        }
    }

    /// Refuses what depends on a level of `levels`.
    #[track_caller]
    pub(super) fn assert_not_differentiated<T: Scalar>(self, x: &Tensor<T>, levels: u64) {
        let tracked = x.node().is_some_and(|node| node.depends & levels != 0);
        assert!(self == Self::Plain || !tracked, "{self:?} is not a derivative, but a derivative is being taken of its result");
    }
}

/// What [`grad`](crate::grad) returns when its pass goes back through rectifiers by `rule`.
///
/// ```
/// use gradus_autodiff::{ReluRule, Tensor, grad_with};
/// let f = |x: &Tensor| (x.relu() * &Tensor::vector(&[1.0, 1.0, -1.0])).sum();
/// let x = Tensor::vector(&[2.0, -2.0, 2.0]);
/// assert_eq!(grad_with(ReluRule::Plain, f, &x).to_vec(), [1.0, 0.0, -1.0]);
/// assert_eq!(grad_with(ReluRule::Deconvnet, f, &x).to_vec(), [1.0, 1.0, 0.0]);
/// assert_eq!(grad_with(ReluRule::Guided, f, &x).to_vec(), [1.0, 0.0, 0.0]);
/// ```
///
/// # Panics
/// When the value has more than one element; when the rule is not defined for a rectifier of the function; and, unless the
/// rule is [`ReluRule::Plain`], inside another derivative of the same parameters, since the result is not a derivative.
#[track_caller]
pub fn grad_with<P: Params>(rule: ReluRule, f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> P {
    scalar_gradient(rule, f, params).1
}

/// What [`vjp`](crate::vjp) returns when its passes go back through rectifiers by `rule`: several outputs of one
/// evaluation can be asked for.
///
/// # Panics
/// As [`grad_with`]; and the returned function when a derivative is being taken of its argument.
#[track_caller]
pub fn vjp_with<P: Params, F: FnOnce(&P) -> Tensor<P::Elem>>(
    rule: ReluRule,
    f: F,
    params: &P,
) -> (Tensor<P::Elem>, impl Fn(&Tensor<P::Elem>) -> P + use<P, F>) {
    let level = Level::enter();
    let bit = level.bit;
    let (model, ids) = variables(params, bit);
    let y = f(&model);
    rule.assert_not_differentiated(&y, bit - 1);
    let (params, value) = (params.clone(), outside(&y, bit));
    let pullback = move |cotangent: &Tensor<P::Elem>| {
        assert!(cotangent.shape() == y.shape(), "vjp: the cotangent has shape {}, the value {}", cotangent.shape_ref(), y.shape_ref());
        rule.assert_not_differentiated(cotangent, u64::MAX);
        gradients(&params, Pass { relu: rule, ..Pass::new(bit, &ids) }.run([(y.clone(), cotangent.clone())]))
    };
    (value, pullback)
}
