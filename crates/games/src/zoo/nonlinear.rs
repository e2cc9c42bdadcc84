//! Small games with Jacobians that change from place to place.

use super::{Example, ZooError, at_least, cube, not_negative, positive};
use crate::game::Game;
use crate::scalar::Real;

/// `F₁ = x + x³/2 + 2 sin y`, `F₂ = y + 0.3 y³ + 0.2 cos x` on `[-1, 1]²`.
///
/// There, `μ = (1, 1)`, `L₁₂ = 2`, `L₂₁ = 0.2 sin 1`, the best margin is `1 - √(0.4 sin 1) ≈ 0.4198`. The equilibrium is in the region; it
/// is not known in closed form.
///
/// # Errors
/// None is expected.
pub fn waves() -> Result<Example, ZooError> {
    let game =
        Game::from_field(&[1, 1], |x| vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()])?;
    let note = "curvatures and couplings that change, with known bounds";
    Ok(Example { name: "waves", game, region: cube(2, -1.0, 1.0)?, equilibrium: None, note })
}

/// `F₁ = x + y (1/2 + 5 e^(-(200 (x - 0.3141))²))`, `F₂ = y + 0.3 x` on `[-1, 1]²`: a coupling with a peak so narrow that samples miss it.
///
/// The equilibrium is 0. Away from the peak the margin is above 0.61; at the peak the first player's own curvature falls to -856.76.
///
/// # Errors
/// None is expected.
pub fn needle() -> Result<Example, ZooError> {
    let game = Game::from_field(&[1, 1], |x| {
        let peak = (-((x[0] - 0.3141) * 200.0).square()).exp();
        vec![x[0] + x[1] * (5.0 * peak + 0.5), x[1] + 0.3 * x[0]]
    })?;
    let note = "samples say that it contracts, but it does not";
    Ok(Example { name: "needle", game, region: cube(2, -1.0, 1.0)?, equilibrium: Some(vec![0.0; 2]), note })
}

/// `players` on a ring, each with `width` numbers, who mind their neighbours:
///
/// ```text
/// f_i = c |x_i|²/2 + s Σ_k [ softplus(x_ik - x_(i+1)k) + x_ik tanh(x_(i-1)(k+1)) ]
/// ```
///
/// Own curvatures are at least `c`, couplings at most `s/4` to the next player and `s` to the one before, so that it contracts everywhere
/// in the Euclidean metric, at least at the rate `c - 5s/4`, if that is positive (with two players, both neighbours are the same one).
/// The equilibrium is within `s √d / (2c - 5s/2)` of 0, with `d` numbers in all; it is not known in closed form.
///
/// # Errors
/// [`ZooError::Dimension`] for fewer than two players or no number, [`ZooError::InvalidParameter`] unless `c > 0` and `s ≥ 0`.
pub fn ring(players: usize, width: usize, curvature: f64, coupling: f64) -> Result<Example, ZooError> {
    at_least("players", 2, players)?;
    at_least("variables of a player", 1, width)?;
    positive("curvature", curvature)?;
    not_negative("coupling", coupling)?;
    let game = Game::from_losses(&vec![width; players], |x| {
        let number = |i: usize, k: usize| x[i % players * width + k % width];
        let loss = |i: usize| {
            let parts = (0..width).map(|k| {
                let own = number(i, k);
                let pushes = (own - number(i + 1, k)).softplus() + own * number(i + players - 1, k + 1).tanh();
                own.square() * (0.5 * curvature) + pushes * coupling
            });
            parts.reduce(|sum, part| sum + part)
        };
        (0..players).filter_map(loss).collect()
    })?;
    let region = cube(players * width, -1.0, 1.0)?;
    Ok(Example { name: "ring", game, region, equilibrium: None, note: "saturating couplings of neighbours; contracts everywhere" })
}
