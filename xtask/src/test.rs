//! `cargo xtask test`: every check of the project, one after the other.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::ops::AddAssign;
use std::time::Instant;

use lexopt::prelude::*;

use crate::{Failure, arrows, browser, cargo, docs, sources};

const HELP: &str = "\
Runs every check of the project: format, lints, unit, property and documentation tests, API
documentation, crate arrows, packages, builds without the tensor crate, a smoke run of every system,
and its pages in a browser where there is Chromium.
All steps run even when one fails; the last line says `N passed, N failed`.

Usage: cargo xtask test
       cargo xtask test --properties [--cases N] [--package CRATE]

Options:
  --properties         Only the property tests, with many more cases each
  --cases N            Cases for each property [default: 4096]
  -p, --package CRATE  Only this crate, for example gradus-merging
  -h, --help           This text
";

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Everything,
    Properties { cases: u32, package: Option<String> },
    Help,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    fn one(good: bool) -> Self {
        Self { passed: u64::from(good), failed: u64::from(!good) }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    match parse(arguments)? {
        Request::Help => {
            print!("{HELP}");
            Ok(())
        }
        Request::Properties { cases, package } => {
            let mut command = cargo::command(&["test", "--no-fail-fast"]);
            match &package {
                Some(package) => command.args(["--package", package]),
                None => command.arg("--workspace"),
            };
            command.arg("properties").env("PROPTEST_CASES", cases.to_string());
            let (good, seen) = cargo::tee(&mut command)?;
            let count = tests_count(good, &seen);
            if count == Count::default() {
                return Err(Failure::Failed("no property test ran: they live in modules called `properties`".into()));
            }
            finish(count)
        }
        Request::Everything => everything(),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut properties, mut cases, mut package) = (false, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("properties") => properties = true,
            Long("cases") => cases = Some(parser.value()?.parse::<NonZeroU32>()?.get()),
            Short('p') | Long("package") => package = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Request::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    if properties {
        return Ok(Request::Properties { cases: cases.unwrap_or(4096), package });
    }
    if cases.is_some() || package.is_some() {
        return Err(Failure::Usage("--cases and --package go with --properties".into()));
    }
    Ok(Request::Everything)
}

type Step = (&'static str, fn() -> Result<Count, Failure>);

const STEPS: &[Step] = &[
    ("format", || one(&["fmt", "--all", "--check"])),
    ("lints", || one(&["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])),
    ("tests", tests),
    ("API documentation", || Ok(Count::one(docs::api()? == 0))),
    ("pages of the book", || listed(docs::missing_pages()?)),
    ("property tests where they are found", || listed(sources::stray_properties()?)),
    ("a reason for every dependency", || listed(sources::dependencies_without_reason()?)),
    ("one build", || listed(sources::built_twice()?)),
    ("crate arrows", || listed(arrows::violations()?)),
    ("packages", || listed(sources::flaws_of_packages()?)),
    ("builds without the tensor crate", without_autodiff),
    ("smoke run of every system", smoke),
    ("report pages in a browser", pages),
];

fn everything() -> Result<(), Failure> {
    let mut total = Count::default();
    for (name, step) in STEPS {
        println!("== {name}");
        let start = Instant::now();
        let count = step().unwrap_or_else(|failure| {
            println!("{failure}");
            Count::one(false)
        });
        let verdict = if count.failed == 0 { "ok" } else { "FAILED" };
        println!("== {name}: {verdict}, {:.1} s\n", start.elapsed().as_secs_f64());
        total += count;
    }
    finish(total)
}

fn finish(count: Count) -> Result<(), Failure> {
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 { Ok(()) } else { Err(Failure::Status(1)) }
}

fn one(arguments: &[&str]) -> Result<Count, Failure> {
    Ok(Count::one(cargo::status(&mut cargo::command(arguments))? == 0))
}

fn listed(problems: Vec<String>) -> Result<Count, Failure> {
    for problem in &problems {
        println!("{problem}");
    }
    Ok(Count::one(problems.is_empty()))
}

fn tests() -> Result<Count, Failure> {
    let mut count = Count::default();
    let workspace: &[&str] = &["--workspace", "--no-fail-fast"];
    // Features for users: no crate of ours turns them on, and for all to do so would build all of them twice. Candle's is left
    // out, whose build takes minutes.
    let features: &[&str] =
        &["--package", "gradus-autodiff", "--features", "proptest,ndarray", "--doc", "--", "strategies", "interop::ndarray"];
    for choice in [workspace, features] {
        let (good, seen) = cargo::tee(&mut cargo::command(&[&["test"], choice].concat()))?;
        count += tests_count(good, &seen);
    }
    Ok(count)
}

/// Sums the `test result:` lines; a run that failed without a failed test (it did not build) is one failure.
fn tests_count(good: bool, seen: &str) -> Count {
    let mut count = Count::default();
    for line in seen.lines().filter(|line| line.starts_with("test result:")) {
        let words: Vec<&str> = line.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            match (pair[0].parse::<u64>(), pair[1]) {
                (Ok(n), "passed") => count.passed += n,
                (Ok(n), "failed") => count.failed += n,
                _ => {}
            }
        }
    }
    if !good && count.failed == 0 {
        count.failed = 1;
    }
    count
}

fn without_autodiff() -> Result<Count, Failure> {
    let mut count = Count::default();
    for package in optional_autodiff()? {
        // What is left of a crate without tensors is tested. The facade has no code, and its tests are the pages of the
        // book, which use every crate: it is only built, with the crates that need no tensors.
        let (verb, features) = if package == "gradus" { ("check", "checkpoint,data,merging") } else { ("test", "") };
        let choice = ["--package", &package, "--no-default-features", "--features", features];
        println!("{verb} {}", choice.join(" "));
        let good = cargo::status(&mut cargo::command(&[&[verb, "--quiet"], &choice[..]].concat()))? == 0;
        let tree =
            cargo::output(&mut cargo::command(&[&["tree"], &choice[..], &["--edges", "normal,build", "--prefix", "none"]].concat()))?;
        let absent = !tree.lines().any(|line| line.starts_with("gradus-autodiff "));
        if !absent {
            println!("{package} has gradus-autodiff in its tree without default features");
        }
        count += Count::one(good && absent);
    }
    Ok(count)
}

/// The packages whose manifest declares a feature `autodiff`.
fn optional_autodiff() -> Result<Vec<String>, Failure> {
    let crates = cargo::root().join("crates");
    let folders = std::fs::read_dir(&crates).map_err(|error| Failure::Failed(format!("{}: {error}", crates.display())))?;
    let mut packages = Vec::new();
    for folder in folders.flatten() {
        let manifest = std::fs::read_to_string(folder.path().join("Cargo.toml")).unwrap_or_default();
        if declares_autodiff(&manifest) {
            let name = folder.file_name().to_string_lossy().into_owned();
            packages.push(if name == "gradus" { name } else { format!("gradus-{name}") });
        }
    }
    packages.sort();
    Ok(packages)
}

fn declares_autodiff(manifest: &str) -> bool {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.starts_with("autodiff"))
}

fn smoke() -> Result<Count, Failure> {
    if docs::systems()?.is_empty() {
        // Nothing ran, so nothing passed.
        println!("`gradus list` names no system: nothing to run");
        return Ok(Count::default());
    }
    let results = cargo::root().join("target/smoke/results.json");
    // An earlier run's results must not stand for this one's.
    let _ = std::fs::remove_file(&results);
    let status = cargo::status(&mut cargo::command(&[
        "run",
        "--quiet",
        "--package",
        "gradus-cli",
        "--",
        "reproduce",
        "--all",
        "--profile",
        "smoke",
        "--out",
        "target/smoke",
    ]))?;
    // 3: a gated claim was not run in this profile, which checks exact claims only.
    Ok(Count::one((status == 0 || status == 3) && results.is_file()))
}

fn pages() -> Result<Count, Failure> {
    match browser::look(&cargo::root().join("target/smoke"))? {
        browser::Seen::Nothing => {
            println!("left out: there is no Chromium");
            Ok(Count::default())
        }
        browser::Seen::Pages(_, problems) => listed(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Request, Failure> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn arguments() {
        assert_eq!(check("").unwrap(), Request::Everything);
        assert_eq!(check("--properties").unwrap(), Request::Properties { cases: 4096, package: None });
        assert_eq!(
            check("--properties --cases 9 -p gradus-base").unwrap(),
            Request::Properties { cases: 9, package: Some("gradus-base".into()) }
        );
        assert_eq!(check("--help").unwrap(), Request::Help);
        for wrong in ["--cases 9", "-p gradus-base", "--properties --cases many", "--properties --cases 0", "--nonsense", "extra"] {
            assert!(matches!(check(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn counts_are_summed_over_targets() {
        let seen = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                    test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s\n";
        assert_eq!(tests_count(false, seen), Count { passed: 5, failed: 4 });
    }

    #[test]
    fn a_build_failure_is_one_failure() {
        assert_eq!(tests_count(false, ""), Count { passed: 0, failed: 1 });
        assert_eq!(tests_count(true, ""), Count { passed: 0, failed: 0 });
    }

    #[test]
    fn the_autodiff_feature_is_found_only_among_features() {
        assert!(declares_autodiff("[features]\ndefault = [\"autodiff\"]\nautodiff = []\n"));
        assert!(!declares_autodiff("[dependencies]\nautodiff = \"1\"\n[features]\nx = []\n"));
        assert!(!declares_autodiff("[features]\nx = []\n[dependencies]\nautodiff = \"1\"\n"));
    }
}
