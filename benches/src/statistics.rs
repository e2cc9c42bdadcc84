//! How far two sides' outputs are apart.

use gradus_checkpoint::Checkpoint;

/// The largest relative Euclidean difference over all arrays, `‖found − expected‖ / ‖expected‖`; or why the two cannot
/// be compared.
pub(crate) fn difference(expected: &Checkpoint, found: &Checkpoint) -> Result<f64, String> {
    if !expected.names().eq(found.names()) {
        let list = |c: &Checkpoint| c.names().collect::<Vec<_>>().join(", ");
        return Err(format!("the outputs are {} instead of {}", list(found), list(expected)));
    }
    let mut largest = 0.0f64;
    for array in expected.arrays() {
        let other = found.get(array.name).and_then(|other| other.with_shape(array.shape)).map_err(|e| e.to_string())?;
        let values = (array.to_f64().map_err(|e| e.to_string())?, other.to_f64().map_err(|e| e.to_string())?);
        let relative = relative(&values.0, &values.1);
        largest = if relative.is_nan() { f64::NAN } else { largest.max(relative) };
        if largest.is_nan() {
            break;
        }
    }
    Ok(largest)
}

fn relative(expected: &[f64], found: &[f64]) -> f64 {
    let norm = |squares: f64| squares.sqrt();
    let apart = norm(expected.iter().zip(found).map(|(a, b)| (a - b) * (a - b)).sum());
    if apart == 0.0 { 0.0 } else { apart / norm(expected.iter().map(|a| a * a).sum()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays(entries: &[(&str, &[f32])]) -> Checkpoint {
        let mut checkpoint = Checkpoint::new();
        for (name, values) in entries {
            checkpoint.insert_f32(*name, &[values.len()], values).unwrap();
        }
        checkpoint
    }

    #[test]
    fn the_worst_array_counts() {
        let (a, b) = (arrays(&[("x", &[3.0, 4.0]), ("y", &[1.0])]), arrays(&[("x", &[3.0, 4.5]), ("y", &[1.0])]));
        assert!((difference(&a, &b).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(difference(&a, &a).unwrap(), 0.0);
    }

    #[test]
    fn nan_and_a_wrong_zero_are_seen() {
        let nan = arrays(&[("x", &[f32::NAN]), ("y", &[1.0])]);
        assert!(difference(&arrays(&[("x", &[1.0]), ("y", &[1.0])]), &nan).unwrap().is_nan());
        assert_eq!(difference(&arrays(&[("x", &[0.0])]), &arrays(&[("x", &[1.0])])).unwrap(), f64::INFINITY);
    }

    #[test]
    fn other_names_or_shapes_cannot_be_compared() {
        let a = arrays(&[("x", &[1.0])]);
        assert_eq!(difference(&a, &arrays(&[("z", &[1.0])])).unwrap_err(), "the outputs are z instead of x");
        assert!(difference(&a, &arrays(&[("x", &[1.0, 2.0])])).unwrap_err().contains("[2]"));
    }
}
