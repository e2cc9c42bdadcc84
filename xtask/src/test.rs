//! `cargo xtask test`: everything that must hold before a change lands.

use std::process::{Command, ExitCode};
use std::time::Instant;

use lexopt::ValueExt;

/// What to test.
#[derive(Default)]
pub(crate) struct Options {
    properties: bool,
    cases: Option<u32>,
    package: Option<String>,
}

impl Options {
    /// Reads the arguments after `test`.
    pub(crate) fn parse(mut arguments: lexopt::Parser) -> Result<Self, lexopt::Error> {
        use lexopt::Arg::{Long, Short};
        let mut options = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("properties") => options.properties = true,
                Long("cases") => options.cases = Some(arguments.value()?.parse()?),
                Long("package") | Short('p') => options.package = Some(arguments.value()?.string()?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }
}

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run(options: Options) -> Result<ExitCode, lexopt::Error> {
    let scope = options.package.as_deref().map_or_else(|| vec!["--workspace"], |package| vec!["-p", package]);
    let steps: Vec<(&str, Vec<&str>)> = if options.properties {
        vec![("property tests", [&["test", "--lib"], &scope[..], &["properties"]].concat())]
    } else {
        vec![
            ("formatting", vec!["fmt", "--all", "--check"]),
            ("lints", [&["clippy", "--all-targets"], &scope[..], &["--", "-D", "warnings"]].concat()),
            ("tests", [&["test"], &scope[..]].concat()),
            ("documentation", [&["doc", "--no-deps"], &scope[..]].concat()),
        ]
    };
    let cases = options.cases.or(options.properties.then_some(1000));
    for (i, (name, arguments)) in steps.iter().enumerate() {
        println!("[{}/{}] {name}: cargo {}", i + 1, steps.len(), arguments.join(" "));
        let start = Instant::now();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
        if let Some(cases) = cases {
            cargo.env("PROPTEST_CASES", cases.to_string());
        }
        let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
        if !status.success() {
            eprintln!("error: {name} failed");
            println!("{i} passed, 1 failed");
            return Ok(ExitCode::from(1));
        }
        println!("      {name} passed in {:.0} s", start.elapsed().as_secs_f64());
    }
    println!("{} passed, 0 failed", steps.len());
    Ok(ExitCode::SUCCESS)
}
