//! The peers, each a process of its own.

use std::path::Path;

use gradus_benches_common::{Link, median};
use gradus_checkpoint::Checkpoint;
use serde_json::Value;

use crate::workloads::Workload;

/// A peer. What goes wrong with it is a message for its rows, not the end of the run.
pub(crate) struct Peer {
    /// `torch`, `jax`, `candle` or `burn`.
    pub(crate) name: &'static str,
    /// Its version; empty where it does not run.
    pub(crate) version: String,
    link: Result<Link, String>,
}

/// What the Rust frameworks run: neither has per-example gradients or forward mode, and second derivatives and Jacobians are out
/// of scope for both.
const RUST: [&str; 8] = ["W1", "W2", "W3", "W4", "W5", "W9", "W10", "W11"];

/// Starts every peer: those in Python where one is given, those in Rust where their program is.
pub(crate) fn start_all(python: Option<&Path>, rust: Option<&Path>, threads: usize) -> Vec<Peer> {
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("peers/workloads_{name}.py"));
    let python = python.into_iter().flat_map(|python| ["torch", "jax"].map(|name| (name, python, script(name))));
    let rust = rust.into_iter().flat_map(|program| ["candle", "burn"].map(|name| (name, program, name.into())));
    python.chain(rust).map(|(name, program, first)| Peer::start(name, program, &first, threads)).collect()
}

impl Peer {
    fn start(name: &'static str, program: &Path, first: &Path, threads: usize) -> Self {
        let mut peer = Self { name, version: String::new(), link: Link::start(program, first, threads) };
        match peer.ask("version") {
            Ok(version) => peer.version = version.as_str().unwrap_or_default().to_owned(),
            Err(message) => {
                eprintln!("warning: {name}: {message}");
                peer.link = Err(message);
            }
        }
        peer
    }

    /// Whether the peer is asked for a workload.
    pub(crate) fn covers(&self, workload: &str) -> bool {
        !matches!(self.name, "candle" | "burn") || RUST.contains(&workload)
    }

    /// The process id; none where it does not run.
    pub(crate) fn id(&self) -> Option<u32> {
        self.link.as_ref().ok().map(Link::id)
    }

    /// Reads the inputs of a workload, does it once and returns what came out.
    pub(crate) fn outputs(&mut self, workload: &str, inputs: &Path, outputs: &Path) -> Result<Checkpoint, String> {
        self.ask(&format!("load\t{workload}\t{}", inputs.display()))?;
        self.ask(&format!("outputs\t{workload}\t{}", outputs.display()))?;
        Checkpoint::read(outputs).map_err(|error| error.to_string())
    }

    /// The median time of a turn, in ms.
    pub(crate) fn time(&mut self, workload: &Workload) -> Result<f64, String> {
        let answer = self.ask(&format!("run\t{}\t{}\t{}", workload.name, workload.warm_up(), workload.calls))?;
        let times: Vec<f64> = answer.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if times.len() == workload.calls { Ok(median(&times)) } else { Err(format!("{} times came back", times.len())) }
    }

    fn ask(&mut self, command: &str) -> Result<Value, String> {
        self.link.as_mut().map_err(|message| message.clone())?.ask(command)
    }
}
