//! The figures and tables of the page.

use gradus_report::{Bar, BarChart, HeatMap, Histogram, LineChart, Panels, Reference, Sample, Scale, Series, Table};

use super::tasks::Tasks;
use super::{PairResult, SeedResult};
use crate::{Outcome, mean, student_interval};

pub(super) fn add(outcome: &mut Outcome, tasks: &Tasks, seeds: &[u64], results: &[SeedResult], count: usize) {
    outcome.figures.push(accuracies(results, count));
    outcome.figures.push(by_task(tasks, results, count));
    if results.iter().any(|result| result.by_examples.len() > 2) {
        outcome.figures.push(by_examples(results));
    }
    if results.iter().any(|result| !result.pairs.is_empty()) {
        outcome.figures.push(pair_curves(results));
        outcome.tables.push(pair_table(seeds, results));
    }
    outcome.figures.push(histogram(results));
    outcome.figures.push(shares(tasks, results));
    outcome.tables.push(per_seed(seeds, results));
    let columns = results.first().map_or(0, |r| r.tasks.len());
    let gain = |task: usize| 100.0 * mean(&of(results, |r| r.tasks.get(task).map(|row| row[2] - row[1])));
    let losing: Vec<String> = (0..columns).filter(|&t| gain(t) < 0.0).map(|t| format!("{} ({:+.1})", tasks.name(t), gain(t))).collect();
    if !losing.is_empty() {
        outcome.note(format!("Tasks that lose against the plain average, percentage points: {}.", losing.join(", ")));
    }
    let floored = 100.0 * mean(&results.iter().map(|r| r.floored).collect::<Vec<_>>());
    outcome.note(format!("The floor raised the target's Fisher information at {floored:.1} % of the coordinates."));
}

fn of(results: &[SeedResult], f: impl Fn(&SeedResult) -> Option<f64>) -> Vec<f64> {
    results.iter().filter_map(f).collect()
}

fn accuracies(results: &[SeedResult], count: usize) -> gradus_report::Figure {
    let mut bars = vec![("base", of(results, |r| Some(r.base))), ("plain average", of(results, |r| Some(r.average)))];
    let counts: Vec<usize> =
        results.iter().flat_map(|r| r.by_examples.keys().copied()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let names: Vec<String> = counts.iter().map(|n| format!("Fisher, {n} example{}", if *n == 1 { "" } else { "s" })).collect();
    for (name, n) in names.iter().zip(&counts) {
        bars.push((name, of(results, |r| r.by_examples.get(n).copied())));
    }
    let variants: Vec<&String> = results.first().map(|r| r.variants.keys().collect()).unwrap_or_default();
    for name in variants {
        bars.push((name, of(results, |r| r.variants.get(name).copied())));
    }
    bars.push(("individual fine-tunes", of(results, |r| Some(r.individual))));
    let fisher = mean(&of(results, |r| r.by_examples.get(&count).copied()));
    let alt = format!(
        "Mean accuracy over the eight tasks: base {:.3}, plain average {:.3}, Fisher merge with {count} examples {fisher:.3}, eight separate fine-tunes {:.3}.",
        mean(&bars[0].1),
        mean(&bars[1].1),
        mean(&of(results, |r| Some(r.individual))),
    );
    BarChart {
        title: "Accuracy of one encoder on eight tasks".into(),
        alt,
        label: "mean accuracy over the tasks; dots are seeds".into(),
        bars: bars.into_iter().map(|(name, values)| Bar::of_seeds(name, &values)).collect(),
        ..Default::default()
    }
    .figure("accuracy")
}

fn by_task(tasks: &Tasks, results: &[SeedResult], count: usize) -> gradus_report::Figure {
    let names = ["individual", "average", "Fisher"];
    let value = |task: usize, kind: usize| mean(&of(results, |r| r.tasks.get(task).map(|row| row[kind])));
    let columns = results.first().map_or(0, |r| r.tasks.len());
    let spread = |kind: usize| {
        let values: Vec<f64> = (0..columns).map(|task| value(task, kind)).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        format!("{:.3} to {:.3}", low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    HeatMap {
        title: "Accuracy of each task".into(),
        alt: format!(
            "Over the eight tasks the accuracy ranges from {} for the fine-tune of the task itself, {} for the average, {} for the Fisher merge with {count} examples.",
            spread(0), spread(1), spread(2),
        ),
        label: "accuracy, mean over seeds".into(),
        columns: names.map(String::from).into(),
        rows: (0..columns).map(|task| tasks.name(task).into()).collect(),
        values: (0..columns).map(|task| (0..names.len()).map(|kind| value(task, kind)).collect()).collect(),
    }
    .figure("tasks")
}

fn by_examples(results: &[SeedResult]) -> gradus_report::Figure {
    let counts: Vec<usize> = results.first().map(|r| r.by_examples.keys().copied().collect()).unwrap_or_default();
    let values = |n: usize| of(results, |r| r.by_examples.get(&n).copied());
    let average = mean(&of(results, |r| Some(r.average)));
    let points = counts.iter().map(|&n| (n as f64, mean(&values(n)), student_interval(&values(n))));
    let list: Vec<String> = counts.iter().map(|&n| format!("{:.3} with {n}", mean(&values(n)))).collect();
    LineChart {
        title: "Accuracy and the number of examples for the Fisher information".into(),
        alt: format!("Fisher merging reaches {}; the plain average {average:.3}.", list.join(", ")),
        x_label: "examples for each model's Fisher information".into(),
        y_label: "mean accuracy over the tasks".into(),
        x_scale: Scale::Log,
        series: vec![Series::with_intervals("Fisher merge (95 % interval)", points)],
        references: vec![Reference::new("plain average", average)],
        ..Default::default()
    }
    .figure("examples")
}

fn pair_curves(results: &[SeedResult]) -> gradus_report::Figure {
    let pairs = results.first().map(|r| r.pairs.len()).unwrap_or_default();
    let all = |pair: usize| results.iter().filter_map(move |r| r.pairs.get(pair)).collect::<Vec<&PairResult>>();
    let curve = |pair: usize, kind: usize| {
        let runs = all(pair);
        let length = runs.first().map_or(0, |run| run.curve.len());
        let point = move |k: usize| (runs[0].curve[k][0], mean(&runs.iter().map(|run| run.curve[k][kind]).collect::<Vec<_>>()));
        (0..length).map(point).collect::<Vec<_>>()
    };
    let name = |pair: usize| all(pair).first().map(|run| run.name.clone()).unwrap_or_default();
    let panel = |pair: usize| LineChart {
        title: name(pair),
        x_label: "λ of the first task".into(),
        y_label: "mean accuracy of both tasks".into(),
        series: vec![Series::new("Fisher", curve(pair, 1)), Series::new("average", curve(pair, 2))],
        ..Default::default()
    };
    let half = |pair: usize| 100.0 * mean(&all(pair).iter().map(|run| run.gain()).collect::<Vec<_>>());
    let gains: Vec<String> = (0..pairs).map(|pair| format!("{} {:+.1}", name(pair), half(pair))).collect();
    Panels {
        title: "Pairs of tasks: accuracy over λ".into(),
        alt: format!("At λ = 0.5 Fisher merging differs from the average by, in percentage points: {}.", gains.join(", ")),
        panels: (0..pairs).map(|pair| panel(pair).into()).collect(),
        columns: 1,
    }
    .figure("pairs")
}

fn pair_table(seeds: &[u64], results: &[SeedResult]) -> Table {
    let mut table = Table::new("Pairs at λ = 0.5: Fisher merge minus average, percentage points", ["seed", "pair", "gain"]);
    for (seed, result) in seeds.iter().zip(results) {
        for pair in &result.pairs {
            table.rows.push(vec![seed.to_string().into(), pair.name.clone().into(), (100.0 * pair.gain()).into()]);
        }
    }
    table
}

fn histogram(results: &[SeedResult]) -> gradus_report::Figure {
    let first = results.first().map(|r| &r.logarithms);
    let samples: Vec<Sample> = first.into_iter().flatten().map(|(name, values)| Sample::new(name, values.iter().copied())).collect();
    let range = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        (low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    let all: Vec<f64> = samples.iter().flat_map(|sample| sample.values.iter().copied()).collect();
    let (low, high) = range(&all);
    Histogram {
        title: "Fisher information of the first task's model, by array".into(),
        alt: format!("The entries that are not 0 span {:.0} orders of magnitude, from 1e{low:.0} to 1e{high:.0}.", high - low),
        label: "decimal logarithm of the Fisher information".into(),
        samples,
        ..Default::default()
    }
    .figure("fisher")
}

fn shares(tasks: &Tasks, results: &[SeedResult]) -> gradus_report::Figure {
    let shares = results.first().map(|r| &r.shares);
    let rows: Vec<String> = shares.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let values: Vec<Vec<f64>> = shares.into_iter().flatten().map(|(_, values)| values.clone()).collect();
    let target = mean(&values.iter().filter_map(|row| row.first().copied()).collect::<Vec<_>>());
    HeatMap {
        title: "Whose parameters count: the mean weight of each model, by array (first seed)".into(),
        alt: format!("The target, {}, has a mean weight of {target:.2}, where equal weights would be {:.3}.", tasks.name(0), 1.0 / 8.0),
        label: "mean of λᵢFᵢ / Σ λF".into(),
        columns: (0..values.first().map_or(0, Vec::len)).map(|task| tasks.name(task).into()).collect(),
        rows,
        values,
    }
    .figure("shares")
}

fn per_seed(seeds: &[u64], results: &[SeedResult]) -> Table {
    let mut table = Table::new("Mean accuracy over the tasks, by seed", ["seed", "method", "accuracy"]);
    for (seed, result) in seeds.iter().zip(results) {
        let mut row = |method: &str, value: f64| table.rows.push(vec![seed.to_string().into(), method.into(), value.into()]);
        row("base", result.base);
        row("individual fine-tunes", result.individual);
        row("plain average", result.average);
        for (count, value) in &result.by_examples {
            row(&format!("Fisher merge, {count} examples"), *value);
        }
        for (name, value) in &result.variants {
            row(name, *value);
        }
        if let Some(ensemble) = &result.ensemble {
            row("rot90 alone: one fine-tune", ensemble.single);
            row("rot90 alone: average of five", ensemble.average);
            row("rot90 alone: Fisher merge of five", ensemble.fisher);
            row("rot90 alone: output ensemble of five", ensemble.outputs);
        }
    }
    table
}
