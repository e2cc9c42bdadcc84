use crate::header::{self, check_name, check_size};
use crate::sharded::write_file;
use crate::{Array, CheckpointError, FloatType, MappedCheckpoint, NamedArray, fingerprint};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const IN_MEMORY: &str = "<memory>";

/// Arrays by name, in memory. Two are equal if they hold the same arrays and metadata, wherever they come from.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Free text entries that go with the arrays, such as the seed or the version of the program.
    pub metadata: BTreeMap<String, String>,
    arrays: BTreeMap<String, NamedArray>,
    /// For the messages only.
    file: PathBuf,
    /// Of these arrays, once it was asked for.
    fingerprint: OnceLock<String>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { metadata: BTreeMap::new(), arrays: BTreeMap::new(), file: IN_MEMORY.into(), fingerprint: OnceLock::new() }
    }
}

impl PartialEq for Checkpoint {
    fn eq(&self, other: &Self) -> bool {
        self.arrays == other.arrays && self.metadata == other.metadata
    }
}

impl Eq for Checkpoint {}

impl Checkpoint {
    /// A checkpoint without arrays.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an array.
    ///
    /// # Errors
    /// [`CheckpointError::Size`] if the bytes do not fit the type and the shape, [`CheckpointError::DuplicateName`] if
    /// there is an array of that name already, [`CheckpointError::ReservedName`] for `__metadata__`.
    pub fn insert(&mut self, array: NamedArray) -> Result<(), CheckpointError> {
        check_name(&array.name)?;
        check_size(&self.file, &array.name, array.dtype, &array.shape, array.bytes.len())?;
        if self.arrays.contains_key(&array.name) {
            return Err(CheckpointError::DuplicateName { file: self.file.clone(), name: array.name });
        }
        self.fingerprint.take();
        self.arrays.insert(array.name.clone(), array);
        Ok(())
    }

    /// Adds `values` in row-major order as an F32 array.
    ///
    /// # Errors
    /// Those of [`insert`](Self::insert); [`CheckpointError::Size`] if the shape asks for another number of values.
    pub fn insert_f32(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Result<(), CheckpointError> {
        self.insert(NamedArray::from_f32(name, FloatType::F32, shape, values))
    }

    /// Adds `values` in row-major order as an F64 array.
    ///
    /// # Errors
    /// Those of [`insert`](Self::insert); [`CheckpointError::Size`] if the shape asks for another number of values.
    pub fn insert_f64(&mut self, name: impl Into<String>, shape: &[usize], values: &[f64]) -> Result<(), CheckpointError> {
        self.insert(NamedArray::from_f64(name, FloatType::F64, shape, values))
    }

    /// The array of that name.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] if there is none.
    pub fn get(&self, name: &str) -> Result<Array<'_>, CheckpointError> {
        match self.arrays.get(name) {
            Some(array) => Ok(self.array(array)),
            None => Err(CheckpointError::Missing { file: self.file.clone(), name: name.to_owned() }),
        }
    }

    /// The elements of the array of that name as `f32`, without loss: see [`Array::to_f32`].
    ///
    /// # Errors
    /// [`CheckpointError::Missing`], or [`CheckpointError::DType`] for elements of any other type.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.get(name)?.to_f32()
    }

    /// The elements of the array of that name as `f64`, without loss: see [`Array::to_f64`].
    ///
    /// # Errors
    /// [`CheckpointError::Missing`], or [`CheckpointError::DType`] for elements of any other type.
    pub fn to_f64(&self, name: &str) -> Result<Vec<f64>, CheckpointError> {
        self.get(name)?.to_f64()
    }

    /// The arrays in the order of their names.
    pub fn arrays(&self) -> impl ExactSizeIterator<Item = Array<'_>> {
        self.arrays.values().map(|array| self.array(array))
    }

    /// The names of the arrays, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// The SHA-256 of the names, types, shapes and bytes of all arrays (not of the metadata), as 64 hexadecimal digits.
    /// It is computed once.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.get_or_init(|| fingerprint::of_arrays(self.arrays())).clone()
    }

    /// Reads a whole checkpoint: a file, the index of several files, or a folder with either, as
    /// [`MappedCheckpoint::open`] finds them.
    ///
    /// # Errors
    /// Those of [`MappedCheckpoint::open`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let mapped = MappedCheckpoint::open(path)?;
        let arrays = mapped.arrays().map(|array| (array.name.to_owned(), array.into()));
        let (arrays, metadata) = (arrays.collect(), mapped.metadata().clone());
        Ok(Self { metadata, arrays, file: path.to_owned(), fingerprint: OnceLock::new() })
    }

    /// Reads the bytes of a file that is in memory already.
    ///
    /// # Errors
    /// The errors of the format (truncated, too long, bad header, duplicate names, wrong offsets or sizes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let header = header::parse(Path::new(IN_MEMORY), bytes)?;
        let arrays = header.places.into_iter().map(|(name, place)| {
            let bytes = bytes[place.range].to_vec();
            (name.clone(), NamedArray { name, dtype: place.dtype, shape: place.shape, bytes })
        });
        Ok(Self { metadata: header.metadata, arrays: arrays.collect(), ..Self::default() })
    }

    /// Writes the file, whole or not at all. The same arrays and metadata give the same bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if it cannot be written, [`CheckpointError::Header`] if there are so many names that
    /// the header would exceed the 100 MB that the format allows.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        write_file(path.as_ref(), self.arrays().collect(), &self.metadata)
    }

    fn array<'a>(&'a self, array: &'a NamedArray) -> Array<'a> {
        Array { name: &array.name, dtype: array.dtype, shape: &array.shape, bytes: &array.bytes, file: &self.file }
    }
}
