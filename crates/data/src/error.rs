use std::io;
use std::path::PathBuf;

/// What can be wrong with data and the files that hold them. Rows, columns and bytes are counted from 0, lines from 1. Bytes
/// of a compressed file are those of what it decompresses to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum DataError {
    /// The file or folder could not be read.
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },

    /// A compressed file that does not decompress.
    #[error("{}: bad gzip data after byte {byte} of what it decompresses to: {source}", file.display())]
    Gzip { file: PathBuf, byte: u64, source: io::Error },

    /// The first bytes are not those of the format.
    #[error("{}: byte 0: expected the magic number {expected:#010x}, found {found:#010x}", file.display())]
    Magic { file: PathBuf, expected: u32, found: u32 },

    /// The sizes in a header cannot be: an image has no pixels, or there would be more bytes than a computer can address.
    #[error("{}: byte 4: the sizes {sizes:?} are not possible", file.display())]
    Header { file: PathBuf, sizes: Vec<u32> },

    /// The file ends too early.
    #[error("{}: truncated at byte {found}: expected {expected} bytes", file.display())]
    Truncated { file: PathBuf, expected: u64, found: u64 },

    /// The file goes on after its last value.
    #[error("{}: goes on after byte {expected}, where it should end: found {found} bytes", file.display())]
    TrailingBytes { file: PathBuf, expected: u64, found: u64 },

    /// The numbers of images and of labels differ.
    #[error("{} has {images} images, but {} has {labels} labels", image_file.display(), label_file.display())]
    Pair { image_file: PathBuf, images: usize, label_file: PathBuf, labels: usize },

    /// A file of images without one of labels, or the reverse.
    #[error("{}: expected a file of {expected} with a matching name beside it, found none", file.display())]
    Unpaired { file: PathBuf, expected: &'static str },

    /// Parts of one data set have images of different sizes, `[height, width]`.
    #[error("{what}: expected images of {expected:?} pixels, found {found:?}")]
    ImageSize { what: String, expected: [usize; 2], found: [usize; 2] },

    /// A line far longer than any row.
    #[error("{}: line {line} (byte {byte}): longer than {limit} bytes", file.display())]
    LongLine { file: PathBuf, line: usize, byte: u64, limit: u64 },

    /// A row with another number of cells than the format has.
    #[error("{}: line {line} (byte {byte}): expected {expected} cells, found {found}", file.display())]
    Ragged { file: PathBuf, line: usize, byte: u64, expected: usize, found: usize },

    /// A cell that is not a whole number of the range.
    #[error("{}: line {line}, column {column} (byte {byte}): expected {expected}, found {found:?}", file.display())]
    Cell { file: PathBuf, line: usize, column: usize, byte: u64, found: String, expected: &'static str },

    /// A label that is none of the classes.
    #[error("{what}: row {row}: the label {label} is not below {classes}")]
    Label { what: String, row: usize, label: usize, classes: usize },

    /// No rows, or rows without columns.
    #[error("{what}: there are no rows")]
    Empty { what: String },

    /// The numbers of things that belong together differ.
    #[error("{what}: expected {expected}, found {found}")]
    Count { what: &'static str, expected: usize, found: usize },

    /// A value that is infinite or not a number.
    #[error("{what}: row {row}, column {column} is {value}")]
    NotFinite { what: String, row: usize, column: usize, value: f32 },

    /// Shares of a split that are negative, not numbers, or more than 1 together.
    #[error("split: expected shares from 0 to 1 that add up to at most 1, found {shares:?}")]
    Shares { shares: Vec<f64> },

    /// No known data set in a folder.
    #[error("{}: no known data set here or one level below; looked at {}", folder.display(), list(looked_at))]
    Unknown { folder: PathBuf, looked_at: Vec<PathBuf> },

    /// More than one data set in a folder.
    #[error("{}: several data sets, name the folder of one: {}", folder.display(), found.join(", "))]
    Ambiguous { folder: PathBuf, found: Vec<String> },
}

fn list(files: &[PathBuf]) -> String {
    match files {
        [] => "no files".into(),
        files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

impl DataError {
    pub(crate) fn io(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { file: file.into(), source }
    }
}
