//! Data sets, loaders for their original file formats, seeded batches and metrics. Rows are plain `Vec<f32>`, labels
//! `usize`; there is no tensor type.
//!
//! ```
//! use gradus_data::{Batches, accuracy, digits, split};
//!
//! let data = digits();
//! assert_eq!((data.len(), data.width, data.classes), (1797, 64, 10));
//! let parts = split(data.len(), &[0.8], 7)?;
//! let train = data.select(&parts[0]);
//!
//! let batches = Batches { rows: train.len(), batch: 32, seed: 7, drop_last: false };
//! let indices = batches.at(0);
//! let (x, y) = (train.rows(&indices), train.labels_of(&indices));
//! assert_eq!((x.len(), y.len()), (32 * 64, 32));
//! assert_eq!(accuracy(&y, &y)?, 1.0);
//! # Ok::<(), gradus_data::DataError>(())
//! ```

mod batches;
mod dataset;
mod digits;
mod error;
mod files;
pub mod idx;
mod metrics;
pub mod optdigits;
mod recognise;
mod standardise;
#[cfg(test)]
mod tests;
mod transform;

pub use batches::{Batches, shuffled, split};
pub use dataset::Dataset;
pub use digits::digits;
pub use error::DataError;
pub use metrics::{accuracy, argmax_rows, confusion_matrix, one_hot};
pub use recognise::{Found, load_images, recognise};
pub use standardise::Standardise;
pub use transform::ImageTransform;
