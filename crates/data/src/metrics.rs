use crate::DataError;

/// The column of the greatest value of each row of `[rows, classes]`: the first of ties; 0 for a row of NaN. Values behind
/// the last whole row are left out.
pub fn argmax_rows(scores: &[f32], classes: usize) -> Vec<usize> {
    let best = |row: &[f32]| (0..row.len()).fold(0, |best, j| if row[j] > row[best] { j } else { best });
    scores.chunks_exact(classes.max(1)).map(best).collect()
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

/// How often class `i` was predicted as class `j`, at `[i * classes + j]`.
///
/// # Errors
/// [`DataError::Empty`], [`DataError::Count`], or [`DataError::Label`] for a class that does not exist.
pub fn confusion_matrix(predicted: &[usize], labels: &[usize], classes: usize) -> Result<Vec<usize>, DataError> {
    paired(predicted, labels)?;
    let mut counts = vec![0; classes * classes];
    for (row, (&j, &i)) in predicted.iter().zip(labels).enumerate() {
        let label = i.max(j);
        if label >= classes {
            return Err(DataError::Label { file: "confusion matrix".into(), row, label, classes });
        }
        counts[i * classes + j] += 1;
    }
    Ok(counts)
}

/// The matrix `[labels, classes]` with a one in row `i` at column `labels[i]`.
///
/// # Errors
/// [`DataError::Label`] for a label beyond the classes.
pub fn one_hot(labels: &[usize], classes: usize) -> Result<Vec<f32>, DataError> {
    let mut rows = vec![0.0; labels.len() * classes];
    for (row, &label) in labels.iter().enumerate() {
        if label >= classes {
            return Err(DataError::Label { file: "one-hot".into(), row, label, classes });
        }
        rows[row * classes + label] = 1.0;
    }
    Ok(rows)
}

fn paired(predicted: &[usize], labels: &[usize]) -> Result<(), DataError> {
    if labels.is_empty() {
        return Err(DataError::Empty { what: "labels".into() });
    }
    if predicted.len() != labels.len() {
        return Err(DataError::Count { what: "predictions", expected: labels.len(), found: predicted.len() });
    }
    Ok(())
}
