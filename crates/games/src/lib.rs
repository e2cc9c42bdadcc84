//! Differentiable games: rigorous bounds of their Jacobians on regions, and metrics in which gradient play contracts.
//!
//! - [`scalar`], [`game`]: a game is one formula, and gives values, Jacobians and rigorous enclosures of both on whole boxes.
//! - [`rigorous`]: interval arithmetic with outward rounding; bounds of the eigenvalues and norms of interval matrices.
//! - [`small_gain`]: rigorous bounds of the Jacobian's blocks on a region, and from them a metric in which gradient play contracts, at
//!   which rate, with which steps. Bounds hold in spite of rounding; what is made of them is rounded to the nearest, not verified.

pub mod game;
pub mod rigorous;
pub mod scalar;
pub mod small_gain;

/// The examples of the README.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
}
