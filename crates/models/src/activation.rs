use gradus_autodiff::{Scalar, Tensor};

/// A function of one element, as the choice of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
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
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Identity => x.clone(),
        }
    }
}
