//! The layers that a description can name.

use gradus_autodiff::{AttentionMask, Interpolation, Params, Path, Pooling, Scalar, Tensor};

use super::Layers;
use crate::{
    Activation, BatchNorm, Context, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Embedding, GroupNorm, Gru,
    InstanceNorm, LayerNorm, Linear, Lstm, Pass, RmsNorm, SeparableConv2d, TransformerLayer,
};

/// One layer. Shapes were checked when the network was described.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layer<T: Scalar> {
    Linear(Linear<T>),
    Conv1d(Conv1d<T>),
    Conv2d(Conv2d<T>),
    Conv3d(Conv3d<T>),
    ConvTranspose1d(ConvTranspose1d<T>),
    ConvTranspose2d(ConvTranspose2d<T>),
    ConvTranspose3d(ConvTranspose3d<T>),
    SeparableConv2d(SeparableConv2d<T>),
    BatchNorm(BatchNorm<T>),
    GroupNorm(GroupNorm<T>),
    InstanceNorm(InstanceNorm<T>),
    LayerNorm(LayerNorm<T>),
    RmsNorm(RmsNorm<T>),
    Embedding(Embedding<T>),
    Positions(Embedding<T>),
    Lstm(Lstm<T>),
    Gru(Gru<T>),
    Transformer(Box<Causal<T>>),
    Residual(Pair<T>),
    Concatenate(Vec<Layers<T>>),
    Function(Function),
}

/// A transformer layer, and whether tokens see only those before them.
#[derive(Clone, Debug, PartialEq, Params)]
pub(super) struct Causal<T: Scalar> {
    #[params(flatten)]
    pub(super) layer: TransformerLayer<T>,
    #[params(skip)]
    pub(super) causal: bool,
}

/// The two summands of a residual layer, body and shortcut.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair<T: Scalar>(pub(super) [Layers<T>; 2]);

/// What has no tensors.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Function {
    Activation(Activation),
    Softmax,
    Dropout(f64),
    MaxPool(Windows),
    AvgPool(Windows),
    AdaptiveAvgPool(Vec<usize>),
    /// Over all axes behind the channels.
    GlobalAvgPool,
    /// Over this axis, the batch's not counted.
    Mean(usize),
    Resize(Vec<usize>, Interpolation),
    /// To this shape, without the batch.
    Reshape(Vec<usize>),
}

/// [`Pooling`] along any number of axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Windows {
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) padding: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    pub(super) count_padding: bool,
}

impl Windows {
    fn along<const D: usize>(&self) -> Pooling<D> {
        Pooling {
            size: array(&self.size),
            stride: array(&self.stride),
            padding: array(&self.padding),
            dilation: array(&self.dilation),
            count_padding: self.count_padding,
        }
    }
}

/// The numbers of a list, as many as there are axes.
pub(super) fn array<const D: usize>(numbers: &[usize]) -> [usize; D] {
    std::array::from_fn(|axis| numbers[axis])
}

impl<T: Scalar> Layer<T> {
    #[track_caller]
    pub(super) fn call(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        match self {
            Self::Linear(layer) => layer.call(x),
            Self::Conv1d(layer) => layer.call(x),
            Self::Conv2d(layer) => layer.call(x),
            Self::Conv3d(layer) => layer.call(x),
            Self::ConvTranspose1d(layer) => layer.call(x),
            Self::ConvTranspose2d(layer) => layer.call(x),
            Self::ConvTranspose3d(layer) => layer.call(x),
            Self::SeparableConv2d(layer) => layer.call(x),
            Self::BatchNorm(layer) => layer.call(x, pass),
            Self::GroupNorm(layer) => layer.call(x),
            Self::InstanceNorm(layer) => layer.call(x),
            Self::LayerNorm(layer) => layer.call(x),
            Self::RmsNorm(layer) => layer.call(x),
            Self::Embedding(layer) => layer.call_of(x),
            Self::Positions(layer) => x + &layer.weight,
            Self::Lstm(layer) => layer.call(x, None).0,
            Self::Gru(layer) => layer.call(x, None).0,
            Self::Transformer(own) => {
                let mask = if own.causal { AttentionMask::Causal } else { AttentionMask::None };
                own.layer.call(x, &Context { mask, ..Context::default() }, pass)
            }
            Self::Residual(Pair([body, shortcut])) => body.call(x, pass) + shortcut.call(x, pass),
            Self::Concatenate(branches) => {
                let outputs: Vec<Tensor<T>> = branches.iter().map(|branch| branch.call(x, pass)).collect();
                Tensor::concat(&outputs, 1)
            }
            Self::Function(function) => function.call(x, pass),
        }
    }

    /// The lists of layers inside.
    pub(super) fn inner(&self) -> &[Layers<T>] {
        match self {
            Self::Residual(Pair(both)) => both,
            Self::Concatenate(branches) => branches,
            _ => &[],
        }
    }
}

impl Function {
    #[track_caller]
    fn call<T: Scalar>(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        match self {
            Self::Activation(activation) => activation.call(x),
            Self::Softmax => x.softmax(),
            Self::Dropout(rate) => pass.dropout(x, *rate),
            Self::MaxPool(windows) => match windows.size.len() {
                1 => x.max_pool1d(windows.along()),
                2 => x.max_pool2d(windows.along()),
                _ => x.max_pool3d(windows.along()),
            },
            Self::AvgPool(windows) => match windows.size.len() {
                1 => x.avg_pool1d(windows.along()),
                2 => x.avg_pool2d(windows.along()),
                _ => x.avg_pool3d(windows.along()),
            },
            Self::AdaptiveAvgPool(size) => match size.len() {
                1 => x.adaptive_avg_pool1d(array(size)),
                2 => x.adaptive_avg_pool2d(array(size)),
                _ => x.adaptive_avg_pool3d(array(size)),
            },
            Self::GlobalAvgPool => x.mean_axes(&(2..x.rank() as isize).collect::<Vec<_>>()),
            Self::Mean(axis) => x.mean_axis(*axis as isize + 1),
            Self::Resize(size, interpolation) => match size.len() {
                1 => x.resize::<1>(array(size), *interpolation),
                2 => x.resize::<2>(array(size), *interpolation),
                _ => x.resize::<3>(array(size), *interpolation),
            },
            Self::Reshape(shape) => x.reshape(&[&x.shape()[..1], shape].concat()),
        }
    }
}

/// Visits the tensors of a layer, by `for_each` or `for_each_mut`, with `iter` or `iter_mut` for the lists inside.
macro_rules! visit {
    ($layer:expr, $path:expr, $f:expr, $visit:ident, $iter:ident) => {
        match $layer {
            Layer::Linear(own) => own.$visit($path, $f),
            Layer::Conv1d(own) => own.$visit($path, $f),
            Layer::Conv2d(own) => own.$visit($path, $f),
            Layer::Conv3d(own) => own.$visit($path, $f),
            Layer::ConvTranspose1d(own) => own.$visit($path, $f),
            Layer::ConvTranspose2d(own) => own.$visit($path, $f),
            Layer::ConvTranspose3d(own) => own.$visit($path, $f),
            Layer::SeparableConv2d(own) => own.$visit($path, $f),
            Layer::BatchNorm(own) => own.$visit($path, $f),
            Layer::GroupNorm(own) => own.$visit($path, $f),
            Layer::InstanceNorm(own) => own.$visit($path, $f),
            Layer::LayerNorm(own) => own.$visit($path, $f),
            Layer::RmsNorm(own) => own.$visit($path, $f),
            Layer::Embedding(own) | Layer::Positions(own) => own.$visit($path, $f),
            Layer::Lstm(own) => own.$visit($path, $f),
            Layer::Gru(own) => own.$visit($path, $f),
            Layer::Transformer(own) => own.$visit($path, $f),
            Layer::Residual(Pair(both)) => both.$iter().for_each(|layers| layers.$visit($path, $f)),
            Layer::Concatenate(branches) => branches.$iter().for_each(|layers| layers.$visit($path, $f)),
            Layer::Function(_) => {}
        }
    };
}

impl<T: Scalar> Params for Layer<T> {
    type Elem = T;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<T>)) {
        visit!(self, path, f, for_each, iter);
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<T>)) {
        visit!(self, path, f, for_each_mut, iter_mut);
    }
}
