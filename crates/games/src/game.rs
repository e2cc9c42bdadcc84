//! Games as formulas.

use crate::scalar::{Dual, Real};

/// A game given by its pseudo-gradient `F(x) = (∇ᵢ f_i(x))ᵢ`, one formula for every kind of number.
///
/// ```
/// use gradus_games::game::{Field, jacobian};
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
///
/// struct Waves;
///
/// impl Field for Waves {
///     fn dimensions(&self) -> &[usize] {
///         &[1, 1]
///     }
///     fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
///         let (x, y) = (x[0].clone(), x[1].clone());
///         let cube = |x: R| x.powi(3);
///         vec![
///             x.clone() + cube(x.clone()) * R::constant(0.5) + R::constant(2.0) * y.clone().sin(),
///             y.clone() + cube(y) * R::constant(0.3) + R::constant(0.2) * x.cos(),
///         ]
///     }
/// }
///
/// assert_eq!(jacobian(&Waves, &[0.0, 0.0]), [1.0, 2.0, 0.0, 1.0]);
/// // On the whole of [-1, 1]² at once: the first player's own curvature lies between 1 and 2.5.
/// let side = Interval::new(-1.0, 1.0).unwrap();
/// let own = jacobian(&Waves, &[side, side])[0];
/// assert!(own.lo() > 0.99 && own.contains(1.0) && own.contains(2.5) && own.hi() < 2.51);
/// ```
pub trait Field: Sync {
    /// How many variables each player has; at least two players, each with one or more.
    fn dimensions(&self) -> &[usize];

    /// `F(x)`: for each variable, in the players' order, the derivative of its player's loss with respect to it.
    fn field<R: Real>(&self, x: &[R]) -> Vec<R>;
}

/// A game given by its players' losses.
///
/// ```
/// use gradus_games::game::{Field, Losses, OfLosses};
/// use gradus_games::scalar::Real;
///
/// /// Each pays for its own size and for a part of the other's.
/// struct Toy;
///
/// impl Losses for Toy {
///     fn dimensions(&self) -> &[usize] {
///         &[1, 1]
///     }
///     fn loss<R: Real>(&self, player: usize, x: &[R]) -> R {
///         let coupling = [10.0, 0.05][player];
///         x[player].clone().square() * R::constant(0.5) + x[0].clone() * x[1].clone() * R::constant(coupling)
///     }
/// }
///
/// assert_eq!(OfLosses(Toy).field(&[1.0, 2.0]), [21.0, 2.05]);
/// ```
pub trait Losses: Sync {
    /// How many variables each player has; at least two players, each with one or more.
    fn dimensions(&self) -> &[usize];

    /// The loss that a player minimises, from 0.
    fn loss<R: Real>(&self, player: usize, x: &[R]) -> R;
}

/// The pseudo-gradient of [`Losses`].
#[derive(Debug, Clone, Copy, Default)]
pub struct OfLosses<L>(pub L);

impl<L: Losses> Field for OfLosses<L> {
    fn dimensions(&self) -> &[usize] {
        self.0.dimensions()
    }

    fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
        let players = self.0.dimensions().iter().enumerate().flat_map(|(player, &size)| std::iter::repeat_n(player, size));
        players.enumerate().map(|(k, player)| self.0.loss(player, &along(x, k)).slope).collect()
    }
}

/// The Jacobian of the pseudo-gradient at a point, or an enclosure of it on a box: `d × d`, row by row.
pub fn jacobian<F: Field, R: Real>(game: &F, x: &[R]) -> Vec<R> {
    let size = x.len();
    let mut rows: Vec<Vec<R>> = (0..size).map(|_| Vec::with_capacity(size)).collect();
    for k in 0..size {
        let column = game.field(&along(x, k));
        rows.iter_mut().zip(column).for_each(|(row, entry)| row.push(entry.slope));
    }
    rows.concat()
}

/// The point as duals that change along variable `k`.
fn along<R: Real>(x: &[R], k: usize) -> Vec<Dual<R>> {
    x.iter().enumerate().map(|(i, x)| if i == k { Dual::variable(x.clone()) } else { Dual::constant(x.clone()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rigorous::Interval;

    /// Two players with two and one variables and every kind of coupling.
    struct Mixed;

    impl Losses for Mixed {
        fn dimensions(&self) -> &[usize] {
            &[2, 1]
        }
        fn loss<R: Real>(&self, player: usize, x: &[R]) -> R {
            let [a, b, c] = [x[0].clone(), x[1].clone(), x[2].clone()];
            match player {
                0 => a.clone().square() + a.clone() * b.clone().tanh() + (b + c).softplus() * a.exp(),
                _ => c.clone().powi(4) + (a * c.clone()).sin() + c / (R::constant(2.0) + b.square()),
            }
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn fields_and_jacobians_are_central_differences(x in prop::array::uniform3(-1.0..1.0f64)) {
                let (step, game) = (1e-5, OfLosses(Mixed));
                let moved = |k: usize, by: f64| { let mut x = x; x[k] += by; x };
                let field = game.field(&x);
                for (k, player) in [(0, 0), (1, 0), (2, 1)] {
                    let slope = (Mixed.loss(player, &moved(k, step)) - Mixed.loss(player, &moved(k, -step))) / (2.0 * step);
                    prop_assert!((field[k] - slope).abs() < 1e-8 * (1.0 + slope.abs()));
                }
                let found = jacobian(&game, &x);
                for k in 0..3 {
                    let (ahead, behind) = (game.field(&moved(k, step)), game.field(&moved(k, -step)));
                    for i in 0..3 {
                        let slope = (ahead[i] - behind[i]) / (2.0 * step);
                        prop_assert!((found[3 * i + k] - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{i} {k}");
                    }
                }
            }

            #[test]
            fn enclosures_hold_everywhere_in_a_box(
                middle in prop::array::uniform3(-1.0..1.0f64),
                radius in prop::array::uniform3(0.0..0.5f64),
                share in prop::array::uniform3(-1.0..=1.0f64),
            ) {
                let game = OfLosses(Mixed);
                let region: Vec<Interval> = (0..3).map(|i| Interval::new(middle[i] - radius[i], middle[i] + radius[i]).unwrap()).collect();
                let x: Vec<f64> = (0..3).map(|i| (middle[i] + share[i] * radius[i]).clamp(region[i].lo(), region[i].hi())).collect();
                let (enclosed, found) = (jacobian(&game, &region), jacobian(&game, &x));
                // The values inside are rounded, too.
                let slack = |x: f64| 1e-12 * (1.0 + x.abs());
                prop_assert!(enclosed.iter().zip(&found).all(|(e, &x)| e.lo() <= x + slack(x) && x - slack(x) <= e.hi()), "{enclosed:?} {found:?}");
                prop_assert!(game.field(&region).iter().zip(game.field(&x)).all(|(e, x)| e.lo() <= x + slack(x) && x - slack(x) <= e.hi()));
            }
        }
    }
}
