use gradus_base::{Cancel, Observer, matches};
use gradus_checkpoint::{Array, Arrays, Checkpoint, CheckpointError, DType, FloatType, NamedArray};

use crate::MergeError;
use crate::blocks::{self, BLOCK, Means};

/// Which arrays are merged, by patterns in which `*` stands for any characters. The others are the target's, and so are
/// arrays of other elements than F64, F32, F16 and BF16, such as counters; to include one of those by a pattern other than
/// `*` is an error.
///
/// ```
/// use gradus_merging::NameFilter;
///
/// let body = NameFilter { exclude: vec!["head.*".into()], ..NameFilter::default() };
/// assert!(body.accepts("encoder.0.weight") && !body.accepts("head.weight"));
/// ```
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
        fits(&self.include, name) && !fits(&self.exclude, name)
    }

    fn asks_for(&self, name: &str) -> bool {
        self.accepts(name) && self.include.iter().any(|pattern| pattern != "*" && matches(pattern, name))
    }
}

pub(crate) fn fits(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

pub(crate) fn is_float(dtype: DType) -> bool {
    FloatType::of(dtype).is_some()
}

/// Checks that the models agree about the arrays that `filter` accepts.
pub(crate) fn check_models<A: Arrays + ?Sized>(models: &[&A], filter: &NameFilter) -> Result<(), MergeError> {
    let Some((target, others)) = models.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err(MergeError::TooFewModels { found: models.len() });
    };
    let all = target.all();
    if let Some(array) = all.iter().find(|array| !is_float(array.dtype) && filter.asks_for(array.name)) {
        return Err(MergeError::NotFloat { tensor: array.name.into(), dtype: array.dtype });
    }
    for (model, other) in (1..).zip(others) {
        for expected in all.iter().filter(|array| filter.accepts(array.name)) {
            check_like(expected, other.array(expected.name).ok(), "the checkpoint", model)?;
        }
        let extra = other.all().into_iter().find(|array| filter.accepts(array.name) && target.array(array.name).is_err());
        if let Some(array) = extra {
            return Err(MergeError::Unexpected { model, tensor: array.name.into() });
        }
    }
    Ok(())
}

/// Checks that a model, or its Fisher, has an array of the target's in the target's shape.
pub(crate) fn check_like(expected: &Array<'_>, found: Option<Array<'_>>, what: &'static str, model: usize) -> Result<(), MergeError> {
    let tensor = expected.name.to_owned();
    match found {
        None => Err(MergeError::Missing { what, model, tensor }),
        Some(found) if found.shape != expected.shape => {
            let (expected, found) = (expected.shape.to_vec(), found.shape.to_vec());
            Err(MergeError::Shape { what, model, tensor, expected, found })
        }
        Some(_) => Ok(()),
    }
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

/// Tells the watcher of coefficients that do not sum to 1, beyond their rounding.
pub(crate) fn report_sum(lambdas: &[f64], observer: &mut dyn Observer) {
    let sum: f64 = lambdas.iter().sum();
    if (sum - 1.0).abs() > 1e-6 {
        observer.message(&format!("the coefficients sum to {sum}, not 1: only their ratios matter"));
    }
}

/// The target with each array that `filter` accepts and that holds floating-point numbers replaced by `merged` of it.
pub(crate) fn each_array<A: Arrays + ?Sized>(
    target: &A,
    filter: &NameFilter,
    (cancel, observer): (&Cancel, &mut dyn Observer),
    mut merged: impl FnMut(&Array<'_>) -> Result<NamedArray, MergeError>,
) -> Result<Checkpoint, MergeError> {
    let (all, mut result) = (target.all(), Checkpoint::new());
    for (done, array) in (1..).zip(&all) {
        cancel.check()?;
        let replaced = filter.accepts(array.name) && is_float(array.dtype);
        result.insert(if replaced { merged(array)? } else { (*array).into() })?;
        observer.progress(done, Some(all.len() as u64), "merging arrays");
    }
    Ok(result)
}

/// `Σ_i w_i θ_i / Σ_i w_i` of one array over the models with a positive weight.
pub(crate) fn mean_array<A: Arrays + ?Sized>(
    target: &Array<'_>,
    models: &[&A],
    weights: &[f64],
    cancel: &Cancel,
) -> Result<NamedArray, MergeError> {
    let used = models.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    let used: Vec<(Array<'_>, f64)> =
        used.map(|(model, &weight)| Ok((model.array(target.name)?, weight))).collect::<Result<_, CheckpointError>>()?;
    let block = |(): &mut (), start: usize, out: &mut [f64]| {
        let (mut means, mut theta) = (Means::new(), [0.0; BLOCK]);
        let theta = &mut theta[..out.len()];
        for (array, weight) in &used {
            array.read_f64(start, theta)?;
            means.add(theta, &[*weight; BLOCK]);
        }
        means.write(out);
        Ok(())
    };
    Ok(blocks::fill(target, cancel, || (), block)?.0)
}
