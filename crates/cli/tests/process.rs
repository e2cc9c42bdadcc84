//! The `gradus` program from outside: exit statuses, streams and signals.

// Helpers of tests count as tests only inside a test module.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn gradus(arguments: &[&str], out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gradus"));
    command.args(arguments).arg("--out").arg(out).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str], out: &Path) -> Output {
    gradus(arguments, out).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The measured values of a run's claims.
fn measured(out: &Path) -> Vec<Value> {
    let results: Value = serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    results["systems"][0]["claims"].as_array().unwrap().iter().map(|claim| claim["measured"].clone()).collect()
}

#[test]
fn wrong_use_is_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = folder.path().join("tasks.json");
    fs::write(&tasks, "[{").unwrap();
    for arguments in [
        &["reproduce", "no-such-paper"][..],
        &["reproduce", "fisher-merging", "--profile", "enormous"],
        &["reproduce", "fisher-merging", "--data", "/no/such/folder"],
        &["reproduce", "icl-gradient-descent", "--data", "/"],
        &["reproduce", "icl-gradient-descent", "--option", "tasks=/no/such/file"],
        &["reproduce", "icl-gradient-descent", "--option", &format!("tasks={}", tasks.display())],
        &["reproduce", "icl-gradient-descent", "--html", &tasks.join("below a file").display().to_string()],
    ] {
        let done = run(arguments, folder.path());
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let done = run(&["reproduce", "fisher-merging", "--profile", "smoke"], &file.join("below"));
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn nobody_listening_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = gradus(&["reproduce", "fisher-merging", "--profile", "smoke"], folder.path()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert!(!text(&done.stderr).contains("panicked"), "{}", text(&done.stderr));
    assert!(folder.path().join("results.json").is_file());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Child;
    use std::time::{Duration, Instant};

    use super::*;

    /// Forty short seeds, one after the other, each a part.
    const LONG: [&str; 6] = ["reproduce", "fisher-merging", "--profile", "smoke", "--seeds", "40"];

    fn parts(out: &Path) -> usize {
        let keys = fs::read_dir(out.join(".parts/fisher-merging")).into_iter().flatten().flatten();
        let files = keys.flat_map(|key| fs::read_dir(key.path()).into_iter().flatten().flatten());
        files.filter(|file| file.file_name().to_string_lossy().ends_with(".json")).count()
    }

    /// A run that has finished some of its parts.
    fn begun(out: &Path) -> Child {
        let mut child = gradus(&LONG, out).spawn().unwrap();
        let start = Instant::now();
        while parts(out) < 2 && child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    fn interrupt(child: &Child) -> bool {
        Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    #[test]
    fn what_an_interrupt_leaves_is_gone_on_with() {
        let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(run(&LONG, whole.path()).status.code(), Some(0));
        let child = begun(cut.path());
        assert!(interrupt(&child));
        let done = child.wait_with_output().unwrap();
        let said = text(&done.stderr);
        assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(130), ""), "{said}");
        assert!(said.contains("\nstopping\n") && said.lines().any(|line| line.starts_with("error: interrupted")), "{said}");
        assert!((2..40).contains(&parts(cut.path())) && !cut.path().join("results.json").exists(), "finished parts stay");

        let resumed = run(&[&LONG[..], &["--resume"]].concat(), cut.path());
        assert_eq!(resumed.status.code(), Some(0));
        assert!(text(&resumed.stderr).contains("message\tfisher-merging\tseed-0: taken from the earlier run\n"));
        assert_eq!(measured(cut.path()), measured(whole.path()));
    }

    #[test]
    fn a_second_interrupt_loses_nothing_either() {
        let folder = tempfile::tempdir().unwrap();
        let child = begun(folder.path());
        assert!(interrupt(&child));
        // Whether it comes within the last step or after the end is a race; neither may change the outcome.
        interrupt(&child);
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(130), "{}", text(&done.stderr));
        assert!(parts(folder.path()) >= 2 && !folder.path().join("results.json").exists());
    }

    #[test]
    fn a_folder_that_is_read_only_is_told_before_the_run() {
        let check = |out: &Path| {
            let done = run(&["reproduce", "--all", "--profile", "smoke"], out);
            let said = text(&done.stderr);
            assert_eq!(done.status.code(), Some(2), "{said}");
            assert!(said.starts_with("error: --out ") && said.lines().count() == 1, "{said}");
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        // Permissions do not bind the superuser; the kernel's own folder does.
        if fs::write(folder.path().join("probe"), "").is_err() {
            check(folder.path());
        }
        if Path::new("/proc/self").exists() {
            check(Path::new("/proc/gradus"));
        }
    }

    #[test]
    fn a_closed_stdout_is_no_error() {
        let done = Command::new("sh").args(["-c", "\"$0\" list >&-", env!("CARGO_BIN_EXE_gradus")]).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{}", text(&done.stderr));
    }
}
