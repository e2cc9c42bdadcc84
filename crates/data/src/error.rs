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

    /// Images of one data set have different sizes, `[channels, height, width]`.
    #[error("{what}: expected images of size {expected:?} (channels, height, width), found {found:?}")]
    ImageSize { what: String, expected: [usize; 3], found: [usize; 3] },

    /// A file among images that is not one.
    #[error("{}: neither a PNG nor a JPEG file", file.display())]
    ImageFormat { file: PathBuf },

    /// An image that is damaged, or of a kind that is not read.
    #[error("{}: bad image: {reason}", file.display())]
    Image { file: PathBuf, reason: String },

    /// An image so large that it is more likely an attack.
    #[error("{}: more than {limit} pixels", file.display())]
    TooManyPixels { file: PathBuf, limit: u64 },

    /// A damaged ZIP archive.
    #[error("{}: bad archive: {reason}", file.display())]
    Zip { file: PathBuf, reason: String },

    /// A bad NumPy array.
    #[error(transparent)]
    Npy(#[from] gradus_base::npy::NpyError),

    /// A line far longer than any row.
    #[error("{}: line {line} (byte {byte}): longer than {limit} bytes", file.display())]
    LongLine { file: PathBuf, line: usize, byte: u64, limit: u64 },

    /// A row with another number of cells than the format has.
    #[error("{}: line {line} (byte {byte}): expected {expected} cells, found {found}", file.display())]
    Ragged { file: PathBuf, line: usize, byte: u64, expected: usize, found: usize },

    /// More bytes than may be read, of a compressed file after decompression.
    #[error("{}: more than the {limit} bytes that may be read", file.display())]
    TooLarge { file: PathBuf, limit: u64 },

    /// Delimiter and quote of a table must be different ASCII characters, and not line breaks.
    #[error("a table cannot be read with the delimiter {delimiter:?} and the quote {quote:?}")]
    Delimiter { delimiter: char, quote: char },

    /// Text that is not UTF-8.
    #[error("{}: line {line}: not UTF-8 text", file.display())]
    Utf8 { file: PathBuf, line: usize },

    /// A quote that is never closed (the line where it opens), or text behind one that is closed.
    #[error("{}: line {line}: a quote that is not closed, or text behind its end", file.display())]
    Quote { file: PathBuf, line: usize },

    /// Two columns of a table have the same name.
    #[error("{}: two columns are named {name:?}", file.display())]
    DuplicateColumn { file: PathBuf, name: String },

    /// A table has no column of that name.
    #[error("{}: no column is named {name:?}, only {}", file.display(), available.join(", "))]
    UnknownColumn { file: PathBuf, name: String, available: Vec<String> },

    /// A table has no column of that index.
    #[error("{}: there is no column {column}, only {columns} columns", file.display())]
    NoColumn { file: PathBuf, column: usize, columns: usize },

    /// A table has no column besides its classes.
    #[error("{}: there is no column of features", file.display())]
    NoFeatures { file: PathBuf },

    /// More categories than may become features, each of which costs a number in every row.
    #[error("{}: column {column:?}: {found} different texts, more than the {limit} that may become features", file.display())]
    Categories { file: PathBuf, column: String, found: usize, limit: usize },

    /// A cell is blank, or holds a text that stands for a missing value.
    #[error("{}: line {line}, column {column:?}: the value is missing", file.display())]
    MissingValue { file: PathBuf, line: usize, column: String },

    /// A cell is not a number.
    #[error("{}: line {line}, column {column:?}: expected a number, found {found:?}", file.display())]
    NotANumber { file: PathBuf, line: usize, column: String, found: String },

    /// A number is infinite, not a number, or too large for 64 bits.
    #[error("{}: line {line}, column {column:?}: expected a finite number, found {found:?}", file.display())]
    NonFiniteNumber { file: PathBuf, line: usize, column: String, found: String },

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

    /// A score that is not a number.
    #[error("{what}: score {index} is not a number")]
    Score { what: &'static str, index: usize },

    /// A probability that is not from 0 to 1.
    #[error("{what}: value {index} is {value}, but must be from 0 to 1")]
    Probability { what: &'static str, index: usize, value: f64 },

    /// A metric that compares two classes, of labels that are all of one, or all of others.
    #[error("{what}: class {class} needs rows of it and rows of others, but {positives} of {rows} rows are of it")]
    OneClass { what: &'static str, class: usize, positives: usize, rows: usize },

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
