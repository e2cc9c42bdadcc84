//! Bounds that hold: interval arithmetic with outward rounding, and what it says of matrices.

mod interval;
mod matrix;
mod rounding;

pub use interval::Interval;
pub use matrix::{greatest_norm, is_positive_definite, least_eigenvalue};
