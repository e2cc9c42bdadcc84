//! IDX, the format of MNIST and its relatives: a magic number, the sizes, then bytes; all big-endian, plain or gzip.

use std::path::Path;

use crate::{DataError, Dataset, files};

pub(crate) const IMAGES: u32 = 0x0000_0803;
pub(crate) const LABELS: u32 = 0x0000_0801;

/// Reads images and their labels; pixels are scaled to `[0, 1]`.
///
/// # Errors
/// [`DataError`] naming the file and the byte.
pub fn load(image_file: impl AsRef<Path>, label_file: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let (image_file, label_file) = (image_file.as_ref(), label_file.as_ref());
    let (images, labels) = (files::read(image_file)?, files::read(label_file)?);
    let ([count, height, width], pixels) = parse::<3>(image_file, &images, IMAGES)?;
    let ([label_count], labels) = parse::<1>(label_file, &labels, LABELS)?;
    if count != label_count {
        let (images, labels) = (count as usize, label_count as usize);
        return Err(DataError::Pair { image_file: image_file.into(), images, label_file: label_file.into(), labels });
    }
    if count == 0 {
        return Err(DataError::Empty { what: image_file.display().to_string() });
    }
    if height == 0 || width == 0 {
        return Err(DataError::ImageSize { file: image_file.into(), height, width });
    }
    let labels: Vec<usize> = labels.iter().map(|&label| label.into()).collect();
    let classes = labels.iter().max().map_or(0, |last| last + 1).max(10);
    let image = [height as usize, width as usize];
    Ok(Dataset {
        name: format!("IDX images of {}", image_file.display()),
        features: pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect(),
        labels,
        width: image[0] * image[1],
        classes,
        image: Some(image),
    })
}

/// The sizes and the values; as many values as the sizes say.
fn parse<'a, const N: usize>(file: &Path, bytes: &'a [u8], magic: u32) -> Result<([u32; N], &'a [u8]), DataError> {
    let found = bytes.len() as u64;
    let start = 4 * (N + 1);
    let (header, values) =
        bytes.split_at_checked(start).ok_or(DataError::Truncated { file: file.into(), expected: start as u64, found })?;
    let mut words = header.as_chunks::<4>().0.iter().map(|&word| u32::from_be_bytes(word));
    let first = words.next().unwrap_or(0);
    if first != magic {
        return Err(DataError::Magic { file: file.into(), expected: magic, found: first });
    }
    let mut sizes = [0; N];
    sizes.iter_mut().zip(words).for_each(|(size, word)| *size = word);
    // Three factors below 2³² fit; more bytes than can be addressed are certainly not there.
    let count = sizes.iter().fold(1u128, |count, &size| count * u128::from(size));
    let expected = u64::try_from(count + start as u128).unwrap_or(u64::MAX);
    if found < expected {
        return Err(DataError::Truncated { file: file.into(), expected, found });
    }
    if found > expected {
        return Err(DataError::TrailingBytes { file: file.into(), expected, found });
    }
    Ok((sizes, values))
}
