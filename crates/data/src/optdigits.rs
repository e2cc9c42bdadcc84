//! UCI "Optical Recognition of Handwritten Digits": text, one digit per line, 64 pixels of 0 to 16 and the class.

use std::path::Path;

use crate::files::Source;
use crate::{DataError, Dataset};

const PIXELS: usize = 64;
const CLASSES: usize = 10;

/// Reads files of that format, plain or gzip, one behind the other; pixels are divided by 16. Blank lines and lines that
/// begin with `#` are passed over.
///
/// ```no_run
/// let data = gradus_data::optdigits::load(&["optdigits.tra", "optdigits.tes"])?;
/// assert_eq!((data.len(), data.image), (5620, Some([1, 8, 8])));
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Io`], [`DataError::Gzip`], [`DataError::LongLine`], [`DataError::Ragged`] and [`DataError::Cell`] (`nan` is
/// one, as every cell that is not a whole number) with the file, line, column and byte; [`DataError::Empty`] for a file
/// without rows, or for no files.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Dataset, DataError> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for file in paths {
        let (file, before) = (file.as_ref(), labels.len());
        read(file, &mut features, &mut labels)?;
        if labels.len() == before {
            return Err(DataError::Empty { what: file.display().to_string() });
        }
    }
    let name = paths.iter().map(|file| file.as_ref().display().to_string()).collect::<Vec<_>>().join(" + ");
    let mut data = Dataset::new(&format!("8×8 digits of {name}"), features, labels, PIXELS, CLASSES)?;
    data.image = Some([1, 8, 8]);
    Ok(data)
}

fn read(file: &Path, features: &mut Vec<f32>, labels: &mut Vec<usize>) -> Result<(), DataError> {
    let mut source = Source::open(file)?;
    let mut text = Vec::new();
    for line in 1.. {
        let byte = source.line(line, &mut text)?;
        if text.is_empty() {
            break;
        }
        if let Some(row) = row(&text) {
            let indent = text.len() - text.trim_ascii_start().len();
            read_row(file, line, byte + indent as u64, row, features, labels)?;
        }
    }
    Ok(())
}

/// Whether the first row of a file's beginning is one of this format.
pub(crate) fn begins(head: &[u8]) -> bool {
    let first = head.split(|&byte| byte == b'\n').find_map(row);
    first.is_some_and(|text| read_row(Path::new(""), 0, 0, text, &mut Vec::new(), &mut Vec::new()).is_ok())
}

/// The row in a line, if it holds one.
fn row(line: &[u8]) -> Option<&[u8]> {
    Some(line.trim_ascii()).filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// `byte` is where the row begins.
fn read_row(
    file: &Path,
    line: usize,
    mut byte: u64,
    text: &[u8],
    features: &mut Vec<f32>,
    labels: &mut Vec<usize>,
) -> Result<(), DataError> {
    let cells: Vec<&[u8]> = text.split(|&byte| byte == b',').collect();
    if cells.len() != PIXELS + 1 {
        return Err(DataError::Ragged { file: file.into(), line, byte, expected: PIXELS + 1, found: cells.len() });
    }
    for (column, cell) in cells.into_iter().enumerate() {
        let (limit, expected) = if column < PIXELS { (16, "a whole number from 0 to 16") } else { (9, "a class from 0 to 9") };
        let text = String::from_utf8_lossy(cell.trim_ascii());
        match text.parse::<u8>().ok().filter(|value| *value <= limit) {
            Some(value) if column < PIXELS => features.push(f32::from(value) / 16.0),
            Some(value) => labels.push(value.into()),
            None => return Err(DataError::Cell { file: file.into(), line, column, byte, found: text.into_owned(), expected }),
        }
        byte += cell.len() as u64 + 1;
    }
    Ok(())
}
