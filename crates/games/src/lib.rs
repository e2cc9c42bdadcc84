//! Differentiable games: certificates that gradient play converges, update rules, projections, and games to try them on.
//!
//! - [`game`], [`scalar`], [`expression`]: a game is one formula, and gives values, Jacobians and rigorous enclosures of both on whole boxes.
//! - [`markov`]: tabular Markov games with entropy regularisation, whose players follow natural policy gradients.
//! - [`rigorous`]: interval arithmetic with outward rounding; bounds of the eigenvalues and norms of interval matrices.
//! - [`dynamics`]: update rules, from gradient play to symplectic gradient adjustment, and runs of them that are measured.
//! - [`geometry`]: sets that players are confined to, and projections onto them in metrics.
//! - [`small_gain`]: rigorous bounds of the Jacobian's blocks on a region, and from them a metric in which gradient play contracts, at
//!   which rate, with which steps: certificates that hold in spite of rounding, and a checker of them.
//! - [`zoo`]: example games, from markets to adversarial networks and Markov games, with regions and equilibria.

pub mod dynamics;
pub mod expression;
#[cfg(feature = "serde")]
pub mod file;
pub mod game;
pub mod geometry;
pub mod markov;
pub mod rigorous;
pub mod scalar;
pub mod small_gain;
#[cfg(feature = "autodiff")]
pub mod tensors;
pub mod zoo;

/// The examples of the pages about this crate.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/src/systems/small-gain-nash.md")]
    mod book {}
}
