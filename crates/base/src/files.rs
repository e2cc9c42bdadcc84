use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes the file at `path` so that a reader finds the old content or the new, never a part.
///
/// `write` receives a buffered writer to a temporary file in the same folder, which is then flushed to the disk and
/// renamed. When `write` fails or panics, the temporary file is removed and what was at `path` stays. What is no file, such as a device or
/// a pipe, is written into and not replaced.
///
/// # Errors
/// The error of `write`, or of creating, flushing or renaming the file.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("result.txt");
/// gradus_base::atomic_write(&path, |file| file.write_all(b"done"))?;
/// assert_eq!(std::fs::read(&path)?, b"done");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn atomic_write(path: impl AsRef<Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = path.as_ref();
    if path.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    }
    if is_special(path) {
        let mut buffered = BufWriter::new(OpenOptions::new().write(true).open(path)?);
        write(&mut buffered)?;
        return buffered.flush();
    }
    let folder = folder_of(path);
    let (temporary, file) = create_temporary(folder)?;
    let mut buffered = BufWriter::new(file);
    write(&mut buffered)?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    temporary.rename(path)?;
    sync_folder(folder);
    Ok(())
}

/// Whether [`atomic_write`] could write at `path` now: creates the missing folders, and a temporary file that it takes
/// away again. What is at `path` stays.
///
/// # Errors
/// That of creating the folders or the file; [`io::ErrorKind::IsADirectory`] for a folder at `path`.
pub fn check_writable(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_special(path) {
        return OpenOptions::new().write(true).open(path).map(drop);
    }
    fs::create_dir_all(folder_of(path))?;
    create_temporary(folder_of(path)).map(drop)
}

/// Whether there is something at a path that is neither a file nor a folder.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Does `work` while no other process or thread that uses the same lock file does its own. The file and its folders are
/// created when missing, and the file stays: whoever waits for it has it open.
///
/// # Errors
/// That of creating or locking the file. Where the file system has no locks, the work is done without one.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let sum = gradus_base::with_lock(folder.path().join(".lock"), || 1 + 1)?;
/// assert_eq!(sum, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn with_lock<T>(file: impl AsRef<Path>, work: impl FnOnce() -> T) -> io::Result<T> {
    fs::create_dir_all(folder_of(file.as_ref()))?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
    match lock.lock() {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    // Closing the file gives the lock back, after a panic too.
    let done = work();
    drop(lock);
    Ok(done)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is removed on drop unless it was renamed.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn rename(mut self, to: &Path) -> io::Result<()> {
        if let Some(from) = &self.0 {
            fs::rename(from, to)?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing better can be done here: the error that brought us here is the one to report.
            let _ = fs::remove_file(path);
        }
    }
}

fn create_temporary(folder: &Path) -> io::Result<(Temporary, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The name does not contain the target's, which may already have the greatest length allowed.
        let path = folder.join(format!(".gradus-{}-{number}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((Temporary(Some(path)), file)),
            // Left by a killed process that had the same id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the rename itself durable where folders can be opened; elsewhere, the file's content is safe all the same.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_written_into_and_not_replaced() {
        // Through a link, which is all that could be lost.
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        check_writable(&link).unwrap();
        atomic_write(&link, |file| file.write_all(b"gone")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && names(folder.path()) == ["null"]);
    }

    #[test]
    fn replaces_the_content_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in [&b"a longer first content"[..], b"second", b""] {
            atomic_write(&path, |file| file.write_all(content)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_failure_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let error = atomic_write(&path, |file| {
            file.write_all(b"half of the ne")?;
            Err(io::Error::other("no more"))
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_panic_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let result = std::panic::catch_unwind(|| atomic_write(&path, |_| panic!("on purpose")));
        assert!(result.is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_check_makes_folders_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        check_writable(&path).unwrap();
        assert!(names(&folder.path().join("new")).is_empty());
        assert_eq!(check_writable(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        fs::write(&path, "kept").unwrap();
        check_writable(&path).unwrap();
        assert!(check_writable(path.join("below a file")).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn one_at_a_time_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, number) = (folder.path().join("new/.lock"), folder.path().join("number"));
        fs::write(&number, "0").unwrap();
        let add = || {
            let before: u32 = fs::read_to_string(&number).unwrap().parse().unwrap();
            std::thread::yield_now();
            fs::write(&number, (before + 1).to_string()).unwrap();
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| with_lock(&lock, add).unwrap()));
            }
        });
        assert_eq!(fs::read(&number).unwrap(), b"160");
    }

    #[test]
    fn a_missing_folder_or_a_folder_as_target_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = atomic_write(folder.path().join("none/file"), |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let inner = folder.path().join("inner");
        fs::create_dir_all(inner.join("full")).unwrap();
        assert!(atomic_write(&inner, |_| Ok(())).is_err());
        assert_eq!(names(folder.path()), ["inner"]);
        let error = atomic_write("..", |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
