mod calibration;
mod ranking;

pub use calibration::{Binning, Calibration, CalibrationBin, brier_score, calibration, log_loss};
pub use ranking::{roc_auc, roc_auc_one_vs_rest};

use crate::DataError;

/// The column of the greatest value of each row of `[rows, classes]`: the first of ties. NaN is less than everything; a row
/// of nothing else gives 0. There is one per whole row: values behind the last are left out, and without classes there
/// are no rows, which [`accuracy`] then reports as a wrong number of predictions.
///
/// ```
/// let logits = [0.1, 0.7, 0.2, /* next row */ 2.0, -1.0, 2.0];
/// let predicted = gradus_data::argmax_rows(&logits, 3);
/// assert_eq!(predicted, [1, 0]);
/// assert_eq!(gradus_data::accuracy(&predicted, &[1, 2])?, 0.5);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
pub fn argmax_rows(scores: &[f32], classes: usize) -> Vec<usize> {
    if classes == 0 {
        return Vec::new();
    }
    let above = |x: f32, best: f32| x > best || (best.is_nan() && !x.is_nan());
    let best = |row: &[f32]| (0..row.len()).fold(0, |best, j| if above(row[j], row[best]) { j } else { best });
    scores.chunks_exact(classes).map(best).collect()
}

/// The share of predictions that equal their labels, in `[0, 1]`.
///
/// # Errors
/// [`DataError::Empty`] for none, [`DataError::Count`] for different numbers of them.
pub fn accuracy(predicted: &[usize], labels: &[usize]) -> Result<f64, DataError> {
    paired(predicted, labels)?;
    let right = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
    Ok(right as f64 / labels.len() as f64)
}

/// How often label `i` was predicted as class `j`, at `[i * classes + j]`.
///
/// # Errors
/// [`DataError::Empty`], [`DataError::Count`], or [`DataError::Label`] for a label or prediction beyond the classes.
pub fn confusion_matrix(predicted: &[usize], labels: &[usize], classes: usize) -> Result<Vec<usize>, DataError> {
    check(predicted, labels, classes)?;
    let mut counts = vec![0; classes * classes];
    for (&j, &i) in predicted.iter().zip(labels) {
        counts[i * classes + j] += 1;
    }
    Ok(counts)
}

/// How well classes are told from the others.
///
/// ```
/// use gradus_data::class_metrics;
///
/// let metrics = class_metrics(&[0, 1, 1, 1], &[0, 0, 1, 2], 3)?;
/// assert_eq!(metrics.classes[1].precision, 1.0 / 3.0);
/// assert_eq!(metrics.classes[1].recall, 1.0);
/// assert_eq!(metrics.classes[1].f1, 0.5);
/// assert_eq!(metrics.micro().f1, 0.5);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMetrics {
    /// Of each class against the rest; of two classes, those of the second are what is called the binary ones.
    pub classes: Vec<PrecisionRecall>,
    /// How many labels there are of each class.
    pub support: Vec<usize>,
    /// How many rows are predicted as each class.
    pub predicted: Vec<usize>,
    /// How many rows of each class are predicted as it.
    pub right: Vec<usize>,
}

/// Of the rows, let `tp` be those of a class that are predicted as it, `fp` those of others that are, and `fn` those of the
/// class that are not. What would be divided by 0 is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// `tp / (tp + fp)`: the share of right ones among the predictions.
    pub precision: f64,
    /// `tp / (tp + fn)`: the share of found ones among the labels.
    pub recall: f64,
    /// `2 tp / (2 tp + fp + fn)`: the harmonic mean of both (van Rijsbergen 1979, chapter 7, with equal weights).
    pub f1: f64,
}

impl PrecisionRecall {
    fn of(right: usize, predicted: usize, labels: usize) -> Self {
        let share = |count: usize, all: usize| if all == 0 { 0.0 } else { count as f64 / all as f64 };
        Self { precision: share(right, predicted), recall: share(right, labels), f1: share(2 * right, predicted + labels) }
    }
}

/// Precision, recall and F1 of each class.
///
/// # Errors
/// Those of [`confusion_matrix`].
pub fn class_metrics(predicted: &[usize], labels: &[usize], classes: usize) -> Result<ClassMetrics, DataError> {
    check(predicted, labels, classes)?;
    let matches = predicted.iter().zip(labels).filter(|(j, i)| j == i).map(|(_, i)| i);
    // Not from the confusion matrix: a vocabulary squared is more than a computer holds.
    let (support, predicted, right) = (counts(labels, classes), counts(predicted, classes), counts(matches, classes));
    let classes = (0..classes).map(|i| PrecisionRecall::of(right[i], predicted[i], support[i])).collect();
    Ok(ClassMetrics { classes, support, predicted, right })
}

fn counts<'a>(of: impl IntoIterator<Item = &'a usize>, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    of.into_iter().for_each(|&class| counts[class] += 1);
    counts
}

impl ClassMetrics {
    /// The mean over the classes that have labels or predictions, each counting the same.
    pub fn macro_mean(&self) -> PrecisionRecall {
        self.mean(|class| usize::from(self.support[class] + self.predicted[class] > 0))
    }

    /// The mean over the classes, each counting as often as it has labels.
    pub fn weighted_mean(&self) -> PrecisionRecall {
        self.mean(|class| self.support[class])
    }

    /// Of all classes' predictions together: where each row has one label, all three are the accuracy.
    pub fn micro(&self) -> PrecisionRecall {
        let rows = self.support.iter().sum();
        PrecisionRecall::of(self.right.iter().sum(), rows, rows)
    }

    fn mean(&self, weight: impl Fn(usize) -> usize) -> PrecisionRecall {
        let all: usize = (0..self.classes.len()).map(&weight).sum();
        let mean = |value: fn(&PrecisionRecall) -> f64| {
            let sum: f64 = self.classes.iter().enumerate().map(|(class, own)| weight(class) as f64 * value(own)).sum();
            sum / all as f64
        };
        PrecisionRecall { precision: mean(|own| own.precision), recall: mean(|own| own.recall), f1: mean(|own| own.f1) }
    }
}

/// The matrix `[labels, classes]` with a one in row `i` at column `labels[i]`.
///
/// # Errors
/// [`DataError::Label`] for a label beyond the classes.
pub fn one_hot(labels: &[usize], classes: usize) -> Result<Vec<f32>, DataError> {
    below(labels, classes, "labels")?;
    let mut rows = vec![0.0; labels.len() * classes];
    for (row, &label) in labels.iter().enumerate() {
        rows[row * classes + label] = 1.0;
    }
    Ok(rows)
}

fn check(predicted: &[usize], labels: &[usize], classes: usize) -> Result<(), DataError> {
    paired(predicted, labels)?;
    below(labels, classes, "labels")?;
    below(predicted, classes, "predictions")
}

fn paired(predicted: &[usize], labels: &[usize]) -> Result<(), DataError> {
    same_length("predictions", predicted.len(), labels.len())
}

/// Checks that there are as many as the labels ask for, and any.
fn same_length(what: &'static str, found: usize, expected: usize) -> Result<(), DataError> {
    if found != expected {
        return Err(DataError::Count { what, expected, found });
    }
    if expected == 0 {
        return Err(DataError::Empty { what: "labels".into() });
    }
    Ok(())
}

/// Checks that every label is one of the classes.
pub(crate) fn below(labels: &[usize], classes: usize, what: &str) -> Result<(), DataError> {
    match labels.iter().position(|&label| label >= classes) {
        Some(row) => Err(DataError::Label { what: what.into(), row, label: labels[row], classes }),
        None => Ok(()),
    }
}

/// Checks that the values are rows of `width`, which is not 0.
pub(crate) fn whole_rows(values: &[f32], width: usize, what: &'static str) -> Result<(), DataError> {
    if width == 0 {
        return Err(DataError::Empty { what: what.into() });
    }
    match values.len() % width {
        0 => Ok(()),
        over => Err(DataError::Count { what, expected: values.len() - over, found: values.len() }),
    }
}

/// Checks that no value of rows of `width` is infinite or NaN.
pub(crate) fn finite(values: &[f32], width: usize, what: &str) -> Result<(), DataError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(DataError::NotFinite { what: what.into(), row: at / width, column: at % width, value: values[at] }),
        None => Ok(()),
    }
}
