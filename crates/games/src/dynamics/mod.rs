//! Update rules of games, and what they do: gradient play, its relatives, and the flow that they discretise.
//!
//! A rule is plain data with a step size `h` and moves all players at once along the pseudo-gradient `F` of a [`Game`], or what it makes of
//! `F` and its Jacobian `J`. [`simulate`] repeats it and measures; [`flow`] integrates `x' = -F(x)`.
//!
//! | rule | step | source |
//! |---|---|---|
//! | [`Euler`] | `x - h F(x)`: simultaneous gradient play | |
//! | [`ProjectedEuler`] | `Proj(x - h F(x))` | Goldstein 1964 |
//! | [`Rk4`] | the classical Runge–Kutta method for `x' = -F(x)` | Kutta 1901 |
//! | [`Extragradient`] | `x - h F(x - h F(x))` | Korpelevich 1976 |
//! | [`OptimisticGda`] | `x - h (2 F(x) - F(x before))` | Popov 1980; Daskalakis et al. 2018 |
//! | [`ConsensusOptimization`] | `x - h (F + γ JᵀF)` | Mescheder et al. 2017 |
//! | [`SymplecticGradientAdjustment`] | `x - h (F + λ AᵀF)`, `A = (J - Jᵀ)/2` | Balduzzi et al. 2018; Letcher et al. 2019 |
//! | [`LookAhead`] | back to a share of several steps of another rule | Zhang et al. 2019; Chavdarova et al. 2021 |
//! | [`AlternatingGda`] | gradient play, one player after another | |
//! | [`TtGda`] | gradient play on several timescales | Heusel et al. 2017 |
//! | [`NewtonGame`] | `x - h J⁻¹F` | |
//! | [`HamiltonianDescent`] | `x - h JᵀF`: gradient descent on `|F|²/2` | Balduzzi et al. 2018 |
//! | [`StochasticEuler`] | `x - h (F(x) + noise)` | Robbins and Monro 1951 |
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use gradus_games::dynamics::{Euler, Extragradient, Outcome, Record, Stop, simulate};
//! use gradus_games::game::Game;
//! use nalgebra::DMatrix;
//!
//! // Two players who pull each other around: gradient play spirals out, extragradient in.
//! let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[0.0, 1.0, -1.0, 0.0]), vec![0.0; 2])?;
//! let stop = Stop { steps: 10_000, residual: Some(1e-6), ..Stop::default() };
//! let go = |_: &_, _: &[f64]| ControlFlow::Continue(());
//! let outward = simulate(&game, &mut Euler { step: 0.1 }, &[1.0, 0.0], &stop, &Record::default(), go)?;
//! assert!(matches!(outward.outcome, Outcome::Diverged { .. }));
//! let inward = simulate(&game, &mut Extragradient { step: 0.1, set: None }, &[1.0, 0.0], &stop, &Record::default(), go)?;
//! assert!(matches!(inward.outcome, Outcome::Converged { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod rules;
mod simulate;
#[cfg(test)]
mod tests;

use nalgebra::DMatrix;

use crate::game::Game;
use crate::geometry::GeometryError;

pub use rules::{
    AlternatingGda, ConsensusOptimization, Euler, Extragradient, HamiltonianDescent, LookAhead, NewtonGame, OptimisticGda, ProjectedEuler,
    Rk4, StochasticEuler, SymplecticGradientAdjustment, TtGda,
};
pub use simulate::{Outcome, Record, Sample, Stop, Trajectory, decay_rate, flow, simulate};

/// What no rule can be run with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DynamicsError {
    /// Sizes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Dimension {
        /// What has the size.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// A step size that is not a positive number.
    #[error("the step size is {value}, but must be positive and finite")]
    InvalidStep {
        /// The step size.
        value: f64,
    },
    /// Another parameter that is out of its range.
    #[error("{name} is {value}, but must be {expected}")]
    InvalidParameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// A weight that is not a positive number.
    #[error("weight {player} is {value}, but weights must be positive and finite")]
    InvalidWeight {
        /// The player, from 0.
        player: usize,
        /// The weight.
        value: f64,
    },
    /// A number that is not finite.
    #[error("entry {index} of {what} is {value}")]
    NonFinite {
        /// What has the number.
        what: &'static str,
        /// Its place.
        index: usize,
        /// The number.
        value: f64,
    },
    /// A Newton step where the Jacobian has no inverse.
    #[error("the Jacobian is singular at {point:?}")]
    SingularJacobian {
        /// The point.
        point: Vec<f64>,
    },
    /// A projection that failed.
    #[error("projecting: {0}")]
    Projection(#[from] GeometryError),
}

/// An update rule.
pub trait Dynamics {
    /// Whether the rule's parameters are in their ranges, and go with the game.
    ///
    /// # Errors
    /// As [`DynamicsError`] says.
    fn check(&self, game: &Game) -> Result<(), DynamicsError>;

    /// One step from `x`, in place, once the rule was [checked](Self::check). Where fields overflow, the step leads to numbers that are not
    /// finite.
    ///
    /// # Errors
    /// [`DynamicsError::SingularJacobian`] and [`DynamicsError::Projection`], by the rules that solve and project.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError>;
}

/// What rules keep from step to step, and room that they work in, so that they allocate nothing after the first step. A new one resets a
/// rule.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Room for the steps of formulas, as of [`Game::field_into`].
    pub scratch: Vec<f64>,
    /// The field where it was last computed.
    pub field: Vec<f64>,
    /// The Jacobian where it was last computed.
    pub jacobian: DMatrix<f64>,
    /// The field of the step before, for rules that have a past; empty before the first step.
    pub past: Vec<f64>,
    /// Vectors to work with.
    pub vectors: [Vec<f64>; 4],
    /// A point to come back to.
    pub anchor: Vec<f64>,
}

impl Memory {
    /// The field at a point, in `field`.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    pub fn compute_field(&mut self, game: &Game, x: &[f64]) {
        self.field.resize(x.len(), 0.0);
        game.field_into(x, &mut self.scratch, &mut self.field);
    }

    /// The Jacobian at a point, in `jacobian`.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    pub fn compute_jacobian(&mut self, game: &Game, x: &[f64]) {
        if self.jacobian.nrows() != x.len() {
            self.jacobian = DMatrix::zeros(x.len(), x.len());
        }
        game.jacobian_into(x, &mut self.scratch, &mut self.jacobian);
    }
}

fn check(what: &'static str, expected: usize, got: usize) -> Result<(), DynamicsError> {
    if expected == got { Ok(()) } else { Err(DynamicsError::Dimension { what, expected, got }) }
}

fn check_finite(what: &'static str, numbers: &[f64]) -> Result<(), DynamicsError> {
    match numbers.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(DynamicsError::NonFinite { what, index, value: numbers[index] }),
        None => Ok(()),
    }
}

fn check_step(value: f64) -> Result<(), DynamicsError> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(DynamicsError::InvalidStep { value }) }
}
