//! The index of a checkpoint in several files (shards), as the Python package `transformers` writes it: a JSON object whose
//! `weight_map` gives for each array the file that holds it, beside the index.
//!
//! Its `metadata.total_size` is written and not read: what a shard holds, its own header says.

use crate::CheckpointError;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The name of a checkpoint in one file, in a folder.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The name of the index of a checkpoint in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// As for the header of a file: real ones are far shorter.
const MAX_INDEX: u64 = 100_000_000;

/// The name of shard `number` (from 1) of `count`.
pub(crate) fn shard_name(number: usize, count: usize) -> String {
    format!("model-{number:05}-of-{count:05}.safetensors")
}

/// The file that `path` is, or that stands for the folder `path`; and whether it is an index.
pub(crate) fn locate(path: &Path) -> Result<(PathBuf, bool), CheckpointError> {
    if !path.is_dir() {
        return Ok((path.to_owned(), path.extension().is_some_and(|extension| extension == "json")));
    }
    let (single, index) = (path.join(SINGLE), path.join(INDEX));
    match (single.is_file(), index.is_file()) {
        (true, _) => Ok((single, false)),
        (false, true) => Ok((index, true)),
        (false, false) => Err(CheckpointError::NoCheckpoint { folder: path.to_owned() }),
    }
}

/// Reads and checks an index: the shard of each array.
pub(crate) fn read(file: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    let bad = |reason: String| CheckpointError::Index { file: file.to_owned(), reason };
    let mut bytes = Vec::new();
    let source = File::open(file).map_err(CheckpointError::io(file))?;
    source.take(MAX_INDEX + 1).read_to_end(&mut bytes).map_err(CheckpointError::io(file))?;
    if bytes.len() as u64 > MAX_INDEX {
        return Err(bad(format!("it is longer than the {MAX_INDEX} bytes that are allowed")));
    }
    let Index { weight_map } = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let mut shards = BTreeMap::new();
    for (name, shard) in weight_map.0 {
        check_inside(file, &shard)?;
        if let Some((name, _)) = shards.get_key_value(&name) {
            return Err(CheckpointError::DuplicateName { file: file.to_owned(), name: String::clone(name) });
        }
        shards.insert(name, shard);
    }
    Ok(shards)
}

/// Refuses a shard that is not in the folder of the index, as far as its name says. A link in the folder may lead elsewhere:
/// caches of downloaded models are made of such links.
fn check_inside(index: &Path, shard: &str) -> Result<(), CheckpointError> {
    let mut parts = Path::new(shard).components().peekable();
    let inside = parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)));
    // On other systems, a backslash parts folders too.
    if inside && !shard.contains('\\') {
        return Ok(());
    }
    Err(CheckpointError::ShardPath { file: index.to_owned(), shard: shard.to_owned() })
}

/// The text of an index. The same content gives the same bytes.
pub(crate) fn encode(total_size: u64, weight_map: &BTreeMap<&str, &str>) -> String {
    let index = serde_json::json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
    format!("{index:#}\n")
}

#[derive(Deserialize)]
struct Index {
    weight_map: Pairs,
}

/// The entries of an object of texts, repeated names included.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that gives each array's file")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
