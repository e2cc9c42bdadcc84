use statrs::distribution::{ContinuousCDF, StudentsT};

/// The arithmetic mean; NaN of no values. The mean of equal values is that value to the last bit.
///
/// ```
/// assert_eq!(gradus_experiments::mean(&[1.0, 2.0, 6.0]), 3.0);
/// ```
pub fn mean(values: &[f64]) -> f64 {
    let Some(&first) = values.first() else { return f64::NAN };
    first + values.iter().map(|value| value - first).sum::<f64>() / values.len() as f64
}

/// The 95 % Student-t interval of the mean, `mean ± t(0.975, n − 1) · s / √n`.
///
/// `None` for fewer than two values and for values whose mean or spread is not finite.
///
/// ```
/// // t(0.975, 1) = 12.7062 and s / √2 = 0.5.
/// let [low, high] = gradus_experiments::student_interval(&[1.0, 2.0]).unwrap();
/// assert!((low - (1.5 - 6.3531)).abs() < 1e-4 && (high - (1.5 + 6.3531)).abs() < 1e-4);
/// ```
pub fn student_interval(values: &[f64]) -> Option<[f64; 2]> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let centre = mean(values);
    let variance = values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / (n - 1.0);
    let quantile = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.975);
    let half = quantile * (variance / n).sqrt();
    (centre.is_finite() && half.is_finite()).then_some([centre - half, centre + half])
}

/// The largest absolute value, 0 of none. NaN as soon as one value is NaN, which `f64::max` would pass over: what could
/// not be measured must not look like a small error.
pub(crate) fn largest_absolute(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(f64::abs).fold(0.0, |largest, value| if largest > value || largest.is_nan() { largest } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_values_by_hand() {
        // Mean 3, s² = 2.5, t(0.975, 4) = 2.776445105: half width 2.776445105 · √0.5.
        let [low, high] = student_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!((high - 3.0 - 1.963_243_2).abs() < 1e-6, "{high}");
        assert!((low + high - 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_largest_of_what_is_not_a_number_is_none() {
        assert_eq!(largest_absolute([]), 0.0);
        assert_eq!(largest_absolute([1.0, -3.0, 2.0]), 3.0);
        assert_eq!(largest_absolute([1.0, f64::NEG_INFINITY]), f64::INFINITY);
        for i in 0..3 {
            let mut values = [1.0, f64::INFINITY, 2.0];
            values[i] = f64::NAN;
            assert!(largest_absolute(values).is_nan(), "{values:?}");
        }
    }

    #[test]
    fn equal_values_have_an_interval_of_no_width() {
        assert_eq!(student_interval(&[0.25; 3]), Some([0.25, 0.25]));
    }

    #[test]
    fn no_interval_without_two_finite_values() {
        assert_eq!(student_interval(&[]), None);
        assert_eq!(student_interval(&[1.0]), None);
        assert_eq!(student_interval(&[1.0, f64::NAN]), None);
        assert_eq!(student_interval(&[1.0, f64::INFINITY]), None);
        assert!(mean(&[]).is_nan());
    }
}
