//! The engine's workloads on `candle` and on `burn`. Run by the benchmark: `gradus-peers-rust NAME THREADS`, with the same
//! protocol on standard input and output as the peers in Python (`../peers/protocol.py`). How many threads they have, both frameworks
//! read from `RAYON_NUM_THREADS`, which the benchmark sets.

mod arrays;
mod burn;
mod candle;

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use serde_json::{Value, json};

use arrays::Arrays;

/// What goes wrong is a message for the benchmark.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Of training, before the outputs are compared.
const STEPS: usize = 5;

/// What is timed.
trait Workload {
    /// Back to the start, so that every turn does the same.
    fn reset(&mut self) -> Result<()>;

    /// One call, done when it returns.
    fn call(&mut self) -> Result<()>;

    /// What comes out of it.
    fn outputs(&mut self) -> Result<Arrays>;
}

/// Makes a workload from its name and its inputs.
type Make = fn(&str, Arrays) -> Result<Box<dyn Workload>>;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let (library, make): (&str, Make) = match name.as_str() {
        "candle" => ("candle-core", candle::make),
        "burn" => ("burn", burn::make),
        other => return Err(format!("no such peer: {other:?}").into()),
    };
    let mut ready = std::collections::BTreeMap::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match &words[..] {
            ["quit"] => return Ok(()),
            ["version"] => Ok(json!(version(library))),
            ["load", workload, file] => Arrays::read(file).and_then(|arrays| make(workload, arrays)).map(|made| {
                ready.insert((*workload).to_owned(), made);
                Value::Null
            }),
            ["outputs", workload, file] => match ready.get_mut(*workload) {
                Some(made) => made.outputs().and_then(|arrays| arrays.write(file)).map(|()| Value::Null),
                None => Err(format!("{workload} is not loaded").into()),
            },
            ["run", workload, warm_up, calls] => match ready.get_mut(*workload) {
                Some(made) => timed(made.as_mut(), warm_up.parse()?, calls.parse()?).map(|times| json!(times)),
                None => Err(format!("{workload} is not loaded").into()),
            },
            _ => Err(format!("no such command: {line:?}").into()),
        };
        let answer = match answer {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The version of a library that the lock file has.
fn version(library: &str) -> &'static str {
    let entry = include_str!("../Cargo.lock").split("[[package]]").find(|entry| entry.contains(&format!("name = \"{library}\"\n")));
    entry.and_then(|entry| entry.split('"').nth(3)).unwrap_or_default()
}

/// The times of the calls in ms, after those of the warm-up.
fn timed(workload: &mut dyn Workload, warm_up: usize, calls: usize) -> Result<Vec<f64>> {
    workload.reset()?;
    for _ in 0..warm_up {
        workload.call()?;
    }
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        workload.call()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(times)
}
