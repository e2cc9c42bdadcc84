//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::Failure;
use crate::workloads::{ALL, Make};

const HELP: &str = "\
Times the engine's workloads, alone or alternating with PyTorch, JAX, candle and burn on the same inputs,
and measures the machine's limits. Results go to target/bench: ours.json and ours.md, with peers engine.json
and engine.md, beside them *.machine.json, *.limits.json and *.roofline.svg; those of --only are named
*-part and leave an earlier full run as it is.

Usage: cargo xtask bench [--peers] [-- OPTIONS]

Options:
  --only W1,W7       These workloads only (W1 to W11, W6-gradient,
                       W7-fisher, W7-gram, W7-norms, W10-fused)
  --rounds N         Turns of each side on each workload, at least 1 [default: 9]
  --threads N        Threads of each side, at least 1 [default: 2]
  --limits           Measure the machine's limits with --only too
  --python PATH      The Python that has PyTorch and JAX; `--peers` passes it
  --rust-peers PATH  A program that runs the workloads on candle and on burn, by the same protocol
  -h, --help         This text

Exit status: 0 done; 1 a peer failed or disagreed; 2 wrong use.
";

/// What to run.
pub(crate) struct Arguments {
    pub(crate) workloads: Vec<Make>,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    pub(crate) limits: bool,
    pub(crate) python: Option<PathBuf>,
    pub(crate) rust_peers: Option<PathBuf>,
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The arguments; `None` after printing the help.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let workloads = ALL.iter().map(|(_, make)| *make).collect();
    let mut parsed = Arguments { workloads, rounds: 9, threads: 2, limits: false, python: None, rust_peers: None };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => parsed.workloads = only(&parser.value()?.string()?)?,
            Long("rounds") => parsed.rounds = positive("--rounds", parser.value()?)?,
            Long("threads") => parsed.threads = positive("--threads", parser.value()?)?,
            Long("limits") => parsed.limits = true,
            Long("rust-peers") => parsed.rust_peers = Some(parser.value()?.into()),
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

fn only(names: &str) -> Result<Vec<Make>, Failure> {
    let find = |name: &str| {
        let known = || ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, make)| *make);
        found.ok_or_else(|| Failure::Usage(format!("--only: no workload {name:?}; there are {}", known())))
    };
    names.split(',').map(find).collect()
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

    fn parse_all(arguments: &[&str]) -> Result<Option<Arguments>, Failure> {
        parse(arguments.iter().map(OsString::from))
    }

    fn message(arguments: &[&str]) -> String {
        match parse_all(arguments) {
            Err(Failure::Usage(message)) => message,
            Err(other) => other.to_string(),
            Ok(_) => String::new(),
        }
    }

    #[test]
    fn options_select_workloads_and_rounds() {
        let arguments = parse_all(&["--only", "W5,W8", "--rounds=3", "--python", "p", "--limits"]).unwrap().unwrap();
        assert_eq!((arguments.workloads.len(), arguments.rounds, arguments.threads), (2, 3, 2));
        assert_eq!(arguments.python.unwrap().as_os_str(), "p");
        assert!(arguments.limits && arguments.rust_peers.is_none());
    }

    #[test]
    fn wrong_options_say_what_is_expected() {
        assert!(message(&["--only", "W5,W12"]).contains("no workload \"W12\"; there are W1, W2"));
        assert!(message(&["--rounds", "0"]).contains("at least 1"));
        assert!(message(&["--fast"]).contains("--fast"));
    }
}
