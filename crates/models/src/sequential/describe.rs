//! From a description to layers: what each type takes, and which shape it makes of which.

use std::collections::HashSet;
use std::path::Path;

use gradus_autodiff::{Convolution, Interpolation, Scalar, Shape, Tensor, TransposedConvolution};
use serde_json::Value;

use super::layer::{Causal, Function, Layer, Pair, Windows, array};
use super::{FORMAT, Layers, Named};
use crate::build::Build;
use crate::settings::Settings;
use crate::{
    Activation, BatchNorm, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, DescriptionError, Embedding,
    GroupNorm, Gru, InstanceNorm, LayerNorm, Linear, Lstm, RmsNorm, SeparableConv2d, TransformerConfig, TransformerLayer,
};

type Result<T> = std::result::Result<T, DescriptionError>;

/// A description whose layers fit each other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) input: Vec<usize>,
    pub(super) layers: Vec<Value>,
    pub(super) labels: Vec<String>,
}

/// The types of layers and the keys of each, besides `name` and `type`.
pub(super) const TYPES: [(&str, &[&str]); 44] = [
    ("linear", &["output", "bias"]),
    ("conv1d", CONVOLUTION),
    ("conv2d", CONVOLUTION),
    ("conv3d", CONVOLUTION),
    ("conv_transpose1d", TRANSPOSED),
    ("conv_transpose2d", TRANSPOSED),
    ("conv_transpose3d", TRANSPOSED),
    ("separable_conv2d", &["filters", "kernel"]),
    ("batch_norm", &["epsilon", "momentum"]),
    ("group_norm", &["groups", "epsilon"]),
    ("instance_norm", &["epsilon"]),
    ("layer_norm", &["epsilon"]),
    ("rms_norm", &["epsilon"]),
    ("relu", &[]),
    ("leaky_relu", &["slope"]),
    ("gelu", &[]),
    ("gelu_tanh", &[]),
    ("quick_gelu", &[]),
    ("silu", &[]),
    ("tanh", &[]),
    ("sigmoid", &[]),
    ("softmax", &[]),
    ("dropout", &["rate"]),
    ("max_pool1d", MAX_POOL),
    ("max_pool2d", MAX_POOL),
    ("max_pool3d", MAX_POOL),
    ("avg_pool1d", AVG_POOL),
    ("avg_pool2d", AVG_POOL),
    ("avg_pool3d", AVG_POOL),
    ("adaptive_avg_pool1d", &["size"]),
    ("adaptive_avg_pool2d", &["size"]),
    ("adaptive_avg_pool3d", &["size"]),
    ("global_avg_pool", &[]),
    ("mean", &["axis"]),
    ("resize", &["size", "interpolation"]),
    ("flatten", &[]),
    ("reshape", &["shape"]),
    ("embedding", &["count", "width"]),
    ("positions", &[]),
    ("lstm", RECURRENT),
    ("gru", RECURRENT),
    ("transformer_layer", &["heads", "hidden", "activation", "norm_first", "causal", "dropout"]),
    ("residual", &["layers", "shortcut"]),
    ("concatenate", &["branches"]),
];
const CONVOLUTION: &[&str] = &["filters", "kernel", "stride", "padding", "dilation", "groups", "bias"];
const TRANSPOSED: &[&str] = &["filters", "kernel", "stride", "padding", "output_padding", "dilation", "groups", "bias"];
const MAX_POOL: &[&str] = &["size", "stride", "padding", "dilation"];
const AVG_POOL: &[&str] = &["size", "stride", "padding", "dilation", "count_padding"];
const RECURRENT: &[&str] = &["hidden", "layers", "bidirectional"];

/// The activations without settings, by type.
const ACTIVATIONS: [(&str, Activation); 7] = [
    ("relu", Activation::Relu),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("silu", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
];

/// Recurrent layers in one layer; more are a mistake.
const MOST_LAYERS: usize = 1000;

impl Description {
    pub(super) fn new(file: &Path, value: &Value) -> Result<Self> {
        let s = Settings::new(file, String::new(), value)?;
        if s.text("format", None)? != FORMAT {
            return Err(s.wrong("format", format!("\"{FORMAT}\"")));
        }
        s.only(&["format", "input", "layers", "labels"])?;
        let description = Self { input: s.sizes("input")?, layers: s.list("layers")?.to_vec(), labels: s.texts("labels")? };
        addressable(&s, "input", &description.input)?;
        let output = description.layers::<f32>(file, Build::new(&mut |_, _| Tensor::scalar(0.0)))?.1;
        let count = output.iter().product::<usize>();
        if !description.labels.is_empty() && description.labels.len() != count {
            let expected = format!("a label for each of the {count} elements of the output {output:?}");
            return Err(s.wrong_because("labels", expected, format!("{} labels", description.labels.len())));
        }
        Ok(description)
    }

    /// The names and shapes of all tensors, each of which can be addressed.
    pub(super) fn tensors(&self, file: &Path) -> Result<Vec<(String, Vec<usize>)>> {
        let mut all = Vec::new();
        let mut list = |name: &str, shape: &[usize]| {
            all.push((name.to_owned(), shape.to_vec()));
            Tensor::<f32>::scalar(0.0)
        };
        self.layers(file, Build::new(&mut list))?;
        Ok(all)
    }

    pub(super) fn layers<T: Scalar>(&self, file: &Path, build: Build<'_, T>) -> Result<(Layers<T>, Vec<usize>)> {
        let mut names = HashSet::new();
        Reader { file, names: &mut names }.layers(&self.layers, "", &self.input, build)
    }
}

/// Reads lists of layers; the names are all that there were before.
struct Reader<'a> {
    file: &'a Path,
    names: &'a mut HashSet<String>,
}

impl Reader<'_> {
    /// The layers of a list inside the layer `outer`, and the shape that they make of `input`.
    fn layers<T: Scalar>(
        &mut self,
        list: &[Value],
        outer: &str,
        input: &[usize],
        mut build: Build<'_, T>,
    ) -> Result<(Layers<T>, Vec<usize>)> {
        let (mut each, mut shape) = (Vec::with_capacity(list.len()), input.to_vec());
        for (number, value) in list.iter().enumerate() {
            let inside = if outer.is_empty() { String::new() } else { format!("layer `{outer}`: ") };
            let s = Settings::new(self.file, format!("{inside}layers[{number}]: "), value)?;
            let name = s.text("name", None)?;
            let full = if outer.is_empty() { name.to_owned() } else { format!("{outer}.{name}") };
            if name.is_empty() || name.split('.').any(str::is_empty) || !self.names.insert(full.clone()) {
                return Err(s.wrong("name", "a name that no other layer has, without empty parts between dots"));
            }
            let s = Settings { place: format!("layer `{full}`: "), ..s };
            let (layer, output) = self.layer(&s, &full, &shape, build.at(name))?;
            shape = output;
            addressable(&s, "type", &shape)?;
            each.push(Named { name: name.to_owned(), full, layer });
        }
        Ok((Layers { each }, shape))
    }

    fn layer<T: Scalar>(
        &mut self,
        s: &Settings<'_>,
        full: &str,
        input: &[usize],
        mut build: Build<'_, T>,
    ) -> Result<(Layer<T>, Vec<usize>)> {
        let kind = s.text("type", None)?;
        let Some((_, keys)) = TYPES.iter().find(|(name, _)| *name == kind) else {
            return Err(s.wrong("type", format!("one of {}", TYPES.map(|(name, _)| name).join(", "))));
        };
        s.only(&[&["name", "type"], *keys].concat())?;
        if let Some(function) = function(kind, s, input)? {
            return Ok((Layer::Function(function.0), function.1));
        }
        // Tensors are made where their shapes can be addressed.
        let mut tensor = |name: &str, shape: &[usize]| -> Result<Tensor<T>> {
            addressable(s, "type", shape)?;
            Ok(build.tensor(name, shape))
        };
        Ok(match kind {
            "linear" => {
                let (output, width) = (s.positive("output", None)?, last(s, input)?);
                let weight = tensor("weight", &[output, width])?;
                let bias = if s.flag("bias", Some(true))? { Some(tensor("bias", &[output])?) } else { None };
                (Layer::Linear(Linear { weight, bias }), with_last(input, output))
            }
            "conv1d" | "conv2d" | "conv3d" => {
                let c = Conv::read(s, input, axes_of(kind), false)?;
                let (weight, bias) = c.tensors(s, &mut tensor)?;
                let layer = match c.kernel.len() {
                    1 => Layer::Conv1d(Conv1d { weight, bias, options: c.options() }),
                    2 => Layer::Conv2d(Conv2d { weight, bias, options: c.options() }),
                    _ => Layer::Conv3d(Conv3d { weight, bias, options: c.options() }),
                };
                (layer, c.output)
            }
            "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" => {
                let c = Conv::read(s, input, axes_of(kind), true)?;
                let (weight, bias) = c.tensors(s, &mut tensor)?;
                let layer = match c.kernel.len() {
                    1 => Layer::ConvTranspose1d(ConvTranspose1d { weight, bias, options: c.transposed_options() }),
                    2 => Layer::ConvTranspose2d(ConvTranspose2d { weight, bias, options: c.transposed_options() }),
                    _ => Layer::ConvTranspose3d(ConvTranspose3d { weight, bias, options: c.transposed_options() }),
                };
                (layer, c.output)
            }
            "separable_conv2d" => {
                let (channels, places) = channels(s, input, 2)?;
                let (filters, kernel) = (s.positive("filters", None)?, s.positive("kernel", None)?);
                let output = windows(s, "kernel", places, &[[kernel, 1, kernel / 2, 1]; 2])?;
                let mut part = |name: &str, shape: [usize; 4]| -> Result<_> {
                    Ok((tensor(&format!("{name}.weight"), &shape)?, Some(tensor(&format!("{name}.bias"), &shape[..1])?)))
                };
                let (weight, bias) = part("depthwise", [channels, 1, kernel, kernel])?;
                let options = Convolution { padding: [kernel / 2; 2], groups: channels, ..Convolution::default() };
                let depthwise = Conv2d { weight, bias, options };
                let (weight, bias) = part("pointwise", [filters, channels, 1, 1])?;
                let pointwise = Conv2d { weight, bias, options: Convolution::default() };
                (Layer::SeparableConv2d(SeparableConv2d { depthwise, pointwise }), [&[filters], &output[..]].concat())
            }
            "batch_norm" | "group_norm" | "instance_norm" => {
                let &[channels, ..] = input else { return Err(unfit(s, "[channels, ..]", input)) };
                let (weight, bias) = (tensor("weight", &[channels])?, tensor("bias", &[channels])?);
                let epsilon = s.epsilon(1e-5)?;
                let layer = match kind {
                    "batch_norm" => Layer::BatchNorm(BatchNorm {
                        weight,
                        bias,
                        running_mean: tensor("running_mean", &[channels])?,
                        running_var: tensor("running_var", &[channels])?,
                        epsilon,
                        momentum: s.within("momentum", Some(0.1), 0.0..=1.0)?,
                    }),
                    "group_norm" => {
                        let groups = s.positive("groups", None)?;
                        if !channels.is_multiple_of(groups) {
                            return Err(s.wrong("groups", format!("a divisor of the {channels} channels")));
                        }
                        Layer::GroupNorm(GroupNorm { weight, bias, groups, epsilon })
                    }
                    _ => Layer::InstanceNorm(InstanceNorm { weight, bias, epsilon }),
                };
                (layer, input.to_vec())
            }
            "layer_norm" => {
                let width = [last(s, input)?];
                let (weight, bias) = (tensor("weight", &width)?, Some(tensor("bias", &width)?));
                (Layer::LayerNorm(LayerNorm { weight, bias, epsilon: s.epsilon(1e-5)? }), input.to_vec())
            }
            "rms_norm" => {
                let weight = tensor("weight", &[last(s, input)?])?;
                (Layer::RmsNorm(RmsNorm { weight, epsilon: s.epsilon(1e-6)? }), input.to_vec())
            }
            "embedding" => {
                let (count, width) = (s.positive("count", None)?, s.positive("width", None)?);
                (Layer::Embedding(Embedding { weight: tensor("weight", &[count, width])? }), [input, &[width]].concat())
            }
            "positions" => {
                let &[_, _] = input else { return Err(unfit(s, "[tokens, width]", input)) };
                (Layer::Positions(Embedding { weight: tensor("weight", input)? }), input.to_vec())
            }
            "lstm" | "gru" => {
                let &[time, width] = input else { return Err(unfit(s, "[time, width]", input)) };
                let (hidden, layers) = (s.positive("hidden", None)?, s.positive("layers", Some(1))?);
                if layers > MOST_LAYERS {
                    return Err(s.wrong("layers", format!("at most {MOST_LAYERS}")));
                }
                let directions = if s.flag("bidirectional", Some(false))? { 2 } else { 1 };
                let output = hidden.saturating_mul(directions);
                addressable(s, "hidden", &[hidden.saturating_mul(4), output.max(width)])?;
                let layer = match kind {
                    "lstm" => Layer::Lstm(Lstm::build(width, hidden, layers, directions, build)),
                    _ => Layer::Gru(Gru::build(width, hidden, layers, directions, build)),
                };
                (layer, vec![time, output])
            }
            "transformer_layer" => {
                let &[_, width] = input else { return Err(unfit(s, "[tokens, width]", input)) };
                let heads = s.positive("heads", None)?;
                if !width.is_multiple_of(heads) {
                    return Err(s.wrong("heads", format!("a divisor of the width, {width}")));
                }
                let config = TransformerConfig {
                    hidden: s.positive("hidden", None)?,
                    activation: s.activation("activation", "relu", &ACTIVATIONS)?,
                    norm_first: s.flag("norm_first", Some(false))?,
                    dropout: s.rate("dropout", Some(0.0))?,
                    ..TransformerConfig::small(width, 1, heads)
                };
                addressable(s, "hidden", &[config.hidden.max(width.saturating_mul(3)), width])?;
                config.validate().map_err(|error| s.invalid(&[], error))?;
                let causal = s.flag("causal", Some(false))?;
                (Layer::Transformer(Box::new(Causal { layer: TransformerLayer::build(&config, build), causal })), input.to_vec())
            }
            "residual" => {
                let (body, output) = self.layers(s.list("layers")?, full, input, build.again())?;
                let list = if s.get("shortcut").is_some() { s.list("shortcut")? } else { &[] };
                let (shortcut, other) = self.layers(list, full, input, build)?;
                if output != other {
                    return Err(s.wrong_because("shortcut", format!("the output of the layers, {output:?}"), format!("{other:?}")));
                }
                (Layer::Residual(Pair([body, shortcut])), output)
            }
            _ => {
                let (mut branches, mut output) = (Vec::new(), None::<Vec<usize>>);
                for branch in s.list("branches")? {
                    let Some(list) = branch.as_array() else { return Err(s.wrong("branches", "a list of lists of layers")) };
                    let (layers, own) = self.layers(list, full, input, build.again())?;
                    output = Some(join(s, output, own)?);
                    branches.push(layers);
                }
                (Layer::Concatenate(branches), output.ok_or_else(|| s.wrong("branches", "at least one list of layers"))?)
            }
        })
    }
}

/// The function of that type and its output, if it is one.
fn function(kind: &str, s: &Settings<'_>, input: &[usize]) -> Result<Option<(Function, Vec<usize>)>> {
    let same = |function| (function, input.to_vec());
    if let Some((_, activation)) = ACTIVATIONS.iter().find(|(name, _)| *name == kind) {
        return Ok(Some(same(Function::Activation(*activation))));
    }
    Ok(Some(match kind {
        "leaky_relu" => same(Function::Activation(Activation::LeakyRelu(s.number("slope", Some(0.01))?))),
        "softmax" => {
            last(s, input)?;
            same(Function::Softmax)
        }
        "dropout" => same(Function::Dropout(s.rate("rate", None)?)),
        "max_pool1d" | "max_pool2d" | "max_pool3d" | "avg_pool1d" | "avg_pool2d" | "avg_pool3d" => {
            let axes = axes_of(kind);
            let (channels, places) = channels(s, input, axes)?;
            let size = s.along("size", axes, None, 1)?;
            let stride = if s.get("stride").is_some() { s.along("stride", axes, None, 1)? } else { size.clone() };
            let (padding, dilation) = (s.along("padding", axes, Some(0), 0)?, s.along("dilation", axes, Some(1), 1)?);
            let each: Vec<_> = (0..axes).map(|axis| [size[axis], stride[axis], padding[axis], dilation[axis]]).collect();
            let output = windows(s, "size", places, &each)?;
            if (0..axes).any(|axis| !holds_input(places[axis], each[axis])) {
                return Err(s.wrong("padding", "at most half of a window, and steps inside it that are not longer than the input"));
            }
            let windows = Windows { size, stride, padding, dilation, count_padding: s.flag("count_padding", Some(true))? };
            let function = if kind.starts_with("max") { Function::MaxPool(windows) } else { Function::AvgPool(windows) };
            (function, [&[channels], &output[..]].concat())
        }
        "adaptive_avg_pool1d" | "adaptive_avg_pool2d" | "adaptive_avg_pool3d" => {
            let (channels, _) = channels(s, input, axes_of(kind))?;
            let size = s.along("size", axes_of(kind), None, 1)?;
            (Function::AdaptiveAvgPool(size.clone()), [&[channels], &size[..]].concat())
        }
        "global_avg_pool" => {
            let &[channels, _, ..] = input else { return Err(unfit(s, "[channels, ..] with places", input)) };
            (Function::GlobalAvgPool, vec![channels])
        }
        "mean" => {
            let axis = s.size("axis", None)?;
            if axis >= input.len() {
                return Err(s.wrong("axis", format!("an axis of the input {input:?}")));
            }
            (Function::Mean(axis), [&input[..axis], &input[axis + 1..]].concat())
        }
        "resize" => {
            let axes = input.len().saturating_sub(1);
            if !(1..=3).contains(&axes) {
                return Err(unfit(s, "[channels, ..] with one to three axes of places", input));
            }
            let size = s.along("size", axes, None, 1)?;
            let interpolation = match s.text("interpolation", None)? {
                "nearest" => Interpolation::Nearest,
                "linear" => Interpolation::Linear,
                "linear_corners" => Interpolation::LinearCorners,
                _ => return Err(s.wrong("interpolation", "one of nearest, linear, linear_corners")),
            };
            (Function::Resize(size.clone(), interpolation), [&input[..1], &size[..]].concat())
        }
        "flatten" => {
            let shape = vec![input.iter().product()];
            (Function::Reshape(shape.clone()), shape)
        }
        "reshape" => {
            let shape = s.sizes("shape")?;
            addressable(s, "shape", &shape)?;
            if shape.iter().product::<usize>() != input.iter().product::<usize>() {
                return Err(s.wrong("shape", format!("as many elements as the input {input:?}")));
            }
            (Function::Reshape(shape.clone()), shape)
        }
        _ => return Ok(None),
    }))
}

/// A convolution or its transpose as it is described.
struct Conv {
    weight: Vec<usize>,
    filters: usize,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    padding: Vec<usize>,
    output_padding: Vec<usize>,
    dilation: Vec<usize>,
    groups: usize,
    output: Vec<usize>,
}

impl Conv {
    fn read(s: &Settings<'_>, input: &[usize], axes: usize, transposed: bool) -> Result<Self> {
        let (channels, places) = channels(s, input, axes)?;
        let (filters, groups) = (s.positive("filters", None)?, s.positive("groups", Some(1))?);
        if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(s.wrong("groups", format!("a divisor of the {channels} channels and the {filters} filters")));
        }
        let (kernel, stride) = (s.along("kernel", axes, None, 1)?, s.along("stride", axes, Some(1), 1)?);
        let (padding, dilation) = (s.along("padding", axes, Some(0), 0)?, s.along("dilation", axes, Some(1), 1)?);
        let output_padding = if transposed { s.along("output_padding", axes, Some(0), 0)? } else { vec![0; axes] };
        let each: Vec<_> = (0..axes).map(|axis| [kernel[axis], stride[axis], padding[axis], dilation[axis]]).collect();
        let output = if transposed {
            if (0..axes).any(|axis| output_padding[axis] >= stride[axis].max(dilation[axis])) {
                return Err(s.wrong("output_padding", "less than the stride or the dilation"));
            }
            transposed_windows(s, places, &each, &output_padding)?
        } else {
            windows(s, "kernel", places, &each)?
        };
        let lead = if transposed { [channels, filters / groups] } else { [filters, channels / groups] };
        let weight = [&lead, &kernel[..]].concat();
        let output = [&[filters], &output[..]].concat();
        Ok(Self { weight, filters, kernel, stride, padding, output_padding, dilation, groups, output })
    }

    fn tensors<T: Scalar>(
        &self,
        s: &Settings<'_>,
        tensor: &mut impl FnMut(&str, &[usize]) -> Result<Tensor<T>>,
    ) -> Result<(Tensor<T>, Option<Tensor<T>>)> {
        let weight = tensor("weight", &self.weight)?;
        Ok((weight, if s.flag("bias", Some(true))? { Some(tensor("bias", &[self.filters])?) } else { None }))
    }

    fn options<const D: usize>(&self) -> Convolution<D> {
        let (stride, padding, dilation) = (array(&self.stride), array(&self.padding), array(&self.dilation));
        Convolution { stride, padding, dilation, groups: self.groups }
    }

    fn transposed_options<const D: usize>(&self) -> TransposedConvolution<D> {
        let (stride, padding, dilation) = (array(&self.stride), array(&self.padding), array(&self.dilation));
        TransposedConvolution { stride, padding, output_padding: array(&self.output_padding), dilation, groups: self.groups }
    }
}

/// The number at the end of a type's name but for `d`.
fn axes_of(kind: &str) -> usize {
    match kind.as_bytes() {
        [.., b'1', b'd'] => 1,
        [.., b'2', b'd'] => 2,
        _ => 3,
    }
}

fn unfit(s: &Settings<'_>, expected: &str, input: &[usize]) -> DescriptionError {
    s.wrong_because("type", format!("an input {expected}"), format!("{input:?}"))
}

/// Whether a tensor of this shape and a batch axis can be addressed.
fn addressable(s: &Settings<'_>, key: &str, shape: &[usize]) -> Result<()> {
    match Shape::new(&[&[1], shape].concat()) {
        Ok(_) => Ok(()),
        Err(_) => Err(s.wrong_because(key, "shapes of at most seven axes whose elements can be addressed", format!("{shape:?}"))),
    }
}

/// Channels and places of an input with that many axes of places.
fn channels<'a>(s: &Settings<'_>, input: &'a [usize], axes: usize) -> Result<(usize, &'a [usize])> {
    const SHAPES: [&str; 3] = ["[channels, length]", "[channels, height, width]", "[channels, depth, height, width]"];
    match input {
        [channels, places @ ..] if places.len() == axes => Ok((*channels, places)),
        _ => Err(unfit(s, SHAPES[axes - 1], input)),
    }
}

fn last(s: &Settings<'_>, input: &[usize]) -> Result<usize> {
    input.last().copied().ok_or_else(|| unfit(s, "[.., width]", input))
}

fn with_last(shape: &[usize], width: usize) -> Vec<usize> {
    [&shape[..shape.len() - 1], &[width]].concat()
}

/// How many windows of a size, stride, padding and dilation fit along each axis.
fn windows(s: &Settings<'_>, key: &str, places: &[usize], each: &[[usize; 4]]) -> Result<Vec<usize>> {
    let along = |n: usize, [size, stride, padding, dilation]: [usize; 4]| {
        let span = (size - 1).checked_mul(dilation)?.checked_add(1)?;
        let padded = padding.checked_mul(2)?.checked_add(n)?;
        Some(padded.checked_sub(span)? / stride + 1)
    };
    let output = places.iter().zip(each).map(|(&n, &own)| along(n, own)).collect::<Option<Vec<_>>>();
    output.ok_or_else(|| s.wrong(key, format!("windows that fit into the padded input {places:?}")))
}

/// The sizes that transposed windows make of those of the input.
fn transposed_windows(s: &Settings<'_>, places: &[usize], each: &[[usize; 4]], extra: &[usize]) -> Result<Vec<usize>> {
    let along = |n: usize, [size, stride, padding, dilation]: [usize; 4], extra: usize| {
        let spread = n.checked_sub(1)?.checked_mul(stride)?;
        let span = (size - 1).checked_mul(dilation)?.checked_add(1)?;
        let whole = spread.checked_add(span)?.checked_add(extra)?;
        whole.checked_sub(padding.checked_mul(2)?).filter(|size| *size > 0)
    };
    let output = (0..places.len()).map(|axis| along(places[axis], each[axis], extra[axis])).collect::<Option<Vec<_>>>();
    output.ok_or_else(|| s.wrong("padding", format!("less than half of what the windows make of the input {places:?}")))
}

/// Whether each window holds one of the `n` entries that are not padding: it begins or ends with half of its span or more inside,
/// in steps that do not jump over the input.
fn holds_input(n: usize, [size, _, padding, dilation]: [usize; 4]) -> bool {
    let span = (size - 1).saturating_mul(dilation).saturating_add(1);
    padding == 0 || (padding <= span / 2 && dilation <= n)
}

/// Two outputs joined along the channels.
fn join(s: &Settings<'_>, before: Option<Vec<usize>>, own: Vec<usize>) -> Result<Vec<usize>> {
    let Some(before) = before else { return Ok(own) };
    match (&before[..], &own[..]) {
        ([a, rest @ ..], [b, others @ ..]) if rest == others => {
            let channels = a.checked_add(*b).ok_or_else(|| s.wrong("branches", "channels that can be counted"))?;
            Ok([&[channels], rest].concat())
        }
        _ => {
            let expected = format!("outputs that differ in their channels alone, {before:?}");
            Err(s.wrong_because("branches", expected, format!("{own:?}")))
        }
    }
}
