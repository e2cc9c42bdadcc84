//! Rows, tables, and the description of the machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use gradus_benches_common::{machine, median, spread};
use serde::Serialize;

use crate::Failure;
use crate::peer::Peer;
use crate::targets::target;

/// What was measured of one workload.
pub(crate) struct Turns {
    pub(crate) workload: &'static str,
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

/// A row of the table.
pub(crate) struct Row {
    pub(crate) timing: Timing,
    pub(crate) agreement: Agreement,
}

/// A row of `engine.json`.
#[derive(Serialize)]
pub(crate) struct Timing {
    workload: &'static str,
    peer: &'static str,
    ours_ms: f64,
    peer_ms: Option<f64>,
    /// `peer_ms / ours_ms`; none unless both did the same work to the same accuracy.
    pub(crate) ratio: Option<f64>,
    /// The 10th and the 90th percentile of the rounds' ratios.
    spread: Option<[f64; 2]>,
}

/// Whether a peer did the same work: a row of `engine.agreement.json`.
#[derive(Serialize)]
pub(crate) struct Agreement {
    workload: &'static str,
    peer: &'static str,
    /// The largest relative Euclidean difference of an output.
    difference: Option<f64>,
    /// Why there is no ratio.
    reason: Option<String>,
}

/// A row of `ours.json`.
#[derive(Serialize)]
pub(crate) struct Own {
    workload: &'static str,
    ours_ms: f64,
    /// The 10th and the 90th percentile of the rounds' times, in ms.
    spread: [f64; 2],
}

impl Turns {
    pub(crate) fn new(workload: &'static str, peers: usize) -> Self {
        Self { workload, ours: Vec::new(), peers: (0..peers).map(|_| PeerTurns::default()).collect() }
    }

    pub(crate) fn own(&self) -> Own {
        Own { workload: self.workload, ours_ms: median(&self.ours), spread: spread(&self.ours) }
    }

    pub(crate) fn rows(&self, peers: &[Peer]) -> Vec<Row> {
        let running = peers.iter().zip(&self.peers).filter(|(peer, _)| peer.covers(self.workload));
        running.map(|(peer, turns)| self.row(peer.name, turns)).collect()
    }

    fn row(&self, peer: &'static str, turns: &PeerTurns) -> Row {
        let workload = self.workload;
        let reason = turns.disagreement.clone().or_else(|| turns.failure.clone());
        let ratios: Vec<f64> = turns.ms.iter().zip(&self.ours).map(|(peer, ours)| peer / ours).collect();
        let (ours_ms, peer_ms) = (median(&self.ours), (!turns.ms.is_empty()).then(|| median(&turns.ms)));
        let counts = reason.is_none();
        let ratio = peer_ms.filter(|_| counts).map(|ms| ms / ours_ms);
        Row {
            timing: Timing { workload, peer, ours_ms, peer_ms, ratio, spread: counts.then(|| spread(&ratios)) },
            agreement: Agreement { workload, peer, difference: turns.difference.filter(|d| d.is_finite()), reason },
        }
    }
}

/// The rows as a Markdown table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| workload    | peer   | ours ms | peer ms | ratio | p10–p90     | floor (aim)  | reached | difference |\n\
         |-------------|--------|--------:|--------:|------:|-------------|--------------|---------|------------|\n",
    );
    for Row { timing, agreement } in rows {
        let number = |x: Option<f64>, decimals: usize| x.map_or("–".to_owned(), |x| format!("{x:.decimals$}"));
        let spread = match (&agreement.reason, timing.spread) {
            (Some(reason), _) => reason.clone(),
            (None, Some([low, high])) => format!("{low:.2}–{high:.2}"),
            (None, None) => "–".to_owned(),
        };
        let target = target(timing.workload, timing.peer);
        let wanted = target.map_or("–".to_owned(), |t| t.aim.map_or(t.floor.to_string(), |aim| format!("{} ({aim})", t.floor)));
        let _ = writeln!(
            table,
            "| {:<11} | {:<6} | {:>7} | {:>7} | {:>5} | {:<11} | {wanted:<12} | {:<7} | {:<10} |",
            timing.workload,
            timing.peer,
            number(Some(timing.ours_ms), 4),
            number(timing.peer_ms, 4),
            number(timing.ratio, 2),
            spread,
            target.zip(timing.ratio).map_or("–", |(target, ratio)| target.reached(ratio)),
            agreement.difference.map_or("–".to_owned(), |d| format!("{d:.0e}")),
        );
    }
    table
}

/// Our times alone as a Markdown table.
pub(crate) fn own_table(rows: &[Own]) -> String {
    let mut table = String::from("| workload    | ms      | p10–p90         |\n|-------------|--------:|-----------------|\n");
    for Own { workload, ours_ms, spread: [low, high] } in rows {
        let spread = format!("{low:.4}–{high:.4}");
        let _ = writeln!(table, "| {workload:<11} | {ours_ms:>7.4} | {spread:<15} |");
    }
    table
}

/// What the figures were measured on, for `engine.machine.json`.
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
            processor: machine::processor(),
            cores: machine::cores(),
            threads,
            rounds,
            load: [machine::load(), None],
            other_work: None,
            versions: BTreeMap::from([("gradus", env!("CARGO_PKG_VERSION").to_owned())]),
            busy_while_idle: BTreeMap::new(),
        }
    }

    /// Adds what is known after the run; `shares` are ours and then the peers'.
    pub(crate) fn finish(&mut self, peers: &[Peer], shares: Vec<Option<f64>>, other_work: Option<f64>) {
        (self.load[1], self.other_work) = (machine::load(), other_work);
        if let Some(cores) = other_work.filter(|&cores| cores > 0.1) {
            eprintln!("warning: other programs kept {cores:.1} cores busy during the run");
        }
        self.versions.extend(peers.iter().map(|p| (p.name, p.version.clone())));
        self.busy_while_idle = std::iter::once("gradus").chain(peers.iter().map(|p| p.name)).zip(shares).collect();
    }
}

/// The files of a run, which have the first part of their names in common.
pub(crate) struct Results {
    folder: PathBuf,
    name: String,
}

impl Results {
    /// Runs with peers are `engine`, without `ours`. A part of the workloads does not take the place of all.
    pub(crate) fn new(folder: PathBuf, peers: bool, complete: bool) -> Self {
        let (name, part) = (if peers { "engine" } else { "ours" }, if complete { "" } else { "-part" });
        Self { folder, name: format!("{name}{part}") }
    }

    /// Writes one of them whole, `content` as JSON.
    pub(crate) fn json(&self, kind: &str, content: &impl Serialize) -> Result<(), Failure> {
        self.text(&format!("{kind}.json"), &serde_json::to_string_pretty(content)?)
    }

    /// Writes one of them whole.
    pub(crate) fn text(&self, kind: &str, text: &str) -> Result<(), Failure> {
        let file = self.folder.join(format!("{}{kind}", self.name));
        eprintln!("writing {}", file.display());
        gradus_base::atomic_write(&file, |out| out.write_all(text.as_bytes())).map_err(|source| Failure::File { file, source })
    }
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
        assert_eq!((row.timing.ours_ms, row.timing.peer_ms, row.timing.ratio), (2.0, Some(4.0), Some(2.0)));
        let [low, high] = row.timing.spread.unwrap();
        assert!((low - 1.2).abs() < 1e-12 && (high - 2.8).abs() < 1e-12); // of the ratios 2, 3, 1
        let line = "| W1          | torch  |  2.0000 |  4.0000 |  2.00 | 1.20–2.80   | 1.3 (2)      | aim     | 1e-6       |";
        assert!(table(&[row]).contains(line));
    }

    #[test]
    fn disagreement_leaves_no_ratio() {
        let t = turns(PeerTurns { ms: vec![2.0; 3], disagreement: Some("outputs differ".into()), ..PeerTurns::default() });
        let row = t.row("jax", &t.peers[0]);
        assert_eq!((row.agreement.reason.as_deref(), row.timing.peer_ms), (Some("outputs differ"), Some(2.0)));
        assert!(row.timing.ratio.is_none() && row.timing.spread.is_none());
    }

    #[test]
    fn a_failed_peer_has_no_times() {
        let t = turns(PeerTurns { failure: Some("it has ended".into()), ..PeerTurns::default() });
        let Row { timing, agreement } = t.row("jax", &t.peers[0]);
        assert!(timing.peer_ms.is_none() && timing.ratio.is_none() && agreement.reason.is_some());
    }

    #[test]
    fn files_hold_the_keys_of_their_schema() {
        let t = turns(PeerTurns { ms: vec![2.0; 3], difference: Some(f64::NAN), ..PeerTurns::default() });
        let row = t.row("jax", &t.peers[0]);
        let keys = |row: serde_json::Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let timing = keys(serde_json::to_value(&row.timing).unwrap());
        assert_eq!(timing, ["workload", "peer", "ours_ms", "peer_ms", "ratio", "spread"]);
        assert_eq!(keys(serde_json::to_value(&row.agreement).unwrap()), ["workload", "peer", "difference", "reason"]);
        assert_eq!(keys(serde_json::to_value(t.own()).unwrap()), ["workload", "ours_ms", "spread"]);
    }

    #[test]
    fn a_part_has_files_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for (peers, complete) in [(true, true), (true, false), (false, true), (false, false)] {
            Results::new(folder.path().into(), peers, complete).json("", &[1]).unwrap();
        }
        for name in ["engine.json", "engine-part.json", "ours.json", "ours-part.json"] {
            assert!(folder.path().join(name).is_file(), "{name}");
        }
    }
}
