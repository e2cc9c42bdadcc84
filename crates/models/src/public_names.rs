//! Language models under the names and layouts of public checkpoints.

use std::path::{Path, PathBuf};

use gradus_autodiff::{Params, Scalar, Tensor};
use gradus_checkpoint::{Array, Arrays, Checkpoint, CheckpointError, DType};

use crate::build::Build;
use crate::{DescriptionError, LanguageConfig, LanguageModel, SettingError, files};

/// Why a public checkpoint could not be loaded, or a model not be saved as one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicError {
    /// The `config.json` is wrong.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The settings do not fit each other, or are not those of this family of models.
    #[error("{}{source}", file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default())]
    Setting {
        /// The `config.json`, when the settings came from one.
        file: Option<PathBuf>,
        /// Which setting.
        source: SettingError,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Tensors are missing, too many, or of another shape or type than the settings say.
    #[error("{}: {}", folder.display(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Tensors {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// What is wrong with each.
        problems: Vec<TensorProblem>,
    },
}

/// What is wrong with one tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The model needs it, and the checkpoint does not have it.
    #[error("`{name}` of shape {shape:?} is missing")]
    Missing {
        /// Its name.
        name: String,
        /// The shape that the settings ask for.
        shape: Vec<usize>,
    },
    /// The checkpoint has it, and the model has no place for it.
    #[error("`{name}` of shape {shape:?} belongs to no tensor of the model")]
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The shape is another than the settings ask for.
    #[error("`{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape that the settings ask for.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
    },
    /// The elements cannot be read without loss.
    #[error("`{name}` has elements of type {found}, which the model cannot hold without loss")]
    Type {
        /// Its name.
        name: String,
        /// The type of its elements.
        found: DType,
    },
    /// The settings tie the output to the embeddings, and the checkpoint has another matrix for it.
    #[error("`{name}` is not the matrix of embeddings to which the settings tie it")]
    Untied {
        /// Its name.
        name: String,
    },
}

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
    ) -> Result<LanguageModel<T>, PublicError> {
        let all = arrays.all();
        let prefixed = all.iter().any(|array| array.name.starts_with(self.prefix));
        let layers = config.transformer.layers;
        if layers > all.len() {
            let expected = format!("at most the {} tensors of the checkpoint", all.len());
            let source = SettingError { name: "layers", expected, found: layers.to_string() };
            return Err(PublicError::Setting { file: None, source });
        }
        let mut expected = Vec::new();
        let mut list = |name: &str, shape: &[usize]| {
            expected.push((name.to_owned(), shape.to_vec()));
            Tensor::<T>::scalar(T::ZERO)
        };
        LanguageModel::build(config, Build::new(&mut list));
        let mut problems = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for (own, shape) in &expected {
            for (name, shape) in self.place(config, own, shape).map(|place| place.parts).unwrap_or_default() {
                let name = self.full(&name, prefixed);
                problems.extend(problem::<T>(arrays, &name, shape));
                known.push(name);
            }
        }
        let tied = config.tied && all.iter().any(|array| array.name == HEAD);
        known.sort_unstable();
        let unknown = all.iter().filter(|array| known.binary_search_by(|name| name.as_str().cmp(array.name)).is_err());
        problems.extend(
            unknown
                .filter(|array| !self.is_ignored(array.name) && (array.name != HEAD || !tied))
                .map(|array| TensorProblem::Unexpected { name: array.name.to_owned(), shape: array.shape.to_vec() }),
        );
        if !problems.is_empty() {
            return Err(PublicError::Tensors { folder: folder.to_owned(), problems });
        }
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
        if tied {
            let head: Tensor<T> = files::tensor(arrays.array(HEAD)?)?;
            if head != model.embedding.weight {
                return Err(PublicError::Tensors {
                    folder: folder.to_owned(),
                    problems: vec![TensorProblem::Untied { name: HEAD.to_owned() }],
                });
            }
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

fn problem<T: Scalar>(arrays: &dyn Arrays, name: &str, expected: Vec<usize>) -> Option<TensorProblem> {
    let name = name.to_owned();
    let Ok(array) = arrays.array(&name) else { return Some(TensorProblem::Missing { name, shape: expected }) };
    if array.shape != expected {
        return Some(TensorProblem::Shape { name, expected, found: array.shape.to_vec() });
    }
    (!files::fits::<T>(array.dtype)).then_some(TensorProblem::Type { name, found: array.dtype })
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

/// The activations that `config.json` names.
pub(crate) const ACTIVATIONS: [(&str, crate::Activation); 9] = [
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
