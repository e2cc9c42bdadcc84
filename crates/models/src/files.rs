//! Models as named arrays, and back: the names are those of the fields, as in a PyTorch `state_dict`.

use std::collections::HashSet;
use std::path::{Path as FilePath, PathBuf};

use gradus_autodiff::{Params, Path, Scalar, Tensor};
use gradus_checkpoint::{Array, Arrays, Checkpoint, CheckpointError, DType, MappedCheckpoint};

use crate::{DescriptionError, SettingError};

/// Why a model could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be read or written, or an array is missing, of another shape, or of a type that does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file that describes the model is wrong.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The settings do not fit each other, or are not those of this family of models.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Tensors are missing, too many, or of another shape or type than the model's.
    #[error("{}: {}", file.display(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Tensors {
        /// The file, or the folder of several.
        file: PathBuf,
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

/// Adds every tensor of a model, buffers too, under `prefix` and its own name. `f64` models become F64 arrays, `f32` models F32.
///
/// # Errors
/// [`CheckpointError::DuplicateName`] if the checkpoint has an array of that name already.
pub fn insert<P: Params>(checkpoint: &mut Checkpoint, prefix: &str, model: &P) -> Result<(), CheckpointError> {
    for (name, x) in model.named() {
        insert_tensor(checkpoint, format!("{prefix}{name}"), x)?;
    }
    Ok(())
}

pub(crate) fn insert_tensor<T: Scalar>(checkpoint: &mut Checkpoint, name: String, x: &Tensor<T>) -> Result<(), CheckpointError> {
    if is_f64::<T>() {
        let values: Vec<f64> = x.as_slice().iter().map(|x| x.to_f64()).collect();
        checkpoint.insert_f64(name, x.shape(), &values)
    } else {
        checkpoint.insert_f32(name, x.shape(), x.cast::<f32>().as_slice())
    }
}

/// The model with every tensor, buffers too, replaced by the array of `prefix` and its name. 8- and 16-bit arrays are widened; an
/// `f32` model does not take F64 arrays.
///
/// # Errors
/// [`CheckpointError::Missing`], [`CheckpointError::Shape`] or [`CheckpointError::DType`], naming the array.
pub fn extract<P: Params>(checkpoint: &dyn Arrays, prefix: &str, like: &P) -> Result<P, CheckpointError> {
    let mut model = like.clone();
    let mut failed = None;
    model.for_each_mut(&mut Path::default(), &mut |path, x| match read::<P::Elem>(
        checkpoint,
        &format!("{prefix}{}", path.name()),
        x.shape(),
    ) {
        Ok(found) => *x = found,
        Err(error) => failed = failed.take().or(Some(error)),
    });
    failed.map_or(Ok(model), Err)
}

fn read<T: Scalar>(checkpoint: &dyn Arrays, name: &str, shape: &[usize]) -> Result<Tensor<T>, CheckpointError> {
    tensor(checkpoint.array(name)?.with_shape(shape)?)
}

/// The array as a tensor; elements of fewer bits are widened.
pub(crate) fn tensor<T: Scalar>(array: Array<'_>) -> Result<Tensor<T>, CheckpointError> {
    if is_f64::<T>() {
        let values = array.to_f64()?;
        Ok(Tensor::from_fn(array.shape, |i| T::from_f64(values[i])))
    } else {
        let values = array.to_f32()?;
        Ok(Tensor::from_fn(array.shape, |i| T::from_f64(values[i].into())))
    }
}

/// Whether [`tensor`] takes elements of this type.
pub(crate) fn fits<T: Scalar>(found: DType) -> bool {
    match found {
        DType::F64 => is_f64::<T>(),
        DType::F32 | DType::F16 | DType::BF16 | DType::F8_E4M3 | DType::F8_E5M2 => true,
        _ => false,
    }
}

fn is_f64<T: Scalar>() -> bool {
    size_of::<T>() == size_of::<f64>()
}

/// Writes a model to a safetensors file, whole or not at all.
///
/// # Errors
/// [`FileError::Checkpoint`] if the file cannot be written.
///
/// ```
/// use gradus_models::{Linear, files};
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("linear.safetensors");
/// let model: Linear = Linear::new(3, 2, &mut gradus_base::stream(1, "example", 0));
/// files::save(&file, &model)?;
/// let blank = Linear::new(3, 2, &mut gradus_base::stream(2, "example", 0));
/// assert_eq!(files::load(&file, &blank)?, model);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save<P: Params>(file: impl AsRef<FilePath>, model: &P) -> Result<(), FileError> {
    let mut checkpoint = Checkpoint::new();
    insert(&mut checkpoint, "", model)?;
    Ok(checkpoint.write(file)?)
}

/// Reads a checkpoint into a model of known structure: every tensor must be there in its shape, and nothing else but the
/// counts of batches that PyTorch's batch normalisation keeps. It is a safetensors file, the index of several, or a folder with
/// either ([`MappedCheckpoint::open`]).
///
/// # Errors
/// [`FileError::Tensors`] with every tensor that does not fit; [`FileError::Checkpoint`].
pub fn load<P: Params>(file: impl AsRef<FilePath>, like: &P) -> Result<P, FileError> {
    let file = file.as_ref();
    let checkpoint = MappedCheckpoint::open(file)?;
    let own: Vec<(String, Vec<usize>)> = like.named().into_iter().map(|(name, x)| (name, x.shape().to_vec())).collect();
    check::<P::Elem>(file, &checkpoint, &own, is_count)?;
    Ok(extract(&checkpoint, "", like)?)
}

/// The number of batches that a batch normalisation of PyTorch has seen.
pub(crate) fn is_count(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// Whether a checkpoint has the tensors of these names and shapes, and no others but those to be ignored.
pub(crate) fn check<T: Scalar>(
    file: &FilePath,
    arrays: &dyn Arrays,
    own: &[(String, Vec<usize>)],
    ignored: impl Fn(&str) -> bool,
) -> Result<(), FileError> {
    let mut problems: Vec<_> = own.iter().filter_map(|(name, shape)| problem::<T>(arrays, name, shape.clone())).collect();
    let known: HashSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
    let unknown = arrays.all().into_iter().filter(|array| !known.contains(array.name) && !ignored(array.name));
    problems.extend(unknown.map(|array| TensorProblem::Unexpected { name: array.name.to_owned(), shape: array.shape.to_vec() }));
    if problems.is_empty() { Ok(()) } else { Err(FileError::Tensors { file: file.to_owned(), problems }) }
}

fn problem<T: Scalar>(arrays: &dyn Arrays, name: &str, expected: Vec<usize>) -> Option<TensorProblem> {
    let name = name.to_owned();
    let Ok(array) = arrays.array(&name) else { return Some(TensorProblem::Missing { name, shape: expected }) };
    if array.shape != expected {
        return Some(TensorProblem::Shape { name, expected, found: array.shape.to_vec() });
    }
    (!fits::<T>(array.dtype)).then_some(TensorProblem::Type { name, found: array.dtype })
}
