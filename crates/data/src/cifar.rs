//! CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009): records of one or two labels and 3 × 32 × 32 bytes.

use std::path::Path;

use crate::files::Source;
use crate::{DataError, Dataset};

const IMAGE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = IMAGE[0] * IMAGE[1] * IMAGE[2];
/// The most that is read of a file; the real ones have 31 and 154 MB.
const MAX_BYTES: u64 = 1 << 30;

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes.
    Ten,
    /// A hundred classes; the twenty groups of classes that the files have too are left out.
    Hundred,
}

impl Cifar {
    /// Each label and the number of its classes; the last is the one that counts.
    fn labels(self) -> &'static [usize] {
        match self {
            Self::Ten => &[10],
            Self::Hundred => &[20, 100],
        }
    }

    fn record(self) -> usize {
        self.labels().len() + PIXELS
    }

    fn classes(self) -> usize {
        self.labels().iter().copied().max().unwrap_or(0)
    }

    /// Whether a file of `bytes` bytes that begins with `head` may be one of this data set's.
    pub(crate) fn fits(self, head: &[u8], bytes: u64) -> bool {
        let labels = |record: &[u8]| record.iter().zip(self.labels()).all(|(&label, &classes)| usize::from(label) < classes);
        bytes > 0 && bytes.is_multiple_of(self.record() as u64) && head.chunks(self.record()).all(labels)
    }

    /// Reads files of the binary version, plain or gzip, one behind the other; pixels, `[channel, row, column]` with the
    /// channels red, green and blue, are scaled to `[0, 1]`.
    ///
    /// ```no_run
    /// use gradus_data::Cifar;
    /// let files: Vec<String> = (1..=5).map(|part| format!("data_batch_{part}.bin")).collect();
    /// let data = Cifar::Ten.load(&files)?;
    /// assert_eq!((data.len(), data.image), (50_000, Some([3, 32, 32])));
    /// # Ok::<(), gradus_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Gzip`], [`DataError::Truncated`] for a file that ends within a record,
    /// [`DataError::Label`] with the row, [`DataError::TooLarge`] for more than 1 GiB, [`DataError::Empty`] for a file without
    /// records, or for no files.
    pub fn load<P: AsRef<Path>>(self, files: &[P]) -> Result<Dataset, DataError> {
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for file in files {
            self.read(file.as_ref(), &mut features, &mut labels)?;
        }
        let name = files.iter().map(|file| file.as_ref().display().to_string()).collect::<Vec<_>>().join(" + ");
        let classes = self.classes();
        let mut data = Dataset::new(&format!("CIFAR-{classes} of {name}"), features, labels, PIXELS, classes)?;
        data.image = Some(IMAGE);
        Ok(data)
    }

    fn read(self, file: &Path, features: &mut Vec<f32>, labels: &mut Vec<usize>) -> Result<(), DataError> {
        let bytes = Source::open(file)?.take(MAX_BYTES + 1)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(DataError::TooLarge { file: file.into(), limit: MAX_BYTES });
        }
        if bytes.is_empty() {
            return Err(DataError::Empty { what: file.display().to_string() });
        }
        let expected = bytes.len().next_multiple_of(self.record()) as u64;
        if expected != bytes.len() as u64 {
            return Err(DataError::Truncated { file: file.into(), expected, found: bytes.len() as u64 });
        }
        for (row, record) in bytes.chunks_exact(self.record()).enumerate() {
            let (own, pixels) = record.split_at(self.labels().len());
            for (&label, &classes) in own.iter().zip(self.labels()) {
                if usize::from(label) >= classes {
                    return Err(DataError::Label { what: file.display().to_string(), row, label: label.into(), classes });
                }
            }
            labels.extend(own.last().map(|&label| usize::from(label)));
            features.extend(pixels.iter().map(|&pixel| f32::from(pixel) / 255.0));
        }
        Ok(())
    }
}
