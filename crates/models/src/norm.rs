use gradus_autodiff::{Params, Scalar, Tensor};

/// Layer normalisation of the last axis (Ba, Kiros, Hinton 2016) with scale and shift.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct LayerNorm<T: Scalar = f32> {
    /// The scale, `[width]`.
    pub weight: Tensor<T>,
    /// The shift, `[width]`.
    pub bias: Tensor<T>,
    /// Added to the variance.
    #[params(skip)]
    pub epsilon: f64,
}

impl<T: Scalar> LayerNorm<T> {
    /// Scale 1, shift 0 and an epsilon of 1e-5.
    #[track_caller]
    pub fn new(width: usize) -> Self {
        Self { weight: Tensor::ones(&[width]), bias: Tensor::zeros(&[width]), epsilon: 1e-5 }
    }

    /// `[.., width]` to the same shape.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        x.layer_norm(Some(&self.weight), Some(&self.bias), T::from_f64(self.epsilon))
    }
}
