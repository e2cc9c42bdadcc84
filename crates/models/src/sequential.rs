//! Networks described by data: layers one after the other, with names, from and to JSON (`gradus-arch/1`).

mod describe;
mod layer;
#[cfg(test)]
mod tests;

use std::path::Path as FilePath;

use gradus_autodiff::{Params, Path, Scalar, Tensor, TensorError, tap};
use gradus_checkpoint::MappedCheckpoint;
use rand::Rng;
use serde_json::{Value, json};

use crate::build::Build;
use crate::{DescriptionError, FileError, Pass, files, init, settings};
use describe::Description;
use layer::Layer;

/// The value of `format` in a description.
const FORMAT: &str = "gradus-arch/1";

/// A network described by JSON, with the sizes of its layers inferred from the shape of its input:
///
/// ```json
/// {
///   "format": "gradus-arch/1",
///   "input": [1, 8, 8],
///   "layers": [
///     { "name": "conv1", "type": "conv2d", "filters": 4, "kernel": 3, "padding": 1 },
///     { "name": "relu1", "type": "relu" },
///     { "name": "pool1", "type": "max_pool2d", "size": 2 },
///     { "name": "flat", "type": "flatten" },
///     { "name": "head", "type": "linear", "output": 2 }
///   ],
///   "labels": ["zero", "one"]
/// }
/// ```
///
/// `input` has no batch axis. Names of layers are what stands before the names of their tensors in a checkpoint:
/// `conv1.weight`. Lists of layers inside a layer have its name before theirs. `labels` name the elements of the output, or are
/// left out. The types and their settings, with defaults where they have one:
///
/// | type | settings |
/// |---|---|
/// | `linear` | `output`, `bias: true` |
/// | `conv1d`, `conv2d`, `conv3d` | `filters`, `kernel`, `stride: 1`, `padding: 0`, `dilation: 1`, `groups: 1`, `bias: true` |
/// | `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d` | the same and `output_padding: 0` |
/// | `separable_conv2d` | `filters`, `kernel` |
/// | `batch_norm` | `epsilon: 1e-5`, `momentum: 0.1` |
/// | `group_norm` | `groups`, `epsilon: 1e-5` |
/// | `instance_norm`, `layer_norm` | `epsilon: 1e-5` |
/// | `rms_norm` | `epsilon: 1e-6` |
/// | `relu`, `gelu`, `gelu_tanh`, `quick_gelu`, `silu`, `tanh`, `sigmoid`, `softmax` | |
/// | `leaky_relu` | `slope: 0.01` |
/// | `dropout` | `rate` |
/// | `max_pool1d`, `max_pool2d`, `max_pool3d` | `size`, `stride: size`, `padding: 0`, `dilation: 1` |
/// | `avg_pool1d`, `avg_pool2d`, `avg_pool3d` | the same and `count_padding: true` |
/// | `adaptive_avg_pool1d`, `adaptive_avg_pool2d`, `adaptive_avg_pool3d` | `size` |
/// | `global_avg_pool` | of `[channels, ..]` |
/// | `mean` | `axis`, without the batch's |
/// | `resize` | `size`, `interpolation`: `nearest`, `linear` or `linear_corners` |
/// | `flatten` | |
/// | `reshape` | `shape` |
/// | `embedding` | `count`, `width`; of whole numbers |
/// | `positions` | learned, added to `[tokens, width]` |
/// | `lstm`, `gru` | `hidden`, `layers: 1`, `bidirectional: false` |
/// | `transformer_layer` | `heads`, `hidden`, `activation: "relu"`, `norm_first: false`, `causal: false`, `dropout: 0` |
/// | `residual` | `layers`, and `shortcut: []`, layers of the other summand |
/// | `concatenate` | `branches`, lists of layers whose outputs are joined along the first axis, the channels |
///
/// `kernel`, `size` and the like are a number for all axes, or a list of one for each.
///
/// The output of every layer is tapped under its name ([`gradus_autodiff::tap`]).
///
/// ```
/// use gradus_autodiff::{Tensor, tapped_grad};
/// use gradus_models::{Pass, Sequential};
/// use serde_json::json;
///
/// let description = json!({
///     "format": "gradus-arch/1",
///     "input": [1, 8, 8],
///     "layers": [
///         { "name": "conv1", "type": "conv2d", "filters": 4, "kernel": 3, "padding": 1 },
///         { "name": "relu1", "type": "relu" },
///         { "name": "pool", "type": "global_avg_pool" },
///         { "name": "head", "type": "linear", "output": 2 },
///     ],
///     "labels": ["zero", "one"],
/// });
/// let model: Sequential = Sequential::from_json(&description, &mut gradus_base::stream(1, "weights", 0))?;
/// let images = Tensor::ones(&[3, 1, 8, 8]);
/// assert_eq!(model.call(&images, &mut Pass::evaluation()).shape(), [3, 2]);
///
/// // A class's score by the feature maps of a layer.
/// let score = |m: &Sequential| m.call(&images, &mut Pass::evaluation()).narrow(1, 1, 1).sum();
/// let found = tapped_grad(score, &model);
/// assert_eq!(found.tap("relu1").unwrap().gradient.shape(), [3, 4, 8, 8]);
/// # Ok::<(), gradus_models::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential<T: Scalar = f32> {
    layers: Layers<T>,
    description: Description,
    output: Vec<usize>,
}

/// Layers one after the other.
#[derive(Clone, Debug, PartialEq)]
struct Layers<T: Scalar> {
    each: Vec<Named<T>>,
}

/// A layer and its name, in full, and as the list that it is in has it.
#[derive(Clone, Debug, PartialEq)]
struct Named<T: Scalar> {
    name: String,
    full: String,
    layer: Layer<T>,
}

impl<T: Scalar> Layers<T> {
    #[track_caller]
    fn call(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        self.each.iter().fold(x.clone(), |x, own| tap(&own.full, &own.layer.call(&x, pass)))
    }

    fn names(&self, all: &mut Vec<String>) {
        for own in &self.each {
            all.push(own.full.clone());
            own.layer.inner().iter().for_each(|layers| layers.names(all));
        }
    }
}

impl Sequential {
    /// The names and shapes of the tensors of a description, which is checked, and nothing made.
    ///
    /// # Errors
    /// [`DescriptionError`], naming the layer and the key.
    pub fn tensors_of(description: &Value) -> Result<Vec<(String, Vec<usize>)>, DescriptionError> {
        let file = FilePath::new("<memory>");
        Description::new(file, description)?.tensors(file)
    }
}

impl<T: Scalar> Sequential<T> {
    /// The network of a description, with He's normal weights, zero biases, and scales of 1.
    ///
    /// # Errors
    /// [`DescriptionError`], naming the layer and the key.
    pub fn from_json(description: &Value, rng: &mut impl Rng) -> Result<Self, DescriptionError> {
        Self::random(Description::new(FilePath::new("<memory>"), description)?, FilePath::new("<memory>"), rng)
    }

    /// [`Sequential::from_json`] of a file.
    ///
    /// # Errors
    /// [`DescriptionError`].
    pub fn from_file(file: impl AsRef<FilePath>, rng: &mut impl Rng) -> Result<Self, DescriptionError> {
        let file = file.as_ref();
        Self::random(Description::new(file, &settings::read(file)?)?, file, rng)
    }

    fn random(description: Description, file: &FilePath, rng: &mut impl Rng) -> Result<Self, DescriptionError> {
        let mut draw = |name: &str, shape: &[usize]| {
            let last = name.rsplit('.').next().unwrap_or(name);
            match (last, shape.len()) {
                ("running_mean", _) => Tensor::zeros(shape),
                ("running_var", _) => Tensor::ones(shape),
                (last, _) if last.contains("bias") => Tensor::zeros(shape),
                (_, 1) => Tensor::ones(shape),
                _ => init::he_normal(shape, rng),
            }
        };
        Self::build(description, file, Build::new(&mut draw))
    }

    fn build(description: Description, file: &FilePath, build: Build<'_, T>) -> Result<Self, DescriptionError> {
        let (layers, output) = description.layers(file, build)?;
        Ok(Self { layers, description, output })
    }

    /// The network of a description with the tensors of a checkpoint: a safetensors file, an index, or a folder with either.
    ///
    /// # Errors
    /// [`FileError::Description`], naming the layer and the key; [`FileError::Tensors`] with every tensor that does not fit;
    /// [`FileError::Checkpoint`].
    pub fn load(description: impl AsRef<FilePath>, checkpoint: impl AsRef<FilePath>) -> Result<Self, FileError> {
        let (file, checkpoint) = (description.as_ref(), checkpoint.as_ref());
        let description = Description::new(file, &settings::read(file)?)?;
        let tensors = description.tensors(file)?;
        let arrays = MappedCheckpoint::open(checkpoint)?;
        files::check::<T>(checkpoint, &arrays, &tensors, files::is_count)?;
        let mut failed = None;
        let mut take = |name: &str, _: &[usize]| {
            arrays.get(name).and_then(files::tensor).unwrap_or_else(|error| {
                failed = failed.take().or(Some(error));
                Tensor::scalar(T::ZERO)
            })
        };
        let model = Self::build(description, file, Build::new(&mut take))?;
        failed.map_or(Ok(model), |error| Err(error.into()))
    }

    /// Writes the description and the tensors.
    ///
    /// # Errors
    /// [`FileError::Description`] or [`FileError::Checkpoint`] if a file cannot be written.
    pub fn save(&self, description: impl AsRef<FilePath>, checkpoint: impl AsRef<FilePath>) -> Result<(), FileError> {
        files::save(checkpoint, self)?;
        Ok(settings::write(description.as_ref(), &self.to_json())?)
    }

    /// The description.
    pub fn to_json(&self) -> Value {
        let Description { input, layers, labels } = &self.description;
        json!({ "format": FORMAT, "input": input, "layers": layers, "labels": labels })
    }

    /// The shape of one input.
    pub fn input(&self) -> &[usize] {
        &self.description.input
    }

    /// The shape of one output.
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    /// The names of the output's elements; may be empty.
    pub fn labels(&self) -> &[String] {
        &self.description.labels
    }

    /// The names of all layers, in the order in which they are described; those inside a layer after it, with its name before
    /// theirs.
    pub fn names(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.layers.names(&mut all);
        all
    }

    /// `[batch, input..]` to `[batch, output..]`.
    ///
    /// # Panics
    /// When the input has another shape; [`Sequential::try_call`] returns the error instead.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        match self.try_call(x, pass) {
            Ok(y) => y,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`Sequential::call`], or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_call(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Result<Tensor<T>, TensorError> {
        if x.rank() == 0 || x.shape()[1..] != *self.input() {
            let right = [&[x.shape().first().copied().unwrap_or(1)], self.input()].concat();
            return Err(TensorError::Mismatch { operation: "Sequential", left: x.shape().to_vec(), right });
        }
        Ok(self.layers.call(x, pass))
    }

    /// The output of the layer `name`, not one inside another; `None` if there is none of that name.
    #[track_caller]
    pub fn features(&self, name: &str, x: &Tensor<T>, pass: &mut Pass<T>) -> Option<Tensor<T>> {
        let at = self.position(name)?;
        Some(self.layers.each[..=at].iter().fold(x.clone(), |x, own| own.layer.call(&x, pass)))
    }

    /// The output of the network, given that of the layer `name`; `None` if there is none of that name.
    #[track_caller]
    pub fn call_from(&self, name: &str, features: &Tensor<T>, pass: &mut Pass<T>) -> Option<Tensor<T>> {
        let at = self.position(name)?;
        Some(self.layers.each[at + 1..].iter().fold(features.clone(), |x, own| own.layer.call(&x, pass)))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.layers.each.iter().position(|own| own.name == name)
    }
}

impl<T: Scalar> Params for Sequential<T> {
    type Elem = T;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<T>)) {
        self.layers.for_each(path, f);
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<T>)) {
        self.layers.for_each_mut(path, f);
    }
}

impl<T: Scalar> Params for Layers<T> {
    type Elem = T;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<T>)) {
        for own in &self.each {
            path.child(&own.name, |path| own.layer.for_each(path, f));
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<T>)) {
        for own in &mut self.each {
            path.child(&own.name, |path| own.layer.for_each_mut(path, f));
        }
    }
}
