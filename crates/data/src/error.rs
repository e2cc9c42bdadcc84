use std::io;
use std::path::PathBuf;

/// What can be wrong with data and the files that hold them. Rows, columns and bytes are counted from 0, lines from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum DataError {
    /// The file or folder could not be read.
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },

    /// A compressed file that does not decompress.
    #[error("{}: bad gzip data: {source}", file.display())]
    Gzip { file: PathBuf, source: io::Error },

    /// The first bytes are not those of the format.
    #[error("{}: byte 0: expected the magic number {expected:#010x}, found {found:#010x}", file.display())]
    Magic { file: PathBuf, expected: u32, found: u32 },

    /// The file ends too early.
    #[error("{}: truncated: expected {expected} bytes, found {found}", file.display())]
    Truncated { file: PathBuf, expected: u64, found: u64 },

    /// The file goes on after its last value.
    #[error("{}: too long: expected {expected} bytes, found {found}", file.display())]
    TrailingBytes { file: PathBuf, expected: u64, found: u64 },

    /// The sizes in a header cannot be those of images.
    #[error("{}: byte 4: images of {height} × {width} pixels", file.display())]
    ImageSize { file: PathBuf, height: u32, width: u32 },

    /// Images and labels do not belong together.
    #[error("{} has {images} images, but {} has {labels} labels", image_file.display(), label_file.display())]
    Pair { image_file: PathBuf, images: usize, label_file: PathBuf, labels: usize },

    /// A row with another number of cells than the others.
    #[error("{}: line {line}: expected {expected} cells, found {found}", file.display())]
    Ragged { file: PathBuf, line: usize, expected: usize, found: usize },

    /// A cell that is not a whole number of the range.
    #[error("{}: line {line}, column {column}: {found:?} is not {expected}", file.display())]
    Cell { file: PathBuf, line: usize, column: usize, found: String, expected: &'static str },

    /// A label that is none of the classes.
    #[error("{}: row {row}: the label {label} is not below {classes}", file.display())]
    Label { file: PathBuf, row: usize, label: usize, classes: usize },

    /// No rows at all.
    #[error("{what}: there are no rows")]
    Empty { what: String },

    /// The numbers of things that belong together differ.
    #[error("{what}: expected {expected}, found {found}")]
    Count { what: &'static str, expected: usize, found: usize },

    /// A value that is infinite or not a number.
    #[error("{what}: row {row}, column {column} is {value}")]
    NotFinite { what: &'static str, row: usize, column: usize, value: f32 },

    /// No known data set in a folder.
    #[error("{}: no known data set here or one level below; looked at {}", folder.display(), list(looked_at))]
    Unknown { folder: PathBuf, looked_at: Vec<PathBuf> },

    /// More than one.
    #[error("{}: several data sets, name the folder of one: {}", folder.display(), found.join(", "))]
    Ambiguous { folder: PathBuf, found: Vec<String> },
}

fn list(files: &[PathBuf]) -> String {
    match files {
        [] => "no files".into(),
        files if files.len() <= 10 => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        files => format!("{} files", files.len()),
    }
}

impl DataError {
    pub(crate) fn io(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { file: file.into(), source }
    }
}
