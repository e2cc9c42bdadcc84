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
    for arguments in [
        &["reproduce", "no-such-paper"][..],
        &["reproduce", "fisher-merging", "--profile", "enormous"],
        &["reproduce", "fisher-merging", "--data", "/no/such/folder"],
        &["reproduce", "icl-gradient-descent", "--option", "tasks=/no/such/file"],
    ] {
        let done = run(arguments, folder.path());
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
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
#[test]
fn what_an_interrupt_leaves_is_gone_on_with() {
    use std::time::{Duration, Instant};
    let arguments = ["reproduce", "fisher-merging", "--profile", "smoke", "--seeds", "40"];
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(&arguments, whole.path()).status.code(), Some(0));

    let mut child = gradus(&arguments, cut.path()).spawn().unwrap();
    let parts = cut.path().join(".parts/fisher-merging");
    let some = |folder: &Path| {
        fs::read_dir(folder).is_ok_and(|mut keys| keys.any(|key| fs::read_dir(key.unwrap().path()).is_ok_and(|files| files.count() > 1)))
    };
    let start = Instant::now();
    while !some(&parts) && child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().is_ok_and(|status| status.success()));
    let done = child.wait_with_output().unwrap();
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(130), "{said}");
    assert!(said.lines().any(|line| line.starts_with("error: interrupted")), "{said}");
    assert!(some(&parts), "finished parts stay");

    let resumed = [&arguments[..], &["--resume"]].concat();
    assert_eq!(run(&resumed, cut.path()).status.code(), Some(0));
    assert_eq!(measured(cut.path()), measured(whole.path()));
}
