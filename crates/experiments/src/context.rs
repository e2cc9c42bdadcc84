use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gradus_base::{Cancel, Observer, atomic_write, with_lock};
use gradus_report::Profile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::experiment::{Experiment, OptionKind};
use crate::{ExperimentError, Interrupted};

/// What the user chose for a run.
///
/// ```
/// use gradus_experiments::{Profile, Settings};
///
/// let settings = Settings { profile: Profile::Full, seed: 7, ..Settings::default() };
/// assert_eq!(settings.seeds, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// How much is run.
    pub profile: Profile,
    /// The first seed.
    pub seed: u64,
    /// How many seeds, in the place of the experiment's own number.
    pub seeds: Option<usize>,
    /// Folder with real data sets; none for the data that comes with Gradus.
    pub data: Option<PathBuf>,
    /// Options of the experiment, by name, in the place of their defaults.
    pub options: BTreeMap<String, String>,
    /// Where finished parts are kept, in the subfolder `.parts`; none to keep nothing.
    pub out: Option<PathBuf>,
    /// Whether finished parts of an earlier run with the same settings are used.
    pub resume: bool,
}

/// What a run gets: the settings, and the way to report progress and to keep finished parts.
///
/// It can be shared between threads.
pub struct Context<'a> {
    settings: &'a Settings,
    options: BTreeMap<String, String>,
    slug: &'static str,
    seeds: usize,
    plan: OnceLock<Vec<String>>,
    cancel: &'a Cancel,
    observer: Mutex<&'a mut (dyn Observer + Send)>,
    parts: Option<PathBuf>,
    used: Mutex<BTreeSet<String>>,
    saved: Mutex<Duration>,
}

impl<'a> Context<'a> {
    /// Checks the options, and removes the parts of an earlier run with the same settings unless they are to be used.
    pub(crate) fn new(
        experiment: &Experiment,
        settings: &'a Settings,
        cancel: &'a Cancel,
        observer: &'a mut (dyn Observer + Send),
    ) -> Result<Self, ExperimentError> {
        let options = experiment.check(settings)?;
        let parts = settings.out.as_ref().map(|out| parts_folder(out, experiment, settings, &options));
        if let (Some(out), Some(folder), false) = (&settings.out, &parts, settings.resume) {
            remove_parts(out, folder).map_err(|source| ExperimentError::Io { path: folder.clone(), source })?;
        }
        Ok(Self {
            settings,
            options,
            slug: experiment.slug,
            seeds: settings.seeds.unwrap_or(experiment.seeds.of(settings.profile)),
            plan: OnceLock::new(),
            cancel,
            observer: Mutex::new(observer),
            parts,
            used: Mutex::default(),
            saved: Mutex::default(),
        })
    }

    /// How much to run.
    pub fn profile(&self) -> Profile {
        self.settings.profile
    }

    /// The first seed; for work that is done once, whatever the number of seeds.
    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// The seeds to run: from the first on, as many as the user wants or else the experiment declares.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.seeds as u64).map(|i| self.settings.seed.wrapping_add(i)).collect()
    }

    /// The folder with real data sets; none for the default data.
    pub fn data(&self) -> Option<&Path> {
        self.settings.data.as_deref()
    }

    /// The value of a declared option of any kind.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownOption`] for a name that the experiment does not declare; so for the other getters.
    pub fn text(&self, name: &str) -> Result<&str, ExperimentError> {
        self.options.get(name).map(String::as_str).ok_or_else(|| ExperimentError::UnknownOption {
            slug: self.slug.into(),
            name: name.into(),
            known: self.options.keys().cloned().collect(),
        })
    }

    /// The value of an option of kind [`OptionKind::Flag`].
    ///
    /// # Errors
    /// [`ExperimentError::OptionValue`] for an option of another kind whose value is not `true` or `false`.
    pub fn flag(&self, name: &str) -> Result<bool, ExperimentError> {
        self.parsed(name, "true or false")
    }

    /// The value of an option of kind [`OptionKind::Integer`].
    ///
    /// # Errors
    /// [`ExperimentError::OptionValue`] for an option of another kind whose value is not a whole number.
    pub fn integer(&self, name: &str) -> Result<u64, ExperimentError> {
        self.parsed(name, "a whole number")
    }

    /// The value of an option of kind [`OptionKind::Number`].
    ///
    /// # Errors
    /// [`ExperimentError::OptionValue`] for an option of another kind whose value is not a number.
    pub fn number(&self, name: &str) -> Result<f64, ExperimentError> {
        self.parsed(name, "a number")
    }

    /// The value of an option of kind [`OptionKind::File`]; none when it is empty.
    ///
    /// # Errors
    /// As for [`text`](Self::text).
    pub fn file(&self, name: &str) -> Result<Option<PathBuf>, ExperimentError> {
        Ok(Some(self.text(name)?).filter(|value| !value.is_empty()).map(PathBuf::from))
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, expected: &str) -> Result<T, ExperimentError> {
        let value = self.text(name)?;
        value.parse().map_err(|_| ExperimentError::option(name, value, expected))
    }

    /// The token to hand to long work.
    pub fn cancel(&self) -> &Cancel {
        self.cancel
    }

    /// For use between steps.
    ///
    /// # Errors
    /// [`Interrupted`] once the user asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.cancel.check()
    }

    /// Says once, at the start, what stages the work has, so that progress tells which of how many runs.
    pub fn plan(&self, stages: impl IntoIterator<Item = impl Into<String>>) {
        self.plan.get_or_init(|| stages.into_iter().map(Into::into).collect());
    }

    /// `done` steps of `total` are finished in a stage of the work; 0 at its start shows that it runs.
    pub fn progress(&self, done: u64, total: u64, stage: &str) {
        lock(&self.observer).progress(done, Some(total), &self.label(stage));
    }

    fn label(&self, stage: &str) -> String {
        let plan = self.plan.get().map_or(&[][..], Vec::as_slice);
        let place = plan.iter().position(|planned| planned == stage);
        place.map_or_else(|| stage.into(), |place| format!("{stage} ({} of {})", place + 1, plan.len()))
    }

    /// One line for the person who watches.
    pub fn message(&self, text: &str) {
        lock(&self.observer).message(text);
    }

    /// An observer to hand to long work in a stage, such as that for seed 3, which is the `part` of the stage; any number
    /// may be in use at once.
    pub fn observer<'s>(&'s self, stage: &str, part: &str) -> impl Observer + Send + use<'s, 'a> {
        Forward { context: self, label: format!("{}, {part}", self.label(stage)), open: None }
    }

    /// A part of the run whose value is kept on disk: with `--resume`, a part that an earlier run of the same
    /// experiment, version, profile, seeds, options and data finished is read instead of computed.
    ///
    /// `name` is unique within the run, such as `seed-3/fine-tune`. The value goes through JSON, which keeps every bit
    /// of finite numbers; a part with a number that is not finite cannot be read back and is computed again.
    ///
    /// # Errors
    /// [`ExperimentError::Interrupted`] before a part once the user asked to stop, [`ExperimentError::RepeatedPart`]
    /// for a name that was used, [`ExperimentError::Io`] when the value cannot be written, and those of `compute`.
    pub fn part<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        compute: impl FnOnce() -> Result<T, ExperimentError>,
    ) -> Result<T, ExperimentError> {
        self.check()?;
        if !lock(&self.used).insert(name.into()) {
            return Err(ExperimentError::RepeatedPart { slug: self.slug.into(), part: name.into() });
        }
        let Some(folder) = &self.parts else { return compute() };
        let path = folder.join(part_file(name));
        if let Some(part) = self.earlier::<T>(name, &path) {
            *lock(&self.saved) += Duration::from_secs_f64(part.seconds);
            return Ok(part.value);
        }
        let start = Instant::now();
        let value = compute()?;
        let part = Part { seconds: start.elapsed().as_secs_f64(), value: &value };
        self.keep(&path, &part).map_err(|source| ExperimentError::Io { path, source })?;
        Ok(value)
    }

    /// Under a lock, because another run with the same settings may be taking the folder away.
    fn keep(&self, path: &Path, part: &impl Serialize) -> io::Result<()> {
        let Some(out) = &self.settings.out else { return Ok(()) };
        with_lock(lock_file(out), || {
            fs::create_dir_all(path.parent().unwrap_or(out))?;
            atomic_write(path, |file: &mut dyn Write| Ok(serde_json::to_writer(file, part)?))
        })?
    }

    /// What an earlier run left, if it can be read. Without `--resume` the folder was emptied at the start, and what
    /// is there now comes from another run into the same folder.
    fn earlier<T: DeserializeOwned>(&self, name: &str, path: &Path) -> Option<Part<T>> {
        let content = if self.settings.resume { fs::read(path).ok()? } else { return None };
        match serde_json::from_slice::<Part<T>>(&content) {
            Ok(part) if Duration::try_from_secs_f64(part.seconds).is_ok() => {
                self.message(&format!("{name}: taken from the earlier run"));
                Some(part)
            }
            _ => {
                self.message(&format!("{name}: the file of the earlier run cannot be used; computed again"));
                None
            }
        }
    }

    /// The time that parts took in earlier runs.
    pub(crate) fn saved(&self) -> Duration {
        *lock(&self.saved)
    }

    /// Every option with its value.
    pub(crate) fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }
}

/// Puts the stage and its part before what long work says. Work may not know its end: the last stage that it spoke of
/// ends with it.
struct Forward<'a, 'b> {
    context: &'b Context<'a>,
    label: String,
    open: Option<(String, u64)>,
}

impl Forward<'_, '_> {
    fn end(&mut self) {
        if let Some((stage, done)) = self.open.take() {
            lock(&self.context.observer).progress(done, Some(done), &stage);
        }
    }
}

impl Observer for Forward<'_, '_> {
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        let stage = format!("{}: {stage}", self.label);
        if self.open.as_ref().is_some_and(|(open, _)| *open != stage) {
            self.end();
        }
        lock(&self.context.observer).progress(done, total, &stage);
        self.open = total.is_none_or(|total| done < total).then_some((stage, done));
    }

    fn message(&mut self, text: &str) {
        self.context.message(&format!("{}: {text}", self.label));
    }
}

impl Drop for Forward<'_, '_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The content of a part's file.
#[derive(Serialize, Deserialize)]
struct Part<T> {
    seconds: f64,
    value: T,
}

/// A thread that panicked while it held the lock left nothing half-done behind it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock_file(out: &Path) -> PathBuf {
    out.join(".parts/.lock")
}

/// Takes the parts of an earlier run with the same settings away.
fn remove_parts(out: &Path, folder: &Path) -> io::Result<()> {
    with_lock(lock_file(out), || match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })?
}

/// `OUT/.parts/SLUG/KEY`, where the key stands for everything that the parts depend on.
fn parts_folder(out: &Path, experiment: &Experiment, settings: &Settings, options: &BTreeMap<String, String>) -> PathBuf {
    let files = experiment.options.iter().filter(|option| matches!(option.kind, OptionKind::File(_)));
    let files = files.filter_map(|option| options.get(option.name)).map(|path| stamp(Path::new(path)));
    let program = std::env::current_exe().map_or((0, 0), |path| stamp(&path));
    let key = format!(
        "{:?}",
        (
            experiment.slug,
            settings.profile,
            settings.seed,
            settings.seeds,
            options,
            &settings.data,
            settings.data.as_deref().map(data_stamps),
            files.collect::<Vec<_>>(),
            env!("CARGO_PKG_VERSION"),
            program,
        )
    );
    let digest = Sha256::digest(key.as_bytes());
    let name: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    out.join(".parts").join(experiment.slug).join(name)
}

/// Length and time of the last change: another content has another stamp. Zeros for what cannot be read.
fn stamp(path: &Path) -> (u64, u128) {
    let Ok(metadata) = fs::metadata(path) else { return (0, 0) };
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    (metadata.len(), changed.map_or(0, |since| since.as_nanos()))
}

/// The stamps of the files in a folder and one level below, where data sets are looked for.
fn data_stamps(folder: &Path) -> BTreeMap<PathBuf, (u64, u128)> {
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let (folders, mut files): (Vec<_>, Vec<_>) = inside(folder).into_iter().partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| inside(folder)));
    files.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}

/// A part's name as a relative path that stays inside its folder on every system: other characters than letters,
/// digits, `-`, `_` and inner dots become `%` and their code.
fn part_file(name: &str) -> PathBuf {
    let escape = |piece: &str| -> String {
        let escaped = piece.bytes().enumerate().map(|(i, byte)| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            b'.' if i > 0 => ".".into(),
            _ => format!("%{byte:02X}"),
        });
        escaped.collect()
    };
    let pieces: Vec<String> = name.split('/').map(escape).collect();
    PathBuf::from(pieces.join("/") + ".json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_stay_inside_their_folder() {
        assert_eq!(part_file("seed-3/fine-tune"), Path::new("seed-3/fine-tune.json"));
        assert_eq!(part_file("../../x"), Path::new("%2E./%2E./x.json"));
        assert_eq!(part_file("a b\\C"), Path::new("a%20b%5C%43.json"));
        assert_eq!(part_file("n=0.5"), Path::new("n%3D0.5.json"));
    }
}
