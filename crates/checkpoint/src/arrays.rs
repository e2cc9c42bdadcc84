use crate::{Array, Checkpoint, CheckpointError, MappedCheckpoint};
use std::collections::BTreeMap;

/// Named arrays, wherever they are: in memory, in a file or in several. A slice of `&dyn Arrays` may mix them.
///
/// ```
/// use gradus_checkpoint::{Arrays, Checkpoint};
///
/// fn count(arrays: &dyn Arrays) -> usize {
///     arrays.all().iter().map(|array| array.count()).sum()
/// }
/// let mut checkpoint = Checkpoint::new();
/// checkpoint.insert_f32("weight", &[2, 3], &[0.0; 6])?;
/// assert_eq!(count(&checkpoint), 6);
/// # Ok::<(), gradus_checkpoint::CheckpointError>(())
/// ```
pub trait Arrays: Sync {
    /// The arrays in the order of their names.
    fn all(&self) -> Vec<Array<'_>>;

    /// The array of that name.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] if there is none.
    fn array(&self, name: &str) -> Result<Array<'_>, CheckpointError>;

    /// The free text entries that go with the arrays.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// The SHA-256 of the names, types, shapes and bytes of all arrays.
    fn fingerprint(&self) -> String;
}

impl Arrays for Checkpoint {
    fn all(&self) -> Vec<Array<'_>> {
        self.arrays().collect()
    }
    fn array(&self, name: &str) -> Result<Array<'_>, CheckpointError> {
        self.get(name)
    }
    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
    fn fingerprint(&self) -> String {
        self.fingerprint()
    }
}

impl Arrays for MappedCheckpoint {
    fn all(&self) -> Vec<Array<'_>> {
        self.arrays().collect()
    }
    fn array(&self, name: &str) -> Result<Array<'_>, CheckpointError> {
        self.get(name)
    }
    fn metadata(&self) -> &BTreeMap<String, String> {
        self.metadata()
    }
    fn fingerprint(&self) -> String {
        self.fingerprint()
    }
}
