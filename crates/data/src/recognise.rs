use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{self, entries};
use crate::{Cifar, DataError, Dataset, idx, optdigits};

/// A data set that was found in a folder, by the content of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Images and labels in IDX files: the training part first, then the test part (MNIST's `t10k-…`).
    Idx(Vec<(PathBuf, PathBuf)>),
    /// Text rows of 64 pixels and a class, in the order training (`.tra`), the rest of it where it was held out (`.hol`),
    /// test (`.tes`).
    Optdigits(Vec<PathBuf>),
    /// CIFAR in its binary version, plain: the training part (`data_batch_1.bin` and so on, or `train.bin`) first, then the
    /// test part.
    Cifar(Cifar, Vec<PathBuf>),
    /// A folder with a folder of PNG or JPEG files for each class.
    #[cfg(feature = "images")]
    ImageFolder(PathBuf),
}

impl Found {
    /// Reads the data set, its parts one behind the other.
    ///
    /// # Errors
    /// Those of the loader of its format; [`DataError::ImageSize`] if there are images of different sizes.
    pub fn load(&self) -> Result<Dataset, DataError> {
        match self {
            Self::Optdigits(files) => optdigits::load(files),
            Self::Cifar(kind, files) => kind.load(files),
            #[cfg(feature = "images")]
            Self::ImageFolder(folder) => crate::load_image_folder(folder),
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
            Self::Optdigits(files) | Self::Cifar(_, files) => files.iter().collect(),
            #[cfg(feature = "images")]
            Self::ImageFolder(folder) => vec![folder],
        };
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" + ")
    }
}

/// The rows of both, those of `all` first.
fn join(mut all: Dataset, part: Dataset) -> Result<Dataset, DataError> {
    let size = |data: &Dataset| data.image.unwrap_or([1, 1, data.width]);
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
    #[cfg(feature = "images")]
    if found.is_empty() && crate::images::are_classes(&folders)? {
        found.push(Found::ImageFolder(folder.into()));
    }
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

/// Enough for comments and the first row.
const HEAD: u64 = 1 << 14;

fn recognise_files(paths: &[PathBuf]) -> Result<Vec<Found>, DataError> {
    let (mut images, mut labels, mut rows, mut cifar) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let twin = |path: &PathBuf| path.extension().is_some_and(|own| own == "gz") && paths.contains(&path.with_extension(""));
    for path in paths.iter().filter(|path| !twin(path)) {
        let head = files::head(path, HEAD)?;
        match head.first_chunk::<4>().map(|&word| u32::from_be_bytes(word)) {
            Some(idx::IMAGES) => images.push(path.clone()),
            Some(idx::LABELS) => labels.push(path.clone()),
            _ if optdigits::begins(&head) => rows.push(path.clone()),
            _ => cifar.extend(cifar_file(path, &head)?),
        }
    }
    let mut found: Vec<Found> = sets(pair(images, labels)?, |(images, _)| idx_part(images)).into_iter().map(Found::Idx).collect();
    found.extend(sets(rows, |rows| optdigits_part(rows)).into_iter().map(Found::Optdigits));
    found.extend(cifar_sets(cifar));
    Ok(found)
}

/// The data set of CIFAR that a file is of. That it ends in `.bin` is asked for because its content has no mark of its own.
fn cifar_file(path: &Path, head: &[u8]) -> Result<Option<(Cifar, PathBuf)>, DataError> {
    if path.extension().is_none_or(|extension| extension != "bin") {
        return Ok(None);
    }
    let bytes = std::fs::metadata(path).map_err(DataError::io(path))?.len();
    let kind = [Cifar::Ten, Cifar::Hundred].into_iter().find(|kind| kind.fits(head, bytes));
    Ok(kind.map(|kind| (kind, path.to_owned())))
}

/// The files of each of the two data sets, what is called test last.
fn cifar_sets(mut files: Vec<(Cifar, PathBuf)>) -> impl Iterator<Item = Found> {
    files.sort_by_key(|(_, path)| (name(path).contains("test"), name(path)));
    [Cifar::Ten, Cifar::Hundred].into_iter().filter_map(move |kind| {
        let own: Vec<PathBuf> = files.iter().filter(|(other, _)| *other == kind).map(|(_, path)| path.clone()).collect();
        (!own.is_empty()).then_some(Found::Cifar(kind, own))
    })
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
