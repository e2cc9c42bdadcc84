//! Averages in weight space and what they are compared with: plain and weighted averages, uniform and greedy soups
//! (Wortsman et al. 2022, "Model soups", algorithm 1), interpolation between two models (Wortsman et al. 2022, "Robust
//! fine-tuning of zero-shot models"), and the mean of the models' output probabilities.

use gradus_base::{Cancel, Observer, Silent};
use gradus_checkpoint::{Arrays, Checkpoint};

use crate::MergeError;
use crate::arrays::{self, NameFilter};
use crate::blocks::{self, BLOCK};
use crate::search::checked;

/// `Σ_i λ_i θ_i / Σ_i λ_i` of the arrays that `filter` accepts; the others, and arrays of integers, are the first model's.
/// A model with λ_i = 0 is dropped, whatever its values are. Results are F64 where the first model is, else F32.
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
pub fn weighted_average<A: Arrays + ?Sized>(models: &[&A], lambdas: &[f64], filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    weighted_average_watched(models, lambdas, filter, &Cancel::new(), &mut Silent)
}

/// [`weighted_average`], for large models: `observer` hears of each array, and of coefficients that do not sum to 1.
///
/// # Errors
/// As [`weighted_average`]; [`MergeError::Interrupted`] once cancelled.
pub fn weighted_average_watched<A: Arrays + ?Sized>(
    models: &[&A],
    lambdas: &[f64],
    filter: &NameFilter,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Checkpoint, MergeError> {
    arrays::check_models(models, filter)?;
    let weights = arrays::check_lambdas(lambdas, models.len())?;
    arrays::report_sum(lambdas, observer);
    mean(models, &weights, filter, cancel, observer)
}

/// The plain average of the models: a uniform soup.
///
/// # Errors
/// As [`weighted_average`].
pub fn average<A: Arrays + ?Sized>(models: &[&A], filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    weighted_average(models, &vec![1.0; models.len()], filter)
}

/// `(1 - α) base + α target`, for any finite α: outside `[0, 1]` it extrapolates. What is not merged is the base's.
///
/// # Errors
/// As [`weighted_average`]; [`MergeError::Option`] for an α that is not finite.
pub fn interpolate<A: Arrays + ?Sized>(base: &A, target: &A, alpha: f64, filter: &NameFilter) -> Result<Checkpoint, MergeError> {
    if !alpha.is_finite() {
        return Err(MergeError::Option { name: "alpha", value: alpha, expected: "finite" });
    }
    arrays::check_models(&[base, target], filter)?;
    let cancel = Cancel::new();
    arrays::each_array(base, filter, (&cancel, &mut Silent), |from| {
        let to = target.array(from.name)?;
        let block = |(): &mut (), start: usize, out: &mut [f64]| {
            let mut end = [0.0; BLOCK];
            let end = &mut end[..out.len()];
            from.read_f64(start, out)?;
            to.read_f64(start, end)?;
            out.iter_mut().zip(end).for_each(|(from, to)| *from = (1.0 - alpha) * *from + alpha * *to);
            Ok(())
        };
        Ok(blocks::fill(from, &cancel, || (), block)?.0)
    })
}

/// The score at each α of an interpolation.
///
/// # Errors
/// As [`interpolate`]; [`MergeError::Score`] for a score that is not a number, or what `score` returns: an error of its own
/// ends the curve.
pub fn interpolation_curve<A: Arrays + ?Sized, E: From<MergeError>>(
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

/// The best of several models as they are, each with its own head.
#[derive(Clone, Debug, PartialEq)]
pub struct BestSingle {
    /// The model with the highest score: the first of equals.
    pub model: usize,
    /// The score of each model.
    pub scores: Vec<f64>,
}

/// Scores each model unchanged: what a merge has to beat.
///
/// # Errors
/// [`MergeError::TooFewModels`] for none, [`MergeError::Score`] for a score that is not a number, or what `score` returns.
///
/// ```
/// use gradus_merging::{MergeError, linear};
///
/// let best = linear::best_single(&[&0.7, &0.9, &0.9], |accuracy| Ok::<_, MergeError>(*accuracy))?;
/// assert_eq!(best.model, 1);
/// # Ok::<(), MergeError>(())
/// ```
pub fn best_single<M: ?Sized, E: From<MergeError>>(models: &[&M], mut score: impl FnMut(&M) -> Result<f64, E>) -> Result<BestSingle, E> {
    if models.is_empty() {
        return Err(MergeError::TooFewModels { found: 0 }.into());
    }
    let mut best = BestSingle { model: 0, scores: Vec::with_capacity(models.len()) };
    for (model, own) in models.iter().enumerate() {
        let value = checked(model, score(own)?)?;
        best.scores.push(value);
        if value > best.scores[best.model] {
            best.model = model;
        }
    }
    Ok(best)
}

/// A soup, and how it came about.
#[derive(Clone, Debug)]
pub struct Soup {
    /// The average of the members.
    pub merged: Checkpoint,
    /// The models in it, in the order in which they were added.
    pub members: Vec<usize>,
    /// The score of a soup of each model alone: of its arrays that the filter accepts, with the first model's others. With
    /// heads of their own, models as they are may score otherwise: see [`best_single`].
    pub alone: Vec<f64>,
    /// The score of the soup.
    pub score: f64,
}

/// The greedy soup: from the best model on, in the order of their scores, each model is kept in the average if that does
/// not lower the score. It is never worse than the best soup of one model. `score` is called `2 M - 1` times.
///
/// # Errors
/// As [`average`]; [`MergeError::Score`] for a score that is not a number, or what `score` returns: an error of its own
/// ends the search.
///
/// ```
/// use gradus_checkpoint::Checkpoint;
/// use gradus_merging::{MergeError, NameFilter, linear};
///
/// let model = |w: f32| {
///     let mut model = Checkpoint::new();
///     model.insert_f32("w", &[1], &[w]).map(|()| model)
/// };
/// let (a, b, c) = (model(0.0)?, model(1.0)?, model(4.0)?);
/// // In place of a validation set: the best weight is 0.6.
/// let score = |merged: &Checkpoint| Ok::<_, MergeError>(-(merged.to_f64("w")?[0] - 0.6).abs());
/// let soup = linear::greedy_soup(&[&a, &b, &c], &NameFilter::default(), score)?;
/// assert_eq!(soup.members, [1, 0]);
/// assert_eq!(soup.merged.to_f64("w")?, [0.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn greedy_soup<A: Arrays + ?Sized, E: From<MergeError>>(
    models: &[&A],
    filter: &NameFilter,
    mut score: impl FnMut(&Checkpoint) -> Result<f64, E>,
) -> Result<Soup, E> {
    arrays::check_models(models, filter)?;
    let mut scored = |point: usize, members: &[usize]| -> Result<(Checkpoint, f64), E> {
        let mut weights = vec![0.0; models.len()];
        members.iter().for_each(|&member| weights[member] = 1.0);
        let merged = mean(models, &weights, filter, &Cancel::new(), &mut Silent)?;
        let value = checked(point, score(&merged)?)?;
        Ok((merged, value))
    };
    let (mut merged, mut best) = scored(0, &[0])?;
    let (mut members, mut alone) = (vec![0], vec![best]);
    for model in 1..models.len() {
        let (candidate, value) = scored(model, &[model])?;
        alone.push(value);
        if value > best {
            (merged, best, members) = (candidate, value, vec![model]);
        }
    }
    let mut order: Vec<usize> = (0..models.len()).filter(|model| *model != members[0]).collect();
    order.sort_by(|&a, &b| alone[b].total_cmp(&alone[a]));
    for model in order {
        members.push(model);
        let (candidate, value) = scored(model, &members)?;
        if value >= best {
            (merged, best) = (candidate, value);
        } else {
            members.pop();
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

/// The mean with weights that are not all 0, of models that fit each other.
fn mean<A: Arrays + ?Sized>(
    models: &[&A],
    weights: &[f64],
    filter: &NameFilter,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Checkpoint, MergeError> {
    arrays::each_array(models[0], filter, (cancel, observer), |array| arrays::mean_array(array, models, weights, cancel))
}
