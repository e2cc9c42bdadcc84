//! The engine benchmark: the same workloads on the same inputs here, in PyTorch, JAX, candle and burn, alternating in one
//! run, and what the machine can do at most.
//! `cargo xtask bench --peers` builds it, installs the peers and runs it.

mod arguments;
mod limits;
mod peer;
mod report;
mod roofline;
mod statistics;
mod targets;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::Arguments;
use gradus_benches_common::{bind, machine};
use limits::Limits;
use peer::Peer;
use report::{Machine, Own, Results, Row, Turns};
use roofline::Roofline;
use workloads::{Cost, Workload};

/// Sleep before each turn, for the threads of the side before to stop waiting actively (OpenMP's do for some
/// milliseconds; forbidding it would slow PyTorch down within its own turn).
const PAUSE: Duration = Duration::from_millis(50);

/// Why the benchmark could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong use: exit status 2.
    #[error("{0}")]
    Usage(String),
    /// A file of the run cannot be written.
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    /// The inputs cannot be kept.
    #[error(transparent)]
    Checkpoint(#[from] gradus_checkpoint::CheckpointError),
    /// The threads cannot be started.
    #[error(transparent)]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// An update of our side failed.
    #[error(transparent)]
    Optimizer(#[from] gradus_optimizers::OptimizerError),
    /// A model of our side cannot be built.
    #[error(transparent)]
    Setting(#[from] gradus_models::SettingError),
    /// Per-example gradients of our side failed.
    #[error(transparent)]
    PerExample(#[from] gradus_autodiff::PerExampleError),
    /// A shape of our side does not fit.
    #[error(transparent)]
    Tensor(#[from] gradus_autodiff::TensorError),
    /// The result does not fit JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
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
    manifest.parent().unwrap_or(manifest).join("target/bench")
}

/// Runs everything; whether every peer ran and agreed.
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
    let mut ours = arguments.workloads.iter().map(|make| make()).collect::<Result<Vec<_>, _>>()?;
    let complete = workloads::ALL.iter().all(|(name, _)| ours.iter().any(|workload| workload.name == *name));
    let with_limits = complete || arguments.limits;
    let mut peers = peer::start_all(arguments.python.as_deref(), arguments.rust_peers.as_deref(), arguments.threads);
    let mut turns: Vec<Turns> = ours.iter().map(|w| Turns::new(w.name, peers.len())).collect();
    for (workload, turns) in ours.iter_mut().zip(&mut turns) {
        check(workload, &mut peers, turns, &folder)?;
    }
    let mut limits = with_limits.then(Limits::measure);
    let mut idle = Idle::new(&peers);
    let before = machine::other_work(&idle.running());
    let start = Instant::now();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        limits.iter_mut().for_each(Limits::measure_peak);
        for (workload, turns) in ours.iter_mut().zip(&mut turns) {
            turns.ours.push(idle.around(0, || workload.time())?);
            for (i, peer) in peers.iter_mut().enumerate() {
                if peer.covers(workload.name) && turns.peers[i].failure.is_none() {
                    match idle.around(i + 1, || peer.time(workload)) {
                        Ok(ms) => turns.peers[i].ms.push(ms),
                        Err(message) => turns.peers[i].failure = Some(message),
                    }
                }
            }
        }
    }
    let others = before.zip(machine::other_work(&idle.running())).map(|(before, after)| (after - before) / start.elapsed().as_secs_f64());
    machine.finish(&peers, idle.shares(), others);
    let costs: Vec<Cost> = ours.iter().map(|workload| workload.cost).collect();
    let roofline = limits.map(|limits| Roofline::new(limits, &turns, &costs));
    let results = Results::new(folder, !peers.is_empty(), complete);
    results.json(".machine", &machine)?;
    let (mut table, agreed) = if peers.is_empty() {
        let rows: Vec<Own> = turns.iter().map(Turns::own).collect();
        results.json("", &rows)?;
        (report::own_table(&rows), true)
    } else {
        let rows: Vec<Row> = turns.iter().flat_map(|t| t.rows(&peers)).collect();
        results.json("", &rows.iter().map(|row| &row.timing).collect::<Vec<_>>())?;
        results.json(".agreement", &rows.iter().map(|row| &row.agreement).collect::<Vec<_>>())?;
        (report::table(&rows), rows.iter().all(|row| row.timing.ratio.is_some()))
    };
    if let Some(roofline) = roofline {
        table += &format!("\n{}", roofline.table());
        results.json(".limits", &roofline)?;
        results.text(".roofline.svg", &roofline.figure().svg)?;
    }
    results.text(".md", &table)?;
    print!("{table}");
    Ok(agreed)
}

/// Hands the inputs to every side and compares what they make of them.
fn check(workload: &mut Workload, peers: &mut [Peer], turns: &mut Turns, folder: &Path) -> Result<(), Failure> {
    let inputs = folder.join("inputs").join(format!("{}.safetensors", workload.name));
    workload.inputs.write(&inputs)?;
    let expected = workload.outputs()?;
    expected.write(folder.join("outputs").join(format!("{}.ours.safetensors", workload.name)))?;
    for (peer, turns) in peers.iter_mut().zip(&mut turns.peers).filter(|(peer, _)| peer.covers(workload.name)) {
        let outputs = folder.join("outputs").join(format!("{}.{}.safetensors", workload.name, peer.name));
        match peer.outputs(workload.name, &inputs, &outputs) {
            Ok(found) => match statistics::difference(&expected, &found) {
                Ok(difference) => {
                    turns.difference = Some(difference);
                    if difference.is_nan() || difference > workload.tolerance {
                        turns.disagreement = Some(format!("outputs differ by {difference:.1e}, more than {:.0e}", workload.tolerance));
                    }
                }
                Err(message) => turns.disagreement = Some(message),
            },
            Err(message) => turns.failure = Some(message),
        }
    }
    Ok(())
}

/// How much processor time each side takes while it is another's turn.
struct Idle {
    /// Ours and the peers'; none for one that does not run.
    processes: Vec<Option<u32>>,
    waited: Vec<Duration>,
    used: Vec<Duration>,
}

impl Idle {
    fn new(peers: &[Peer]) -> Self {
        let processes: Vec<Option<u32>> = std::iter::once(Some(std::process::id())).chain(peers.iter().map(Peer::id)).collect();
        let zeros = vec![Duration::ZERO; processes.len()];
        Self { processes, waited: zeros.clone(), used: zeros }
    }

    fn running(&self) -> Vec<u32> {
        self.processes.iter().flatten().copied().collect()
    }

    /// A turn of the side `active`, after the pause.
    fn around<R>(&mut self, active: usize, turn: impl FnOnce() -> R) -> R {
        std::thread::sleep(PAUSE);
        let used = |id: Option<u32>| machine::processor_time(id?);
        let before: Vec<_> = self.processes.iter().map(|&id| used(id)).collect();
        let start = Instant::now();
        let result = turn();
        let elapsed = start.elapsed();
        for (side, before) in before.into_iter().enumerate() {
            if let (true, Some(before), Some(after)) = (side != active, before, used(self.processes[side])) {
                self.waited[side] += elapsed;
                self.used[side] += after.saturating_sub(before);
            }
        }
        result
    }

    /// Processor time over waiting time, for each side; `None` where the system does not tell.
    fn shares(&self) -> Vec<Option<f64>> {
        let share = |(used, waited): (&Duration, &Duration)| (!waited.is_zero()).then(|| used.as_secs_f64() / waited.as_secs_f64());
        self.used.iter().zip(&self.waited).map(share).collect()
    }
}
