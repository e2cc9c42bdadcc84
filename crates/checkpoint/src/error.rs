use crate::DType;
use std::io;
use std::path::PathBuf;

/// What can be wrong with a checkpoint. `file` is the file it was read from or should be written to; `<memory>` where
/// there is none. Lengths of files are in bytes, the places of arrays in bytes from the end of the header, as in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum CheckpointError {
    /// The file could not be opened, read or written.
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },

    /// The file ends too early.
    #[error("{}: the file is truncated: expected {expected} bytes, found {found}", file.display())]
    Truncated { file: PathBuf, expected: u64, found: u64 },

    /// The file goes on after the last array.
    #[error("{}: the file is too long: expected {expected} bytes, found {found}", file.display())]
    TrailingBytes { file: PathBuf, expected: u64, found: u64 },

    /// The header is too long, or not the JSON object that the format asks for.
    #[error("{}: bad header: {reason}", file.display())]
    Header { file: PathBuf, reason: String },

    /// A folder without a checkpoint.
    #[error("{}: expected `model.safetensors` or `model.safetensors.index.json` in this folder, found neither", folder.display())]
    NoCheckpoint { folder: PathBuf },

    /// There is a checkpoint where a new one should be written.
    #[error("{}: there is a checkpoint already: remove it, or choose another folder", file.display())]
    Exists { file: PathBuf },

    /// The index of a checkpoint in several files is too long, or not the JSON object that is asked for.
    #[error("{}: bad index: {reason}", file.display())]
    Index { file: PathBuf, reason: String },

    /// The index names a file that is not below its own folder.
    #[error("{}: the file {shard:?} is not in the folder of the index", file.display())]
    ShardPath { file: PathBuf, shard: String },

    /// The index names a file that is not there.
    #[error("{}: the file `{shard}` is missing", file.display())]
    MissingShard { file: PathBuf, shard: String },

    /// The index names an array in a file that does not hold it.
    #[error("{}: there is no array `{name}`, which should be here by {}", file.display(), index.display())]
    NotInShard { file: PathBuf, index: PathBuf, name: String },

    /// A file of several holds an array that the index does not name.
    #[error("{}: the array `{name}` is not named in {}", file.display(), index.display())]
    NotInIndex { file: PathBuf, index: PathBuf, name: String },

    /// Two arrays have the same name, in one file, in two files of one checkpoint, or in its index.
    #[error("{}: two arrays are named `{name}`", file.display())]
    DuplicateName { file: PathBuf, name: String },

    /// The format keeps the name `__metadata__` for itself.
    #[error("`{name}` is not allowed as the name of an array: the format reserves it")]
    ReservedName { name: String },

    /// The bytes of an array do not begin where those of the one before end, or end before they begin.
    #[error("{}: array `{name}`: expected its bytes to begin at {expected}, found {begin}..{end}", file.display())]
    Offsets { file: PathBuf, name: String, expected: usize, begin: usize, end: usize },

    /// The number of bytes (or of values) is not that of the shape.
    #[error(
        "{}: array `{name}`: {dtype} of shape {shape:?} takes {} bytes, found {found}",
        file.display(), expected.map_or("too many or a fraction of".into(), |bytes| bytes.to_string())
    )]
    Size {
        file: PathBuf,
        name: String,
        dtype: DType,
        shape: Vec<usize>,
        /// `None`: the number overflows, or is not a whole number of bytes.
        expected: Option<usize>,
        found: usize,
    },

    /// There is no array of that name.
    #[error("{}: no array is named `{name}`", file.display())]
    Missing { file: PathBuf, name: String },

    /// The array has elements of a type that the conversion does not take without loss.
    #[error("{}: array `{name}`: expected elements of type {expected}, found {found}", file.display())]
    DType { file: PathBuf, name: String, expected: &'static str, found: DType },

    /// The array has another shape than the one asked for.
    #[error("{}: array `{name}`: expected the shape {expected:?}, found {found:?}", file.display())]
    Shape { file: PathBuf, name: String, expected: Vec<usize>, found: Vec<usize> },
}

impl CheckpointError {
    pub(crate) fn io(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { file: file.into(), source }
    }
}
