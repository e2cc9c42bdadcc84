use crate::{Array, CheckpointError};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The SHA-256 of a file's bytes, as 64 hexadecimal digits: equal to what `sha256sum` prints.
///
/// # Errors
/// [`CheckpointError::Io`] if the file cannot be read.
pub fn file_fingerprint(path: impl AsRef<Path>) -> Result<String, CheckpointError> {
    let path = path.as_ref();
    hash_file(path).map_err(CheckpointError::io(path))
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hash)),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The hash of the arrays in the given order: of each its name, the name of its type, its shape and its bytes, with
/// every length as 8 bytes before what it measures, so that different contents cannot run together.
pub(crate) fn of_arrays<'a>(arrays: impl Iterator<Item = Array<'a>>) -> String {
    let mut hash = Sha256::new();
    for array in arrays {
        for text in [array.name, &array.dtype.to_string()] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.update((array.shape.len() as u64).to_le_bytes());
        for &length in array.shape {
            hash.update((length as u64).to_le_bytes());
        }
        hash.update((array.bytes.len() as u64).to_le_bytes());
        hash.update(array.bytes);
    }
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
