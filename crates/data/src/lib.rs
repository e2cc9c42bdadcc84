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
mod cifar;
mod csv;
mod dataset;
mod digits;
mod error;
mod files;
pub mod idx;
#[cfg(feature = "images")]
mod images;
mod metrics;
#[cfg(feature = "npz")]
pub mod npz;
pub mod optdigits;
mod recognise;
mod standardise;
#[cfg(test)]
mod tests;
mod transform;

pub use batches::{Batches, shuffled, split};
pub use cifar::Cifar;
pub use csv::{Categories, Csv, CsvOptions, LabelledTable, MissingValues};
pub use dataset::Dataset;
pub use digits::digits;
pub use error::DataError;
#[cfg(feature = "images")]
pub use images::load_image_folder;
pub use metrics::{
    Binning, Calibration, CalibrationBin, ClassMetrics, PrecisionRecall, accuracy, argmax_rows, brier_score, calibration, class_metrics,
    confusion_matrix, log_loss, one_hot, roc_auc, roc_auc_one_vs_rest,
};
pub use recognise::{Found, load_images, recognise};
pub use standardise::Standardise;
pub use transform::ImageTransform;
