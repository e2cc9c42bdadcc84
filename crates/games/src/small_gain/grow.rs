//! The largest box around a point for which there is a certificate.

use super::{Certified, Certifier, Region, SmallGainError, Verdict};
use crate::game::Game;

/// The largest box around `centre`, with sides from `centre - s r` to `centre + s r` for the half widths `r`, for which a certificate is
/// found, and its factor `s`, at most `most`: within `tolerance` of the largest, by bisection. None if there is none down to `tolerance`.
///
/// A box inside another has no looser bounds, so that with exact bounds there is a certificate up to one factor and none above. What is
/// found with as many boxes as the certifier may use is about that: a certificate that is returned holds in any case. Players may leave
/// the box; a certificate around a point far from an equilibrium may be conditional.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::scalar::Real;
/// use gradus_games::small_gain::{Certifier, Search, Tolerance, grow};
///
/// // The curvature 1 - 3 x² falls to the coupling, 0.25, at x = ½.
/// let game = Game::from_field(&[1, 1], |x| vec![x[0] - x[0].powi(3) + 0.25 * x[1], 0.25 * x[0] + x[1] - x[1].powi(3)])?;
/// let certifier = Certifier { search: Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 2_000 }, ..Certifier::default() };
/// let (factor, found) = grow(&certifier, &game, &[0.0; 2], &[1.0; 2], 2.0, 1e-3)?.unwrap();
/// assert!(factor < 0.5 && factor > 0.497 && found.certificate.alpha > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Dimension`] for sizes that do not fit; [`SmallGainError::InvalidBound`] for half widths, a factor or a tolerance that
/// are not positive and finite; [`SmallGainError::InvalidWeight`] of the certifier's weights. A box in which the game is not finite is one
/// without a certificate.
pub fn grow(
    certifier: &Certifier,
    game: &Game,
    centre: &[f64],
    shape: &[f64],
    most: f64,
    tolerance: f64,
) -> Result<Option<(f64, Certified)>, SmallGainError> {
    for (what, got) in [("entries of the centre", centre.len()), ("half widths", shape.len())] {
        if got != game.size() {
            return Err(SmallGainError::Dimension { what, expected: game.size(), got });
        }
    }
    let named = [("the greatest factor".to_string(), most), ("the tolerance".to_string(), tolerance)];
    let widths = shape.iter().enumerate().map(|(k, &width)| (format!("the half width {k}"), width));
    if let Some((what, value)) = named.into_iter().chain(widths).find(|(_, x)| !(*x > 0.0 && x.is_finite())) {
        return Err(SmallGainError::InvalidBound { what, value, expected: "positive and finite" });
    }
    let certified = |factor: f64| {
        let end = |sign: f64| centre.iter().zip(shape).map(|(c, r)| c + sign * factor * r).collect::<Vec<f64>>();
        match certifier.certify(game, &Region::local(&end(-1.0), &end(1.0))?) {
            Ok(Verdict::Certified(found)) => Ok(Some((factor, *found))),
            Ok(_) | Err(SmallGainError::NonFinite { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let mut found = certified(most)?;
    if found.is_some() {
        return Ok(found);
    }
    let (mut low, mut high) = (0.0, most);
    while high - low > tolerance {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        match certified(middle)? {
            Some(next) => (low, found) = (middle, Some(next)),
            None => high = middle,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{Search, Tolerance, Verified, check};
    use super::*;
    use crate::scalar::Real;

    fn certifier() -> Certifier {
        Certifier { search: Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 1_000 }, ..Certifier::default() }
    }

    fn bowl() -> Game {
        Game::from_field(&[1, 1], |x| vec![x[0] - x[0].powi(3) + 0.25 * x[1], 0.25 * x[0] + x[1] - x[1].powi(3)]).unwrap()
    }

    #[test]
    fn the_largest_box_and_its_certificate() {
        let (factor, found) = grow(&certifier(), &bowl(), &[0.0; 2], &[1.0, 0.5], 3.0, 1e-2).unwrap().unwrap();
        // (1 - 3 s²) (1 - ¾ s²) = 1/16.
        assert!(factor < 0.554 && factor > 0.53, "{factor}");
        assert_eq!(check(&found.certificate, Some(&bowl())), Ok(Verified::Verified));
        assert!(!found.certificate.conditional && found.certificate.region.unwrap()[1].hi() == 0.5 * factor);
        let all = grow(&certifier(), &bowl(), &[0.0; 2], &[1.0; 2], 0.25, 1e-2).unwrap().unwrap();
        assert_eq!(all.0, 0.25);
    }

    #[test]
    fn points_without_a_box_and_games_that_end_somewhere() {
        assert!(grow(&certifier(), &bowl(), &[1.0; 2], &[1.0; 2], 1.0, 1e-2).unwrap().is_none());
        let log = Game::from_field(&[1, 1], |x| vec![x[0].ln() + 0.1 * x[1], x[1]]).unwrap();
        let (factor, _) = grow(&certifier(), &log, &[1.0, 0.0], &[1.0; 2], 4.0, 1e-2).unwrap().unwrap();
        assert!(factor < 1.0 && factor > 0.9, "{factor}");
    }

    #[test]
    fn bad_arguments_are_named() {
        let grown =
            |centre: &[f64], shape: &[f64], most, tolerance| grow(&certifier(), &bowl(), centre, shape, most, tolerance).unwrap_err();
        assert!(matches!(grown(&[0.0], &[1.0; 2], 1.0, 0.1), SmallGainError::Dimension { expected: 2, got: 1, .. }));
        assert!(matches!(grown(&[0.0; 2], &[1.0; 3], 1.0, 0.1), SmallGainError::Dimension { expected: 2, got: 3, .. }));
        for (shape, most, tolerance) in
            [([1.0, 0.0], 1.0, 0.1), ([1.0, f64::NAN], 1.0, 0.1), ([1.0; 2], f64::INFINITY, 0.1), ([1.0; 2], 1.0, 0.0)]
        {
            assert!(matches!(grown(&[0.0; 2], &shape, most, tolerance), SmallGainError::InvalidBound { .. }));
        }
        assert!(matches!(grown(&[f64::NAN, 0.0], &[1.0; 2], 1.0, 0.1), SmallGainError::InvalidRegion { .. }));
    }
}
