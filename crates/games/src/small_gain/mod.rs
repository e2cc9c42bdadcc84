//! The small-gain condition of differentiable games (Sharma 2025, arXiv 2512.06791): block bounds, weights, margins.
//!
//! Players `i = 1..N` with losses `f_i(x)` follow the pseudo-gradient `F = (∇ᵢ f_i)ᵢ`, whose Jacobian `J` has blocks `J_ij`. On a convex
//! region, let `μ_i` be a lower bound of the curvature of `f_i` in the player's own variables, and `L_ij` an upper bound of `‖J_ij‖`.
//! Then `F` is strongly monotone in the metric `|v|² = Σ w_i |v_i|²` with the margin
//!
//! ```text
//! α(w) = λ_min(S),   S_ii = μ_i,   S_ij = -½ (√(w_i/w_j) L_ij + √(w_j/w_i) L_ji),
//! ```
//!
//! so that simultaneous gradient play contracts at the rate `α(w)` towards at most one equilibrium in the region.
//!
//! [`block_bounds`] holds in spite of rounding. Margins, Lipschitz constants, bands and steps are computed in `f64` from bounds, and are
//! as exact as that.
//!
//! ```
//! use gradus_games::small_gain::{BlockBounds, optimal_weights, timescale_band};
//! use nalgebra::DMatrix;
//!
//! // f₁ = x₁²/2 + 10 x₁x₂, f₂ = x₂²/2 + 0.05 x₁x₂: monotone in no Euclidean metric, as the first player is pushed hard.
//! let bounds = BlockBounds::new(vec![1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]), vec![1.0, 1.0])?;
//! assert!(bounds.margin(&[1.0, 1.0])? < 0.0);
//! let best = optimal_weights(&bounds);
//! assert!((best.weights[1] - 200.0).abs() < 1e-9 && (best.margin - 0.292_893_218_8).abs() < 1e-9);
//! let band = timescale_band(&bounds, 0.0)?.unwrap();
//! assert!(band.contains(200.0) && !band.contains(34.0));
//! # Ok::<(), gradus_games::small_gain::SmallGainError>(())
//! ```

mod band;
mod components;
mod perron;
mod search;
mod steps;
#[cfg(test)]
mod tests;
mod weights;

pub use band::{Band, timescale_band};
pub use search::{Found, Search, block_bounds};
pub use steps::Rates;
pub use weights::{WeightSolution, optimal_weights};

use nalgebra::{DMatrix, SymmetricEigen};

/// Arguments that no margin can be computed for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SmallGainError {
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
    /// A weight that is not a positive number.
    #[error("weight {player} is {value}, but weights must be positive and finite")]
    InvalidWeight {
        /// The player, from 0.
        player: usize,
        /// The weight.
        value: f64,
    },
    /// A bound that bounds nothing.
    #[error("{what} is {value}, but must be {expected}")]
    InvalidBound {
        /// Which bound, with its players from 0.
        what: String,
        /// Its value.
        value: f64,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// Something that is not finite.
    #[error("{what} is not finite at or around {point:?}")]
    NonFinite {
        /// What is not.
        what: &'static str,
        /// A point where, or the middle of a box in which.
        point: Vec<f64>,
    },
}

/// Bounds of the blocks of a game's Jacobian on a convex region.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockBounds {
    curvature: Vec<f64>,
    coupling: DMatrix<f64>,
    own_lipschitz: Vec<f64>,
}

impl BlockBounds {
    /// Lower bounds `μ_i` of the own curvatures, upper bounds `L_ij` of the couplings (`L_ii = 0`), and upper bounds of `‖J_ii‖`.
    ///
    /// # Errors
    /// [`SmallGainError::Dimension`] for fewer than two players or sizes that differ; [`SmallGainError::InvalidBound`] for values that
    /// are not finite, couplings or Lipschitz constants below 0, couplings of a player to itself, and Lipschitz constants below a
    /// curvature.
    pub fn new(curvature: Vec<f64>, coupling: DMatrix<f64>, own_lipschitz: Vec<f64>) -> Result<Self, SmallGainError> {
        let players = curvature.len();
        let sizes = [
            ("rows of the couplings", coupling.nrows()),
            ("columns of the couplings", coupling.ncols()),
            ("own Lipschitz constants", own_lipschitz.len()),
        ];
        if players < 2 {
            return Err(SmallGainError::Dimension { what: "players, at least", expected: 2, got: players });
        }
        if let Some(&(what, got)) = sizes.iter().find(|(_, size)| *size != players) {
            return Err(SmallGainError::Dimension { what, expected: players, got });
        }
        let check = |what: String, value: f64, holds: bool, expected| {
            if holds && value.is_finite() { Ok(()) } else { Err(SmallGainError::InvalidBound { what, value, expected }) }
        };
        for (i, (&mu, &own)) in curvature.iter().zip(&own_lipschitz).enumerate() {
            check(format!("the curvature of player {i}"), mu, true, "finite")?;
            check(format!("the own Lipschitz constant of player {i}"), own, own >= mu.abs(), "finite and at least the curvature's size")?;
            for (j, &bound) in coupling.row(i).iter().enumerate() {
                let (holds, expected) = if i == j { (bound == 0.0, "0") } else { (bound >= 0.0, "finite and at least 0") };
                check(format!("the coupling of player {i} to {j}"), bound, holds, expected)?;
            }
        }
        Ok(Self { curvature, coupling, own_lipschitz })
    }

    /// Number of players.
    pub fn players(&self) -> usize {
        self.curvature.len()
    }

    /// The lower bounds `μ_i`.
    pub fn curvature(&self) -> &[f64] {
        &self.curvature
    }

    /// The upper bounds `L_ij`.
    pub fn coupling(&self) -> &DMatrix<f64> {
        &self.coupling
    }

    /// The upper bounds of `‖J_ii‖`.
    pub fn own_lipschitz(&self) -> &[f64] {
        &self.own_lipschitz
    }

    /// The margin `α(w)`.
    ///
    /// # Errors
    /// [`SmallGainError::Dimension`], [`SmallGainError::InvalidWeight`].
    pub fn margin(&self, weights: &[f64]) -> Result<f64, SmallGainError> {
        self.check_weights(weights)?;
        Ok(self.margin_at(weights))
    }

    /// The Lipschitz constant `β(w) = ‖B‖₂` of the pseudo-gradient, `B_ij = √(w_i/w_j) L_ij`, `B_ii` the own constants.
    ///
    /// # Errors
    /// [`SmallGainError::Dimension`], [`SmallGainError::InvalidWeight`].
    pub fn lipschitz(&self, weights: &[f64]) -> Result<f64, SmallGainError> {
        self.check_weights(weights)?;
        let scaled = self.scaled(weights);
        let own = DMatrix::from_diagonal(&nalgebra::DVector::from_column_slice(&self.own_lipschitz));
        Ok((scaled + own).singular_values().max())
    }

    fn check_weights(&self, weights: &[f64]) -> Result<(), SmallGainError> {
        if weights.len() != self.players() {
            return Err(SmallGainError::Dimension { what: "weights", expected: self.players(), got: weights.len() });
        }
        match weights.iter().position(|w| !(*w > 0.0 && w.is_finite())) {
            Some(player) => Err(SmallGainError::InvalidWeight { player, value: weights[player] }),
            None => Ok(()),
        }
    }

    /// `√(w_i/w_j) L_ij`.
    fn scaled(&self, weights: &[f64]) -> DMatrix<f64> {
        DMatrix::from_fn(self.players(), self.players(), |i, j| (weights[i] / weights[j]).sqrt() * self.coupling[(i, j)])
    }

    fn margin_at(&self, weights: &[f64]) -> f64 {
        let scaled = self.scaled(weights);
        let mut s = -0.5 * (&scaled + scaled.transpose());
        (0..self.players()).for_each(|i| s[(i, i)] = self.curvature[i]);
        SymmetricEigen::new(s).eigenvalues.min()
    }
}
