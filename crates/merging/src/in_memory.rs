use gradus_autodiff::Params;
use gradus_checkpoint::Checkpoint;
use gradus_models::files;

use crate::MergeError;

/// Merges models that are structs of tensors: `merge` is any merge of checkpoints, and gets those of the models. The result
/// has the bits that the same merge of the models' files has.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_merging::{NameFilter, in_memory, linear};
///
/// let models = [Tensor::vector(&[0.0f32, 2.0]), Tensor::vector(&[4.0, 6.0])];
/// let merged = in_memory(&models, |models| linear::average(models, &NameFilter::default()))?;
/// assert_eq!(merged.as_slice(), [2.0, 4.0]);
/// # Ok::<(), gradus_merging::MergeError>(())
/// ```
///
/// # Errors
/// What `merge` returns; [`MergeError::TooFewModels`] for no models; [`MergeError::Checkpoint`] for two tensors of one name, or
/// for a merged array that does not fit the first model.
pub fn in_memory<P: Params>(models: &[P], merge: impl FnOnce(&[&Checkpoint]) -> Result<Checkpoint, MergeError>) -> Result<P, MergeError> {
    let first = models.first().ok_or(MergeError::TooFewModels { found: 0 })?;
    let mut checkpoints = vec![Checkpoint::new(); models.len()];
    for (checkpoint, model) in checkpoints.iter_mut().zip(models) {
        files::insert(checkpoint, "", model)?;
    }
    let merged = merge(&checkpoints.iter().collect::<Vec<_>>())?;
    Ok(files::extract(&merged, "", first)?)
}
