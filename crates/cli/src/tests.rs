use std::fs;
use std::path::Path;

use gradus_base::Cancel;
use gradus_experiments::{Bound, ByProfile, ClaimSpec, Experiment, ExperimentError, OptionKind, OptionSpec, Outcome, PaperValue, Profile};
use gradus_report::{BarChart, Results};

use crate::{Session, run};

const CLAIMS: &[ClaimSpec] = &[
    ClaimSpec {
        id: "exact",
        text: "Two and two are four",
        metric: "sum",
        bound: Bound::Exact(4.0),
        profiles: &Profile::ALL,
        ..ClaimSpec::DEFAULT
    },
    ClaimSpec {
        id: "gain",
        text: "There is <b>gain</b>",
        metric: "points",
        bound: Bound::AtLeast(1.0),
        paper: Some(PaperValue { value: 2.5, source: "Table 1" }),
        ..ClaimSpec::DEFAULT
    },
];

const OPTIONS: &[OptionSpec] = &[OptionSpec { name: "gain", help: "What comes out.", default: "2", kind: OptionKind::Number(-9.0, 9.0) }];

static GOOD: Experiment = Experiment {
    slug: "good",
    title: "A good system",
    authors: "A. Author",
    year: 2020,
    arxiv: Some("2001.00001"),
    summary: "Adds numbers.",
    data: "none",
    takes_data: false,
    claims: CLAIMS,
    options: OPTIONS,
    seeds: ByProfile { smoke: 1, quick: 2, full: 2 },
    seconds: ByProfile { smoke: 1.0, quick: 20.0, full: 300.0 },
    run: |context| {
        let sum = context.part("sum", || {
            context.message("adding");
            Ok(4.0)
        })?;
        let gain = context.number("gain")?;
        let mut outcome = Outcome::default();
        outcome.measure("exact", [sum]);
        outcome.measure("gain", context.seeds().iter().map(|&seed| gain + 0.1 * seed as f64));
        outcome.figures.push(BarChart::default().figure("bars"));
        Ok(outcome)
    },
};

static BAD_DATA: Experiment = Experiment {
    slug: "bad-data",
    takes_data: true,
    options: &[],
    run: |_| Err(ExperimentError::data("digits.csv: line 3, column 2: expected a number")),
    ..GOOD
};

static UNMEASURED: Experiment = Experiment { slug: "unmeasured", options: &[], run: |_| Ok(Outcome::default()), ..GOOD };

static BROKEN: Experiment = Experiment { slug: "broken", run: |_| panic!("on purpose"), ..GOOD };

/// Stops itself in the middle, as Ctrl-C would, unless its first part comes from an earlier run.
static SLOW: Experiment = Experiment {
    slug: "slow",
    claims: &[],
    run: |context| {
        let mut computed = false;
        context.part("first", || {
            computed = true;
            Ok(())
        })?;
        if computed {
            context.cancel().cancel();
        }
        context.part("second", || Ok(()))?;
        Ok(Outcome::default())
    },
    ..GOOD
};

/// What a run of the command did.
struct Done {
    status: u8,
    stdout: String,
    stderr: String,
}

fn gradus_with(experiments: &[&Experiment], arguments: &[&str]) -> Done {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut session = Session { experiments, cancel: Cancel::new(), stdout: &mut stdout, stderr: &mut stderr, bars: false };
    let status = run(["gradus"].iter().chain(arguments).map(Into::into), &mut session);
    Done { status, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
}

fn gradus(arguments: &[&str]) -> Done {
    gradus_with(&[&BAD_DATA, &GOOD, &SLOW], arguments)
}

/// `gradus reproduce ARGUMENTS… --out OUT`.
fn reproduce(out: &Path, arguments: &[&str]) -> Done {
    gradus(&[&["reproduce"], arguments, &["--out", out.to_str().unwrap()]].concat())
}

fn results(out: &Path) -> Results {
    gradus_report::read_results(&out.join("results.json")).unwrap()
}

/// Wrong use: status 2, nothing on stdout, one line on stderr that starts with `error: `.
fn check_wrong_use(done: &Done, words: &str) {
    assert_eq!((done.status, done.stdout.as_str()), (2, ""), "{}", done.stderr);
    assert!(done.stderr.starts_with("error: ") && done.stderr.lines().count() == 1, "{}", done.stderr);
    assert!(done.stderr.contains(words), "{}", done.stderr);
}

#[test]
fn claims_that_hold_give_0_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let done = reproduce(folder.path(), &["good"]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(done.stdout.starts_with("good (quick, seed 0, "), "{}", done.stdout);
    assert!(done.stdout.contains("  holds          exact  4, claimed = 4\n"), "{}", done.stdout);
    assert!(done.stdout.contains("  holds          gain   2.05 [1.415, 2.685], claimed ≥ 1, paper 2.5\n"), "{}", done.stdout);
    assert!(done.stderr.starts_with("estimate\tgood\t20.0\n") && done.stderr.contains("message\tgood\tadding\n"));
    for file in ["index.html", "good.html", "good.json", "good/bars.svg"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    let page = fs::read_to_string(folder.path().join("good.html")).unwrap();
    assert!(page.contains("There is &lt;b&gt;gain&lt;/b&gt;") && !page.contains("<b>"));
    assert_eq!(results(folder.path()).systems[0].claims[1].measured, Some(2.05));
}

#[test]
fn a_claim_that_fails_gives_1_and_one_not_measured_3() {
    let folder = tempfile::tempdir().unwrap();
    let fails = reproduce(folder.path(), &["good", "--option", "gain=-1"]);
    assert_eq!(fails.status, 1);
    assert!(fails.stdout.contains("does not hold  gain"), "{}", fails.stdout);
    let out = folder.path().to_str().unwrap();
    assert_eq!(gradus_with(&[&UNMEASURED], &["reproduce", "--out", out]).status, 3);
    // A claim of other profiles does not count.
    let smoke = reproduce(folder.path(), &["good", "--profile", "smoke"]);
    assert_eq!(smoke.status, 0);
    assert!(smoke.stdout.contains("needs more     gain   not measured, claimed ≥ 1"), "{}", smoke.stdout);
    let line = "  The smoke profile leaves out 1 of 2 claims; other profiles measure: quick 1, full 1.\n";
    assert!(smoke.stdout.contains(line), "{}", smoke.stdout);
    assert!(!fails.stdout.contains("leaves out"), "{}", fails.stdout);
    assert!(fs::read_to_string(folder.path().join("good.html")).unwrap().contains(line.trim()));
}

#[test]
fn seeds_are_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(reproduce(folder.path(), &["good", "--seed", "10", "--seeds", "3"]).status, 0);
    let system = &results(folder.path()).systems[0];
    assert_eq!((system.seed, system.seeds, system.claims[1].seeds), (10, Some(3), 3));
    assert!((system.claims[1].measured.unwrap() - 3.1).abs() < 1e-12);
}

#[test]
fn data_go_to_the_systems_that_take_them() {
    let folder = tempfile::tempdir().unwrap();
    let done = reproduce(folder.path(), &["good", "bad-data", "--data", folder.path().to_str().unwrap(), "--seeds", "4"]);
    assert!(done.stderr.starts_with("estimate\tgood,bad-data\t80.0\n"), "{}", done.stderr);
    assert_eq!(results(folder.path()).systems[0].data, None, "what is not used is not recorded");
}

#[test]
fn a_person_reads_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut session = Session { experiments: &[&BAD_DATA], cancel: Cancel::new(), stdout: &mut stdout, stderr: &mut stderr, bars: true };
    let path = folder.path().to_str().unwrap();
    run(["gradus", "reproduce", "bad-data", "--out", path, "--data", path].map(Into::into), &mut session);
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.starts_with("bad-data, quick profile: about 20 s on two cores, longer with your data\n"), "{stderr}");
}

#[test]
fn wrong_use_gives_2_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["nothing"][..], "there is no system \"nothing\"; there are: bad-data, good, slow"),
        (&["good", "--all"], "cannot be used with"),
        (&["good", "--profile", "slow"], "expected smoke, quick or full"),
        (&["good", "--option", "gain"], "expected NAME=VALUE"),
        (&["good", "--option", "=1"], "expected NAME=VALUE"),
        (&["good", "--option", "gain=many"], "option gain: \"many\" is not a number from -9 to 9"),
        (&["good", "--option", "gian=1"], "good has no option \"gian\"; it has gain"),
        (&["--all", "--option", "gian=1"], "none of the systems has an option \"gian\""),
        (&["good", "--option", "gain=1", "--option", "gain=2"], "option gain is given twice"),
        (&["good", "--seeds", "0"], "0 is not in 1..=1000"),
        (&["good", "--seed=-1"], "invalid value '-1' for '--seed <N>'"),
        (&["good", "--threads", "0"], "0 is not in 1..=1024"),
        (&["good", "--threads", "1000000"], "is not in 1..=1024"),
        (&["bad-data", "--data", "/no/such/folder"], "--data /no/such/folder: no such folder"),
        (&["good", "--data", "/"], "--data /: good takes no data"),
        (&["good", "slow", "--data", "/"], "--data /: the systems take no data"),
        (&["good", "--compare", "/no/such/file"], "--compare /no/such/file: "),
        (&["--all", "--html", "page.html"], "--html and --report take one system, and 3 are to run"),
        (&["good", "slow", "--report", "report.json"], "and 2 are to run"),
        (&["good", "--nonsense"], "--nonsense"),
    ] {
        check_wrong_use(&reproduce(folder.path(), arguments), words);
    }
    check_wrong_use(&gradus(&[]), "a command is missing");
    check_wrong_use(&gradus(&["reproduction"]), "reproduction");
    check_wrong_use(&gradus(&["list", "nothing"]), "there is no system");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    check_wrong_use(&reproduce(&file, &["good"]), "--out ");
    let below = file.join("page");
    for option in ["--html", "--report"] {
        check_wrong_use(&reproduce(folder.path(), &["good", option, below.to_str().unwrap()]), &format!("{option} {}: ", below.display()));
        check_wrong_use(&reproduce(folder.path(), &["good", option, folder.path().to_str().unwrap()]), "directory");
    }
    assert!(!folder.path().join("results.json").exists(), "nothing ran");
}

#[test]
fn a_page_of_the_users_own_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("index.html");
    fs::write(&page, "mine").unwrap();
    check_wrong_use(&reproduce(folder.path(), &["good"]), "index.html: not written by gradus");
    assert_eq!(fs::read_to_string(page).unwrap(), "mine");
}

#[test]
fn bad_data_gives_1_and_the_loaders_words() {
    let folder = tempfile::tempdir().unwrap();
    let done = reproduce(folder.path(), &["bad-data"]);
    assert_eq!((done.status, done.stdout.as_str()), (1, ""));
    assert!(done.stderr.ends_with("error: digits.csv: line 3, column 2: expected a number\n"), "{}", done.stderr);
}

#[test]
fn an_error_in_one_system_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let done = reproduce(folder.path(), &["bad-data", "good", "good"]);
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("error: bad-data: digits.csv"), "{}", done.stderr);
    assert_eq!(done.stdout.matches("good (quick").count(), 1, "{}", done.stdout);
    assert_eq!(results(folder.path()).systems.len(), 1);
}

#[test]
fn nothing_to_run_gives_3() {
    let folder = tempfile::tempdir().unwrap();
    let done = gradus_with(&[], &["reproduce", "--out", folder.path().to_str().unwrap()]);
    assert_eq!((done.status, done.stderr.as_str()), (3, "error: no system can be reproduced yet\n"));
    assert_eq!(gradus_with(&[], &["list", "--json"]).stdout, "[]\n");
}

#[test]
fn a_panic_in_an_experiment_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let done = gradus_with(&[&BROKEN, &GOOD], &["reproduce", "--out", out]);
    assert_eq!(done.status, 1);
    let errors: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].starts_with("error: broken: internal error") && errors[0].ends_with("on purpose"), "{errors:?}");
    assert!(done.stdout.contains("good (quick"), "{}", done.stdout);
}

/// A method whose own error hides that it was interrupted.
static HIDES: Experiment = Experiment {
    slug: "hides",
    run: |context| {
        context.cancel().cancel();
        context.check().map_err(ExperimentError::method)?;
        Ok(Outcome::default())
    },
    ..GOOD
};

#[test]
fn an_interruption_in_the_words_of_a_method_gives_130() {
    let folder = tempfile::tempdir().unwrap();
    let done = gradus_with(&[&HIDES, &GOOD], &["reproduce", "--out", folder.path().to_str().unwrap()]);
    assert_eq!((done.status, done.stdout.as_str()), (130, ""), "and the next system does not start");
}

#[test]
fn an_interruption_gives_130_and_resume_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let done = reproduce(folder.path(), &["good", "slow"]);
    assert_eq!(done.status, 130);
    let last = done.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: interrupted; --resume goes on from the finished parts in "), "{last}");
    assert_eq!(results(folder.path()).systems.len(), 1, "what was finished before is kept");
    assert_eq!(reproduce(folder.path(), &["slow"]).status, 130, "without --resume it starts again");
    let resumed = reproduce(folder.path(), &["slow", "--resume"]);
    assert_eq!(resumed.status, 0, "{}", resumed.stderr);
    assert!(resumed.stderr.contains("message\tslow\tfirst: taken from the earlier run\n"), "{}", resumed.stderr);
}

/// The part files under a folder.
fn part_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { part_files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_corrupt_part_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    reproduce(folder.path(), &["good"]);
    for file in part_files(&folder.path().join(".parts")) {
        fs::write(file, "{").unwrap();
    }
    let done = reproduce(folder.path(), &["good", "--resume"]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(done.stderr.contains("sum: the file of the earlier run cannot be used; computed again"), "{}", done.stderr);
}

#[test]
fn an_earlier_run_can_be_compared_with() {
    let folder = tempfile::tempdir().unwrap();
    let (before, now) = (folder.path().join("before"), folder.path().join("now"));
    reproduce(&before, &["good", "--option", "gain=0"]);
    let earlier = before.join("results.json");
    let done = reproduce(&now, &["good", "--compare", earlier.to_str().unwrap()]);
    assert_eq!(done.status, 0);
    assert!(done.stdout.contains("earlier 0.05 (does not hold)"), "{}", done.stdout);
    assert!(fs::read_to_string(now.join("good.html")).unwrap().contains("Earlier run"));
    reproduce(&now, &["slow"]);
    let other = reproduce(&now, &["slow", "--resume", "--compare", earlier.to_str().unwrap()]);
    assert!(other.status == 0 && other.stderr.contains("message\tslow\tthe earlier results do not have this system\n"), "{}", other.stderr);
}

#[test]
fn results_files_that_are_bad_give_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.json");
    for content in ["", "{\"schema\":\"gradus-results/2\"}", "[1]"] {
        fs::write(&file, content).unwrap();
        let done = reproduce(&folder.path().join("out"), &["good", "--compare", file.to_str().unwrap()]);
        assert_eq!((done.status, done.stdout.as_str()), (1, ""));
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains("bad.json") && done.stderr.lines().count() == 1);
    }
    fs::write(folder.path().join("results.json"), "{").unwrap();
    let done = reproduce(folder.path(), &["good"]);
    assert_eq!(done.status, 1);
    assert!(!done.stderr.contains("message"), "it is said before anything runs");
}

#[test]
fn json_is_all_of_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let done = reproduce(folder.path(), &["good", "--json"]);
    let printed: Results = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(printed, results(folder.path()));
}

#[test]
fn one_system_can_be_written_to_files_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (page, report) = (folder.path().join("a/page.html"), folder.path().join("b/report.json"));
    let done = reproduce(folder.path(), &["good", "--html", page.to_str().unwrap(), "--report", report.to_str().unwrap()]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert_eq!(done.stdout.matches("written: ").count(), 4);
    assert!(done.stdout.contains(&format!("written: {}\n", folder.path().join("index.html").display())), "{}", done.stdout);
    assert!(!fs::read_to_string(page).unwrap().contains("index.html"));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["schema"], "gradus-system/1");
    assert_eq!(report["system"]["claims"][1]["paper"]["value"], 2.5);
    assert_eq!(report["values"]["gain"], serde_json::json!([2.0, 2.1]));
}

#[test]
fn two_runs_into_one_folder_leave_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for seed in ["1", "2", "3", "4"] {
            let out = folder.path();
            scope.spawn(move || {
                let done = reproduce(out, &["good", "--seed", seed]);
                assert_eq!(done.status, 0, "{}", done.stderr);
            });
        }
    });
    assert_eq!(results(folder.path()).systems.len(), 1);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[test]
fn list_shows_systems_claims_and_options() {
    let all = gradus(&["list"]);
    assert_eq!(all.status, 0);
    assert!(all.stdout.contains("good           2  20 s        5 min 0 s   A good system\n"), "{}", all.stdout);
    let one = gradus(&["list", "good"]).stdout;
    for words in
        ["arXiv 2001.00001", "gain=2", "a number from -9 to 9", "quick ≥ 1, full ≥ 1; paper: 2.5, Table 1", "smoke = 4", "Data: none"]
    {
        assert!(one.contains(words), "{words}\n{one}");
    }
    let json: serde_json::Value = serde_json::from_str(&gradus(&["list", "--json"]).stdout).unwrap();
    let slugs: Vec<&str> = json.as_array().unwrap().iter().map(|system| system["slug"].as_str().unwrap()).collect();
    assert_eq!(slugs, ["bad-data", "good", "slow"]);
    assert_eq!(json[1]["claims"][1]["bound"], serde_json::json!({ "direction": ">=", "threshold": 1.0 }));
    assert_eq!(json[1]["options"][0]["values"], "a number from -9 to 9");
    assert_eq!(json[1]["seconds"]["quick"], 20.0);
    let one: serde_json::Value = serde_json::from_str(&gradus(&["list", "good", "--json"]).stdout).unwrap();
    assert_eq!(one[0], json[1]);
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["reproduce", "--help"], &["--version"]] {
        let done = gradus(arguments);
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        assert!(done.stdout.contains("gradus"));
    }
}
