use gradus_autodiff::{Convolution, Params, Scalar, Tensor};
use rand::Rng;

use crate::{BatchNorm, Conv2d, Pass};

/// Two 3×3 convolutions whose output is added to the input (He, Zhang, Ren, Sun 2016). Names are those of torchvision's
/// `BasicBlock`.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct ResidualBlock<T: Scalar = f32> {
    /// The first convolution.
    pub conv1: Conv2d<T>,
    /// Its normalisation.
    pub bn1: BatchNorm<T>,
    /// The second convolution.
    pub conv2: Conv2d<T>,
    /// Its normalisation.
    pub bn2: BatchNorm<T>,
    /// The map of the input where its size is another than the output's: a 1×1 convolution and, after it, normalisation.
    pub downsample: Option<(Conv2d<T>, Option<BatchNorm<T>>)>,
    /// Whether normalisation and ReLU stand before each convolution, and nothing after the sum (He et al. 2016, "Identity
    /// mappings"); otherwise after each convolution, the last ReLU after the sum.
    #[params(skip)]
    pub pre_activation: bool,
}

impl<T: Scalar> ResidualBlock<T> {
    /// From `channels` to `filters` with the given steps, without biases, which normalisation would take out again.
    #[track_caller]
    pub fn new(channels: usize, filters: usize, stride: usize, pre_activation: bool, rng: &mut impl Rng) -> Self {
        let mut conv = |channels, filters, kernel: usize, stride| {
            let options = Convolution { stride: [stride; 2], padding: [kernel / 2; 2], ..Convolution::default() };
            Conv2d { bias: None, ..Conv2d::with_options(channels, filters, [kernel; 2], options, rng) }
        };
        Self {
            conv1: conv(channels, filters, 3, stride),
            bn1: BatchNorm::new(if pre_activation { channels } else { filters }),
            conv2: conv(filters, filters, 3, 1),
            bn2: BatchNorm::new(filters),
            downsample: (stride != 1 || channels != filters)
                .then(|| (conv(channels, filters, 1, stride), (!pre_activation).then(|| BatchNorm::new(filters)))),
            pre_activation,
        }
    }

    /// `[batch, channels, height, width]` to `[batch, filters, height / stride, width / stride]`, rounded up.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        let start = if self.pre_activation { self.bn1.call(x, pass).relu() } else { x.clone() };
        let hidden = self.conv1.call(&start);
        let hidden = if self.pre_activation { self.bn2.call(&hidden, pass) } else { self.bn1.call(&hidden, pass) };
        let update = self.conv2.call(&hidden.relu());
        let update = if self.pre_activation { update } else { self.bn2.call(&update, pass) };
        let sum = update + self.shortcut(x, &start, pass);
        if self.pre_activation { sum } else { sum.relu() }
    }

    /// The input itself, or mapped to the output's size; what is mapped is activated already where that comes first.
    #[track_caller]
    fn shortcut(&self, x: &Tensor<T>, start: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        match &self.downsample {
            Some((conv, Some(norm))) => norm.call(&conv.call(start), pass),
            Some((conv, None)) => conv.call(start),
            None => x.clone(),
        }
    }
}
