use super::{below, same_length};
use crate::DataError;

/// The area under the ROC curve: the probability that a random row that is positive has a greater score than a random one
/// that is not, where equal scores count half (Mann and Whitney 1947). It is exact up to the last division.
///
/// ```
/// use gradus_data::roc_auc;
///
/// // Of the four pairs three are in order.
/// assert_eq!(roc_auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true])?, 0.75);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Empty`], [`DataError::Count`], [`DataError::Score`] for NaN (infinite scores have their place), and
/// [`DataError::OneClass`] if all rows are positive or none is.
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> Result<f64, DataError> {
    same_length("scores", scores.len(), positive.len())?;
    area(scores.iter().copied().zip(positive.iter().copied()), 1)
}

/// The area under the ROC curve of each class against the others together, of scores `[rows, classes]`. Their mean is the
/// macro-averaged one.
///
/// # Errors
/// Those of [`roc_auc`], with the class; [`DataError::Label`] for a label beyond the classes.
pub fn roc_auc_one_vs_rest(scores: &[f64], labels: &[usize], classes: usize) -> Result<Vec<f64>, DataError> {
    same_length("scores", scores.len(), labels.len().saturating_mul(classes))?;
    below(labels, classes, "labels")?;
    let rows = |class: usize| (0..labels.len()).map(move |row| (scores[row * classes + class], labels[row] == class));
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(DataError::Score { what: "area under the ROC curve", index });
    }
    (0..classes).map(|class| area(rows(class), class)).collect()
}

fn area(rows: impl Iterator<Item = (f64, bool)>, class: usize) -> Result<f64, DataError> {
    let what = "area under the ROC curve";
    let mut rows: Vec<(f64, bool)> = rows.collect();
    if let Some(index) = rows.iter().position(|(score, _)| score.is_nan()) {
        return Err(DataError::Score { what, index });
    }
    let positives = rows.iter().filter(|(_, positive)| *positive).count();
    let negatives = rows.len() - positives;
    if positives == 0 || negatives == 0 {
        return Err(DataError::OneClass { what, class, positives, rows: rows.len() });
    }
    rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    // Twice the number of pairs in order, those of equal scores counting half.
    let (mut pairs, mut below) = (0u128, 0);
    // Both zeros are one score.
    for tied in rows.chunk_by(|(a, _), (b, _)| a == b) {
        let above = tied.iter().filter(|(_, positive)| *positive).count();
        let beside = tied.len() - above;
        pairs += above as u128 * (2 * below + beside) as u128;
        below += beside;
    }
    Ok(pairs as f64 / (2 * positives as u128 * negatives as u128) as f64)
}
