//! Between the precisions.

use std::any::Any;

use crate::node::{Cx, NodeRef, Parents, Rule, mark};
use crate::{Scalar, Tensor};

/// A value of the other precision than that of its operand `x`, which the pass goes on with separately.
struct Cast<T: Scalar> {
    x: Tensor<T::Other>,
}

impl<T: Scalar> Rule<T> for Cast<T> {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.cross(self.x.clone(), g.cast());
    }
    fn stacks(&self) -> bool {
        true
    }
    fn crosses(&self) -> bool {
        true
    }
}

impl<T: Scalar> Tensor<T> {
    /// The value in a precision: rounded to the nearest from `f64` to `f32`, exact otherwise. Its derivative is the identity,
    /// and gradients go back in the precision of the operand. Per-example gradients refuse it.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad};
    /// // A loss in f64 of a network in f32.
    /// let loss = |w: &Tensor<f32>| w.square().cast::<f64>().sum().ln().cast();
    /// assert_eq!(grad(loss, &Tensor::vector(&[1.0, 1.0])).to_vec(), [1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn cast<U: Scalar>(&self) -> Tensor<U> {
        if let Some(same) = (self as &dyn Any).downcast_ref::<Tensor<U>>() {
            return same.clone();
        }
        let y = Tensor::raw(self.as_slice().iter().map(|x| U::from_f64(x.to_f64())).collect::<Vec<U>>(), *self.shape_ref());
        let (Some(node), Some(x)) = (self.node(), (self as &dyn Any).downcast_ref::<Tensor<U::Other>>()) else { return y };
        node.assert_same_thread(mark(), "cast");
        let node = NodeRef::new(*self.shape_ref(), Parents::Few([None, None, None]), node.depends, Cast::<U> { x: x.clone() });
        y.with_node(node)
    }
}
