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
    paired(predicted, labels)?;
    below(labels, classes, "labels")?;
    below(predicted, classes, "predictions")?;
    let mut counts = vec![0; classes * classes];
    for (&j, &i) in predicted.iter().zip(labels) {
        counts[i * classes + j] += 1;
    }
    Ok(counts)
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

fn paired(predicted: &[usize], labels: &[usize]) -> Result<(), DataError> {
    if predicted.len() != labels.len() {
        return Err(DataError::Count { what: "predictions", expected: labels.len(), found: predicted.len() });
    }
    if labels.is_empty() {
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
