use gradus_autodiff::{Scalar, Tensor};

/// A function of one element, as the choice of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x` where it is positive, and this slope times `x` elsewhere.
    LeakyRelu(f64),
    /// `x Φ(x)` with the distribution function of the normal (Hendrycks, Gimpel 2016).
    Gelu,
    /// The approximation of [`Activation::Gelu`] by a hyperbolic tangent: GPT-2's.
    GeluTanh,
    /// `x σ(1.702 x)`, another approximation: CLIP's.
    QuickGelu,
    /// `x σ(x)`, also called swish.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function.
    Sigmoid,
    /// `x` itself.
    Identity,
}

impl Activation {
    /// The function at each element.
    #[track_caller]
    pub fn call<T: Scalar>(self, x: &Tensor<T>) -> Tensor<T> {
        match self {
            Self::Relu => x.relu(),
            Self::LeakyRelu(slope) => x.leaky_relu(T::from_f64(slope)),
            Self::Gelu => x.gelu(),
            Self::GeluTanh => x.gelu_tanh(),
            Self::QuickGelu => x * &(x * T::from_f64(1.702)).sigmoid(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Identity => x.clone(),
        }
    }
}
