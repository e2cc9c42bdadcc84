//! Checkpoint merging: one model out of several fine-tunes of one architecture, without training.
//!
//! [`fisher`] weights each parameter by how sure each model is of it (Matena, Raffel 2022); [`linear`] has the averages that
//! it is compared with, soups and interpolation; [`search`] chooses the models' importance. All of it works on the named
//! arrays of checkpoints, in memory ([`Checkpoint`]) or mapped from files ([`MappedCheckpoint`]). The feature `autodiff` adds
//! models that are structs of tensors: `in_memory` merges them, and `fisher` estimates their Fisher information, also for the
//! file that a model was read from (`FisherOptions::source`).
//!
//! ```
//! use gradus_checkpoint::Checkpoint;
//! use gradus_merging::fisher::{DiagonalFisher, FisherMerge, FisherMode};
//!
//! let array = |values: [f32; 3]| {
//!     let mut arrays = Checkpoint::new();
//!     arrays.insert_f32("weight", &[3], &values).map(|()| arrays)
//! };
//! let models = [array([1.0, 2.0, 3.0])?, array([3.0, 6.0, -1.0])?];
//! let fishers = [
//!     DiagonalFisher::new(array([4.0, 0.0, 1.0])?, 100, FisherMode::Exact, models[0].fingerprint())?,
//!     DiagonalFisher::new(array([1.0, 0.0, 3.0])?, 100, FisherMode::Exact, models[1].fingerprint())?,
//! ];
//! let merge = FisherMerge { normalize: false, ..FisherMerge::default() };
//! let (merged, _report) = merge.merge(&[&models[0], &models[1]], &fishers, &[0.5, 0.5])?;
//! assert_eq!(merged.to_f32("weight")?, [1.4, 2.0, 0.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrays;
mod blocks;
mod error;
pub mod fisher;
#[cfg(feature = "autodiff")]
mod in_memory;
pub mod linear;
pub mod search;
#[cfg(test)]
mod tests;

/// The examples of the pages that show the way from files to a merged file.
#[cfg(all(doctest, feature = "autodiff"))]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/src/systems/fisher-merging.md")]
    mod book {}
}

pub use arrays::NameFilter;
pub use error::MergeError;
pub use gradus_checkpoint::{Arrays, Checkpoint, MappedCheckpoint};
#[cfg(feature = "autodiff")]
pub use in_memory::in_memory;
