//! What all benchmarks share, whatever they measure; it stands on no crate of the workspace.

mod cores;
mod link;
pub mod machine;
mod quantiles;

pub use cores::bind;
pub use link::Link;
pub use quantiles::{median, quantile, spread};
