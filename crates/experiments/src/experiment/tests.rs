use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use gradus_base::{Cancel, Observer, Silent};
use gradus_report::{LineChart, Profile, Verdict};

use super::*;
use crate::Bound;

const CLAIMS: &[ClaimSpec] = &[
    ClaimSpec { id: "exact", bound: Bound::Exact(4.0), profiles: &Profile::ALL, ..ClaimSpec::DEFAULT },
    ClaimSpec { id: "mean", bound: Bound::AtLeast(1.0), ..ClaimSpec::DEFAULT },
    ClaimSpec { id: "provisional", bound: Bound::AtLeast(1e9), gate: false, profiles: &Profile::ALL, ..ClaimSpec::DEFAULT },
];

const OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "steps", help: "Steps.", default: "3", kind: OptionKind::Integer(1, 9) },
    OptionSpec { name: "rate", help: "Rate.", default: "0.5", kind: OptionKind::Number(0.0, f64::INFINITY) },
    OptionSpec { name: "mode", help: "Mode.", default: "fast", kind: OptionKind::Choice(&["fast", "slow"]) },
    OptionSpec { name: "check", help: "Check.", default: "false", kind: OptionKind::Flag },
    OptionSpec { name: "tasks", help: "Tasks.", default: "", kind: OptionKind::File(tasks) },
];

fn tasks(file: &Path) -> Result<(), ExperimentError> {
    let text = fs::read_to_string(file).map_err(|error| ExperimentError::file(file, error))?;
    if text == "tasks" { Ok(()) } else { Err(ExperimentError::file(file, "line 1, column 1: expected tasks")) }
}

const FAKE: Experiment = Experiment {
    slug: "fake",
    title: "A fake",
    authors: "N. N.",
    year: 2020,
    arxiv: None,
    summary: "Nothing.",
    data: "None.",
    takes_data: true,
    claims: CLAIMS,
    options: OPTIONS,
    seeds: ByProfile { smoke: 2, quick: 2, full: 2 },
    seconds: ByProfile { smoke: 1.0, quick: 2.0, full: 3.0 },
    run: |context| {
        let mut outcome = Outcome::default();
        outcome.measure("exact", [4.0]);
        outcome.measure("mean", context.seeds().iter().map(|&seed| seed as f64));
        outcome.measure("provisional", [1.0]);
        outcome.figures.push(LineChart::default().figure("curve"));
        outcome.number("steps", context.integer("steps")?);
        Ok(outcome)
    },
};

fn run(experiment: &Experiment, settings: &Settings) -> Result<Reproduction, ExperimentError> {
    reproduce(experiment, settings, &Cancel::new(), &mut Silent)
}

#[test]
fn claims_are_judged_over_the_seeds() {
    let done = run(&FAKE, &Settings { seed: 1, seeds: Some(3), ..Settings::default() }).unwrap();
    assert_eq!(done.status, Status::Holds);
    let [exact, mean, provisional] = &done.report.system.claims[..] else { panic!() };
    assert_eq!((exact.measured, exact.interval, exact.seeds), (Some(4.0), None, 1));
    assert_eq!((mean.measured, mean.seeds, mean.verdict), (Some(2.0), 3, Verdict::Holds));
    assert_eq!((provisional.verdict, provisional.gate), (Verdict::DoesNotHold, false));
    assert_eq!(done.report.system.figures[0].file, "fake/curve.svg");
    assert_eq!(done.report.numbers["steps"], 3);
    assert_eq!(done.report.system.options["mode"], "fast");
}

#[test]
fn the_status_is_the_worst_gated_verdict() {
    assert_eq!(run(&FAKE, &Settings::default()).unwrap().status, Status::Fails);
    let smoke = run(&FAKE, &Settings { profile: Profile::Smoke, seed: 1, ..Settings::default() }).unwrap();
    assert_eq!(smoke.status, Status::Holds);
    assert!(smoke.report.system.claims[1].gate, "the gate is as declared");
    assert_eq!(smoke.report.system.claims[1].verdict, Verdict::NeedsMore);
    let unmeasured = Experiment { options: &[], run: |_| Ok(Outcome::default()), ..FAKE };
    assert_eq!(run(&unmeasured, &Settings::default()).unwrap().status, Status::NeedsMore, "this profile should measure it");
    assert_eq!(smoke.report.system.claims[1].measured, None, "the smoke profile does not judge this claim");
    assert!(!smoke.report.values.contains_key("mean"));
    assert_eq!(
        run(&Experiment { claims: &[], run: |_| Ok(Outcome::default()), ..FAKE }, &Settings::default()).unwrap().status,
        Status::Holds
    );
}

#[test]
fn a_claim_that_was_not_declared_is_an_error() {
    let undeclared = Experiment { claims: &CLAIMS[..1], ..FAKE };
    let error = run(&undeclared, &Settings::default()).unwrap_err();
    assert!(matches!(error, ExperimentError::UndeclaredClaim { claim, .. } if claim == "mean"));
}

fn options(name: &str, value: &str) -> Settings {
    Settings { options: [(name.into(), value.into())].into(), ..Settings::default() }
}

#[test]
fn options_are_checked_before_the_run() {
    let never = Experiment { run: |_| panic!("ran"), ..FAKE };
    for (name, value, message) in [
        ("steps", "0", "option steps: \"0\" is not a whole number from 1 to 9"),
        ("steps", "-1", "option steps: \"-1\" is not a whole number from 1 to 9"),
        ("rate", "NaN", "option rate: \"NaN\" is not a number from 0 on"),
        ("rate", "inf", "option rate: \"inf\" is not a number from 0 on"),
        ("mode", "medium", "option mode: \"medium\" is not one of fast, slow"),
        ("check", "yes", "option check: \"yes\" is not true or false"),
    ] {
        let error = run(&never, &options(name, value)).unwrap_err();
        assert!(matches!(error, ExperimentError::OptionValue { .. }));
        assert_eq!(error.to_string(), message);
    }
    let error = run(&never, &options("step", "1")).unwrap_err();
    assert_eq!(error.to_string(), "fake has no option \"step\"; it has steps, rate, mode, check, tasks");
    assert!(matches!(error, ExperimentError::UnknownOption { .. }));
}

#[test]
fn a_file_of_an_option_is_read_before_the_run() {
    let never = Experiment { run: |_| panic!("ran"), ..FAKE };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.json");
    let given = options("tasks", file.to_str().unwrap());
    assert!(matches!(never.check(&given), Err(ExperimentError::File { path, .. }) if path == file));
    fs::write(&file, "{").unwrap();
    let error = run(&never, &given).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: line 1, column 1: expected tasks", file.display()));
    fs::write(&file, "tasks").unwrap();
    assert_eq!(never.check(&given).unwrap()["tasks"], file.to_str().unwrap());
}

#[test]
fn data_that_would_be_ignored_are_refused() {
    let never = Experiment { takes_data: false, run: |_| panic!("ran"), ..FAKE };
    let given = Settings { data: Some("folder".into()), ..Settings::default() };
    assert!(matches!(run(&never, &given), Err(ExperimentError::NoData { .. })));
}

#[test]
fn the_estimate_grows_with_the_seeds() {
    assert_eq!(FAKE.estimate(&Settings::default()), 2.0);
    assert_eq!(FAKE.estimate(&Settings { seeds: Some(40), ..Settings::default() }), 40.0);
    assert_eq!(FAKE.estimate(&Settings { profile: Profile::Full, seeds: Some(1), ..Settings::default() }), 1.5);
}

/// Keeps what is said of progress.
#[derive(Default)]
struct Stages(Vec<String>);

impl Observer for Stages {
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        self.0.push(format!("{stage} {done}/{total:?}"));
    }

    fn message(&mut self, text: &str) {
        self.0.push(text.into());
    }
}

#[test]
fn progress_tells_which_stage_of_how_many_runs() {
    let planned = Experiment {
        claims: &[],
        run: |context| {
            context.plan(["train", "test"]);
            context.progress(0, 2, "test");
            let mut observer = context.observer("test", "seed 3");
            observer.progress(1, None, "sampling");
            observer.message("again");
            observer.progress(2, Some(2), "judging");
            observer.progress(1, Some(2), "stopped early");
            drop(observer);
            context.progress(1, 2, "other");
            Ok(Outcome::default())
        },
        ..FAKE
    };
    let mut seen = Stages::default();
    reproduce(&planned, &Settings::default(), &Cancel::new(), &mut seen).unwrap();
    assert_eq!(
        seen.0,
        [
            "test (2 of 2) 0/Some(2)",
            "test (2 of 2), seed 3: sampling 1/None",
            "test (2 of 2), seed 3: again",
            "test (2 of 2), seed 3: sampling 1/Some(1)",
            "test (2 of 2), seed 3: judging 2/Some(2)",
            "test (2 of 2), seed 3: stopped early 1/Some(2)",
            "test (2 of 2), seed 3: stopped early 1/Some(1)",
            "other 1/Some(2)"
        ]
    );
}

#[test]
fn options_are_read_by_kind() {
    let reads = Experiment {
        claims: &[],
        run: |context| {
            assert_eq!(context.integer("steps")?, 5);
            assert_eq!((context.number("rate")?, context.flag("check")?, context.text("mode")?), (0.5, false, "fast"));
            assert_eq!(context.file("tasks")?, None);
            assert!(matches!(context.integer("mode"), Err(ExperimentError::OptionValue { .. })));
            assert!(matches!(context.text("none"), Err(ExperimentError::UnknownOption { .. })));
            Ok(Outcome::default())
        },
        ..FAKE
    };
    run(&reads, &options("steps", "5")).unwrap();
}

/// Two parts per seed; counts how many are computed in the number `computed`.
fn parts(context: &Context<'_>) -> Result<Outcome, ExperimentError> {
    let (computed, mut sum) = (AtomicUsize::new(0), 0.0);
    for seed in context.seeds() {
        for stage in ["train", "test"] {
            let value: f64 = context.part(&format!("seed-{seed}/{stage}"), || {
                computed.fetch_add(1, Ordering::Relaxed);
                Ok(1.0 / 3.0)
            })?;
            sum += value;
        }
    }
    let mut outcome = Outcome::default();
    outcome.number("computed", computed.load(Ordering::Relaxed));
    outcome.number("sum", sum);
    Ok(outcome)
}

const PARTS: Experiment = Experiment { claims: &[], run: parts, ..FAKE };

fn computed(settings: &Settings) -> serde_json::Value {
    let numbers = run(&PARTS, settings).unwrap().report.numbers;
    assert_eq!(numbers["sum"], 4.0 / 3.0, "a part read from the disk has the same bits");
    numbers["computed"].clone()
}

fn part_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(part_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn resume_reads_the_parts_of_the_same_run_only() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = Settings { out: Some(folder.path().into()), ..Settings::default() };
    let resume = Settings { resume: true, ..fresh.clone() };
    assert_eq!(computed(&resume), 4, "nothing to resume from");
    assert_eq!(computed(&resume), 0);
    assert_eq!(computed(&Settings { seed: 1, ..resume.clone() }), 4, "another seed");
    assert_eq!(computed(&Settings { profile: Profile::Full, ..resume.clone() }), 4, "another profile");
    assert_eq!(computed(&Settings { options: [("steps".into(), "4".into())].into(), ..resume.clone() }), 4, "another option");
    assert_eq!(computed(&resume), 0, "the first parts are still there");
    let kept = part_files(folder.path()).len();
    assert_eq!(computed(&fresh), 4, "without --resume everything is computed");
    assert_eq!(computed(&Settings { seed: 1, ..resume.clone() }), 0, "and parts of other settings stay");
    run(&Experiment { run: |_| Ok(Outcome::default()), ..PARTS }, &fresh).unwrap();
    assert_eq!(part_files(folder.path()).len(), kept - 4, "but those of the same are gone");
}

#[test]
fn changed_data_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data/inner");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("table.csv"), "1").unwrap();
    let settings =
        Settings { out: Some(folder.path().into()), data: Some(folder.path().join("data")), resume: true, ..Settings::default() };
    assert_eq!((computed(&settings), computed(&settings)), (4.into(), 0.into()));
    fs::write(data.join("table.csv"), "12").unwrap();
    assert_eq!(computed(&settings), 4);
}

/// Keeps the messages.
#[derive(Default)]
struct Messages(Vec<String>);

impl Observer for Messages {
    fn message(&mut self, text: &str) {
        self.0.push(text.into());
    }
}

#[test]
fn a_corrupt_part_is_computed_again_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { out: Some(folder.path().into()), resume: true, ..Settings::default() };
    for content in ["", "{\"seconds\":1,\"value\":", "{\"seconds\":-1,\"value\":1}", "{\"seconds\":1,\"value\":\"x\"}", "\u{0}"] {
        computed(&settings);
        let file = part_files(folder.path()).into_iter().find(|path| path.ends_with("seed-1/train.json")).unwrap();
        fs::write(file, content).unwrap();
        let mut messages = Messages::default();
        let done = reproduce(&PARTS, &settings, &Cancel::new(), &mut messages).unwrap();
        assert_eq!(done.report.numbers["computed"], 1);
        assert!(
            messages.0.contains(&"seed-1/train: the file of the earlier run cannot be used; computed again".into()),
            "{messages:?}",
            messages = messages.0
        );
    }
}

#[test]
fn resumed_time_counts() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { out: Some(folder.path().into()), resume: true, ..Settings::default() };
    computed(&settings);
    for file in part_files(folder.path()) {
        fs::write(file, format!("{{\"seconds\":100,\"value\":{}}}", 1.0 / 3.0)).unwrap();
    }
    let seconds = run(&PARTS, &settings).unwrap().report.system.seconds;
    assert!((400.0..420.0).contains(&seconds), "{seconds}");
}

#[test]
fn an_interruption_keeps_the_finished_parts() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { out: Some(folder.path().into()), resume: true, ..Settings::default() };
    /// Cancels at the first progress.
    struct Stop(Cancel);
    impl Observer for Stop {
        fn progress(&mut self, _: u64, _: Option<u64>, _: &str) {
            self.0.cancel();
        }
    }
    let stopped = Experiment {
        claims: &[],
        run: |context| {
            context.part("seed-0/train", || Ok(1.0 / 3.0))?;
            context.observer("train", "seed 0").progress(1, None, "training");
            parts(context)
        },
        ..FAKE
    };
    let cancel = Cancel::new();
    let error = reproduce(&stopped, &settings, &cancel, &mut Stop(cancel.clone())).unwrap_err();
    assert!(matches!(error, ExperimentError::Interrupted(_)));
    assert_eq!(computed(&settings), 3);
}

#[test]
fn a_name_of_a_part_is_used_once() {
    let twice = Experiment {
        claims: &[],
        run: |context| {
            context.part("same", || Ok(1))?;
            context.part("same", || Ok(2))?;
            Ok(Outcome::default())
        },
        ..FAKE
    };
    let error = run(&twice, &Settings::default()).unwrap_err();
    assert!(matches!(error, ExperimentError::RepeatedPart { part, .. } if part == "same"));
}

#[test]
fn a_name_of_a_figure_is_used_once() {
    let twice = Experiment {
        claims: &[],
        run: |_| Ok(Outcome { figures: vec![LineChart::default().figure("same"); 2], ..Outcome::default() }),
        ..FAKE
    };
    assert!(matches!(run(&twice, &Settings::default()), Err(ExperimentError::RepeatedFigure { figure, .. }) if figure == "same"));
}

#[test]
fn parts_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("file");
    fs::write(&out, "").unwrap();
    let error = run(&PARTS, &Settings { out: Some(out), resume: true, ..Settings::default() }).unwrap_err();
    assert!(matches!(error, ExperimentError::Io { .. }), "{error}");
}

#[test]
fn dates() {
    let at = |seconds| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "1970-01-01T00:00:00Z");
    assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(at(1_769_851_805), "2026-01-31T09:30:05Z");
    assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
}
