//! A peer: a process that reads one command a line and answers each with one line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running process, that is told to quit when this is dropped.
pub struct Link {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Link {
    /// Starts a program with two arguments, of which the second is the number of its threads.
    ///
    /// # Errors
    /// A sentence that says why it does not run.
    pub fn start(program: &Path, first: &Path, threads: usize) -> Result<Self, String> {
        let count = threads.to_string();
        let mut process = Command::new(program)
            .arg(first)
            .arg(&count)
            // NPROC is the size of XLA's thread pool, RAYON_NUM_THREADS that of the Rust frameworks.
            .envs(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "RAYON_NUM_THREADS"].map(|key| (key, &count)))
            .env("JAX_PLATFORMS", "cpu")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        match (process.stdin.take(), process.stdout.take()) {
            (Some(commands), Some(answers)) => Ok(Self { process, commands, answers: BufReader::new(answers) }),
            _ => Err("the process has no pipes".into()),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives a command and waits for its answer.
    ///
    /// # Errors
    /// What the peer says is wrong, or a sentence that says why there is no answer.
    pub fn ask(&mut self, command: &str) -> Result<Value, String> {
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

impl Drop for Link {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = writeln!(self.commands, "quit");
        let _ = self.process.wait();
    }
}
