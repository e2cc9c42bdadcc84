use gradus_autodiff::{Params, Scalar, Tensor};
use rand::Rng;

use crate::{Activation, Linear};

/// A multi-layer perceptron: linear layers with an activation between them.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Mlp<T: Scalar = f32> {
    /// The layers, first to last.
    pub layers: Vec<Linear<T>>,
    /// What stands between them (not after the last).
    #[params(skip)]
    pub activation: Activation,
}

impl<T: Scalar> Mlp<T> {
    /// Layers between consecutive `widths`, with PyTorch's initial values.
    #[track_caller]
    pub fn new(widths: &[usize], activation: Activation, rng: &mut impl Rng) -> Self {
        let layers = widths.windows(2).map(|pair| Linear::new(pair[0], pair[1], rng)).collect();
        Self { layers, activation }
    }

    /// `[.., first width]` to `[.., last width]`.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        let mut layers = self.layers.iter();
        let Some(first) = layers.next() else { return x.clone() };
        layers.fold(first.call(x), |x, layer| layer.call(&self.activation.call(&x)))
    }
}
