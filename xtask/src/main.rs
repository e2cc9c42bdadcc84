//! The developer's commands, `cargo xtask …`: one file per command, everything done by calling cargo.

mod arrows;
mod bench;
mod browser;
mod cargo;
mod data;
mod docs;
mod gradus;
mod new_system;
mod sources;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

const HELP: &str = "\
The developer's commands of Gradus. Everything is built by cargo; nothing needs installing first.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  reproduce   Run the papers' experiments and write a report (same as `gradus reproduce`)
  list        List the systems, or one system's claims and options (same as `gradus list`)
  test        Check everything: format, lints, tests, documentation, crate arrows, smoke runs
  bench       Run the benchmarks, alone or beside PyTorch and JAX; of games beside NumPy
  docs        Check and build the book and the API documentation
  browser     Look at the report pages through Chromium
  data        List the real data sets that --data accepts, or check downloaded files
  new-system  Begin a system: its module, experiment, page and tests

`cargo xtask COMMAND --help` tells more. First thing to try: cargo xtask reproduce fisher-merging

Exit status: 0 done; 1 a check failed; 2 wrong use. `reproduce` and `list` pass on that of `gradus`.
";

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was wrong: exit status 2.
    Usage(String),
    /// The work was done and the answer is no, or it could not be done: exit status 1.
    Failed(String),
    /// A program that was run has told why already; its exit status is passed on.
    Status(u8),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
            Self::Status(status) => write!(f, "a program ended with status {status}"),
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message} (see `cargo xtask --help`)");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Status(status)) => ExitCode::from(status),
    }
}

fn run(mut arguments: Vec<OsString>) -> Result<(), Failure> {
    if arguments.is_empty() {
        print!("{HELP}");
        return Err(Failure::Usage("a command is missing".into()));
    }
    let command = arguments.remove(0);
    match command.to_string_lossy().as_ref() {
        "test" => test::run(arguments),
        "reproduce" | "list" => gradus::run(&command, arguments),
        "bench" => bench::run(arguments),
        "browser" => browser::run(arguments),
        "docs" => docs::run(arguments),
        "data" => data::run(arguments),
        "new-system" => new_system::run(arguments),
        "-h" | "--help" | "help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::Usage(format!("no such command: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_commands_are_wrong_use() {
        assert!(matches!(run(vec![]), Err(Failure::Usage(_))));
        assert!(matches!(run(vec!["tset".into()]), Err(Failure::Usage(m)) if m.contains("tset")));
    }
}
