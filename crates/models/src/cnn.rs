use gradus_autodiff::{Params, Pooling, Scalar, Tensor};
use rand::Rng;

use crate::{Conv2d, Linear};

/// A convolution, ReLU and, where `pool` is above 1, a maximum over windows of that side.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct ConvBlock<T: Scalar = f32> {
    /// The convolution.
    pub conv: Conv2d<T>,
    /// Side and stride of the pooling windows; 1 for none.
    #[params(skip)]
    pub pool: usize,
}

impl<T: Scalar> ConvBlock<T> {
    /// The activated output of the convolution, before pooling: what is called the block's feature maps.
    #[track_caller]
    pub fn features(&self, x: &Tensor<T>) -> Tensor<T> {
        self.conv.call(x).relu()
    }

    /// The input of the next block.
    #[track_caller]
    pub fn pooled(&self, features: &Tensor<T>) -> Tensor<T> {
        if self.pool > 1 { features.max_pool2d(Pooling::new([self.pool; 2])) } else { features.clone() }
    }
}

/// A convolutional classifier: blocks, the mean over each map (global average pooling), and a linear layer.
///
/// The feature maps of block `i` are called `blocks.i`, as its parameters are. A network can be entered at them, so that
/// derivatives with respect to feature maps (class activation maps, attribution) are those of
/// [`Cnn::logits_from`].
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Cnn<T: Scalar = f32> {
    /// The convolutional part, first to last.
    pub blocks: Vec<ConvBlock<T>>,
    /// From the maps' means to the logits.
    pub head: Linear<T>,
}

impl<T: Scalar> Cnn<T> {
    /// Blocks with 3×3 kernels and the given numbers of `filters`, each but the last with 2×2 pooling, from images with
    /// `channels` to logits of `classes`.
    #[track_caller]
    pub fn new(channels: usize, filters: &[usize], classes: usize, rng: &mut impl Rng) -> Self {
        let mut depth = channels;
        let mut blocks = Vec::with_capacity(filters.len());
        for (i, &filters_here) in filters.iter().enumerate() {
            let pool = if i + 1 < filters.len() { 2 } else { 1 };
            blocks.push(ConvBlock { conv: Conv2d::new(depth, filters_here, 3, rng), pool });
            depth = filters_here;
        }
        Self { blocks, head: Linear::new(depth, classes, rng) }
    }

    /// The logits `[batch, classes]` of images `[batch, channels, height, width]`.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        let pooled = self.blocks.iter().fold(x.clone(), |x, block| block.pooled(&block.features(&x)));
        self.classify(&pooled)
    }

    /// The names of the feature maps, first to last.
    pub fn feature_names(&self) -> Vec<String> {
        (0..self.blocks.len()).map(|i| format!("blocks.{i}")).collect()
    }

    /// The feature maps `[batch, filters, height, width]` of that name; `None` if there are none.
    #[track_caller]
    pub fn features(&self, name: &str, x: &Tensor<T>) -> Option<Tensor<T>> {
        let last = self.position(name)?;
        let before = self.blocks[..last].iter().fold(x.clone(), |x, block| block.pooled(&block.features(&x)));
        Some(self.blocks[last].features(&before))
    }

    /// The logits, given the feature maps of that name; `None` if there are none of that name.
    #[track_caller]
    pub fn logits_from(&self, name: &str, features: &Tensor<T>) -> Option<Tensor<T>> {
        let first = self.position(name)?;
        let pooled = self.blocks[first].pooled(features);
        let rest = self.blocks[first + 1..].iter().fold(pooled, |x, block| block.pooled(&block.features(&x)));
        Some(self.classify(&rest))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.feature_names().iter().position(|own| own == name)
    }

    fn classify(&self, maps: &Tensor<T>) -> Tensor<T> {
        self.head.call(&maps.mean_axis(-1).mean_axis(-1))
    }
}
