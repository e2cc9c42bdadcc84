//! A peer: a Python process that reads one command a line and answers each with one line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use gradus_checkpoint::Checkpoint;
use serde_json::Value;

use crate::workloads::Workload;
use crate::{Failure, statistics};

/// A running peer. What goes wrong after its start is a message for its rows, not the end of the run.
pub(crate) struct Peer {
    /// `torch` or `jax`.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: String,
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Starts every peer.
pub(crate) fn start_all(python: &Path, threads: usize) -> Result<Vec<Peer>, Failure> {
    let start = |name| Peer::start(name, python, threads).map_err(|message| Failure::Peer { name, message });
    ["torch", "jax"].into_iter().map(start).collect()
}

impl Peer {
    fn start(name: &'static str, python: &Path, threads: usize) -> Result<Self, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("peers/workloads_{name}.py"));
        let count = threads.to_string();
        let mut process = Command::new(python)
            .arg(script)
            .arg(&count)
            // NPROC is the size of XLA's thread pool.
            .envs(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"].map(|key| (key, &count)))
            .env("JAX_PLATFORMS", "cpu")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", python.display()))?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the process has no pipes".into());
        };
        let mut peer = Self { name, version: String::new(), process, commands, answers: BufReader::new(answers) };
        peer.version = peer.ask("version")?.as_str().unwrap_or_default().to_owned();
        Ok(peer)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
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
        if times.len() == workload.calls { Ok(statistics::median(&times)) } else { Err(format!("{} times came back", times.len())) }
    }

    fn ask(&mut self, command: &str) -> Result<Value, String> {
        writeln!(self.commands, "{command}")
            .and_then(|()| self.commands.flush())
            .map_err(|error| format!("the peer has ended: {error}"))?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err("the peer has ended; its messages are above".into());
        }
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| format!("{error} in the answer {line:?}"))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(message) => Err(message.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = writeln!(self.commands, "quit");
        let _ = self.process.wait();
    }
}
