//! Running cargo from the workspace root.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::Failure;

/// The root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// `cargo ARGUMENTS…`, to be run in the workspace root.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// `cargo run ARGUMENTS…`. The progress of the build is for people: elsewhere it would mix with what the program says for
/// other programs.
pub(crate) fn run(arguments: &[&str]) -> Command {
    let quiet: &[&str] = if std::io::stderr().is_terminal() { &[] } else { &["--quiet"] };
    command(&[&["run"], quiet, arguments].concat())
}

/// Runs to the end with the terminal's own input and output; the exit status.
pub(crate) fn status(command: &mut Command) -> Result<u8, Failure> {
    let status = command.status().map_err(|error| cannot_run(command, &error))?;
    Ok(status.code().map_or_else(|| by_signal(status), |code| u8::try_from(code).unwrap_or(1)))
}

/// What shells report for a program that a signal ended: 130 for Ctrl-C.
fn by_signal(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        status.signal().and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(1)
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        1
    }
}

/// Becomes the command where the system can do that, so that Ctrl-C reaches it alone; else runs it.
pub(crate) fn become_command(command: &mut Command) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let error = command.exec();
        Err(cannot_run(command, &error))
    }
    #[cfg(not(unix))]
    match status(command)? {
        0 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

/// Runs to the end and returns standard output; an error when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_run(command, &error))?;
    if !output.status.success() {
        return Err(Failure::Failed(format!("{command:?} failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end; what the command warned of, and its whole standard error where it failed.
pub(crate) fn warnings(command: &mut Command) -> Result<Vec<String>, Failure> {
    let output = command.stdout(Stdio::inherit()).output().map_err(|error| cannot_run(command, &error))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let kept = |line: &&str| !output.status.success() || line.starts_with("warning");
    Ok(text.lines().filter(kept).map(str::to_owned).collect())
}

/// Runs to the end, prints standard output as it comes, and returns it with whether the run succeeded.
pub(crate) fn tee(command: &mut Command) -> Result<(bool, String), Failure> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| cannot_run(command, &error))?;
    let mut seen = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            seen.push_str(&line);
            seen.push('\n');
        }
    }
    let status = child.wait().map_err(|error| cannot_run(command, &error))?;
    Ok((status.success(), seen))
}

fn cannot_run(command: &Command, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("cannot run {}: {error}", command.get_program().to_string_lossy()))
}
