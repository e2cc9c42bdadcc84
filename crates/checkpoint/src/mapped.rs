use crate::header::{self, Header, Place};
use crate::{Array, CheckpointError, fingerprint};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A checkpoint whose arrays stay in the file until they are looked at.
///
/// The file must not be changed while it is mapped: readers would see the change, and a shortened file would end the
/// process. [`Checkpoint::write`](crate::Checkpoint::write) replaces a file by renaming, which leaves maps of the old
/// one intact.
#[derive(Debug)]
pub struct MappedCheckpoint {
    file: PathBuf,
    map: Mmap,
    header: Header,
    /// Of the arrays, once it was asked for.
    fingerprint: OnceLock<String>,
}

impl MappedCheckpoint {
    /// Maps the file and reads its header.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if it cannot be opened or mapped, and the errors of the format (truncated, too long,
    /// bad header, duplicate names, wrong offsets or sizes).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(CheckpointError::io(path))?;
        let map = map(&file).map_err(CheckpointError::io(path))?;
        let header = header::parse(path, &map)?;
        Ok(Self { file: path.to_owned(), map, header, fingerprint: OnceLock::new() })
    }

    /// The array of that name, without a copy.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] if there is none.
    pub fn get(&self, name: &str) -> Result<Array<'_>, CheckpointError> {
        match self.header.places.get_key_value(name) {
            Some((name, place)) => Ok(self.array(name, place)),
            None => Err(CheckpointError::Missing { file: self.file.clone(), name: name.to_owned() }),
        }
    }

    /// The arrays in the order of their names.
    pub fn arrays(&self) -> impl ExactSizeIterator<Item = Array<'_>> {
        self.header.places.iter().map(|(name, place)| self.array(name, place))
    }

    /// The names of the arrays, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.places.keys().map(String::as_str)
    }

    /// The free text entries of the file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The SHA-256 of the names, types, shapes and bytes of all arrays; equal to that of the same arrays in memory.
    /// It is computed once.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.get_or_init(|| fingerprint::of_arrays(self.arrays())).clone()
    }

    fn array<'a>(&'a self, name: &'a str, place: &'a Place) -> Array<'a> {
        Array { name, dtype: place.dtype, shape: &place.shape, bytes: &self.map[place.range.clone()], file: &self.file }
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private and read-only, and it owns its address range until it is dropped, so no code of this
    // process can write through it. What remains is that someone else changes the file itself meanwhile; no program
    // can rule that out, and the documentation of `MappedCheckpoint` asks for it. Every byte pattern is a valid `u8`,
    // and the numbers are decoded from bytes, so that even then no invalid value arises.
    unsafe { Mmap::map(file) }
}
