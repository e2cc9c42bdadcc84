//! `cargo xtask bench`: our benchmarks, alone or alternating with the peers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::prelude::*;

use crate::{Failure, cargo};

const HELP: &str = "\
Builds the benchmarks optimised and runs them; the figures go to target/bench: `ours.json` and
`ours.md`, or with the peers `engine.json`, `engine.md` with floors and aims, and beside them the
machine's limits, the roofline picture and what else the README of benches names. Those of games
are `games.json` and `games.md`.

Usage: cargo xtask bench [games] [--peers] [-- ARGUMENTS…]

  games       Certificates of games, their checker and interval Jacobians instead of the engine

Options:
  --peers     Alternate with PyTorch and JAX (benches/peers/requirements.txt), installed on first
              use into target/bench/venv (needs python3 and a network), and with candle and burn
              (benches/peers-rust), built on first use into target/bench/peers-rust (some minutes);
              games with NumPy and mpmath (benches/peers/requirements-games.txt), installed into
              target/bench/venv-games
  -h, --help  This text
What follows `--` goes to the benchmark program.
";

/// Runs the command.
pub(crate) fn run(mut arguments: Vec<OsString>) -> Result<(), Failure> {
    // Before the rest, among which it could not be told from what follows `--`.
    let games = arguments.first().is_some_and(|first| first == "games");
    arguments.drain(..usize::from(games));
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut peers, mut passed_on) = (false, Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("peers") => peers = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            Value(value) => passed_on.push(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut bench = cargo::run(&["--release", "--package", if games { "gradus-benches-games" } else { "gradus-benches" }, "--"]);
    if peers {
        bench.arg("--python").arg(if games { GAMES.python()? } else { ENGINE.python()? });
    }
    if peers && !games {
        bench.arg("--rust-peers").arg(rust_peers()?);
    }
    match cargo::status(bench.args(passed_on))? {
        0 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

/// Peers in Python.
struct Peers {
    /// Where they are installed, in `target/bench`.
    folder: &'static str,
    /// The file that names them, in `benches/peers`.
    requirements: &'static str,
    /// What their installation takes.
    takes: &'static str,
}

const ENGINE: Peers = Peers { folder: "venv", requirements: "requirements.txt", takes: "some gigabytes, some minutes" };
const GAMES: Peers = Peers { folder: "venv-games", requirements: "requirements-games.txt", takes: "some megabytes" };

impl Peers {
    /// Their Python, made on first use and again when the requirements have changed.
    fn python(&self) -> Result<PathBuf, Failure> {
        let root = cargo::root();
        let folder = root.join("target/bench").join(self.folder);
        let python = folder.join("bin/python");
        let requirements = root.join("benches/peers").join(self.requirements);
        // A copy of the requirements, written last, so that an installation that was interrupted is done again.
        let done = folder.join("installed");
        let wanted = std::fs::read(&requirements).map_err(|error| failed(&requirements, &error))?;
        if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(python);
        }
        eprintln!("installing the peers into {}: {}", folder.display(), self.takes);
        must(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        must(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements))?;
        // Renamed, so that half a copy is never there.
        let copy = folder.join("installed.tmp");
        std::fs::write(&copy, wanted).and_then(|()| std::fs::rename(&copy, &done)).map_err(|error| failed(&done, &error))?;
        Ok(python)
    }
}

/// The program of the peers in Rust, built for this machine's processor.
fn rust_peers() -> Result<PathBuf, Failure> {
    let folder = cargo::root().join("target/bench/peers-rust");
    let program = folder.join("release").join(format!("gradus-peers-rust{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        eprintln!("building candle and burn into {}: some ten minutes", folder.display());
    }
    let mut build = cargo::command(&["build", "--quiet", "--release", "--locked", "--manifest-path", "benches/peers-rust/Cargo.toml"]);
    // Loops that do not ask which processor they run on are as fast as they can be.
    must(build.arg("--target-dir").arg(folder).env("RUSTFLAGS", "-C target-cpu=native"))?;
    Ok(program)
}

fn failed(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", file.display()))
}

fn must(command: &mut Command) -> Result<(), Failure> {
    match cargo::status(command)? {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!("{command:?} failed"))),
    }
}
