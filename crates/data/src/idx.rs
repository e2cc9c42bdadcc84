//! IDX, the format of MNIST and its relatives: a magic number, the sizes, then bytes; all big-endian, plain or gzip.

use std::path::Path;

use crate::files::Source;
use crate::{DataError, Dataset};

pub(crate) const IMAGES: u32 = 0x0000_0803;
pub(crate) const LABELS: u32 = 0x0000_0801;

/// Reads images and their labels; pixels are scaled to `[0, 1]`. There are ten classes, or as many as the greatest label
/// needs.
///
/// ```no_run
/// let data = gradus_data::idx::load("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")?;
/// assert_eq!(data.image, Some([1, 28, 28]));
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Io`], [`DataError::Gzip`], [`DataError::Magic`], [`DataError::Header`], [`DataError::Truncated`] and
/// [`DataError::TrailingBytes`] with the file and the byte; [`DataError::Pair`] when there are not as many labels as
/// images; [`DataError::Empty`].
pub fn load(image_file: impl AsRef<Path>, label_file: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let (image_file, label_file) = (image_file.as_ref(), label_file.as_ref());
    let ([count, height, width], pixels) = read::<3>(image_file, IMAGES)?;
    let ([label_count], labels) = read::<1>(label_file, LABELS)?;
    if count != label_count {
        let (images, labels) = (count as usize, label_count as usize);
        return Err(DataError::Pair { image_file: image_file.into(), images, label_file: label_file.into(), labels });
    }
    if count == 0 {
        return Err(DataError::Empty { what: image_file.display().to_string() });
    }
    if height == 0 || width == 0 {
        return Err(DataError::Header { file: image_file.into(), sizes: vec![count, height, width] });
    }
    let labels: Vec<usize> = labels.into_iter().map(usize::from).collect();
    let classes = labels.iter().max().map_or(0, |last| last + 1).max(10);
    let image = [1, height as usize, width as usize];
    Ok(Dataset {
        name: format!("IDX images of {}", image_file.display()),
        features: pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect(),
        labels,
        width: image.iter().product(),
        classes,
        class_names: Vec::new(),
        image: Some(image),
    })
}

/// The sizes and the values; as many values as the sizes say.
fn read<const N: usize>(path: &Path, magic: u32) -> Result<([u32; N], Vec<u8>), DataError> {
    let file = || path.to_path_buf();
    let mut source = Source::open(path)?;
    let start = 4 * (N as u64 + 1);
    let header = source.take(start)?;
    let mut words = header.as_chunks::<4>().0.iter().map(|&word| u32::from_be_bytes(word));
    if let Some(found) = words.next().filter(|&first| first != magic) {
        return Err(DataError::Magic { file: file(), expected: magic, found });
    }
    let found = header.len() as u64;
    if found < start {
        return Err(DataError::Truncated { file: file(), expected: start, found });
    }
    let mut sizes = [0; N];
    sizes.iter_mut().zip(words).for_each(|(size, word)| *size = word);
    let count = sizes.iter().try_fold(1u64, |count, &size| count.checked_mul(size.into()));
    let impossible = || DataError::Header { file: file(), sizes: sizes.to_vec() };
    let count = count.filter(|&count| count <= isize::MAX as u64 - start).ok_or_else(impossible)?;
    let values = source.take(count)?;
    let (expected, found) = (start + count, start + values.len() as u64);
    if found < expected {
        return Err(DataError::Truncated { file: file(), expected, found });
    }
    match source.rest()? {
        0 => Ok((sizes, values)),
        more => Err(DataError::TrailingBytes { file: file(), expected, found: expected + more }),
    }
}
