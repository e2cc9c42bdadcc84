use gradus_base::matches;
use gradus_checkpoint::{Array, Checkpoint, CheckpointError, DType, MappedCheckpoint, NamedArray};
use rayon::prelude::*;

use crate::MergeError;

/// Named arrays: a checkpoint in memory or in a file.
pub trait Arrays: Sync {
    /// The arrays in the order of their names.
    fn all(&self) -> Vec<Array<'_>>;
    /// The array of that name.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`].
    fn array(&self, name: &str) -> Result<Array<'_>, CheckpointError>;
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
    fn fingerprint(&self) -> String {
        self.fingerprint()
    }
}

/// Which arrays are merged, by patterns in which `*` stands for any characters. The others are the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFilter {
    /// A name must fit one of these.
    pub include: Vec<String>,
    /// And none of these, such as `head.*`.
    pub exclude: Vec<String>,
}

impl Default for NameFilter {
    /// Every array.
    fn default() -> Self {
        Self { include: vec!["*".into()], exclude: Vec::new() }
    }
}

impl NameFilter {
    /// Whether the array of that name is merged.
    pub fn accepts(&self, name: &str) -> bool {
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        fits(&self.include) && !fits(&self.exclude)
    }
}

pub(crate) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
}

/// Checks that the models agree about the arrays that `filter` accepts.
pub(crate) fn check_models<A: Arrays>(models: &[&A], filter: &NameFilter) -> Result<(), MergeError> {
    let Some((target, others)) = models.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err(MergeError::TooFewModels { found: models.len() });
    };
    for (model, other) in (1..).zip(others) {
        check_like(*target, *other, "the checkpoint", model, filter)?;
        let extra = other.all().into_iter().find(|array| filter.accepts(array.name) && target.array(array.name).is_err());
        if let Some(array) = extra {
            return Err(MergeError::Unexpected { model, tensor: array.name.into() });
        }
    }
    Ok(())
}

/// Checks that `other` has the target's arrays in the target's shapes.
pub(crate) fn check_like(
    target: &impl Arrays,
    other: &impl Arrays,
    what: &'static str,
    model: usize,
    filter: &NameFilter,
) -> Result<(), MergeError> {
    for expected in target.all().into_iter().filter(|array| filter.accepts(array.name)) {
        let tensor = || expected.name.to_owned();
        let found = other.array(expected.name).map_err(|_| MergeError::Missing { what, model, tensor: tensor() })?;
        if found.shape != expected.shape {
            let (expected, found) = (expected.shape.to_vec(), found.shape.to_vec());
            return Err(MergeError::Shape { what, model, tensor: tensor(), expected, found });
        }
    }
    Ok(())
}

/// The coefficients with sum 1, checked.
pub(crate) fn check_lambdas(lambdas: &[f64], models: usize) -> Result<Vec<f64>, MergeError> {
    if lambdas.len() != models {
        return Err(MergeError::LambdaCount { models, lambdas: lambdas.len() });
    }
    if let Some((model, &value)) = lambdas.iter().enumerate().find(|(_, value)| !value.is_finite() || **value < 0.0) {
        return Err(MergeError::Lambda { model, value });
    }
    // Divided by the largest first: the sum of large coefficients could overflow.
    let largest = lambdas.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(MergeError::ZeroLambdas);
    }
    let sum: f64 = lambdas.iter().map(|value| value / largest).sum();
    Ok(lambdas.iter().map(|value| value / largest / sum).collect())
}

/// An array of the target's name and shape: F64 if the target's is, else F32 (16-bit arrays are widened).
pub(crate) fn like_target(target: &Array<'_>, values: &[f64]) -> NamedArray {
    let dtype = if target.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let bytes = match dtype {
        DType::F64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
    };
    NamedArray { name: target.name.into(), dtype, shape: target.shape.to_vec(), bytes }
}

pub(crate) fn copy(array: &Array<'_>) -> NamedArray {
    NamedArray { name: array.name.into(), dtype: array.dtype, shape: array.shape.to_vec(), bytes: array.bytes.to_vec() }
}

/// `f(i)` for every coordinate, in parallel; each is computed alone, so that the number of threads changes nothing.
pub(crate) fn coordinates(count: usize, f: impl Fn(usize) -> f64 + Sync + Send) -> Vec<f64> {
    (0..count).into_par_iter().with_min_len(1 << 15).map(f).collect()
}

/// `Σ_i w_i θ_i / Σ_i w_i` of one array over the models with a positive weight.
pub(crate) fn mean_array<A: Arrays>(models: &[&A], name: &str, weights: &[f64]) -> Result<Vec<f64>, MergeError> {
    let used: Vec<usize> = (0..models.len()).filter(|&i| weights[i] > 0.0).collect();
    let values: Vec<Vec<f64>> = used.iter().map(|&i| models[i].array(name)?.to_f64()).collect::<Result<_, _>>()?;
    let count = values.first().map_or(0, Vec::len);
    let mean = |j: usize| weighted_mean(used.iter().zip(&values).map(|(&i, values)| (weights[i], values[j])));
    Ok(coordinates(count, mean))
}

/// `Σ w x / Σ w` over the pairs `(w, x)` with a positive weight. A mean lies between its values, and copies of one value
/// give that value; rounding may not change that. NaN and infinities stay.
pub(crate) fn weighted_mean(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut sum, mut total, mut low, mut high) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for (weight, value) in pairs.filter(|(weight, _)| *weight > 0.0) {
        sum += weight * value;
        total += weight;
        (low, high) = (low.min(value), high.max(value));
    }
    let mean = sum / total;
    if mean < low {
        low
    } else if mean > high {
        high
    } else {
        mean
    }
}
