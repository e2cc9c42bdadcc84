use std::path::Path;

use gradus_checkpoint::{Checkpoint, DType};

use crate::{Arrays, MergeError};

/// Which expectation over the outputs the Fisher information takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FisherMode {
    /// Over all classes, weighted by the model's own probabilities: `Σ_y p(y|x) (∇ log p(y|x))²`.
    Exact,
    /// Over outputs drawn from the model's own distribution.
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
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalFisher {
    arrays: Checkpoint,
    /// The number of examples of the mean.
    pub n_examples: u64,
    /// The expectation that was taken.
    pub mode: FisherMode,
    /// The fingerprint of the model that it belongs to.
    pub model: String,
}

impl DiagonalFisher {
    /// A Fisher of F32 arrays with the names and shapes of the model's.
    ///
    /// # Errors
    /// [`MergeError::FisherType`] for arrays of another type, [`MergeError::NoExamples`].
    pub fn new(arrays: Checkpoint, n_examples: u64, mode: FisherMode, model: String) -> Result<Self, MergeError> {
        if let Some(array) = arrays.arrays().find(|array| array.dtype != DType::F32) {
            return Err(MergeError::FisherType { tensor: array.name.into(), dtype: array.dtype });
        }
        if n_examples == 0 {
            return Err(MergeError::NoExamples);
        }
        Ok(Self { arrays, n_examples, mode, model })
    }

    /// The arrays.
    pub fn arrays(&self) -> &Checkpoint {
        &self.arrays
    }

    /// Writes a safetensors file; the rest goes to its metadata.
    ///
    /// # Errors
    /// [`MergeError::Checkpoint`] if the file cannot be written.
    pub fn save(&self, file: impl AsRef<Path>) -> Result<(), MergeError> {
        let mut arrays = self.arrays.clone();
        let entries = [("n_examples", self.n_examples.to_string()), ("mode", self.mode.to_string()), ("model", self.model.clone())];
        arrays.metadata = entries.map(|(key, value)| (key.into(), value)).into();
        Ok(arrays.write(file)?)
    }

    /// Reads what [`DiagonalFisher::save`] wrote.
    ///
    /// # Errors
    /// [`MergeError::Checkpoint`] if the file cannot be read, [`MergeError::Metadata`] for a missing or bad entry,
    /// [`MergeError::FisherType`] for arrays that are not F32.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, MergeError> {
        let mut arrays = Checkpoint::read(file)?;
        let metadata = std::mem::take(&mut arrays.metadata);
        let entry = |key, expected| metadata.get(key).ok_or(MergeError::Metadata { key, found: None, expected });
        let (count, expected) = (entry("n_examples", "a positive number")?, "a positive number");
        let bad = || MergeError::Metadata { key: "n_examples", found: Some(count.clone()), expected };
        let n_examples = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
        let mode = entry("mode", "exact, empirical or sampled:DRAWS:SEED")?.parse()?;
        Self::new(arrays, n_examples, mode, entry("model", "a fingerprint")?.clone())
    }

    /// Checks that it was estimated for this model, the `index`-th of a merge.
    ///
    /// # Errors
    /// [`MergeError::Fingerprint`].
    pub fn check_model(&self, model: &impl Arrays, index: usize) -> Result<(), MergeError> {
        let found = model.fingerprint();
        if found == self.model {
            return Ok(());
        }
        Err(MergeError::Fingerprint { model: index, expected: self.model.clone(), found })
    }
}
