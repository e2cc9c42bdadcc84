//! Merging by Fisher information (Matena, Raffel, "Merging Models with Fisher-Weighted Averaging", NeurIPS 2022).
//!
//! With the posterior of model `i` approximated by a Gaussian around its parameters θ_i whose precision is the diagonal
//! Fisher information F_i, the most probable parameters given all models are, coordinate by coordinate,
//! `θ_j = Σ_i λ_i F_ij θ_ij / Σ_i λ_i F_ij` (section 3.2, eq. 3).

#[cfg(feature = "autodiff")]
mod estimate;
mod information;
mod merge;
#[cfg(feature = "autodiff")]
mod outputs;
#[cfg(test)]
#[cfg(feature = "autodiff")]
mod tests;

#[cfg(feature = "autodiff")]
pub use estimate::{FisherEstimate, FisherOptions, Saving, fisher_of_classifier};
pub use information::{DiagonalFisher, FisherMode};
pub use merge::{DeadCoordinate, FisherMerge, MergeReport, TensorReport};
