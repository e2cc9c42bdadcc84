//! UCI "Optical Recognition of Handwritten Digits": text, one digit per line, 64 pixels of 0 to 16 and the class.

use std::path::{Path, PathBuf};

use crate::{DataError, Dataset, files};

const PIXELS: usize = 64;
const CLASSES: usize = 10;

/// Reads files of that format one behind the other; pixels are divided by 16. Blank lines and lines that begin with `#`
/// are passed over.
///
/// # Errors
/// [`DataError`] naming the file, the line and the column.
pub fn load(paths: &[PathBuf]) -> Result<Dataset, DataError> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for file in paths {
        let bytes = files::read(file)?;
        let before = labels.len();
        for (line, text) in rows(&bytes) {
            read_row(file, line, text, &mut features, &mut labels)?;
        }
        if labels.len() == before {
            return Err(DataError::Empty { what: file.display().to_string() });
        }
    }
    let name = paths.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" + ");
    let mut data = Dataset::new(&format!("8×8 digits of {name}"), features, labels, PIXELS, CLASSES)?;
    data.image = Some([8, 8]);
    Ok(data)
}

/// Whether the first row of a file's beginning is one of this format.
pub(crate) fn begins(head: &[u8]) -> bool {
    let Some((_, text)) = rows(head).next() else { return false };
    read_row(Path::new(""), 0, text, &mut Vec::new(), &mut Vec::new()).is_ok()
}

/// The lines that hold rows, with their numbers.
fn rows(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}

fn read_row(file: &Path, line: usize, text: &[u8], features: &mut Vec<f32>, labels: &mut Vec<usize>) -> Result<(), DataError> {
    let cells: Vec<&[u8]> = text.split(|&byte| byte == b',').collect();
    if cells.len() != PIXELS + 1 {
        return Err(DataError::Ragged { file: file.into(), line, expected: PIXELS + 1, found: cells.len() });
    }
    for (column, cell) in cells.into_iter().enumerate() {
        let (limit, expected) = if column < PIXELS { (16, "a whole number from 0 to 16") } else { (9, "a class from 0 to 9") };
        let text = String::from_utf8_lossy(cell.trim_ascii());
        match text.parse::<u8>().ok().filter(|value| *value <= limit) {
            Some(value) if column < PIXELS => features.push(f32::from(value) / 16.0),
            Some(value) => labels.push(value.into()),
            None => return Err(DataError::Cell { file: file.into(), line, column, found: text.into_owned(), expected }),
        }
    }
    Ok(())
}
