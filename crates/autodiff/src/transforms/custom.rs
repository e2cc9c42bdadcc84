//! Derivatives that the caller defines.

use super::tap;
use crate::node::{Cx, Rule};
use crate::{Params, Path, Scalar, Tensor};

/// The same value, a constant to every derivative; of a model its buffers too.
pub fn stop_gradient<P: Params>(params: &P) -> P {
    let mut constant = params.clone();
    constant.for_each_mut(&mut Path::default(), &mut |_, x| *x = x.detach());
    constant
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
/// captures is a constant: no derivative passes to it. Taps inside `f` are not heard.
///
/// ```
/// use gradus_autodiff::{Tensor, custom_vjp, grad};
/// // Rounding with the straight-through gradient.
/// let round = |x: &Tensor<f64>| custom_vjp(|x| Tensor::from_fn(x.shape(), |i| x.as_slice()[i].round()), |_, g| g.clone(), x);
/// assert_eq!(grad(|x: &Tensor<f64>| round(x).square().sum(), &Tensor::vector(&[1.7])).to_vec(), [4.0]);
/// ```
#[track_caller]
pub fn custom_vjp<T: Scalar>(
    f: impl FnOnce(&Tensor<T>) -> Tensor<T>,
    backward: impl Fn(&Tensor<T>, &Tensor<T>) -> Tensor<T> + Send + Sync + 'static,
    x: &Tensor<T>,
) -> Tensor<T> {
    let y = tap::unheard(|| f(&x.detach())).detach();
    y.record([x.node().cloned(), None, None], || Custom { x: x.clone(), backward })
}
