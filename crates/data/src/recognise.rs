use std::path::{Path, PathBuf};

use crate::{DataError, Dataset, files, idx, optdigits};

/// A data set that was found in a folder, by the content of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Images and labels in IDX files, in this order; pairs of one folder by the name up to `-images`.
    Idx(Vec<(PathBuf, PathBuf)>),
    /// Text rows of 64 pixels and a class, in the order training (`.tra`), held out (`.hol`), test (`.tes`).
    Optdigits(Vec<PathBuf>),
}

impl Found {
    /// Reads the data set.
    ///
    /// # Errors
    /// [`DataError`] naming the file and the place.
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
        let files: Vec<&Path> = match self {
            Self::Idx(pairs) => pairs.iter().map(|(images, _)| images.as_path()).collect(),
            Self::Optdigits(files) => files.iter().map(PathBuf::as_path).collect(),
        };
        files.first().and_then(|file| file.parent()).unwrap_or(Path::new("")).display().to_string()
    }
}

/// The rows of both, those of `all` first.
fn join(mut all: Dataset, part: Dataset) -> Result<Dataset, DataError> {
    if all.image != part.image {
        return Err(DataError::Count { what: "pixels of an image", expected: all.width, found: part.width });
    }
    all.name = format!("{} + {}", all.name, part.name);
    all.features.extend(part.features);
    all.labels.extend(part.labels);
    all.classes = all.classes.max(part.classes);
    Ok(all)
}

/// The data sets in `folder`, or, where it has none itself, in the folders one level below.
///
/// # Errors
/// [`DataError::Io`] if a folder or file cannot be read, [`DataError::Unknown`] if nothing is recognised.
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
        if path.is_dir() { folders.push(path) } else { files.push(path) }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

/// Enough for the first row of every format.
const HEAD: u64 = 1024;

fn recognise_files(paths: &[PathBuf]) -> Result<Vec<Found>, DataError> {
    let (mut images, mut labels, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let head = files::head(path, HEAD)?;
        match head.first_chunk::<4>().map(|&word| u32::from_be_bytes(word)) {
            Some(idx::IMAGES) => images.push(path.clone()),
            Some(idx::LABELS) => labels.push(path.clone()),
            _ if optdigits::begins(&head) => rows.push(path.clone()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    // Training files first: `train-…` sorts after `t10k-…`.
    images.sort_by_key(|path| (!name(path).contains("train"), name(path)));
    let pairs: Vec<_> = images.into_iter().filter_map(|image| Some((image.clone(), partner(&image, &labels)?))).collect();
    if !pairs.is_empty() {
        found.push(Found::Idx(pairs));
    }
    let order = |path: &PathBuf| ["tra", "hol", "tes"].iter().position(|part| path.extension().is_some_and(|own| own == *part));
    rows.sort_by_key(|path| (order(path).unwrap_or(3), path.clone()));
    if !rows.is_empty() {
        found.push(Found::Optdigits(rows));
    }
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The label file whose name begins like that of the image file, or the only one.
fn partner(image: &Path, labels: &[PathBuf]) -> Option<PathBuf> {
    let image = name(image);
    let stem = image.split("images").next().unwrap_or_default();
    let same = labels.iter().find(|label| name(label).split("labels").next() == Some(stem));
    let only = if let [one] = labels { Some(one) } else { None };
    same.or(only).cloned()
}
