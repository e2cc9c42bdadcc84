use crate::DataError;
use crate::metrics::{finite, whole_rows};

/// Brings columns to mean 0 and variance 1, as measured on the rows that it was fitted to.
///
/// ```
/// let standardise = gradus_data::Standardise::fit(&[1.0, 5.0, 3.0, 5.0], 2)?;
/// let mut rows = vec![1.0, 5.0, 3.0, 6.0];
/// standardise.apply(&mut rows)?;
/// assert_eq!(rows, [-1.0, 0.0, 1.0, 1.0]); // a column without spread is only shifted
/// # Ok::<(), gradus_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Standardise {
    /// The mean of each column.
    pub mean: Vec<f64>,
    /// What each column is divided by: its standard deviation (of the population), or 1 where all its values are equal.
    pub scale: Vec<f64>,
}

impl Standardise {
    /// The columns' means and deviations over rows of `width`.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no rows, [`DataError::Count`] for a last row that is short, [`DataError::NotFinite`].
    pub fn fit(rows: &[f32], width: usize) -> Result<Self, DataError> {
        whole_rows(rows, width, "values of whole rows")?;
        if rows.is_empty() {
            return Err(DataError::Empty { what: "standardise".into() });
        }
        finite(rows, width, "standardise")?;
        let (mean, scale) = (0..width).map(|j| mean_and_scale(rows.iter().skip(j).step_by(width).map(|&x| x.into()))).unzip();
        Ok(Self { mean, scale })
    }

    /// Standardises rows in place.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no columns, [`DataError::Count`] for a last row that is short, or when there are not as many
    /// scales as means.
    pub fn apply(&self, rows: &mut [f32]) -> Result<(), DataError> {
        let (width, scales) = (self.mean.len(), self.scale.len());
        if scales != width {
            return Err(DataError::Count { what: "the scales of columns", expected: width, found: scales });
        }
        whole_rows(rows, width, "values of whole rows")?;
        for row in rows.chunks_exact_mut(width) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = ((f64::from(*x) - mean) / scale) as f32;
            }
        }
        Ok(())
    }
}

fn mean_and_scale(column: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    // Rounding may give equal values a mean beside them and a deviation above 0.
    let mut distinct = column.clone().zip(column.clone().skip(1)).filter(|(a, b)| a != b);
    if distinct.next().is_none() {
        return (column.clone().next().unwrap_or(0.0), 1.0);
    }
    let count = column.clone().count() as f64;
    let mean = column.clone().sum::<f64>() / count;
    let variance = column.map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
