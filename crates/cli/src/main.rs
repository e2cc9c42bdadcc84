//! The gradus command: list and reproduce papers, certify games.

mod arguments;
mod certify;
mod list;
mod panic;
mod progress;
mod reproduce;
#[cfg(test)]
mod tests;
mod verify;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use gradus_base::{Cancel, Observer};
use gradus_experiments::{Experiment, ExperimentError, Status};
use gradus_report::ReportError;

use arguments::{Arguments, Command};
use progress::Lines;

/// What a run of the command touches of the world, so that tests can put their own in its place.
struct Session<'a> {
    experiments: &'a [&'a Experiment],
    cancel: Cancel,
    /// Results only.
    stdout: &'a mut dyn Write,
    /// Errors and progress.
    stderr: &'a mut (dyn Write + Send),
    /// Whether progress is shown as bars.
    bars: bool,
}

impl Session<'_> {
    /// Prints a result. A reader that has gone away does not change the verdict.
    fn print(&mut self, text: &str) -> Result<(), Failure> {
        match self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            _ => Ok(()),
        }
    }

    /// One line about a system for whoever watches, a person or a program.
    fn note(&mut self, slug: &str, text: &str) {
        if self.bars { self.tell(&format!("{slug}: {text}")) } else { Lines::new(self.stderr, slug, Duration::ZERO).message(text) }
    }

    /// One line on standard error. Standard error is the last resort, so its own errors have no place to go.
    fn tell(&mut self, line: &str) {
        let _ = writeln!(self.stderr, "{}", line.replace('\n', " "));
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("no system can be reproduced yet")]
    NothingToRun,
    #[error("interrupted; --resume goes on from the finished parts in {0}")]
    Interrupted(String),
    #[error("{0}")]
    Game(String),
    #[error("{0}")]
    Rejected(String),
    #[error("interrupted")]
    Stopped,
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("internal error{0}")]
    Panic(String),
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl Failure {
    /// The exit status.
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Game(_) => 2,
            Self::Experiment(
                ExperimentError::UnknownOption { .. }
                | ExperimentError::OptionValue { .. }
                | ExperimentError::File { .. }
                | ExperimentError::NoData { .. },
            ) => 2,
            Self::NothingToRun => 3,
            Self::Interrupted(_) | Self::Stopped | Self::Experiment(ExperimentError::Interrupted(_)) => 130,
            Self::Rejected(_) | Self::Experiment(_) | Self::Report(_) | Self::Panic(_) | Self::Output(_) => 1,
        }
    }
}

/// The exit status of a finished run.
fn status(verdict: Status) -> u8 {
    match verdict {
        Status::Holds => 0,
        Status::Fails => 1,
        Status::NeedsMore => 3,
    }
}

fn main() -> ExitCode {
    panic::remember_places();
    let cancel = Cancel::new();
    let bars = io::stderr().is_terminal();
    stop_on_interrupt(cancel.clone(), bars);
    let (stdout, stderr) = (&mut io::stdout().lock(), &mut io::stderr());
    let mut session = Session { experiments: gradus_experiments::ALL, cancel, stdout, stderr, bars };
    let status = catch_unwind(AssertUnwindSafe(|| run(std::env::args_os(), &mut session)));
    ExitCode::from(status.unwrap_or_else(|panic| fail(&Failure::Panic(panic::message(&*panic)), &mut session)))
}

/// The first Ctrl-C asks the work to stop after its current step, the second ends the process.
fn stop_on_interrupt(cancel: Cancel, person: bool) {
    let handler = move || {
        if cancel.is_cancelled() {
            std::process::exit(130);
        }
        cancel.cancel();
        eprintln!("{}", if person { "stopping after the current step; Ctrl-C again stops at once" } else { "stopping" });
    };
    // Without the handler Ctrl-C ends the process, which loses only the part that is being computed.
    let _ = ctrlc::set_handler(handler);
}

/// Runs the command and returns the exit status.
fn run(arguments: impl IntoIterator<Item = OsString>, session: &mut Session) -> u8 {
    let done = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match arguments.command {
            Command::List(request) => list::run(&request, session).map(|()| 0),
            Command::Reproduce(request) => reproduce::run(&request, session),
            Command::Certify(request) => certify::run(&request, session),
            Command::Verify(request) => verify::run(&request, session),
        },
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            session.print(&error.to_string()).map(|()| 0)
        }
        Err(error) => Err(Failure::Usage(one_line(&error))),
    };
    done.unwrap_or_else(|failure| fail(&failure, session))
}

/// Says why, and returns the exit status.
fn fail(failure: &Failure, session: &mut Session) -> u8 {
    session.tell(&format!("error: {failure}"));
    failure.status()
}

/// What clap says, without the usage text, on one line.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing (see `gradus --help`)".into();
    }
    let text = error.to_string();
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    format!("{} (see `gradus --help`)", said.join(" ").trim_start_matches("error: "))
}
