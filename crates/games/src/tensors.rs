//! Functions of tensors as games.

use std::sync::Arc;

use gradus_autodiff::{Tensor, grad, jacobian};
use nalgebra::DMatrix;

use crate::game::{Game, GameError};

/// The game of the players' losses, each a number, as functions of one vector for each player. Gradients and the Jacobian are those of
/// `gradus-autodiff`.
///
/// Such a game can be played ([`dynamics`](crate::dynamics)) and sampled ([`estimate`](crate::small_gain::estimate)). Nothing is known of
/// tensors on whole boxes, so that nothing can be certified: for that, losses are written with
/// [`Symbol`](crate::expression::Symbol)s.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_games::rigorous::Interval;
/// use gradus_games::small_gain::{Sampling, estimate, optimal_weights};
/// use gradus_games::tensors::game_of_losses;
///
/// // A generator of two numbers against a discriminator of one.
/// let game = game_of_losses(&[2, 1], |players: &[Tensor<f64>]| {
///     let (generator, discriminator) = (&players[0], &players[1]);
///     let score = (generator * discriminator).tanh().sum();
///     vec![generator.square().sum() + &score, discriminator.square().sum() - &score]
/// })?;
/// assert_eq!(game.field(&[1.0, 0.0, 0.0]), [2.0, 0.0, -1.0]);
/// let side = Interval::new(-0.5, 0.5).unwrap();
/// let sampled = estimate(&game, &[side; 3], Sampling::Grid { per_side: 5 })?;
/// assert!(optimal_weights(&sampled.bounds).margin > 0.3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`GameError::Dimension`] for fewer than two players, a player without a variable, or another number of losses.
///
/// # Panics
/// The game's functions panic where the losses do, and when a loss is no number.
pub fn game_of_losses(
    dimensions: &[usize],
    losses: impl Fn(&[Tensor<f64>]) -> Vec<Tensor<f64>> + Send + Sync + 'static,
) -> Result<Game, GameError> {
    let players = dimensions.to_vec();
    let size = dimensions.iter().sum();
    let losses = Arc::new(move |x: &Tensor<f64>| losses(&parts(x, &players)));
    // Before anything is played: the losses are asked once for how many they are.
    let game = Game::affine(dimensions, DMatrix::identity(size, size), vec![0.0; size])?;
    let found = losses(&Tensor::vector(&vec![0.0; size])).len();
    if found != dimensions.len() {
        return Err(GameError::Dimension { what: "losses", expected: dimensions.len(), got: found });
    }
    let ranges = game.players();
    let field = Arc::new(move |x: &Tensor<f64>| {
        let own = ranges.iter().enumerate().map(|(player, range)| {
            let gradient = grad(|x: &Tensor<f64>| losses(x).swap_remove(player), x);
            gradient.narrow(0, range.start, range.len())
        });
        let own: Vec<Tensor<f64>> = own.collect();
        Tensor::concat(&own, 0)
    });
    let same = Arc::clone(&field);
    Game::from_functions(
        dimensions,
        move |x| field(&Tensor::vector(x)).to_vec(),
        move |x| DMatrix::from_row_slice(x.len(), x.len(), &jacobian(|x: &Tensor<f64>| same(x), &Tensor::vector(x)).to_vec()),
    )
}

/// A vector as one for each player.
fn parts(x: &Tensor<f64>, dimensions: &[usize]) -> Vec<Tensor<f64>> {
    let mut start = 0;
    let part = |&size: &usize| {
        start += size;
        x.narrow(0, start - size, size)
    };
    dimensions.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::dynamics::{Extragradient, Record, Sample, Stop, simulate};
    use crate::scalar::Real;
    use crate::small_gain::{Certifier, Region, SmallGainError};

    fn of_tensors() -> Game {
        let game = game_of_losses(&[2, 1], |players: &[Tensor<f64>]| {
            let (a, b) = (&players[0], &players[1]);
            let both = (a * b).tanh().sum();
            vec![a.square().sum() + &both, b.exp().sum() + b.square().sum() - &both]
        });
        game.unwrap()
    }

    fn of_symbols() -> Game {
        let game = Game::from_losses(&[2, 1], |x| {
            let both = (x[0] * x[2]).tanh() + (x[1] * x[2]).tanh();
            vec![x[0].square() + x[1].square() + both, x[2].exp() + x[2].square() - both]
        });
        game.unwrap()
    }

    #[test]
    fn tensors_and_symbols_are_the_same_game() {
        for x in [[0.1, -0.4, 0.7], [1.0, 2.0, -0.5]] {
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near(&of_tensors().field(&x), &of_symbols().field(&x)));
            assert!(near(of_tensors().jacobian(&x).as_slice(), of_symbols().jacobian(&x).as_slice()));
        }
    }

    #[test]
    fn it_is_played_and_not_certified() {
        let stop = Stop { steps: 2_000, residual: Some(1e-10), ..Stop::default() };
        let rule = &mut Extragradient { step: 0.1, set: None };
        let go_on = |_: &Sample, _: &[f64]| ControlFlow::Continue(());
        let last = simulate(&of_tensors(), rule, &[0.3, 0.2, 0.1], &stop, &Record::default(), go_on).unwrap().last;
        assert!(of_symbols().field(&last).iter().all(|f| f.abs() < 1e-9));
        let region = Region::local(&[-1.0; 3], &[1.0; 3]).unwrap();
        assert_eq!(Certifier::default().certify(&of_tensors(), &region), Err(SmallGainError::NoEnclosure));
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let wrong = game_of_losses(&[1, 1], |players: &[Tensor<f64>]| vec![players[0].sum()]);
        assert!(matches!(wrong, Err(GameError::Dimension { expected: 2, got: 1, .. })));
        assert!(game_of_losses(&[1], |players: &[Tensor<f64>]| vec![players[0].sum()]).is_err());
    }
}
