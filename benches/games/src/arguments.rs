//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::Failure;

const HELP: &str = "\
Times certificates of games, their checker, interval Jacobians and tables of linear games, alone or alternating
with NumPy and mpmath on the same inputs. Results go to target/bench: games.json and games.md.

Usage: cargo xtask bench games [--peers] [-- OPTIONS]

Options:
  --rounds N     Turns of each side, at least 1 [default: 5]
  --threads N    Threads of each side, at least 1 [default: 2]
  --python PATH  The Python that has NumPy and mpmath; `--peers` passes it
  -h, --help     This text

Exit status: 0 done; 1 a floor is not met, or outputs disagree; 2 wrong use.
";

/// What to run.
pub(crate) struct Arguments {
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    pub(crate) python: Option<PathBuf>,
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The arguments; `None` after printing the help.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut parsed = Arguments { rounds: 5, threads: 2, python: None };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => parsed.rounds = positive("--rounds", parser.value()?)?,
            Long("threads") => parsed.threads = positive("--threads", parser.value()?)?,
            Long("python") => parsed.python = Some(parser.value()?.into()),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(parsed))
}

fn positive(option: &str, value: OsString) -> Result<usize, Failure> {
    match value.to_string_lossy().parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Failure::Usage(format!("{option}: expected a whole number of at least 1, found {value:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_wrong_ones() {
        let of = |arguments: &[&str]| parse(arguments.iter().map(OsString::from));
        let parsed = of(&["--rounds=3", "--threads", "1", "--python", "p"]).unwrap().unwrap();
        assert_eq!((parsed.rounds, parsed.threads, parsed.python), (3, 1, Some("p".into())));
        assert!(matches!(of(&["--rounds", "0"]), Err(Failure::Usage(message)) if message.contains("at least 1")));
        assert!(matches!(of(&["fast"]), Err(Failure::Usage(message)) if message.contains("fast")));
    }
}
