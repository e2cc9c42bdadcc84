//! The format: the length of the header as 8 bytes (little-endian), the header (a JSON object that gives each array's
//! type, shape and place), then the bytes of the arrays without gaps.
//!
//! The header is read here and not by `safetensors` itself, because its map keeps only the last of two arrays with the
//! same name, and its errors do not name the array.

use crate::array::byte_count;
use crate::{Array, CheckpointError, DType};
use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, btree_map::Entry};
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// The length of the header is written in 8 bytes.
const LENGTH: usize = 8;
/// The limit of the reference implementation, so that its readers take every file that is written here.
const MAX_HEADER: u64 = 100_000_000;
const METADATA: &str = "__metadata__";

/// Where each array lies in the bytes of the file.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) places: BTreeMap<String, Place>,
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
}

pub(crate) fn check_name(name: &str) -> Result<(), CheckpointError> {
    if name == METADATA {
        return Err(CheckpointError::ReservedName { name: name.to_owned() });
    }
    Ok(())
}

/// Reads and checks the header of a whole file; afterwards every range lies within `bytes` and fits its shape.
pub(crate) fn parse(file: &Path, bytes: &[u8]) -> Result<Header, CheckpointError> {
    let truncated = |expected| CheckpointError::Truncated { file: file.to_owned(), expected, found: bytes.len() as u64 };
    let bad = |reason: String| CheckpointError::Header { file: file.to_owned(), reason };

    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(|| truncated(LENGTH as u64))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(bad(format!("its length is {length} bytes, at most {MAX_HEADER} are allowed")));
    }
    let text = rest.get(..length as usize).ok_or_else(|| truncated(LENGTH as u64 + length))?;
    let Entries { mut arrays, metadata } = serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;

    arrays.sort_by_key(|(_, info)| info.data_offsets);
    let first = LENGTH + text.len();
    let mut end = 0;
    let mut places = BTreeMap::new();
    for (name, info) in arrays {
        let place = Place { dtype: info.dtype, shape: info.shape, range: check_place(file, &name, end, info.data_offsets)? };
        check_size(file, &name, place.dtype, &place.shape, place.range.len())?;
        end = place.range.end;
        match places.entry(name) {
            Entry::Vacant(entry) => entry.insert(place),
            Entry::Occupied(entry) => return Err(CheckpointError::DuplicateName { file: file.to_owned(), name: entry.key().clone() }),
        };
    }
    let found = bytes.len() as u64;
    let expected = (first as u64).saturating_add(end as u64);
    if found < expected {
        return Err(truncated(expected));
    }
    if found > expected {
        return Err(CheckpointError::TrailingBytes { file: file.to_owned(), expected, found });
    }
    for place in places.values_mut() {
        place.range = place.range.start + first..place.range.end + first;
    }
    Ok(Header { places, metadata })
}

fn check_place(file: &Path, name: &str, expected: usize, (begin, end): (usize, usize)) -> Result<Range<usize>, CheckpointError> {
    if begin == expected && begin <= end {
        return Ok(begin..end);
    }
    Err(CheckpointError::Offsets { file: file.to_owned(), name: name.to_owned(), expected, begin, end })
}

pub(crate) fn check_size(file: &Path, name: &str, dtype: DType, shape: &[usize], found: usize) -> Result<(), CheckpointError> {
    let expected = byte_count(dtype, shape);
    if expected == Some(found) {
        return Ok(());
    }
    Err(CheckpointError::Size { file: file.to_owned(), name: name.to_owned(), dtype, shape: shape.to_vec(), expected, found })
}

/// The order of the arrays in a file: wide elements first, so that each begins at a multiple of its own width; then by
/// name.
pub(crate) fn sort_for_writing(arrays: &mut [Array<'_>]) {
    arrays.sort_by(|a, b| b.dtype.cmp(&a.dtype).then(a.name.cmp(b.name)));
}

/// The length and the header of a file in which `arrays` follow each other. The same content gives the same bytes.
pub(crate) fn encode(file: &Path, arrays: &[Array<'_>], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, CheckpointError> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert(METADATA.to_owned(), json!(metadata));
    }
    let mut begin = 0;
    for array in arrays {
        let end = begin + array.bytes.len();
        entries.insert(array.name.to_owned(), json!({"dtype": array.dtype, "shape": array.shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(LENGTH), b' ');
    let length = text.len() as u64;
    if length > MAX_HEADER {
        let reason = format!("its length is {length} bytes, at most {MAX_HEADER} are allowed");
        return Err(CheckpointError::Header { file: file.to_owned(), reason });
    }
    Ok([length.to_le_bytes().as_slice(), &text].concat())
}

/// The entries of the header, repeated names included.
struct Entries {
    arrays: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of array names")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let mut arrays = Vec::new();
        let mut metadata: Option<Option<BTreeMap<String, String>>> = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != METADATA {
                let info = map.next_value().map_err(|error| M::Error::custom(format_args!("array `{name}`: {error}")))?;
                arrays.push((name, info));
            } else if metadata.replace(map.next_value()?).is_some() {
                return Err(M::Error::duplicate_field(METADATA));
            }
        }
        Ok(Entries { arrays, metadata: metadata.flatten().unwrap_or_default() })
    }
}
