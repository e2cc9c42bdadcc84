use gradus_autodiff::{Convolution, Params, Scalar, Tensor};
use rand::Rng;

use crate::init;

/// A two-dimensional convolution.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Conv2d<T: Scalar = f32> {
    /// The filters, `[filters, channels, kernel height, kernel width]`.
    pub weight: Tensor<T>,
    /// One number added to each filter's output, `[filters]`.
    pub bias: Option<Tensor<T>>,
    /// Steps along height and width.
    #[params(skip)]
    pub stride: [usize; 2],
    /// Zeros on both sides of height and width.
    #[params(skip)]
    pub padding: [usize; 2],
}

impl<T: Scalar> Conv2d<T> {
    /// A square kernel of odd or even side `kernel` at stride 1, padded by `kernel / 2`, with PyTorch's initial values.
    #[track_caller]
    pub fn new(channels: usize, filters: usize, kernel: usize, rng: &mut impl Rng) -> Self {
        let fan_in = channels * kernel * kernel;
        let weight = init::torch_uniform(&[filters, channels, kernel, kernel], fan_in, rng);
        let bias = Some(init::torch_uniform(&[filters], fan_in, rng));
        Self { weight, bias, stride: [1, 1], padding: [kernel / 2, kernel / 2] }
    }

    /// `[batch, channels, height, width]` to `[batch, filters, output height, output width]`.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        let options = Convolution { stride: self.stride, padding: self.padding, ..Default::default() };
        x.conv2d(&self.weight, self.bias.as_ref(), options)
    }
}
