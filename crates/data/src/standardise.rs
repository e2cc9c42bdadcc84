use crate::DataError;

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
    pub mean: Vec<f32>,
    /// The standard deviation of each column (of the population); 1 where it is 0.
    pub deviation: Vec<f32>,
}

impl Standardise {
    /// The columns' means and deviations over rows of `width`.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no rows, [`DataError::Count`] for a last row that is short, [`DataError::NotFinite`].
    pub fn fit(rows: &[f32], width: usize) -> Result<Self, DataError> {
        if rows.is_empty() || width == 0 {
            return Err(DataError::Empty { what: "standardise".into() });
        }
        whole_rows(rows, width)?;
        if let Some((at, &value)) = rows.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(DataError::NotFinite { what: "standardise", row: at / width, column: at % width, value });
        }
        let count = (rows.len() / width) as f64;
        let column = |j: usize| rows.iter().skip(j).step_by(width).map(|&x| f64::from(x));
        let mean: Vec<f64> = (0..width).map(|j| column(j).sum::<f64>() / count).collect();
        let deviation = (0..width).map(|j| (column(j).map(|x| (x - mean[j]).powi(2)).sum::<f64>() / count).sqrt());
        let deviation = deviation.map(|d| if d > 0.0 { d as f32 } else { 1.0 }).collect();
        Ok(Self { mean: mean.into_iter().map(|x| x as f32).collect(), deviation })
    }

    /// Standardises rows in place.
    ///
    /// # Errors
    /// [`DataError::Count`] for a last row that is short.
    pub fn apply(&self, rows: &mut [f32]) -> Result<(), DataError> {
        whole_rows(rows, self.mean.len())?;
        for row in rows.chunks_exact_mut(self.mean.len()) {
            for ((x, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = (*x - mean) / deviation;
            }
        }
        Ok(())
    }
}

fn whole_rows(rows: &[f32], width: usize) -> Result<(), DataError> {
    let found = rows.len();
    if found.is_multiple_of(width) {
        return Ok(());
    }
    Err(DataError::Count { what: "values of whole rows", expected: found.next_multiple_of(width), found })
}
