//! The benchmark of the games crate: certificates and their checker, interval Jacobians, and tables of linear games, alone or alternating
//! with NumPy and mpmath on the same inputs. `cargo xtask bench games` builds and runs it.

mod arguments;
mod boxes;
mod certificates;
mod group;
mod jacobians;
mod lmi;
mod peer;
mod perron;
mod report;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use gradus_benches_common::{bind, machine};

use arguments::Arguments;
use group::Group;
use peer::Peer;
use report::{Machine, Report};

/// What all random inputs are drawn from.
pub(crate) const SEED: u64 = 2512_06791;

/// Why the benchmark could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong use: exit status 2.
    #[error("{0}")]
    Usage(String),
    /// A file of the run cannot be written or read.
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    /// The threads cannot be started.
    #[error(transparent)]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// An example game is none.
    #[error(transparent)]
    Zoo(#[from] gradus_games::zoo::ZooError),
    /// A game is none.
    #[error(transparent)]
    Game(#[from] gradus_games::game::GameError),
    /// Nothing can be said of a game.
    #[error(transparent)]
    SmallGain(#[from] gradus_games::small_gain::SmallGainError),
    /// A certificate of ours proves nothing.
    #[error(transparent)]
    Certificate(#[from] gradus_games::small_gain::CertificateError),
    /// The inputs or the result do not fit JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A peer does not do what it is told.
    #[error("numpy: {0}")]
    Peer(String),
    /// An example is not what it was taken for.
    #[error("{0}")]
    Unexpected(String),
}

fn main() -> ExitCode {
    match arguments::parse(std::env::args_os().skip(1)).and_then(|arguments| arguments.map_or(Ok(true), |arguments| bench(&arguments))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Where inputs, outputs and results go.
fn folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).join("target/bench")
}

/// Runs everything; whether all outputs agreed and all floors are met.
fn bench(arguments: &Arguments) -> Result<bool, Failure> {
    let mut machine = Machine::describe(arguments.threads, arguments.rounds);
    // Before any thread or peer is started: they inherit it.
    bind(arguments.threads);
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global()?;
    let folder = folder();
    for part in ["inputs", "outputs"] {
        let part = folder.join(part);
        std::fs::create_dir_all(&part).map_err(|source| Failure::File { file: part, source })?;
    }
    let peer = arguments.python.as_deref().map(|python| Peer::start(python, arguments.threads, &folder)).transpose()?;
    let mut groups = groups(peer.as_ref())?;
    let own: Vec<u32> = std::iter::once(std::process::id()).chain(peer.as_ref().map(Peer::id)).collect();
    let (before, start) = (machine::other_work(&own), Instant::now());
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        groups.iter_mut().try_for_each(Group::turn)?;
    }
    let others = before.zip(machine::other_work(&own)).map(|(before, after)| (after - before) / start.elapsed().as_secs_f64());
    machine.finish(peer.as_ref().map(|peer| peer.version.clone()), others);
    let report = Report::new(machine, &groups);
    report.write(&folder)?;
    Ok(report.holds())
}

fn groups(peer: Option<&Peer>) -> Result<Vec<Group>, Failure> {
    Ok(vec![perron::group()?, jacobians::group()?, certificates::group()?, lmi::group()?, table::group(peer)?, boxes::group(peer)?])
}
