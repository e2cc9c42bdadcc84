//! Named arrays in [safetensors](https://huggingface.co/docs/safetensors) files, one or several with an index: read, write,
//! memory-map. No tensor type is needed: arrays are row-major bytes with a shape and an element type, under the names of a
//! PyTorch `state_dict`, so that files go both ways between PyTorch and Rust.
//!
//! ```
//! use gradus_checkpoint::{Checkpoint, MappedCheckpoint};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//!
//! let mut checkpoint = Checkpoint::new();
//! checkpoint.insert_f32("layer.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! checkpoint.insert_f32("layer.bias", &[2], &[0.5, -0.5])?;
//! checkpoint.metadata.insert("seed".into(), "7".into());
//! checkpoint.write(&path)?;
//!
//! // The whole file in memory:
//! let read = Checkpoint::read(&path)?;
//! assert_eq!(read, checkpoint);
//! assert_eq!(read.to_f32("layer.bias")?, [0.5, -0.5]);
//!
//! // Or only the arrays that are asked for:
//! let mapped = MappedCheckpoint::open(&path)?;
//! let weight = mapped.get("layer.weight")?.with_shape(&[2, 3])?.to_f32()?;
//! assert_eq!(weight[5], 6.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod arrays;
mod error;
mod fingerprint;
mod floats;
mod header;
mod index;
mod mapped;
mod memory;
mod sharded;

#[cfg(test)]
mod tests;

pub use array::{Array, NamedArray};
pub use arrays::Arrays;
pub use error::CheckpointError;
pub use fingerprint::file_fingerprint;
pub use floats::FloatType;
pub use mapped::MappedCheckpoint;
pub use memory::Checkpoint;
pub use sharded::write_sharded;

/// The type of the elements of an array: every one that the format knows.
pub use safetensors::Dtype as DType;
