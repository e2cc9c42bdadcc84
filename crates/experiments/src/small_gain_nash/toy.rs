//! The game of two numbers: `f₁ = x₁²/2 + 10 x₁ x₂`, `f₂ = x₂²/2 + x₁ x₂/20`.

use gradus_games::dynamics::{Record, Trajectory, flow};
use gradus_games::game::Game;
use gradus_games::small_gain::{Band, BlockBounds, Rates, optimal_weights, timescale_band};
use gradus_games::zoo;
use nalgebra::{Complex, DMatrix};
use serde::Serialize;

use super::linear::{self, RATIO};
use super::stability::log_resolvent;
use crate::ExperimentError;

/// The first state of the flow.
pub(super) const START: [f64; 2] = [0.15, -0.15];

/// Everything of the toy that has a closed form, as computed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Toy {
    #[serde(skip)]
    pub(super) bounds: Option<BlockBounds>,
    pub(super) eigenvalues: [f64; 2],
    pub(super) euclidean: f64,
    pub(super) ratio: f64,
    pub(super) margin: f64,
    /// The ends of the bands of margins 0 and 0.1.
    pub(super) bands: [[f64; 2]; 2],
    pub(super) lipschitz: f64,
    pub(super) euclidean_norm: f64,
    pub(super) euler: f64,
    /// How much the Euclidean distance from the equilibrium grows along the flow, and when it is greatest.
    pub(super) growth: [f64; 2],
    /// Whether the distance in the metric falls throughout.
    pub(super) metric_falls: bool,
}

/// The game with couplings times `lambda`.
pub(super) fn game(lambda: f64) -> Result<Game, ExperimentError> {
    Ok(zoo::scalar_quadratic(1.0, 1.0, 10.0 * lambda, 0.05 * lambda)?.game)
}

pub(super) fn jacobian(lambda: f64) -> DMatrix<f64> {
    DMatrix::from_row_slice(2, 2, &[1.0, 10.0 * lambda, 0.05 * lambda, 1.0])
}

/// The flow from a state, measured in both metrics.
pub(super) fn decay(start: [f64; 2], time: f64) -> Result<Trajectory, ExperimentError> {
    let record = Record { weights: vec![1.0, RATIO], reference: Some(vec![0.0; 2]), every: 1 };
    Ok(flow(&game(1.0)?, &start, TIME_STEP, time, &record)?)
}

/// The step of the flow in time.
pub(super) const TIME_STEP: f64 = 0.004;

pub(super) fn measure() -> Result<Toy, ExperimentError> {
    let matrix = jacobian(1.0);
    let bounds = linear::bounds(&matrix, &[1, 1])?;
    let best = optimal_weights(&bounds);
    let lipschitz = bounds.lipschitz(&best.weights)?;
    let mut eigenvalues: Vec<f64> = linear::eigenvalues(&matrix)?.iter().map(|value| value.re).collect();
    eigenvalues.sort_by(f64::total_cmp);
    let band = |margin: f64| {
        let Band { low, high } = timescale_band(&bounds, margin)?.unwrap_or(Band { low: f64::NAN, high: f64::NAN });
        Ok::<_, ExperimentError>([low, high])
    };
    let run = decay(START, 8.0)?;
    let start = START[0].hypot(START[1]);
    let growth = run.samples.iter().filter_map(|sample| Some([sample.distance? / start, sample.step as f64 * TIME_STEP]));
    let falls = run.samples.windows(2).all(|pair| pair[1].metric_distance < pair[0].metric_distance);
    Ok(Toy {
        eigenvalues: [eigenvalues[0], eigenvalues[1]],
        euclidean: linear::margin(&matrix),
        ratio: best.weights[1],
        margin: best.margin,
        bands: [band(0.0)?, band(0.1)?],
        lipschitz,
        euclidean_norm: matrix.singular_values().max(),
        euler: Rates::new(best.margin, lipschitz)?.euler_limit(),
        growth: growth.fold([0.0; 2], |most, next| if next[0] > most[0] { next } else { most }),
        metric_falls: falls,
        bounds: Some(bounds),
    })
}

/// Where the resolvent is looked at.
pub(super) const RESOLVENT_POINTS: usize = 321;

/// `log₁₀ ‖(J - z)⁻¹‖` in the Euclidean metric and in that of the best weights, on the authors' grid: row by row, from the lowest imaginary
/// part on.
pub(super) fn resolvents() -> [Vec<Vec<f64>>; 2] {
    let matrix = jacobian(1.0);
    let spread = 0.5f64.sqrt();
    let (re, im) = ([-0.5 - spread, 2.5 + spread], [-1.2, 1.2]);
    let at = |[low, high]: [f64; 2], i: usize| low + (high - low) * i as f64 / (RESOLVENT_POINTS - 1) as f64;
    [matrix.clone(), linear::scaled(&matrix, [1.0, RATIO])].map(|matrix| {
        let row = |i: usize| (0..RESOLVENT_POINTS).map(|j| log_resolvent(&matrix, Complex::new(at(re, j), at(im, i)))).collect();
        (0..RESOLVENT_POINTS).map(row).collect()
    })
}

/// The share of values at or above a level.
pub(super) fn share_above(values: &[Vec<f64>], level: f64) -> f64 {
    let all = values.iter().flatten();
    all.clone().filter(|value| **value >= level).count() as f64 / all.count() as f64
}
