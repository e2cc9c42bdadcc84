use crate::index::{self, INDEX, SINGLE};
use crate::{Array, Arrays, CheckpointError, header};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes a checkpoint into `folder`, which is created where missing, in files of at most `max_shard_bytes` of arrays each:
/// `model-00001-of-00003.safetensors` and so on, in the order of the arrays' names, and then their index,
/// `model.safetensors.index.json`. What fits into one file becomes `model.safetensors`, without an index. An array is never
/// split: one that is larger has a file of its own.
///
/// Each file is written whole or not at all, and the index last, so that a folder with an index has all of its files. The
/// same arrays, metadata and maximum give the same bytes. Two writers must not fill one folder at once: files of the one could
/// come to stand beside those of the other.
///
/// # Errors
/// [`CheckpointError::Exists`] if there is a checkpoint in the folder already: to replace its files one by one would mix
/// the old with the new if the work is interrupted. [`CheckpointError::Io`] if a file cannot be written.
pub fn write_sharded(folder: impl AsRef<Path>, source: &dyn Arrays, max_shard_bytes: u64) -> Result<(), CheckpointError> {
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(CheckpointError::io(folder))?;
    if let Some(file) = [SINGLE, INDEX].map(|name| folder.join(name)).into_iter().find(|file| file.exists()) {
        return Err(CheckpointError::Exists { file });
    }
    let shards = partition(source.all(), max_shard_bytes);
    if let [arrays] = &shards[..] {
        return write_file(&folder.join(SINGLE), arrays.clone(), source.metadata());
    }
    let names: Vec<String> = (1..=shards.len()).map(|number| index::shard_name(number, shards.len())).collect();
    let (mut total_size, mut weight_map) = (0, BTreeMap::new());
    for (arrays, shard) in shards.into_iter().zip(&names) {
        total_size += arrays.iter().map(|array| array.bytes.len() as u64).sum::<u64>();
        weight_map.extend(arrays.iter().map(|array| (array.name, shard.as_str())));
        write_file(&folder.join(shard), arrays, source.metadata())?;
    }
    let text = index::encode(total_size, &weight_map);
    let file = folder.join(INDEX);
    gradus_base::atomic_write(&file, |out| out.write_all(text.as_bytes())).map_err(CheckpointError::io(&file))
}

/// The arrays of each file, at least one file: a new one begins where the next array would exceed the maximum.
fn partition(arrays: Vec<Array<'_>>, max_bytes: u64) -> Vec<Vec<Array<'_>>> {
    let (mut shards, mut filled) = (vec![Vec::new()], 0u64);
    for array in arrays {
        let size = array.bytes.len() as u64;
        match shards.last_mut() {
            Some(shard) if shard.is_empty() || filled.saturating_add(size) <= max_bytes => {
                filled += size;
                shard.push(array);
            }
            _ => {
                filled = size;
                shards.push(vec![array]);
            }
        }
    }
    shards
}

/// Writes one file, whole or not at all.
pub(crate) fn write_file(path: &Path, mut arrays: Vec<Array<'_>>, metadata: &BTreeMap<String, String>) -> Result<(), CheckpointError> {
    header::sort_for_writing(&mut arrays);
    let head = header::encode(path, &arrays, metadata)?;
    let write = |file: &mut dyn std::io::Write| {
        file.write_all(&head)?;
        arrays.iter().try_for_each(|array| file.write_all(array.bytes))
    };
    gradus_base::atomic_write(path, write).map_err(CheckpointError::io(path))
}
