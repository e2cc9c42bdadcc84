//! Averages in weight space and what they are compared with: plain and weighted averages, uniform and greedy soups
//! (Wortsman et al. 2022, "Model soups", algorithm 1), interpolation between two models (Wortsman et al. 2022, "Robust
//! fine-tuning of zero-shot models"), and the mean of the models' output probabilities.

use gradus_checkpoint::Checkpoint;

use crate::arrays::{self, Arrays, NameFilter};
use crate::{MergeError, arrays::is_float};

/// `Σ_i λ_i θ_i / Σ_i λ_i` of the arrays that `filter` accepts; the others, and arrays of integers, are the first model's.
/// Results are F64 where the first model is, else F32.
///
/// # Errors
/// [`MergeError`] for models that do not fit each other, for bad coefficients and for arrays that cannot be read.
///
/// ```
/// use gradus_checkpoint::Checkpoint;
/// use gradus_merging::{NameFilter, linear};
///
/// let (mut a, mut b) = (Checkpoint::new(), Checkpoint::new());
/// a.insert_f32("w", &[2], &[0.0, 2.0])?;
/// b.insert_f32("w", &[2], &[4.0, 6.0])?;
/// let merged = linear::weighted_average(&[&a, &b], &[3.0, 1.0], &NameFilter::default())?;
/// assert_eq!(merged.to_f32("w")?, [1.0, 3.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn weighted_average<A: Arrays>(models: &[&A], lambdas: &[f64], filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    arrays::check_models(models, filter)?;
    let weights = arrays::check_lambdas(lambdas, models.len())?;
    mean(models, &weights, filter)
}

/// The plain average of the models: a uniform soup.
///
/// # Errors
/// As [`weighted_average`].
pub fn average<A: Arrays>(models: &[&A], filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    weighted_average(models, &vec![1.0; models.len()], filter)
}

/// `(1 - α) base + α target`, for any finite α: outside `[0, 1]` it extrapolates.
///
/// # Errors
/// As [`weighted_average`]; [`MergeError::Option`] for an α that is not finite.
pub fn interpolate<A: Arrays>(base: &A, target: &A, alpha: f64, filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    if !alpha.is_finite() {
        return Err(MergeError::Option { name: "alpha", value: alpha, expected: "finite" });
    }
    arrays::check_models(&[base, target], filter)?;
    each_array(base, filter, |name| {
        let (from, to) = (base.array(name)?.to_f64()?, target.array(name)?.to_f64()?);
        Ok(arrays::coordinates(from.len(), |j| (1.0 - alpha) * from[j] + alpha * to[j]))
    })
}

/// The score at each α of an interpolation.
///
/// # Errors
/// As [`interpolate`]; [`MergeError::Score`] for a score that is not a number, or what `score` returns.
pub fn interpolation_curve<A: Arrays, E: From<MergeError>>(
    base: &A,
    target: &A,
    alphas: &[f64],
    filter: &NameFilter,
    mut score: impl FnMut(&Checkpoint) -> Result<f64, E>,
) -> Result<Vec<f64>, E> {
    let mut scores = Vec::with_capacity(alphas.len());
    for (point, &alpha) in alphas.iter().enumerate() {
        scores.push(checked(point, score(&interpolate(base, target, alpha, filter)?)?)?);
    }
    Ok(scores)
}

/// A soup, and how it came about.
#[derive(Clone, Debug)]
pub struct Soup {
    /// The average of the members.
    pub merged: Checkpoint,
    /// The models in it, in the order in which they were added.
    pub members: Vec<usize>,
    /// The score of each model alone.
    pub alone: Vec<f64>,
    /// The score of the soup.
    pub score: f64,
}

/// The greedy soup: from the best model on, in the order of their scores, each model is kept in the average if that does
/// not lower the score. It is never worse than the best single model.
///
/// # Errors
/// As [`average`]; [`MergeError::Score`] for a score that is not a number, or what `score` returns.
pub fn greedy_soup<A: Arrays, E: From<MergeError>>(
    models: &[&A],
    filter: &NameFilter,
    mut score: impl FnMut(&Checkpoint) -> Result<f64, E>,
) -> Result<Soup, E> {
    arrays::check_models(models, filter)?;
    let mut weights = vec![0.0; models.len()];
    let mut scored = |point: usize, weights: &[f64]| -> Result<(Checkpoint, f64), E> {
        let merged = mean(models, weights, filter)?;
        let value = checked(point, score(&merged)?)?;
        Ok((merged, value))
    };
    let mut alone = Vec::with_capacity(models.len());
    for model in 0..models.len() {
        weights.fill(0.0);
        weights[model] = 1.0;
        alone.push(scored(model, &weights)?.1);
    }
    let mut order: Vec<usize> = (0..models.len()).collect();
    order.sort_by(|&a, &b| alone[b].total_cmp(&alone[a]));
    weights.fill(0.0);
    weights[order[0]] = 1.0;
    let (mut merged, mut best) = scored(order[0], &weights)?;
    let mut members = vec![order[0]];
    for &model in &order[1..] {
        weights[model] = 1.0;
        let (candidate, value) = scored(model, &weights)?;
        if value >= best {
            (merged, best) = (candidate, value);
            members.push(model);
        } else {
            weights[model] = 0.0;
        }
    }
    Ok(Soup { merged, members, alone, score: best })
}

/// The mean of the models' output probabilities, example by example: the output ensemble, at as many times the cost of
/// inference as there are models.
///
/// # Errors
/// [`MergeError::TooFewModels`] for none, [`MergeError::Shape`] for a model with another number of probabilities.
pub fn output_ensemble(probabilities: &[Vec<f32>]) -> Result<Vec<f32>, MergeError> {
    let Some(first) = probabilities.first() else { return Err(MergeError::TooFewModels { found: 0 }) };
    if let Some((model, other)) = probabilities.iter().enumerate().find(|(_, other)| other.len() != first.len()) {
        let (expected, found) = (vec![first.len()], vec![other.len()]);
        return Err(MergeError::Shape { what: "the output", model, tensor: "probabilities".into(), expected, found });
    }
    let mean = |j: usize| probabilities.iter().map(|p| f64::from(p[j])).sum::<f64>() / probabilities.len() as f64;
    Ok((0..first.len()).map(|j| mean(j) as f32).collect())
}

fn checked(point: usize, score: f64) -> Result<f64, MergeError> {
    if score.is_nan() { Err(MergeError::Score { point }) } else { Ok(score) }
}

/// The mean with weights that are not all 0, of models that fit each other.
fn mean<A: Arrays>(models: &[&A], weights: &[f64], filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    each_array(models[0], filter, |name| arrays::mean_array(models, name, weights))
}

/// The target with each floating-point array that `filter` accepts replaced by `values(name)`.
fn each_array<A: Arrays>(
    target: &A,
    filter: &NameFilter,
    values: impl Fn(&str) -> Result<Vec<f64>, MergeError>,
) -> Result<Checkpoint, MergeError> {
    let mut merged = Checkpoint::new();
    for array in target.all() {
        let replaced = filter.accepts(array.name) && is_float(array.dtype);
        merged.insert(if replaced { arrays::like_target(&array, &values(array.name)?) } else { arrays::copy(&array) })?;
    }
    Ok(merged)
}
