//! Derivatives that the caller defines.

use super::tap;
use crate::node::{Cx, Rule};
use crate::params::assert_alike;
use crate::{Params, Path, Scalar, Tensor};

/// The same value, a constant to every derivative; of a model its buffers too.
pub fn stop_gradient<P: Params>(params: &P) -> P {
    let mut constant = params.clone();
    constant.for_each_mut(&mut Path::default(), &mut |_, x| *x = x.detach());
    constant
}

struct Custom<P, B> {
    inputs: P,
    backward: B,
}

impl<T: Scalar, P, B> Rule<T> for Custom<P, B>
where
    P: Params<Elem = T> + Send + Sync + 'static,
    B: Fn(&P, &Tensor<T>) -> P + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "custom_vjp"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let inputs = self.inputs.map(|_, x| cx.get(x));
        let gradients = (self.backward)(&inputs, &g);
        assert_alike("custom_vjp", &gradients, &inputs);
        for (i, gradient) in gradients.leaves().into_iter().enumerate() {
            if cx.wants(i) {
                cx.add(i, gradient.clone());
            }
        }
    }
}

/// `f(inputs)`, differentiated by `backward(inputs, g)` instead of by what `f` does: `g` is the gradient of the value, and
/// the result is like `inputs`. `backward` must be linear in `g`; made of tensor operations, it is itself differentiated.
/// What either captures is a constant: no derivative passes to it. Taps inside `f` are not heard.
///
/// ```
/// use gradus_autodiff::{Tensor, custom_vjp, grad};
/// // Rounding with the straight-through gradient.
/// let round = |x: &Tensor<f64>| custom_vjp(|x| Tensor::from_fn(x.shape(), |i| x.as_slice()[i].round()), |_, g| g.clone(), x);
/// assert_eq!(grad(|x: &Tensor<f64>| round(x).square().sum(), &Tensor::vector(&[1.7])).to_vec(), [4.0]);
///
/// // A product of which only the first factor learns.
/// type Pair = (Tensor<f64>, Tensor<f64>);
/// let product = |pair: &Pair| custom_vjp(|(a, b)| a * b, |(_, b), g| (g * b, b.zeros_like()), pair);
/// let gradient = grad(product, &(Tensor::scalar(2.0), Tensor::scalar(3.0)));
/// assert_eq!((gradient.0.item(), gradient.1.item()), (3.0, 0.0));
/// ```
///
/// # Panics
/// The pass, when `backward` returns other tensors than `inputs` has: another number, or other shapes.
#[track_caller]
pub fn custom_vjp<P: Params + Send + Sync + 'static>(
    f: impl FnOnce(&P) -> Tensor<P::Elem>,
    backward: impl Fn(&P, &Tensor<P::Elem>) -> P + Send + Sync + 'static,
    inputs: &P,
) -> Tensor<P::Elem> {
    let y = tap::unheard(|| f(&stop_gradient(inputs))).detach();
    let parents = inputs.leaves().into_iter().map(|x| x.node().cloned()).collect();
    y.record_many(parents, || Custom { inputs: inputs.clone(), backward })
}
