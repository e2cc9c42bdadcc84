use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::DataError;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a file, decompressed if they are gzip data, whatever its name.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = std::fs::read(file).map_err(DataError::io(file))?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    let gzip = |source| DataError::Gzip { file: file.into(), source };
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).map_err(gzip)?;
    Ok(plain)
}

/// The first bytes of a file, decompressed if they are gzip data; fewer if it is shorter or damaged.
pub(crate) fn head(file: &Path, count: u64) -> Result<Vec<u8>, DataError> {
    let open = || File::open(file).map_err(DataError::io(file));
    let mut bytes = Vec::new();
    open()?.take(count).read_to_end(&mut bytes).map_err(DataError::io(file))?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    // A damaged file is not recognised by what can be read of it; reading it whole would say what is wrong.
    let _ = flate2::read::MultiGzDecoder::new(open()?).take(count).read_to_end(&mut plain);
    Ok(plain)
}
