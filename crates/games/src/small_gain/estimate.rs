//! Bounds from samples: estimates, which prove nothing, and bounds that hold if a bound of second derivatives does.

use super::blocks::{Blocks, Quantity};
use super::{BlockBounds, SmallGainError};
use crate::game::Game;
use crate::rigorous::Interval;
use crate::scalar::Real;

/// The most points of a sample.
const MOST_POINTS: usize = 1 << 24;

/// Where a region is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// At its corners.
    Corners,
    /// At the points of a grid, corners included.
    Grid {
        /// Points along each side, at least 2.
        per_side: usize,
    },
    /// At the points of an additive recurrence, which are spread evenly; from the worst point of each bound, uphill.
    Random {
        /// The points.
        points: usize,
        /// Rounds of uphill steps along each variable; each round that finds nothing higher halves the steps.
        ascent_steps: usize,
        /// Where the sequence begins.
        seed: u64,
    },
}

/// What sampled Jacobians look like. No bound: between the points anything may happen, and no certificate can be made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The least curvatures and the greatest norms at the points.
    pub bounds: BlockBounds,
    /// Points at which the Jacobian was looked at.
    pub points: usize,
}

/// Block bounds as a sample of a box suggests them.
///
/// ```
/// use gradus_games::expression::Symbol;
/// use gradus_games::game::Game;
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
/// use gradus_games::small_gain::{Sampling, Search, block_bounds, estimate, optimal_weights};
///
/// // A coupling that is strong in one place, which no corner shows.
/// let needle = Game::from_jacobian(&[1, 1], |x| {
///     let bump = (-((x[0] - 0.3141) * 200.0).square()).exp();
///     vec![Symbol::constant(1.0), bump * 5.0 + 0.5, Symbol::constant(0.3), Symbol::constant(1.0)]
/// })?;
/// let region = [Interval::new(-1.0, 1.0).unwrap(); 2];
/// let corners = estimate(&needle, &region, Sampling::Corners)?;
/// assert!((optimal_weights(&corners.bounds).margin - 0.612_701_665_379_258_3).abs() < 1e-12);
/// // What holds on the whole region:
/// let found = block_bounds(&needle, &region, &Search::default())?;
/// assert!((optimal_weights(&found.bounds).margin + 0.284_523_257_866_512_9).abs() < 1e-5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Dimension`] when the region does not fit the game; [`SmallGainError::InvalidBound`] for fewer than 2 points along a side,
/// no points, or more than 2²⁴; [`SmallGainError::NonFinite`] where the Jacobian is not finite.
pub fn estimate(game: &Game, region: &[Interval], sampling: Sampling) -> Result<Estimate, SmallGainError> {
    check_region(game, region)?;
    let blocks = Blocks::new(game);
    let mut sample = Sample { game, blocks: &blocks, worst: vec![(f64::NEG_INFINITY, Vec::new()); blocks.quantities.len()], points: 0 };
    match sampling {
        Sampling::Corners => sample.grid(region, 2)?,
        Sampling::Grid { per_side } => sample.grid(region, per_side)?,
        Sampling::Random { points, ascent_steps, seed } => {
            let directions = directions(region.len());
            if points == 0 || points > MOST_POINTS {
                return Err(SmallGainError::InvalidBound {
                    what: "the number of points".into(),
                    value: points as f64,
                    expected: "from 1 to 2^24",
                });
            }
            for point in 0..points as u64 {
                sample.look_at(&spread(region, &directions, seed, point))?;
            }
            for quantity in 0..blocks.quantities.len() {
                sample.climb(region, quantity, ascent_steps)?;
            }
        }
    }
    let upper: Vec<f64> = sample.worst.iter().map(|(value, _)| *value).collect();
    Ok(Estimate { bounds: blocks.bounds(&upper)?, points: sample.points })
}

/// Block bounds that hold on a box if the field's second derivatives are bounded by `second_derivative`: the region is cut into
/// `per_side` boxes along each side, the Jacobian is enclosed in the middle of each, and nothing in it is farther from that than
/// `second_derivative · δ`, with `δ` the distance of a corner.
///
/// `second_derivative` is an upper bound, on the region, of `‖D²F(x)‖ = sup |D²F(x)[u, v]|` over `|u| = |v| = 1`, in Euclidean norms of all
/// variables: a Lipschitz constant of the Jacobian's spectral norm, and so of each block's norm and of the least eigenvalue of each
/// symmetric part. The bounds are as good as it is; rounding is accounted for.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
/// use gradus_games::small_gain::lipschitz_corrected;
///
/// let game = Game::from_field(&[1, 1], |x| vec![x[0] + x[1].sin(), x[1] + x[0].cos()])?;
/// let bounds = lipschitz_corrected(&game, &[Interval::new(-1.0, 1.0).unwrap(); 2], 100, 1.0)?;
/// assert!(bounds.curvature()[0] > 0.98 && bounds.coupling()[(0, 1)] >= 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As of [`estimate`]; [`SmallGainError::InvalidBound`] for a bound of second derivatives that is none; [`SmallGainError::NoEnclosure`].
pub fn lipschitz_corrected(
    game: &Game,
    region: &[Interval],
    per_side: usize,
    second_derivative: f64,
) -> Result<BlockBounds, SmallGainError> {
    check_region(game, region)?;
    if !game.has_enclosures() {
        return Err(SmallGainError::NoEnclosure);
    }
    if !(second_derivative >= 0.0 && second_derivative.is_finite()) {
        let what = "the bound of second derivatives".into();
        return Err(SmallGainError::InvalidBound { what, value: second_derivative, expected: "finite and at least 0" });
    }
    let blocks = Blocks::new(game);
    let cells: Vec<Vec<Interval>> = region.iter().map(|&side| cells(side, per_side)).collect();
    let mut upper = vec![f64::NEG_INFINITY; blocks.quantities.len()];
    for cell in 0..count(per_side, region.len(), 1)? {
        let sides: Vec<Interval> = places(cell, per_side, region.len()).zip(&cells).map(|(place, cells)| cells[place]).collect();
        let middle: Vec<f64> = sides.iter().map(|side| side.midpoint()).collect();
        let square = sides.iter().fold(Interval::point(0.0), |sum, side| sum + Interval::point(side.radius()).square());
        let slack = square.sqrt() * second_derivative;
        for (upper, value) in upper.iter_mut().zip(quantities_at(game, &blocks, &middle)?) {
            *upper = upper.max((Interval::point(value) + slack).hi());
        }
    }
    blocks.bounds(&upper)
}

/// A sample, with the worst value and point of each quantity.
struct Sample<'a> {
    game: &'a Game,
    blocks: &'a Blocks,
    worst: Vec<(f64, Vec<f64>)>,
    points: usize,
}

impl Sample<'_> {
    fn look_at(&mut self, point: &[f64]) -> Result<(), SmallGainError> {
        self.points += 1;
        for (worst, value) in self.worst.iter_mut().zip(quantities_at(self.game, self.blocks, point)?) {
            if value > worst.0 {
                *worst = (value, point.to_vec());
            }
        }
        Ok(())
    }

    fn grid(&mut self, region: &[Interval], per_side: usize) -> Result<(), SmallGainError> {
        let at = |side: Interval, place: usize| {
            let share = place as f64 / (per_side - 1) as f64;
            (side.lo() * (1.0 - share) + side.hi() * share).clamp(side.lo(), side.hi())
        };
        for point in 0..count(per_side, region.len(), 2)? {
            let point: Vec<f64> = places(point, per_side, region.len()).zip(region).map(|(place, &side)| at(side, place)).collect();
            self.look_at(&point)?;
        }
        Ok(())
    }

    /// Moves the worst point of a quantity to worse ones beside it.
    fn climb(&mut self, region: &[Interval], quantity: usize, rounds: usize) -> Result<(), SmallGainError> {
        let mut share = 0.25;
        for _ in 0..rounds {
            let before = self.worst[quantity].0;
            for (axis, side) in region.iter().enumerate() {
                for sign in [-1.0, 1.0] {
                    let mut point = self.worst[quantity].1.clone();
                    point[axis] = (point[axis] + sign * share * side.radius()).clamp(side.lo(), side.hi());
                    self.look_at(&point)?;
                }
            }
            if self.worst[quantity].0 <= before {
                share *= 0.5;
            }
        }
        Ok(())
    }
}

/// The quantities at a point, rounded up; of a game of functions, as exact as these.
pub(super) fn quantities_at(game: &Game, blocks: &Blocks, point: &[f64]) -> Result<Vec<f64>, SmallGainError> {
    let jacobian = if game.has_enclosures() {
        game.jacobian_box(&point.iter().map(|&x| Interval::point(x)).collect::<Vec<_>>())
    } else {
        game.jacobian(point).transpose().iter().map(|&entry| Interval::point(entry)).collect()
    };
    if !jacobian.iter().all(|entry| entry.is_bounded()) {
        return Err(SmallGainError::NonFinite { what: "the Jacobian", point: point.to_vec() });
    }
    Ok(blocks.quantities.iter().map(|&quantity: &Quantity| blocks.bound(quantity, &jacobian)).collect())
}

fn check_region(game: &Game, region: &[Interval]) -> Result<(), SmallGainError> {
    if region.len() != game.size() {
        return Err(SmallGainError::Dimension { what: "sides of the region", expected: game.size(), got: region.len() });
    }
    let bad = region.iter().position(|side| !side.is_bounded());
    bad.map_or(Ok(()), |variable| Err(SmallGainError::InvalidRegion { variable, lo: region[variable].lo(), hi: region[variable].hi() }))
}

/// How many points a grid has.
fn count(per_side: usize, sides: usize, least: usize) -> Result<usize, SmallGainError> {
    let invalid =
        |expected| SmallGainError::InvalidBound { what: "the number of points along a side".into(), value: per_side as f64, expected };
    if per_side < least {
        return Err(invalid("at least 1, of a grid 2"));
    }
    let count = u32::try_from(sides).ok().and_then(|sides| per_side.checked_pow(sides));
    count.filter(|&count| count <= MOST_POINTS).ok_or_else(|| invalid("small enough for a grid of 2^24 points"))
}

/// Where along each side a point of a grid lies.
fn places(point: usize, per_side: usize, sides: usize) -> impl Iterator<Item = usize> {
    (0..sides).scan(point, move |rest, _| {
        let place = *rest % per_side;
        *rest /= per_side;
        Some(place)
    })
}

/// A side cut into intervals of about the same length, that have all their ends in common.
fn cells(side: Interval, count: usize) -> Vec<Interval> {
    let edge = |k: usize| {
        let share = k as f64 / count as f64;
        if k == 0 {
            side.lo()
        } else if k == count {
            side.hi()
        } else {
            (side.lo() * (1.0 - share) + side.hi() * share).clamp(side.lo(), side.hi())
        }
    };
    (0..count).map(|k| Interval::new(edge(k), edge(k + 1)).unwrap_or(side)).collect()
}

/// The steps of the additive recurrence with the least number `φ > 1` with `φ^{d+1} = φ + 1` (Roberts 2018): `1/φ, 1/φ², …`, as
/// fractions of 2⁶⁴.
fn directions(sides: usize) -> Vec<u64> {
    let power = 1.0 / (sides as f64 + 1.0);
    let phi = (0..100).fold(1.5f64, |phi, _| libm::pow(phi + 1.0, power));
    (1..=sides)
        .scan(1.0, |step, _| {
            *step /= phi;
            Some(*step)
        })
        .map(|step: f64| (step * 2f64.powi(64)) as u64)
        .collect()
}

/// A point of the additive recurrence.
fn spread(region: &[Interval], directions: &[u64], seed: u64, point: u64) -> Vec<f64> {
    // Sequences of different seeds are far apart.
    let index = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(point);
    let at = |(side, &direction): (&Interval, &u64)| {
        let share = (index.wrapping_mul(direction).wrapping_add(1 << 63) >> 11) as f64 / (1u64 << 53) as f64;
        (side.lo() * (1.0 - share) + side.hi() * share).clamp(side.lo(), side.hi())
    };
    region.iter().zip(directions).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Symbol;
    use crate::small_gain::{Certifier, Refusal, Region, Search, Verdict, block_bounds, optimal_weights};

    fn square() -> [Interval; 2] {
        [Interval::new(-1.0, 1.0).unwrap(); 2]
    }

    /// A coupling that is strong in one place.
    fn needle() -> Game {
        let game = Game::from_jacobian(&[1, 1], |x| {
            let bump = (-((x[0] - 0.3141) * 200.0).square()).exp();
            vec![Symbol::constant(1.0), bump * 5.0 + 0.5, Symbol::constant(0.3), Symbol::constant(1.0)]
        });
        game.unwrap()
    }

    #[test]
    fn corners_miss_a_needle_that_the_rigorous_search_finds() {
        let corners = estimate(&needle(), &square(), Sampling::Corners).unwrap();
        assert!((optimal_weights(&corners.bounds).margin - 0.612_701_665_379_258_3).abs() < 1e-14 && corners.points == 4);
        let search = Search { most_boxes: 10_000, ..Search::default() };
        let found = block_bounds(&needle(), &square(), &search).unwrap();
        assert!((optimal_weights(&found.bounds).margin + 0.284_523_257_866_512_9).abs() < 1e-6 && found.complete);
        let refused =
            Certifier { search, ..Certifier::default() }.certify(&needle(), &Region::local(&[-1.0; 2], &[1.0; 2]).unwrap()).unwrap();
        let Verdict::Refused(refused) = refused else { panic!("{refused:?}") };
        assert!(matches!(refused.reasons[..], [Refusal::SmallGainViolated { .. }]) && refused.boxes <= 10_000, "{refused:?}");
        // Uphill from a point on its slope.
        let climbed = estimate(&needle(), &square(), Sampling::Random { points: 1_000, ascent_steps: 60, seed: 1 }).unwrap();
        assert!((climbed.bounds.coupling()[(0, 1)] - 5.5).abs() < 1e-6, "{climbed:?}");
    }

    #[test]
    fn samples_are_spread_evenly_and_do_not_depend_on_anything_else() {
        let directions = directions(2);
        for seed in [0, 7, u64::MAX] {
            let points: Vec<Vec<f64>> = (0..400).map(|k| spread(&square(), &directions, seed, k)).collect();
            for quarter in 0..16 {
                let inside = |x: &Vec<f64>| ((x[0] + 1.0) * 2.0) as usize + 4 * ((x[1] + 1.0) * 2.0) as usize == quarter;
                assert!((20..=30).contains(&points.iter().filter(|x| inside(x)).count()));
            }
        }
        assert_ne!(spread(&square(), &directions, 1, 0), spread(&square(), &directions, 2, 0));
    }

    #[test]
    fn samples_that_are_none_are_named() {
        let invalid = |sampling| matches!(estimate(&needle(), &square(), sampling), Err(SmallGainError::InvalidBound { .. }));
        assert!(invalid(Sampling::Grid { per_side: 1 }) && invalid(Sampling::Grid { per_side: 5_000 }));
        assert!(invalid(Sampling::Random { points: 0, ascent_steps: 1, seed: 0 }));
        assert!(matches!(estimate(&needle(), &square()[..1], Sampling::Corners), Err(SmallGainError::Dimension { .. })));
        assert!(matches!(estimate(&needle(), &[Interval::ENTIRE; 2], Sampling::Corners), Err(SmallGainError::InvalidRegion { .. })));
        for bound in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(lipschitz_corrected(&needle(), &square(), 10, bound), Err(SmallGainError::InvalidBound { .. })));
        }
        assert!(lipschitz_corrected(&needle(), &square(), 0, 1.0).is_err());
        let pole = Game::from_field(&[1, 1], |x| vec![x[0] + 1.0 / (x[0] - 1.0), x[1]]).unwrap();
        assert!(matches!(estimate(&pole, &square(), Sampling::Corners), Err(SmallGainError::NonFinite { .. })));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(48))]
            #[test]
            fn corrected_bounds_hold_and_estimates_lie_below(c in prop::array::uniform4(-2.0..2.0f64), per_side in 1usize..12) {
                // Second derivatives: a sine of each number, times at most |c|.
                let game = Game::from_field(&[1, 1], |x| {
                    vec![x[0] * 3.0 + (x[0] * 1.5).sin() * c[0] + x[1].cos() * c[1], x[1] * 2.0 + x[0].sin() * c[2] + x[1].sin() * c[3]]
                }).unwrap();
                let second = (2.25 * c[0].abs()).max(c[1].abs()).hypot(c[2].abs().max(c[3].abs()));
                let bounds = lipschitz_corrected(&game, &square(), per_side, second).unwrap();
                for sampling in [Sampling::Corners, Sampling::Grid { per_side: 7 }, Sampling::Random { points: 50, ascent_steps: 5, seed: 3 }] {
                    let estimate = estimate(&game, &square(), sampling).unwrap().bounds;
                    let above = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| *a >= *b - 1e-12);
                    prop_assert!(above(estimate.curvature(), bounds.curvature()));
                    prop_assert!(above(bounds.coupling().as_slice(), estimate.coupling().as_slice()));
                    prop_assert!(above(bounds.own_lipschitz(), estimate.own_lipschitz()));
                }
            }
        }
    }
}
