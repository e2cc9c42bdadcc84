//! Rows, tables, and the description of the machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::peer::Peer;
use crate::statistics::{median, quantile};

/// What was measured of one workload.
pub(crate) struct Turns {
    workload: &'static str,
    /// The median of each of our turns, in ms.
    pub(crate) ours: Vec<f64>,
    /// The same of each peer.
    pub(crate) peers: Vec<PeerTurns>,
}

/// What was measured of one peer on one workload.
#[derive(Default)]
pub(crate) struct PeerTurns {
    /// The median of each turn, in ms.
    pub(crate) ms: Vec<f64>,
    /// How far the outputs are from ours.
    pub(crate) difference: Option<f64>,
    /// Why the outputs do not count as the same.
    pub(crate) disagreement: Option<String>,
    /// Why there are no outputs or times.
    pub(crate) failure: Option<String>,
}

/// A row of `engine.json`.
#[derive(Serialize)]
pub(crate) struct Row {
    workload: &'static str,
    peer: &'static str,
    ours_ms: f64,
    peer_ms: Option<f64>,
    /// `peer_ms / ours_ms`; none unless both did the same work to the same accuracy.
    pub(crate) ratio: Option<f64>,
    /// The 10th and the 90th percentile of the rounds' ratios.
    spread: Option<[f64; 2]>,
    /// The largest relative Euclidean difference of an output; in the table alone.
    #[serde(skip)]
    difference: Option<f64>,
    /// Why there is no ratio; in the table alone.
    #[serde(skip)]
    reason: Option<String>,
}

impl Turns {
    pub(crate) fn new(workload: &'static str, peers: usize) -> Self {
        Self { workload, ours: Vec::new(), peers: (0..peers).map(|_| PeerTurns::default()).collect() }
    }

    pub(crate) fn rows(&self, peers: &[Peer]) -> Vec<Row> {
        peers.iter().zip(&self.peers).map(|(peer, turns)| self.row(peer.name, turns)).collect()
    }

    fn row(&self, peer: &'static str, turns: &PeerTurns) -> Row {
        let reason = turns.disagreement.clone().or_else(|| turns.failure.clone());
        let ratios: Vec<f64> = turns.ms.iter().zip(&self.ours).map(|(peer, ours)| peer / ours).collect();
        let (ours_ms, peer_ms) = (median(&self.ours), (!turns.ms.is_empty()).then(|| median(&turns.ms)));
        let counts = reason.is_none();
        Row {
            workload: self.workload,
            peer,
            ours_ms,
            peer_ms,
            ratio: peer_ms.filter(|_| counts).map(|ms| ms / ours_ms),
            spread: counts.then(|| [quantile(&ratios, 0.1), quantile(&ratios, 0.9)]),
            difference: turns.difference.filter(|d| d.is_finite()),
            reason,
        }
    }
}

/// The rows as a Markdown table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| workload | peer  | ours ms | peer ms | ratio | p10–p90     | difference |\n\
         |----------|-------|--------:|--------:|------:|-------------|------------|\n",
    );
    for row in rows {
        let number = |x: Option<f64>, decimals: usize| x.map_or("–".to_owned(), |x| format!("{x:.decimals$}"));
        let spread = match (&row.reason, row.spread) {
            (Some(reason), _) => reason.clone(),
            (None, Some([low, high])) => format!("{low:.2}–{high:.2}"),
            (None, None) => "–".to_owned(),
        };
        let _ = writeln!(
            table,
            "| {:<8} | {:<5} | {:>7} | {:>7} | {:>5} | {:<11} | {:<10} |",
            row.workload,
            row.peer,
            number(Some(row.ours_ms), 4),
            number(row.peer_ms, 4),
            number(row.ratio, 2),
            spread,
            row.difference.map_or("–".to_owned(), |d| format!("{d:.0e}")),
        );
    }
    table
}

/// Our times alone.
pub(crate) fn own_table(turns: &[Turns]) -> String {
    let mut table = String::from("| workload | ms      | p10–p90         |\n|----------|--------:|-----------------|\n");
    for t in turns {
        let spread = format!("{:.4}–{:.4}", quantile(&t.ours, 0.1), quantile(&t.ours, 0.9));
        let _ = writeln!(table, "| {:<8} | {:>7.4} | {spread:<15} |", t.workload, median(&t.ours));
    }
    table
}

/// What the figures were measured on, for `machine.json`.
#[derive(Serialize)]
pub(crate) struct Machine {
    processor: Option<String>,
    cores: Option<usize>,
    threads: usize,
    rounds: usize,
    /// The load average over the last minute, before and after.
    load: [Option<f64>; 2],
    /// Cores that other programs kept busy during the run, on average.
    other_work: Option<f64>,
    versions: BTreeMap<&'static str, String>,
    /// Processor time over wall time of each side during the others' turns: near 0 unless its threads wait actively.
    busy_while_idle: BTreeMap<&'static str, Option<f64>>,
}

impl Machine {
    /// The machine before the run.
    pub(crate) fn describe(threads: usize, rounds: usize) -> Self {
        Self {
            processor: first_field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            threads,
            rounds,
            load: [load(), None],
            other_work: None,
            versions: BTreeMap::from([("gradus", env!("CARGO_PKG_VERSION").to_owned())]),
            busy_while_idle: BTreeMap::new(),
        }
    }

    /// Adds what is known after the run; `shares` are ours and then the peers'.
    pub(crate) fn finish(&mut self, peers: &[Peer], shares: Vec<Option<f64>>, other_work: Option<f64>) {
        (self.load[1], self.other_work) = (load(), other_work);
        if let Some(cores) = other_work.filter(|&cores| cores > 0.1) {
            eprintln!("warning: other programs kept {cores:.1} cores busy during the run");
        }
        self.versions.extend(peers.iter().map(|p| (p.name, p.version.clone())));
        self.busy_while_idle = std::iter::once("gradus").chain(peers.iter().map(|p| p.name)).zip(shares).collect();
    }
}

fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn first_field(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

/// The processor time of all living threads of a process, where Linux tells.
pub(crate) fn processor_time(process: u32) -> Option<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let Ok(text) = std::fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// Seconds of processor time since the start of the system that went to processes other than `own`, where Linux tells.
pub(crate) fn other_work(own: &[u32]) -> Option<f64> {
    /// Ticks a second in `/proc/stat`, the same on every Linux.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = text.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, waiting for input or output, two kinds of interrupts
    let busy: f64 = ticks.iter().take(7).sum::<f64>() - ticks.iter().skip(3).take(2).sum::<f64>();
    let own = own.iter().map(|&id| processor_time(id)).sum::<Option<Duration>>()?;
    Some(busy / TICKS - own.as_secs_f64())
}

/// Writes a text file whole.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    gradus_base::atomic_write(file, |out| out.write_all(text.as_bytes())).map_err(|source| Failure::File { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(peer: PeerTurns) -> Turns {
        Turns { workload: "W1", ours: vec![1.0, 2.0, 4.0], peers: vec![peer] }
    }

    #[test]
    fn the_ratio_is_of_medians_and_the_spread_of_rounds() {
        let t = turns(PeerTurns { ms: vec![2.0, 6.0, 4.0], difference: Some(1e-6), ..PeerTurns::default() });
        let row = t.row("torch", &t.peers[0]);
        assert_eq!((row.ours_ms, row.peer_ms, row.ratio), (2.0, Some(4.0), Some(2.0)));
        let [low, high] = row.spread.unwrap();
        assert!((low - 1.2).abs() < 1e-12 && (high - 2.8).abs() < 1e-12); // of the ratios 2, 3, 1
        assert!(table(&[row]).contains("| W1       | torch |  2.0000 |  4.0000 |  2.00 | 1.20–2.80   | 1e-6       |"));
    }

    #[test]
    fn disagreement_leaves_no_ratio() {
        let t = turns(PeerTurns { ms: vec![2.0; 3], disagreement: Some("outputs differ".into()), ..PeerTurns::default() });
        let row = t.row("jax", &t.peers[0]);
        assert_eq!((row.reason.as_deref(), row.peer_ms), (Some("outputs differ"), Some(2.0)));
        let row = serde_json::to_value(row).unwrap();
        let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["workload", "peer", "ours_ms", "peer_ms", "ratio", "spread"]);
        assert!(row["ratio"].is_null() && row["spread"].is_null());
    }

    #[test]
    fn a_failed_peer_has_no_times() {
        let t = turns(PeerTurns { failure: Some("it has ended".into()), ..PeerTurns::default() });
        let row = t.row("jax", &t.peers[0]);
        assert!(row.peer_ms.is_none() && row.ratio.is_none() && row.reason.is_some());
    }
}
