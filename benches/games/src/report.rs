//! What was measured, as JSON and as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use gradus_benches_common::{machine, median, spread};
use serde::Serialize;

use crate::Failure;
use crate::group::{Case, Floor, Group, Quotient};

/// `games.json`.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    groups: Vec<Table>,
}

/// What the figures were measured on.
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
}

#[derive(Serialize)]
struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    case: String,
    note: String,
    times: Vec<Time>,
    ratios: Vec<Ratio>,
    /// Why the outputs are not the same; then no ratio counts.
    disagreement: Option<String>,
}

/// The time of a side, in ms.
#[derive(Serialize)]
struct Time {
    side: &'static str,
    ms: f64,
    /// The 10th and the 90th percentile of the rounds.
    spread: [f64; 2],
    /// What it may be at most.
    most_ms: Option<f64>,
    met: Option<bool>,
}

#[derive(Serialize)]
struct Ratio {
    name: &'static str,
    /// Of the medians.
    ratio: f64,
    /// Of the rounds.
    spread: [f64; 2],
    at_least: Option<f64>,
    at_most: Option<f64>,
    /// None where there is no floor, or none for this case.
    met: Option<bool>,
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
        }
    }

    /// Adds what is known after the run.
    pub(crate) fn finish(&mut self, peer: Option<String>, other_work: Option<f64>) {
        (self.load[1], self.other_work) = (machine::load(), other_work);
        if let Some(cores) = other_work.filter(|&cores| cores > 0.1) {
            eprintln!("warning: other programs kept {cores:.1} cores busy during the run");
        }
        self.versions.extend(peer.map(|version| ("python", version)));
    }

    fn line(&self) -> String {
        let number = |x: Option<f64>| x.map_or("unknown".to_owned(), |x| format!("{x:.1}"));
        format!(
            "{}, {} threads of {} cores; {} alternating rounds, medians with the 10th to the 90th percentile; others kept {} cores busy. {}\n",
            self.processor.as_deref().unwrap_or("unknown processor"),
            self.threads,
            self.cores.map_or("unknown".to_owned(), |cores| cores.to_string()),
            self.rounds,
            number(self.other_work),
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", "),
        )
    }
}

impl Row {
    fn new(case: &Case, group: &Group) -> Self {
        let times = group.sides.iter().zip(&case.sides).enumerate().map(|(place, (side, turns))| {
            let (ms, most_ms) = (median(&turns.ms), case.most_ms.filter(|_| place == 0));
            Time { side, ms, spread: spread(&turns.ms), most_ms, met: most_ms.map(|most| ms <= most) }
        });
        Self {
            case: case.name.clone(),
            note: case.note.clone(),
            times: times.collect(),
            ratios: group.quotients.iter().map(|quotient| Ratio::new(case, quotient)).collect(),
            disagreement: case.disagreement.clone(),
        }
    }

    fn holds(&self) -> bool {
        let met = self.times.iter().map(|time| time.met).chain(self.ratios.iter().map(|ratio| ratio.met));
        self.disagreement.is_none() && met.flatten().all(|met| met)
    }
}

impl Ratio {
    fn new(case: &Case, quotient: &Quotient) -> Self {
        let [over, under] = [quotient.over, quotient.under].map(|side| &case.sides[side].ms);
        let rounds: Vec<f64> = over.iter().zip(under).map(|(over, under)| over / under).collect();
        let ratio = median(over) / median(under);
        let (at_least, at_most) = match quotient.floor.filter(|_| case.judged) {
            Some(Floor::AtLeast(floor)) => (Some(floor), None),
            Some(Floor::AtMost(most)) => (None, Some(most)),
            None => (None, None),
        };
        let met = quotient.floor.filter(|_| case.judged).map(|floor| floor.is_met(ratio));
        Self { name: quotient.name, ratio, spread: spread(&rounds), at_least, at_most, met }
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, groups: &[Group]) -> Self {
        let table = |group: &Group| Table { title: group.title, rows: group.cases.iter().map(|case| Row::new(case, group)).collect() };
        Self { machine, groups: groups.iter().map(table).collect() }
    }

    /// Whether all outputs agree and all floors are met.
    pub(crate) fn holds(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.rows).all(Row::holds)
    }

    /// Writes both files whole, and prints the tables.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let text = self.tables();
        for (kind, content) in [("json", serde_json::to_string_pretty(self)?), ("md", text.clone())] {
            let file = folder.join(format!("games.{kind}"));
            eprintln!("writing {}", file.display());
            gradus_base::atomic_write(&file, |out| out.write_all(content.as_bytes())).map_err(|source| Failure::File { file, source })?;
        }
        print!("{text}");
        Ok(())
    }

    fn tables(&self) -> String {
        let mut text = self.machine.line();
        for Table { title, rows } in &self.groups {
            let Some(first) = rows.first() else { continue };
            let sides = first.times.iter().map(|time| format!(" {}, ms |", time.side));
            let ratios = first.ratios.iter().map(|ratio| format!(" {} |", ratio.name));
            let heads: Vec<String> = sides.chain(ratios).collect();
            let _ = writeln!(text, "\n## {title}\n\n| |{} floors | |\n|---|{}---|---|", heads.concat(), "--:|".repeat(heads.len()));
            rows.iter().for_each(|row| text.push_str(&row.line()));
        }
        text
    }
}

impl Row {
    fn line(&self) -> String {
        let cell = |value: f64, [low, high]: [f64; 2]| format!(" {} ({}–{}) |", short(value), short(low), short(high));
        let times = self.times.iter().map(|time| cell(time.ms, time.spread));
        let ratios = self.ratios.iter().map(|ratio| cell(ratio.ratio, ratio.spread));
        let verdict = |met: bool| if met { "met" } else { "not met" };
        let limits = self.times.iter().filter_map(|time| Some(format!("≤ {} ms: {}", time.most_ms?, verdict(time.met?))));
        let floors = self.ratios.iter().filter_map(|ratio| {
            let floor = ratio.at_least.map(|floor| format!("≥ {floor}")).or(ratio.at_most.map(|most| format!("≤ {most}")))?;
            Some(format!("{floor}: {}", verdict(ratio.met?)))
        });
        let floors: Vec<String> = limits.chain(floors).chain(self.disagreement.clone()).collect();
        format!("| {} |{} {} | {} |\n", self.case, times.chain(ratios).collect::<String>(), floors.join("; "), self.note)
    }
}

/// Three digits.
fn short(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let decimals = (2 - value.abs().log10().floor() as i32).max(0);
    format!("{value:.*}", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Side;

    fn report(judged: bool, disagreement: Option<&str>) -> Report {
        let side = |ms: [f64; 3]| {
            let mut side = Side::calls(|| ());
            side.ms = ms.to_vec();
            side
        };
        let mut case = Case::new("toy", vec![side([2.0, 6.0, 4.0]), side([1.0, 2.0, 4.0])]);
        (case.judged, case.disagreement, case.most_ms) = (judged, disagreement.map(str::to_owned), Some(5.0));
        let quotient = Quotient { name: "a / b", over: 0, under: 1, floor: Some(Floor::AtLeast(3.0)) };
        let group = Group { title: "Toys", sides: vec!["a", "b"], quotients: vec![quotient], cases: vec![case] };
        Report::new(Machine::describe(2, 3), &[group])
    }

    #[test]
    fn floors_count_where_they_are_for_the_case() {
        let missed = report(true, None);
        assert!(!missed.holds());
        let line = "| toy | 4.00 (2.40–5.60) | 2.00 (1.20–3.60) | 2.00 (1.20–2.80) | ≤ 5 ms: met; ≥ 3: not met |  |";
        assert!(missed.tables().contains(line), "{}", missed.tables());
        assert!(report(false, None).holds() && !report(false, Some("outputs differ")).holds());
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([123.456, 1.234_56, 0.001_234_56, 0.0].map(short), ["123", "1.23", "0.00123", "0"]);
    }
}
