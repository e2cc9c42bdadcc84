//! Models as named arrays, and back: the names are those of the fields, as in a PyTorch `state_dict`.

use std::path::Path as FilePath;

use gradus_autodiff::{Params, Path, Scalar, Tensor};
use gradus_checkpoint::{Array, Arrays, Checkpoint, CheckpointError, DType, MappedCheckpoint};

/// Why a model could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read or written, or an array is missing, of another shape, or of a type that does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file holds an array that the model does not have.
    #[error("array `{name}` belongs to no tensor of the model")]
    Unexpected {
        /// The array's name.
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

/// Reads a checkpoint into a model of known structure: every tensor must be there in its shape, and nothing else. It is a
/// safetensors file, the index of several, or a folder with either ([`MappedCheckpoint::open`]).
///
/// # Errors
/// [`FileError`].
pub fn load<P: Params>(file: impl AsRef<FilePath>, like: &P) -> Result<P, FileError> {
    let checkpoint = MappedCheckpoint::open(file)?;
    let model = extract(&checkpoint, "", like)?;
    let own: Vec<String> = like.named().into_iter().map(|(name, _)| name).collect();
    match checkpoint.names().find(|name| !own.iter().any(|own| own == name)) {
        Some(name) => Err(FileError::Unexpected { name: name.to_owned() }),
        None => Ok(model),
    }
}
