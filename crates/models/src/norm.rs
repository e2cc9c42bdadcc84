use gradus_autodiff::{Params, Path, Scalar, Tensor};

use crate::build::Build;

/// Layer normalisation of the last axis (Ba, Kiros, Hinton 2016) with scale and shift.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct LayerNorm<T: Scalar = f32> {
    /// The scale, `[width]`.
    pub weight: Tensor<T>,
    /// The shift, `[width]`.
    pub bias: Option<Tensor<T>>,
    /// Added to the variance.
    #[params(skip)]
    pub epsilon: f64,
}

impl<T: Scalar> LayerNorm<T> {
    /// Scale 1, shift 0 and an epsilon of 1e-5.
    #[track_caller]
    pub fn new(width: usize) -> Self {
        Self { weight: Tensor::ones(&[width]), bias: Some(Tensor::zeros(&[width])), epsilon: 1e-5 }
    }

    /// `[.., width]` to the same shape.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        x.layer_norm(Some(&self.weight), self.bias.as_ref(), T::from_f64(self.epsilon))
    }
}

/// Division of the last axis by its root mean square, with a scale (Zhang, Sennrich 2019).
#[derive(Clone, Debug, PartialEq, Params)]
pub struct RmsNorm<T: Scalar = f32> {
    /// The scale, `[width]`.
    pub weight: Tensor<T>,
    /// Added to the mean square.
    #[params(skip)]
    pub epsilon: f64,
}

impl<T: Scalar> RmsNorm<T> {
    /// Scale 1 and an epsilon of 1e-6.
    #[track_caller]
    pub fn new(width: usize) -> Self {
        Self { weight: Tensor::ones(&[width]), epsilon: 1e-6 }
    }

    /// `[.., width]` to the same shape.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        x.rms_norm(Some(&self.weight), T::from_f64(self.epsilon))
    }
}

/// Which normalisation a transformer uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormKind {
    /// [`LayerNorm`].
    #[default]
    Layer,
    /// [`RmsNorm`].
    Rms,
}

/// A normalisation of the last axis, as the choice of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Norm<T: Scalar = f32> {
    /// To mean 0 and variance 1.
    Layer(LayerNorm<T>),
    /// To mean square 1.
    Rms(RmsNorm<T>),
}

impl<T: Scalar> Norm<T> {
    pub(crate) fn build(kind: NormKind, width: usize, bias: bool, epsilon: f64, mut build: Build<'_, T>) -> Self {
        let weight = build.tensor("weight", &[width]);
        match kind {
            NormKind::Layer => Self::Layer(LayerNorm { weight, bias: bias.then(|| build.tensor("bias", &[width])), epsilon }),
            NormKind::Rms => Self::Rms(RmsNorm { weight, epsilon }),
        }
    }

    /// `[.., width]` to the same shape.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        match self {
            Self::Layer(norm) => norm.call(x),
            Self::Rms(norm) => norm.call(x),
        }
    }
}

impl<T: Scalar> Params for Norm<T> {
    type Elem = T;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<T>)) {
        match self {
            Self::Layer(norm) => norm.for_each(path, f),
            Self::Rms(norm) => norm.for_each(path, f),
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<T>)) {
        match self {
            Self::Layer(norm) => norm.for_each_mut(path, f),
            Self::Rms(norm) => norm.for_each_mut(path, f),
        }
    }
}
