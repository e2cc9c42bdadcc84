use gradus_autodiff::{Params, Scalar, Tensor};
use rand::Rng;

use crate::build::Build;
use crate::init;

/// `x Wᵀ + b` over the last axis.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Linear<T: Scalar = f32> {
    /// W, `[output, input]`.
    pub weight: Tensor<T>,
    /// b, `[output]`.
    pub bias: Option<Tensor<T>>,
}

impl<T: Scalar> Linear<T> {
    /// A layer with PyTorch's initial values.
    #[track_caller]
    pub fn new(input: usize, output: usize, rng: &mut impl Rng) -> Self {
        let weight = init::torch_uniform(&[output, input], input, rng);
        Self { weight, bias: Some(init::torch_uniform(&[output], input, rng)) }
    }

    pub(crate) fn build(input: usize, output: usize, bias: bool, mut build: Build<'_, T>) -> Self {
        let weight = build.tensor("weight", &[output, input]);
        Self { weight, bias: bias.then(|| build.tensor("bias", &[output])) }
    }

    /// A layer with the given weight and a bias of zeros. Panics unless the weight is a matrix.
    #[track_caller]
    pub fn with_weight(weight: Tensor<T>) -> Self {
        let &[output, _] = weight.shape() else { panic!("Linear: the weight has shape {:?}, not [output, input]", weight.shape()) };
        Self { weight, bias: Some(Tensor::zeros(&[output])) }
    }

    /// `[.., input]` to `[.., output]`.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        x.linear(&self.weight, self.bias.as_ref())
    }
}
