//! NPZ, NumPy's archive of named arrays: a ZIP file of NPY files, stored or deflated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use gradus_base::npy::NpyArray;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::DataError;

/// The most bytes of arrays that are read from an archive, decompressed.
const MAX_BYTES: u64 = 1 << 32;

/// Reads the arrays of an archive that `numpy.savez` or `savez_compressed` wrote, by name. All of them together may have
/// 4 GiB.
///
/// ```
/// use std::collections::BTreeMap;
/// use gradus_base::npy::NpyArray;
/// use gradus_data::npz;
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("arrays.npz");
/// let x = NpyArray::new(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?;
/// npz::write(&file, &BTreeMap::from([("x".into(), x.clone())]), true)?;
/// assert_eq!(npz::read(&file)?["x"], x);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DataError::Io`], [`DataError::Zip`] for a damaged archive or one with two arrays of a name, [`DataError::Npy`] for one of something else than arrays,
/// [`DataError::TooLarge`].
pub fn read(file: impl AsRef<Path>) -> Result<BTreeMap<String, NpyArray>, DataError> {
    let file = file.as_ref();
    let opened = File::open(file).map_err(DataError::io(file))?;
    read_archive(file, ZipArchive::new(BufReader::new(opened)).map_err(zip_error(file))?, MAX_BYTES)
}

pub(crate) fn read_archive<R: Read + std::io::Seek>(
    file: &Path,
    mut archive: ZipArchive<R>,
    max_bytes: u64,
) -> Result<BTreeMap<String, NpyArray>, DataError> {
    let (mut arrays, mut left) = (BTreeMap::new(), max_bytes);
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(zip_error(file))?;
        let path = entry.name().map_err(zip_error(file))?.into_owned();
        if entry.is_dir() {
            continue;
        }
        let mut bytes = Vec::new();
        // What the archive says of its sizes may be a lie.
        entry.take(left.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| zip_error(file)(error.into()))?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| DataError::TooLarge { file: file.into(), limit: max_bytes })?;
        let name = path.strip_suffix(".npy").unwrap_or(&path).to_owned();
        let array = NpyArray::parse(format!("{}/{path}", file.display()).as_ref(), &bytes)?;
        if arrays.insert(name, array).is_some() {
            return Err(DataError::Zip { file: file.into(), reason: format!("two arrays are named like {path:?}") });
        }
    }
    Ok(arrays)
}

/// Writes arrays by name into an archive that `numpy.load` reads, whole or not at all; the same arrays give the same bytes.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Zip`] for a name that cannot be one of a file.
pub fn write(file: impl AsRef<Path>, arrays: &BTreeMap<String, NpyArray>, compressed: bool) -> Result<(), DataError> {
    let file = file.as_ref();
    let method = if compressed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method).last_modified_time(DateTime::DEFAULT);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let bytes = array.to_bytes();
        let large = bytes.len() as u64 >= u64::from(u32::MAX);
        archive.start_file(format!("{name}.npy"), options.large_file(large)).map_err(zip_error(file))?;
        archive.write_all(&bytes).map_err(|error| zip_error(file)(error.into()))?;
    }
    let bytes = archive.finish().map_err(zip_error(file))?.into_inner();
    gradus_base::atomic_write(file, |out| out.write_all(&bytes)).map_err(DataError::io(file))
}

fn zip_error(file: &Path) -> impl FnOnce(zip::result::ZipError) -> DataError {
    |error| DataError::Zip { file: file.into(), reason: error.to_string() }
}
