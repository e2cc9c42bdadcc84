use super::{below, same_length};
use crate::DataError;

/// How rows are put into bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    /// Bin `m` of `M` has the confidences above `(m - 1) / M` up to `m / M`; 0 is in the first (Guo, Pleiss, Sun and
    /// Weinberger 2017, section 2).
    EqualWidth,
    /// Each bin has about as many rows; rows of one confidence are never parted (Nguyen and O'Connor 2015).
    EqualMass,
}

/// The rows of one bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationBin {
    /// How many there are, at least one.
    pub count: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
}

/// How far confidences are from the shares of right predictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The bins that have rows, from low confidence to high: a reliability diagram as a table.
    pub bins: Vec<CalibrationBin>,
    /// The expected calibration error: the mean over the rows of their bin's distance between confidence and accuracy
    /// (Guo and others 2017, equation 3).
    pub expected_error: f64,
    /// The greatest of these distances (equation 5).
    pub maximum_error: f64,
}

/// Compares confidences, from 0 to 1, with how often the predictions are right. For a classifier a row's confidence is its
/// greatest probability; for a binary outcome it may be the probability of that outcome, which is then `right` where it
/// occurs.
///
/// ```
/// use gradus_data::{Binning, calibration};
///
/// let calibration = calibration(&[0.9, 0.8, 0.3, 0.3], &[true, false, false, true], 2, Binning::EqualWidth)?;
/// assert_eq!(calibration.bins.len(), 2);
/// assert!((calibration.bins[1].confidence - 0.85).abs() < 1e-12 && calibration.bins[1].accuracy == 0.5);
/// assert!((calibration.expected_error - (0.5 * 0.2 + 0.5 * 0.35)).abs() < 1e-12);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Empty`] for no rows or no bins, [`DataError::Count`], [`DataError::Probability`].
pub fn calibration(confidences: &[f64], right: &[bool], bins: usize, binning: Binning) -> Result<Calibration, DataError> {
    same_length("confidences", confidences.len(), right.len())?;
    probabilities("confidences", confidences)?;
    if bins == 0 {
        return Err(DataError::Empty { what: "bins".into() });
    }
    let mut rows: Vec<(f64, bool)> = confidences.iter().copied().zip(right.iter().copied()).collect();
    // By the outcome too, so that no sum depends on the order of the rows.
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let bin_of: Vec<usize> = match binning {
        Binning::EqualWidth => rows.iter().map(|(p, _)| bin(*p, bins)).collect(),
        Binning::EqualMass => {
            let first = |k: usize| rows.partition_point(|(p, _)| *p < rows[k].0);
            (0..rows.len()).map(|k| (first(k) as u128 * bins as u128 / rows.len() as u128) as usize).collect()
        }
    };
    let mut start = 0;
    let bins: Vec<CalibrationBin> = bin_of
        .chunk_by(|a, b| a == b)
        .map(|same| {
            let part = &rows[start..start + same.len()];
            start += same.len();
            CalibrationBin {
                count: part.len(),
                confidence: part.iter().map(|(p, _)| p).sum::<f64>() / part.len() as f64,
                accuracy: part.iter().filter(|(_, right)| *right).count() as f64 / part.len() as f64,
            }
        })
        .collect();
    let distance = |bin: &CalibrationBin| (bin.confidence - bin.accuracy).abs();
    let expected_error = bins.iter().map(|bin| bin.count as f64 * distance(bin)).sum::<f64>() / rows.len() as f64;
    let maximum_error = bins.iter().map(distance).fold(0.0, f64::max);
    Ok(Calibration { bins, expected_error, maximum_error })
}

/// The bin of equal width, from 0, of a confidence.
fn bin(confidence: f64, bins: usize) -> usize {
    let edge = |bin: usize| bin as f64 / bins as f64;
    let near = ((confidence * bins as f64).ceil() as usize).saturating_sub(1);
    // The product is rounded: 0.07 · 100 is above 7, though 0.07 is the edge 7 / 100 and belongs to the bin below it.
    let (below, above) = (near > 0 && confidence <= edge(near), confidence > edge(near + 1));
    near - usize::from(below) + usize::from(above)
}

/// The mean over the rows of `Σ_c (p_c - 1[c is the label])²`, from 0 to 2 (Brier 1950), of probabilities `[rows, classes]`.
/// For two classes it is twice the mean squared error of one class's probability, which others call by the same name.
///
/// ```
/// use gradus_data::brier_score;
/// assert_eq!(brier_score(&[0.75, 0.25, 0.5, 0.5], &[0, 1], 2)?, (2.0 * 0.25f64.powi(2) + 2.0 * 0.5f64.powi(2)) / 2.0);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Empty`], [`DataError::Count`], [`DataError::Label`], [`DataError::Probability`].
pub fn brier_score(probabilities: &[f64], labels: &[usize], classes: usize) -> Result<f64, DataError> {
    check_rows(probabilities, labels, classes)?;
    let of_row = |(row, &label): (&[f64], &usize)| -> f64 {
        row.iter().enumerate().map(|(class, p)| (p - f64::from(u8::from(class == label))).powi(2)).sum()
    };
    Ok(probabilities.chunks_exact(classes).zip(labels).map(of_row).sum::<f64>() / labels.len() as f64)
}

/// The mean over the rows of `-ln p_label` in nats, of probabilities `[rows, classes]`; smaller ones count as `floor`. With
/// a floor of 0 the loss may be infinite.
///
/// ```
/// use gradus_data::log_loss;
/// assert_eq!(log_loss(&[0.5, 0.5, 0.0, 1.0], &[0, 1], 2, 1e-12)?, 2f64.ln() / 2.0);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Empty`], [`DataError::Count`], [`DataError::Label`], [`DataError::Probability`], for the floor too.
pub fn log_loss(probabilities: &[f64], labels: &[usize], classes: usize, floor: f64) -> Result<f64, DataError> {
    check_rows(probabilities, labels, classes)?;
    self::probabilities("floor", &[floor])?;
    let losses = labels.iter().enumerate().map(|(row, label)| -probabilities[row * classes + label].max(floor).ln());
    Ok(losses.sum::<f64>() / labels.len() as f64)
}

fn check_rows(values: &[f64], labels: &[usize], classes: usize) -> Result<(), DataError> {
    same_length("probabilities", values.len(), labels.len().saturating_mul(classes))?;
    below(labels, classes, "labels")?;
    probabilities("probabilities", values)
}

fn probabilities(what: &'static str, values: &[f64]) -> Result<(), DataError> {
    match values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        Some(index) => Err(DataError::Probability { what, index, value: values[index] }),
        None => Ok(()),
    }
}
