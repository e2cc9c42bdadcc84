use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{DataError, Dataset, files, idx, optdigits};

/// A data set that was found in a folder, by the content of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Images and labels in IDX files: the training part first, then the test part (MNIST's `t10k-…`).
    Idx(Vec<(PathBuf, PathBuf)>),
    /// Text rows of 64 pixels and a class, in the order training (`.tra`), the rest of it where it was held out (`.hol`),
    /// test (`.tes`).
    Optdigits(Vec<PathBuf>),
}

impl Found {
    /// Reads the data set, its parts one behind the other.
    ///
    /// # Errors
    /// Those of [`idx::load`] and [`optdigits::load`]; [`DataError::ImageSize`] if parts have images of different sizes.
    pub fn load(&self) -> Result<Dataset, DataError> {
        match self {
            Self::Optdigits(files) => optdigits::load(files),
            Self::Idx(pairs) => {
                let mut parts = pairs.iter().map(|(images, labels)| idx::load(images, labels));
                let first = parts.next().unwrap_or_else(|| Err(DataError::Empty { what: "IDX files".into() }))?;
                parts.try_fold(first, |all, part| join(all, part?))
            }
        }
    }

    fn describe(&self) -> String {
        let files: Vec<&PathBuf> = match self {
            Self::Idx(pairs) => pairs.iter().map(|(images, _)| images).collect(),
            Self::Optdigits(files) => files.iter().collect(),
        };
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" + ")
    }
}

/// The rows of both, those of `all` first.
fn join(mut all: Dataset, part: Dataset) -> Result<Dataset, DataError> {
    let size = |data: &Dataset| data.image.unwrap_or([1, data.width]);
    if size(&all) != size(&part) {
        return Err(DataError::ImageSize { what: part.name.clone(), expected: size(&all), found: size(&part) });
    }
    all.name = format!("{} + {}", all.name, part.name);
    all.features.extend(part.features);
    all.labels.extend(part.labels);
    all.classes = all.classes.max(part.classes);
    Ok(all)
}

/// The data sets in `folder`, or, where it has none itself, in the folders one level below.
///
/// What a file is, its content says. Its name says only what it belongs to: images to labels, and the parts `train` and
/// `t10k` or `test`, or `.tra`, `.hol` and `.tes`, to one set. Of a file and its `.gz`, the file counts.
///
/// # Errors
/// [`DataError::Io`] if a folder or file cannot be read, [`DataError::Unpaired`] for IDX images without labels or the
/// reverse, [`DataError::Unknown`], which names the files that were looked at, if nothing is recognised.
pub fn recognise(folder: impl AsRef<Path>) -> Result<Vec<Found>, DataError> {
    let folder = folder.as_ref();
    let (files, folders) = entries(folder)?;
    let mut found = recognise_files(&files)?;
    let mut looked_at = files;
    if found.is_empty() {
        for below in folders {
            let (files, _) = entries(&below)?;
            found.extend(recognise_files(&files)?);
            looked_at.extend(files);
        }
    }
    if found.is_empty() { Err(DataError::Unknown { folder: folder.into(), looked_at }) } else { Ok(found) }
}

/// The one data set of images in `folder` or one level below.
///
/// ```no_run
/// let data = gradus_data::load_images("mnist")?;
/// println!("{}: {} images of {:?} pixels", data.name, data.len(), data.image);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// Those of [`recognise`] and [`Found::load`]; [`DataError::Ambiguous`] if there are several.
pub fn load_images(folder: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let folder = folder.as_ref();
    match &recognise(folder)?[..] {
        [one] => one.load(),
        found => Err(DataError::Ambiguous { folder: folder.into(), found: found.iter().map(Found::describe).collect() }),
    }
}

/// The files and the folders in a folder, each sorted by name.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        match path.is_dir() {
            true => folders.push(path),
            // Opening a pipe or a socket would wait for ever.
            false if path.is_file() => files.push(path),
            false => {}
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

/// Enough for comments and the first row.
const HEAD: u64 = 1 << 14;

fn recognise_files(paths: &[PathBuf]) -> Result<Vec<Found>, DataError> {
    let (mut images, mut labels, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let twin = |path: &PathBuf| path.extension().is_some_and(|own| own == "gz") && paths.contains(&path.with_extension(""));
    for path in paths.iter().filter(|path| !twin(path)) {
        let head = files::head(path, HEAD)?;
        match head.first_chunk::<4>().map(|&word| u32::from_be_bytes(word)) {
            Some(idx::IMAGES) => images.push(path.clone()),
            Some(idx::LABELS) => labels.push(path.clone()),
            _ if optdigits::begins(&head) => rows.push(path.clone()),
            _ => {}
        }
    }
    let mut found: Vec<Found> = sets(pair(images, labels)?, |(images, _)| idx_part(images)).into_iter().map(Found::Idx).collect();
    found.extend(sets(rows, |rows| optdigits_part(rows)).into_iter().map(Found::Optdigits));
    Ok(found)
}

/// Each file of images with the labels whose name differs only in that; one of each belong together whatever their names.
fn pair(images: Vec<PathBuf>, mut labels: Vec<PathBuf>) -> Result<Vec<(PathBuf, PathBuf)>, DataError> {
    let alone = images.len() == 1 && labels.len() == 1;
    let key = |path: &Path| ["images", "labels", "idx3", "idx1"].iter().fold(name(path), |name, word| name.replace(word, ""));
    let mut pairs = Vec::new();
    for image in images {
        match labels.iter().position(|label| alone || key(label) == key(&image)) {
            Some(at) => pairs.push((image, labels.swap_remove(at))),
            None => return Err(DataError::Unpaired { file: image, expected: "labels" }),
        }
    }
    match labels.into_iter().min() {
        Some(file) => Err(DataError::Unpaired { file, expected: "images" }),
        None => Ok(pairs),
    }
}

/// The files of each set, in the order of their parts; a file belongs to a set and is a part of it.
fn sets<F: Ord>(files: Vec<F>, part: impl Fn(&F) -> (String, usize)) -> Vec<Vec<F>> {
    let mut sets: BTreeMap<String, Vec<(usize, F)>> = BTreeMap::new();
    for file in files {
        let (set, part) = part(&file);
        sets.entry(set).or_default().push((part, file));
    }
    let ordered = |mut parts: Vec<(usize, F)>| {
        parts.sort();
        parts.into_iter().map(|(_, file)| file).collect()
    };
    sets.into_values().map(ordered).collect()
}

fn idx_part(path: &Path) -> (String, usize) {
    let name = name(path);
    let part = ["train", "t10k", "test"].iter().enumerate().find(|(_, word)| name.contains(**word));
    part.map_or((name.clone(), 0), |(part, word)| (name.replacen(word, "", 1), part))
}

fn optdigits_part(path: &Path) -> (String, usize) {
    let name = name(path);
    let mut words: Vec<&str> = name.split('.').collect();
    let part = |word: &&str| ["tra", "hol", "tes"].iter().position(|part| part == word);
    match words.iter().enumerate().find_map(|(at, word)| Some((at, part(word)?))) {
        Some((at, part)) => {
            words.remove(at);
            (words.join("."), part)
        }
        None => (name, 0),
    }
}

/// The name of a file in lower case, without `.gz`.
fn name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    name.strip_suffix(".gz").unwrap_or(&name).into()
}
