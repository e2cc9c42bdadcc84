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
//! [`Certifier`] bounds the blocks of a game on a region, finds the weights, and makes a [`Certificate`] of what follows, which [`check()`]
//! verifies on its own; both hold in spite of rounding. Margins and Lipschitz constants of [`BlockBounds`] themselves, and weights, are
//! computed to rounding.
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

mod advice;
mod band;
mod barrier;
mod blocks;
mod certificate;
mod certify;
pub mod checker;
mod compare;
mod components;
mod estimate;
mod family;
mod grow;
mod linear;
mod lmi;
mod map;
mod monitor;
mod objectives;
mod per_box;
mod perron;
mod probe;
mod refusal;
mod scaled;
mod search;
mod signs;
mod steps;
#[cfg(test)]
mod tests;
mod tree;
mod verified;
mod weights;

pub use advice::{Advice, Lowering, Raise, Sensitivity, advise};
pub use band::{Band, timescale_band};
pub use certificate::{Ball, Basis, Bound, Branch, Certificate, Cover, Equilibrium, Leaf, Projected, Rigor, Rule, Step, Whole};
pub use certify::{Certified, Certifier, Inconclusive, Mode, Refused, Region, Verdict};
pub use checker::{CertificateError, Verified, check};
pub use compare::{Comparison, ComparisonReport, Outcome, Test, compare, compare_until};
pub use estimate::{Estimate, Sampling, estimate, lipschitz_corrected};
pub use family::LinearFamily;
pub use grow::grow;
pub use linear::{affine_rk4_limit, spectral_euler_threshold, spectral_rk4_threshold};
pub use lmi::{LmiEnd, LmiSolution, Structure, block_lmi, block_margin};
pub use map::checker::check_map;
pub use map::{FixedPoint, Invariant, MapCertificate, MapCertifier, MapLeaf, MapVerdict, Update};
pub use monitor::{Monitor, Violation, certified_run, verify_trajectory};
pub use objectives::{ChosenWeights, Objective, weight_band, weights_for};
pub use refusal::Refusal;
pub use search::{Found, Search, Tolerance, block_bounds};
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
    /// A region that is none.
    #[error(
        "variable {variable} from {lo} to {hi}: each side must be finite with its lower end below its upper; only affine games take all points"
    )]
    InvalidRegion {
        /// The variable, from 0.
        variable: usize,
        /// The lower end.
        lo: f64,
        /// The upper end.
        hi: f64,
    },
    /// A game of which nothing is known on boxes.
    #[error("the game is given by functions and known at points only: it can be estimated, but nothing holds on a region")]
    NoEnclosure,
    /// A margin that no weights have.
    #[error("no weights have the margin {margin}: the greatest is {supremum}")]
    Infeasible {
        /// The margin; 0 for any that is positive.
        margin: f64,
        /// The greatest margin of any weights, or the least that none reaches.
        supremum: f64,
    },
    /// An update whose formulas are too long.
    #[error("the update's formulas and their derivatives have more than {most} steps")]
    TooLarge {
        /// The most they may have.
        most: usize,
    },
    /// The work was cancelled.
    #[error("interrupted")]
    Cancelled,
    /// Something that is not finite.
    #[error("{what} is not finite at or around {point:?}")]
    NonFinite {
        /// What is not.
        what: &'static str,
        /// A point where, or the middle of a box in which.
        point: Vec<f64>,
    },
}

impl SmallGainError {
    /// The name of the kind, for other programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dimension { .. } => "Dimension",
            Self::InvalidWeight { .. } => "InvalidWeight",
            Self::InvalidBound { .. } => "InvalidBound",
            Self::InvalidRegion { .. } => "InvalidRegion",
            Self::NonFinite { .. } => "NonFinite",
            Self::NoEnclosure => "NoEnclosure",
            Self::Infeasible { .. } => "Infeasible",
            Self::TooLarge { .. } => "TooLarge",
            Self::Cancelled => "Cancelled",
        }
    }
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
        let check = |holds: bool, value: f64, expected, what: &dyn Fn() -> String| {
            if holds && value.is_finite() { Ok(()) } else { Err(SmallGainError::InvalidBound { what: what(), value, expected }) }
        };
        for (i, (&mu, &own)) in curvature.iter().zip(&own_lipschitz).enumerate() {
            check(true, mu, "finite", &|| format!("the curvature of player {i}"))?;
            let expected = "finite and at least the curvature's size";
            check(own >= mu.abs(), own, expected, &|| format!("the own Lipschitz constant of player {i}"))?;
            for (j, &bound) in coupling.row(i).iter().enumerate() {
                let (holds, expected) = if i == j { (bound == 0.0, "0") } else { (bound >= 0.0, "finite and at least 0") };
                check(holds, bound, expected, &|| format!("the coupling of player {i} to {j}"))?;
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
        check_weights(weights, self.players())?;
        Ok(self.margin_at(weights))
    }

    /// The Lipschitz constant `β(w) = ‖B‖₂` of the pseudo-gradient, `B_ij = √(w_i/w_j) L_ij`, `B_ii` the own constants.
    ///
    /// # Errors
    /// [`SmallGainError::Dimension`], [`SmallGainError::InvalidWeight`].
    pub fn lipschitz(&self, weights: &[f64]) -> Result<f64, SmallGainError> {
        check_weights(weights, self.players())?;
        Ok(self.lipschitz_at(weights))
    }

    fn lipschitz_at(&self, weights: &[f64]) -> f64 {
        let own = DMatrix::from_diagonal(&nalgebra::DVector::from_column_slice(&self.own_lipschitz));
        let scaled = self.scaled(weights) + own;
        // The decompositions do not end for what is no number.
        if scaled.iter().all(|entry| entry.is_finite()) { scaled.singular_values().max() } else { f64::INFINITY }
    }

    /// `√(w_i/w_j) L_ij`; 0 where `L_ij` is, whatever the weights.
    fn scaled(&self, weights: &[f64]) -> DMatrix<f64> {
        DMatrix::from_fn(self.players(), self.players(), |i, j| match self.coupling[(i, j)] {
            0.0 => 0.0,
            coupling => (weights[i] / weights[j]).sqrt() * coupling,
        })
    }

    /// `S`, whose least eigenvalue is the margin.
    fn symmetric(&self, weights: &[f64]) -> DMatrix<f64> {
        let scaled = self.scaled(weights);
        let mut symmetric = -0.5 * (&scaled + scaled.transpose());
        (0..self.players()).for_each(|i| symmetric[(i, i)] = self.curvature[i]);
        symmetric
    }

    fn margin_at(&self, weights: &[f64]) -> f64 {
        let symmetric = self.symmetric(weights);
        if symmetric.iter().all(|entry| entry.is_finite()) { SymmetricEigen::new(symmetric).eigenvalues.min() } else { f64::NEG_INFINITY }
    }
}

fn check_weights(weights: &[f64], players: usize) -> Result<(), SmallGainError> {
    if weights.len() != players {
        return Err(SmallGainError::Dimension { what: "weights", expected: players, got: weights.len() });
    }
    match weights.iter().position(|w| !(*w > 0.0 && w.is_finite())) {
        Some(player) => Err(SmallGainError::InvalidWeight { player, value: weights[player] }),
        None => Ok(()),
    }
}
