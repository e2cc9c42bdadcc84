use crate::header::{self, Header, Place};
use crate::{Array, CheckpointError, fingerprint, index};
use memmap2::Mmap;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A checkpoint whose arrays stay in its file, or its files, until they are looked at.
///
/// The files must not be changed while they are mapped: readers would see the change, and a shortened file would end the
/// process. [`Checkpoint::write`](crate::Checkpoint::write) replaces a file by renaming, which leaves maps of the old
/// one intact.
#[derive(Debug)]
pub struct MappedCheckpoint {
    /// The file, or the index of several.
    file: PathBuf,
    shards: Vec<Shard>,
    /// For each array the number of its shard and its place there.
    places: BTreeMap<String, (usize, Place)>,
    metadata: BTreeMap<String, String>,
    /// Of the arrays, once it was asked for.
    fingerprint: OnceLock<String>,
}

#[derive(Debug)]
struct Shard {
    file: PathBuf,
    map: Mmap,
}

impl MappedCheckpoint {
    /// Maps a checkpoint and reads its headers. `path` is one of
    /// - a safetensors file;
    /// - the index of a checkpoint in several files (`model.safetensors.index.json` or another name that ends in `.json`), as
    ///   `transformers` writes it;
    /// - a folder with `model.safetensors` or, if there is none, `model.safetensors.index.json`.
    ///
    /// ```
    /// use gradus_checkpoint::{Checkpoint, MappedCheckpoint, write_sharded};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let mut checkpoint = Checkpoint::new();
    /// checkpoint.insert_f32("a", &[2], &[1.0, 2.0])?;
    /// checkpoint.insert_f32("b", &[2], &[3.0, 4.0])?;
    /// write_sharded(folder.path(), &checkpoint, 8)?;
    ///
    /// let mapped = MappedCheckpoint::open(folder.path())?;
    /// assert_eq!(mapped.get("b")?.to_f32()?, [3.0, 4.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if a file cannot be opened or mapped, and the errors of the format (truncated, too long,
    /// bad header, duplicate names, wrong offsets or sizes). For a folder, [`CheckpointError::NoCheckpoint`]. For an index,
    /// [`CheckpointError::Index`] if it is not the JSON asked for, [`CheckpointError::ShardPath`] for a shard outside its
    /// folder, [`CheckpointError::MissingShard`], [`CheckpointError::NotInShard`] for an array that its shard does not
    /// hold, [`CheckpointError::NotInIndex`] for one that only the shard knows, and [`CheckpointError::DuplicateName`] for
    /// one in two shards.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let (file, sharded) = index::locate(path.as_ref())?;
        if sharded {
            return Self::open_index(file);
        }
        let (shard, header) = Shard::open(file.clone())?;
        let places = header.places.into_iter().map(|(name, place)| (name, (0, place))).collect();
        Ok(Self { file, shards: vec![shard], places, metadata: header.metadata, fingerprint: OnceLock::new() })
    }

    fn open_index(index: PathBuf) -> Result<Self, CheckpointError> {
        let expected = index::read(&index)?;
        let names: BTreeSet<&String> = expected.values().collect();
        let mut all =
            Self { file: index, shards: Vec::new(), places: BTreeMap::new(), metadata: BTreeMap::new(), fingerprint: OnceLock::new() };
        for name in names {
            all.add_shard(name, &expected)?;
        }
        Ok(all)
    }

    /// Opens a shard, whose arrays must be those that the index expects there.
    fn add_shard(&mut self, shard: &str, expected: &BTreeMap<String, String>) -> Result<(), CheckpointError> {
        let file = self.file.with_file_name(shard);
        let index = || self.file.clone();
        let (opened, header) = Shard::open(file.clone()).map_err(|error| match error {
            CheckpointError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                CheckpointError::MissingShard { file: index(), shard: shard.to_owned() }
            }
            error => error,
        })?;
        if let Some((name, _)) = expected.iter().find(|(name, own)| *own == shard && !header.places.contains_key(*name)) {
            return Err(CheckpointError::NotInShard { file, index: index(), name: name.clone() });
        }
        for (name, place) in header.places {
            if !expected.contains_key(&name) {
                return Err(CheckpointError::NotInIndex { file, index: index(), name });
            }
            match self.places.entry(name) {
                Entry::Vacant(entry) => entry.insert((self.shards.len(), place)),
                Entry::Occupied(entry) => return Err(CheckpointError::DuplicateName { file: index(), name: entry.key().clone() }),
            };
        }
        for (key, value) in header.metadata {
            self.metadata.entry(key).or_insert(value);
        }
        self.shards.push(opened);
        Ok(())
    }

    /// The array of that name, without a copy.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] if there is none.
    pub fn get(&self, name: &str) -> Result<Array<'_>, CheckpointError> {
        match self.places.get_key_value(name) {
            Some((name, place)) => Ok(self.array(name, place)),
            None => Err(CheckpointError::Missing { file: self.file.clone(), name: name.to_owned() }),
        }
    }

    /// The arrays in the order of their names.
    pub fn arrays(&self) -> impl ExactSizeIterator<Item = Array<'_>> {
        self.places.iter().map(|(name, place)| self.array(name, place))
    }

    /// The names of the arrays, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The free text entries of the file; of several files the entries of all, and where they differ, those of the first.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The SHA-256 of the names, types, shapes and bytes of all arrays; equal to that of the same arrays in memory.
    /// It is computed once.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.get_or_init(|| fingerprint::of_arrays(self.arrays())).clone()
    }

    fn array<'a>(&'a self, name: &'a str, (shard, place): &'a (usize, Place)) -> Array<'a> {
        let Shard { file, map } = &self.shards[*shard];
        Array { name, dtype: place.dtype, shape: &place.shape, bytes: &map[place.range.clone()], file }
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<(Self, Header), CheckpointError> {
        let file = File::open(&path).map_err(CheckpointError::io(&path))?;
        let map = map(&file).map_err(CheckpointError::io(&path))?;
        let header = header::parse(&path, &map)?;
        Ok((Self { file: path, map }, header))
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
