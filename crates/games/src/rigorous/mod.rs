//! Bounds that hold: interval arithmetic with outward rounding, and what it says of matrices.

mod interval;
mod matrix;
mod rounding;

pub use interval::Interval;
pub(crate) use matrix::{cholesky, curvature_is_at_least, is_definite_around, least_symmetric, norm, norm_is_at_most};
pub use matrix::{greatest_norm, is_positive_definite, least_eigenvalue};
