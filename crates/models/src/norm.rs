use gradus_autodiff::{Params, Path, Scalar, Tensor};

use crate::Pass;
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

/// Batch normalisation of `[batch, channels, ..]`, with any number of further axes (Ioffe, Szegedy 2015). Names are those of
/// PyTorch's, whose count of batches has no place here.
///
/// In training, each channel is normalised by its mean and variance over the batch, and the running statistics move towards
/// these: the pass has their new values. Otherwise the running statistics are used.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct BatchNorm<T: Scalar = f32> {
    /// The scale, `[channels]`.
    pub weight: Tensor<T>,
    /// The shift, `[channels]`.
    pub bias: Tensor<T>,
    /// The running mean, `[channels]`.
    #[params(buffer)]
    pub running_mean: Tensor<T>,
    /// The running variance, `[channels]`, without the bias of small batches.
    #[params(buffer)]
    pub running_var: Tensor<T>,
    /// Added to the variance.
    #[params(skip)]
    pub epsilon: f64,
    /// The part of the way that running statistics go at each step.
    #[params(skip)]
    pub momentum: f64,
}

impl<T: Scalar> BatchNorm<T> {
    /// Scale 1, shift 0, an epsilon of 1e-5 and a momentum of 0.1.
    #[track_caller]
    pub fn new(channels: usize) -> Self {
        let (ones, zeros) = (|| Tensor::ones(&[channels]), || Tensor::zeros(&[channels]));
        Self { weight: ones(), bias: zeros(), running_mean: zeros(), running_var: ones(), epsilon: 1e-5, momentum: 0.1 }
    }

    /// `[batch, channels, ..]` to the same shape.
    ///
    /// # Panics
    /// In training, when a channel has fewer than two values.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        let epsilon = T::from_f64(self.epsilon);
        if !pass.uses_batch_statistics() {
            return x.batch_norm_with(&self.running_mean, &self.running_var, Some(&self.weight), Some(&self.bias), epsilon);
        }
        let (y, found) = x.batch_norm(Some(&self.weight), Some(&self.bias), epsilon);
        for (running, batch) in [(&self.running_mean, &found.mean), (&self.running_var, &found.unbiased_variance())] {
            let old = pass.buffer(running);
            pass.update(running, &(&old + (batch - &old) * T::from_f64(self.momentum)));
        }
        y
    }
}

/// Normalisation of groups of channels of `[batch, channels, ..]`, each example by itself (Wu, He 2018). One group is layer
/// normalisation over channels and places.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct GroupNorm<T: Scalar = f32> {
    /// The scale, `[channels]`.
    pub weight: Tensor<T>,
    /// The shift, `[channels]`.
    pub bias: Tensor<T>,
    /// The number of groups; divides the number of channels.
    #[params(skip)]
    pub groups: usize,
    /// Added to the variance.
    #[params(skip)]
    pub epsilon: f64,
}

impl<T: Scalar> GroupNorm<T> {
    /// Scale 1, shift 0 and an epsilon of 1e-5.
    #[track_caller]
    pub fn new(groups: usize, channels: usize) -> Self {
        Self { weight: Tensor::ones(&[channels]), bias: Tensor::zeros(&[channels]), groups, epsilon: 1e-5 }
    }

    /// `[batch, channels, ..]` to the same shape.
    ///
    /// # Panics
    /// Unless the groups divide the channels.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        x.group_norm(self.groups, Some(&self.weight), Some(&self.bias), T::from_f64(self.epsilon))
    }
}

/// Normalisation of each channel of each example of `[batch, channels, ..]` over its places (Ulyanov, Vedaldi, Lempitsky 2016).
#[derive(Clone, Debug, PartialEq, Params)]
pub struct InstanceNorm<T: Scalar = f32> {
    /// The scale, `[channels]`.
    pub weight: Tensor<T>,
    /// The shift, `[channels]`.
    pub bias: Tensor<T>,
    /// Added to the variance.
    #[params(skip)]
    pub epsilon: f64,
}

impl<T: Scalar> InstanceNorm<T> {
    /// Scale 1, shift 0 and an epsilon of 1e-5.
    #[track_caller]
    pub fn new(channels: usize) -> Self {
        Self { weight: Tensor::ones(&[channels]), bias: Tensor::zeros(&[channels]), epsilon: 1e-5 }
    }

    /// `[batch, channels, ..]` to the same shape.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        x.instance_norm(Some(&self.weight), Some(&self.bias), T::from_f64(self.epsilon))
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
