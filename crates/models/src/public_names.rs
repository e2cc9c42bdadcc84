//! Language models under the names and layouts of public checkpoints.

use std::path::Path;

use gradus_autodiff::{Params, Scalar, Tensor};
use gradus_checkpoint::{Array, Arrays, Checkpoint, CheckpointError};

use crate::build::Build;
use crate::{FileError, LanguageConfig, LanguageModel, SettingError, TensorProblem, files};

/// How a family of models names its tensors.
pub(crate) struct Scheme {
    /// What stands before all names but the head's in a whole model; absent where the model was saved without head.
    pub(crate) prefix: &'static str,
    /// What stands before the number of a layer.
    pub(crate) layers: &'static str,
    /// Tensors of a layer: our name, the public ones that are its rows from top to bottom, and whether those are transposed.
    pub(crate) inside: &'static [(&'static str, &'static [&'static str], bool)],
    /// The other tensors: our name and the public one.
    pub(crate) outside: &'static [(&'static str, &'static str)],
    /// Patterns of names of constants that older files hold.
    pub(crate) ignored: &'static [&'static str],
}

const HEAD: &str = "lm_head.weight";

/// Where a tensor of ours stands in a public checkpoint: as these tensors, one below the other.
struct Place {
    /// Public names, without prefix, and shapes.
    parts: Vec<(String, Vec<usize>)>,
    transposed: bool,
}

impl Scheme {
    /// The place of our tensor of this name and shape; every tensor of a model of the family has one.
    fn place(&self, config: &LanguageConfig, own: &str, shape: &[usize]) -> Option<Place> {
        if let Some((_, public)) = self.outside.iter().find(|(name, _)| *name == own) {
            return Some(Place { parts: vec![((*public).to_owned(), shape.to_vec())], transposed: false });
        }
        let (layer, rest) = own.strip_prefix("transformer.layers.")?.split_once('.')?;
        let (_, publics, transposed) = self.inside.iter().find(|(name, ..)| *name == rest)?;
        let c = &config.transformer;
        let rows = match publics.len() {
            1 => vec![shape[0]],
            _ => [c.heads, c.key_value_heads, c.key_value_heads].map(|heads| heads * c.head_width).to_vec(),
        };
        let part = |(public, rows): (&&str, usize)| {
            let mut shape = [&[rows], &shape[1..]].concat();
            if *transposed {
                shape.reverse();
            }
            (format!("{}{layer}.{public}", self.layers), shape)
        };
        Some(Place { parts: publics.iter().zip(rows).map(part).collect(), transposed: *transposed })
    }

    /// The name in a checkpoint with or without prefix.
    fn full(&self, name: &str, prefixed: bool) -> String {
        if prefixed && name != HEAD { format!("{}{name}", self.prefix) } else { name.to_owned() }
    }

    fn is_ignored(&self, name: &str) -> bool {
        let name = name.strip_prefix(self.prefix).unwrap_or(name);
        self.ignored.iter().any(|pattern| gradus_base::matches(pattern, name))
    }

    /// The model of these settings with the tensors of a checkpoint.
    pub(crate) fn extract<T: Scalar>(
        &self,
        folder: &Path,
        arrays: &dyn Arrays,
        config: &LanguageConfig,
    ) -> Result<LanguageModel<T>, FileError> {
        let all = arrays.all();
        let prefixed = all.iter().any(|array| array.name.starts_with(self.prefix));
        let layers = config.transformer.layers;
        if layers > all.len() {
            let expected = format!("at most the {} tensors of the checkpoint", all.len());
            return Err(SettingError { name: "layers", expected, found: layers.to_string() }.into());
        }
        let mut expected = Vec::new();
        let mut list = |name: &str, shape: &[usize]| {
            expected.push((name.to_owned(), shape.to_vec()));
            Tensor::<T>::scalar(T::ZERO)
        };
        LanguageModel::build(config, Build::new(&mut list));
        let places = expected.iter().filter_map(|(own, shape)| self.place(config, own, shape));
        let parts: Vec<_> = places.flat_map(|place| place.parts).map(|(name, shape)| (self.full(&name, prefixed), shape)).collect();
        files::check::<T>(folder, arrays, &parts, |name| self.is_ignored(name) || (config.tied && name == HEAD))?;
        let mut failed = None;
        let mut take = |own: &str, shape: &[usize]| {
            let place = self.place(config, own, shape).unwrap_or(Place { parts: Vec::new(), transposed: false });
            read_place(arrays, &place, |name| self.full(name, prefixed)).unwrap_or_else(|error| {
                failed = failed.take().or(Some(error));
                Tensor::scalar(T::ZERO)
            })
        };
        let model = LanguageModel::build(config, Build::new(&mut take));
        if let Some(error) = failed {
            return Err(error.into());
        }
        if config.tied && arrays.array(HEAD).is_ok() && files::tensor::<T>(arrays.array(HEAD)?)? != model.embedding.weight {
            let problems = vec![TensorProblem::Untied { name: HEAD.to_owned() }];
            return Err(FileError::Tensors { file: folder.to_owned(), problems });
        }
        Ok(model)
    }

    /// The tensors of a model, or of what has its shape as a gradient has, under their public names.
    pub(crate) fn insert<T: Scalar>(&self, model: &LanguageModel<T>) -> Result<Checkpoint, CheckpointError> {
        let mut checkpoint = Checkpoint::new();
        checkpoint.metadata.insert("format".to_owned(), "pt".to_owned());
        for (own, x) in model.named() {
            let Some(place) = self.place(&model.config, &own, x.shape()) else { continue };
            let mut first = 0;
            for (name, shape) in &place.parts {
                let rows = if place.transposed { shape[shape.len() - 1] } else { shape[0] };
                let part = x.narrow(0, first, rows);
                first += rows;
                let part = if place.transposed { part.t() } else { part };
                files::insert_tensor(&mut checkpoint, self.full(name, true), &part)?;
            }
        }
        Ok(checkpoint)
    }
}

fn read_place<T: Scalar>(arrays: &dyn Arrays, place: &Place, full: impl Fn(&str) -> String) -> Result<Tensor<T>, CheckpointError> {
    let part = |(name, _): &(String, Vec<usize>)| -> Result<Tensor<T>, CheckpointError> {
        let array: Array<'_> = arrays.array(&full(name))?;
        let tensor = files::tensor(array)?;
        Ok(if place.transposed { tensor.t() } else { tensor })
    };
    let mut parts = place.parts.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Ok(Tensor::concat(&parts, 0)),
    }
}

/// The activations and their names in `config.json`.
pub(crate) const ACTIVATIONS: &[(&str, crate::Activation)] = &[
    ("gelu_new", crate::Activation::GeluTanh),
    ("gelu_pytorch_tanh", crate::Activation::GeluTanh),
    ("gelu", crate::Activation::Gelu),
    ("quick_gelu", crate::Activation::QuickGelu),
    ("silu", crate::Activation::Silu),
    ("swish", crate::Activation::Silu),
    ("relu", crate::Activation::Relu),
    ("tanh", crate::Activation::Tanh),
    ("sigmoid", crate::Activation::Sigmoid),
];
