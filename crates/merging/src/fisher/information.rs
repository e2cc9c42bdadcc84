use std::collections::BTreeMap;
use std::path::Path;

use gradus_checkpoint::{Checkpoint, DType};
use rayon::prelude::*;

use crate::blocks::dot;
use crate::{Arrays, MergeError};

/// Which expectation over the outputs the Fisher information takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FisherMode {
    /// Over all classes, weighted by the model's own probabilities: `Σ_y p(y|x) (∇ log p(y|x))²`.
    #[default]
    Exact,
    /// Over outputs drawn from the model's own distribution; those of sequences token by token.
    Sampled {
        /// Draws for each example, at least 1.
        draws: usize,
        /// The seed of the draws.
        seed: u64,
    },
    /// The true labels in place of the model's distribution. This is not the Fisher information, and not the paper's.
    Empirical,
}

impl std::fmt::Display for FisherMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Sampled { draws, seed } => write!(f, "sampled:{draws}:{seed}"),
            Self::Empirical => f.write_str("empirical"),
        }
    }
}

impl std::str::FromStr for FisherMode {
    type Err = MergeError;
    fn from_str(text: &str) -> Result<Self, MergeError> {
        let expected = "exact, empirical or sampled:DRAWS:SEED";
        let bad = || MergeError::Metadata { key: "mode", found: Some(text.into()), expected };
        match text.split(':').collect::<Vec<_>>()[..] {
            ["exact"] => Ok(Self::Exact),
            ["empirical"] => Ok(Self::Empirical),
            ["sampled", draws, seed] => {
                Ok(Self::Sampled { draws: draws.parse().map_err(|_| bad())?, seed: seed.parse().map_err(|_| bad())? })
            }
            _ => Err(bad()),
        }
    }
}

/// The diagonal of a model's Fisher information, array by array, and where it comes from.
///
/// ```
/// use gradus_checkpoint::Checkpoint;
/// use gradus_merging::fisher::{DiagonalFisher, FisherMode};
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("a.fisher");
/// let mut model = Checkpoint::new();
/// model.insert_f32("weight", &[2], &[0.5, -0.5])?;
/// let mut arrays = Checkpoint::new();
/// arrays.insert_f32("weight", &[2], &[3.0, 4.0])?;
/// let fisher = DiagonalFisher::new(arrays, 100, FisherMode::Exact, model.fingerprint())?;
/// assert_eq!(fisher.norm(), 5.0);
/// fisher.save(&file)?;
///
/// let loaded = DiagonalFisher::load(&file)?;
/// assert_eq!(loaded, fisher);
/// loaded.check_model(&model, 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalFisher {
    arrays: Checkpoint,
    /// The number of examples of the mean.
    pub n_examples: u64,
    /// The expectation that was taken.
    pub mode: FisherMode,
    /// The fingerprint of the model that it belongs to.
    pub model: String,
    norm: f64,
    bad: Option<BadValue>,
}

/// The first value that cannot be Fisher information.
#[derive(Clone, Debug, PartialEq)]
struct BadValue {
    tensor: String,
    index: usize,
    value: f64,
}

impl DiagonalFisher {
    /// A Fisher of F32 arrays with the names and shapes of the model's.
    ///
    /// # Errors
    /// [`MergeError::FisherType`] for arrays of another type, [`MergeError::FisherValue`] for a value that is negative,
    /// infinite or not a number, [`MergeError::NoExamples`].
    pub fn new(arrays: Checkpoint, n_examples: u64, mode: FisherMode, model: String) -> Result<Self, MergeError> {
        let fisher = Self::unchecked(arrays, n_examples, mode, model)?;
        fisher.check_values().map(|()| fisher)
    }

    /// As [`DiagonalFisher::new`], but bad values are refused only by a merge that uses them: one in which the model's
    /// coefficient is above 0.
    ///
    /// # Errors
    /// [`MergeError::FisherType`], [`MergeError::NoExamples`].
    pub fn unchecked(arrays: Checkpoint, n_examples: u64, mode: FisherMode, model: String) -> Result<Self, MergeError> {
        if let Some(array) = arrays.arrays().find(|array| array.dtype != DType::F32) {
            return Err(MergeError::FisherType { tensor: array.name.into(), dtype: array.dtype });
        }
        if n_examples == 0 {
            return Err(MergeError::NoExamples);
        }
        let (mut squares, mut bad) = (0.0, None);
        for array in arrays.arrays() {
            let values = array.to_f64()?;
            squares += sum_of_squares(&values);
            bad = bad.or_else(|| bad_value(array.name, &values));
        }
        Ok(Self { arrays, n_examples, mode, model, norm: squares.sqrt(), bad })
    }

    /// The arrays.
    pub fn arrays(&self) -> &Checkpoint {
        &self.arrays
    }

    /// ‖F‖₂, over all arrays together, whether a merge uses them or not.
    pub fn norm(&self) -> f64 {
        self.norm
    }

    /// Writes a safetensors file; the rest goes to its metadata, under `n_examples`, `mode` and `model`.
    ///
    /// # Errors
    /// [`MergeError::Checkpoint`] if the file cannot be written.
    pub fn save(&self, file: impl AsRef<Path>) -> Result<(), MergeError> {
        let mut arrays = self.arrays.clone();
        arrays.metadata = metadata(self.n_examples, self.mode, &self.model);
        Ok(arrays.write(file)?)
    }

    /// Reads what [`DiagonalFisher::save`] wrote.
    ///
    /// # Errors
    /// [`MergeError::Checkpoint`] if the file cannot be read, [`MergeError::Metadata`] for a missing or bad entry, and
    /// the errors of [`DiagonalFisher::new`].
    pub fn load(file: impl AsRef<Path>) -> Result<Self, MergeError> {
        let mut arrays = Checkpoint::read(file)?;
        let metadata = std::mem::take(&mut arrays.metadata);
        let n_examples = n_examples(&metadata, 1)?;
        let mode = entry(&metadata, "mode", "exact, empirical or sampled:DRAWS:SEED")?.parse()?;
        Self::new(arrays, n_examples, mode, entry(&metadata, "model", "a fingerprint")?.into())
    }

    /// Checks that it was estimated for this model, the `index`-th of a merge.
    ///
    /// # Errors
    /// [`MergeError::Fingerprint`].
    pub fn check_model(&self, model: &(impl Arrays + ?Sized), index: usize) -> Result<(), MergeError> {
        let found = model.fingerprint();
        if found == self.model {
            return Ok(());
        }
        Err(MergeError::Fingerprint { model: index, expected: self.model.clone(), found })
    }

    pub(super) fn check_values(&self) -> Result<(), MergeError> {
        self.bad.clone().map_or(Ok(()), |bad| Err(bad.into()))
    }
}

/// Checks the values of one array.
#[cfg(feature = "autodiff")]
pub(super) fn check_values(tensor: &str, values: &[f64]) -> Result<(), MergeError> {
    bad_value(tensor, values).map_or(Ok(()), |bad| Err(bad.into()))
}

impl From<BadValue> for MergeError {
    fn from(BadValue { tensor, index, value }: BadValue) -> Self {
        Self::FisherValue { tensor, index, value }
    }
}

fn bad_value(tensor: &str, values: &[f64]) -> Option<BadValue> {
    let index = values.iter().position(|value| !value.is_finite() || *value < 0.0)?;
    Some(BadValue { tensor: tensor.into(), index, value: values[index] })
}

/// In parts of a fixed size: the same bits for any number of threads.
fn sum_of_squares(values: &[f64]) -> f64 {
    let parts: Vec<f64> = values.par_chunks(1 << 14).map(|part| dot(part, part)).collect();
    parts.iter().sum()
}

/// The entries of a Fisher's file, and of an unfinished estimate's.
pub(super) fn metadata(n_examples: u64, mode: FisherMode, model: &str) -> BTreeMap<String, String> {
    [("n_examples", n_examples.to_string()), ("mode", mode.to_string()), ("model", model.to_owned())]
        .map(|(key, value)| (key.into(), value))
        .into()
}

pub(super) fn entry<'a>(metadata: &'a BTreeMap<String, String>, key: &'static str, expected: &'static str) -> Result<&'a str, MergeError> {
    metadata.get(key).map(String::as_str).ok_or(MergeError::Metadata { key, found: None, expected })
}

pub(super) fn n_examples(metadata: &BTreeMap<String, String>, least: u64) -> Result<u64, MergeError> {
    let (key, expected) = ("n_examples", "a number of examples");
    let found = entry(metadata, key, expected)?;
    let bad = || MergeError::Metadata { key, found: Some(found.into()), expected };
    found.parse().ok().filter(|count| *count >= least).ok_or_else(bad)
}
