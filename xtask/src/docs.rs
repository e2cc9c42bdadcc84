//! `cargo xtask docs`: the book and the API documentation, checked and built.

use std::ffi::OsString;
use std::process::Command;

use lexopt::prelude::*;

use crate::{Failure, cargo};

const HELP: &str = "\
Checks that every page that the book's summary names exists and that every system has its page,
builds the API documentation (target/doc) and, where `mdbook` is installed, the book (target/book).

Usage: cargo xtask docs
";

/// Runs the command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    if let Some(argument) = parser.next()? {
        return match argument {
            Short('h') | Long("help") => {
                print!("{HELP}");
                Ok(())
            }
            other => Err(other.unexpected().into()),
        };
    }
    let missing = missing_pages()?;
    if !missing.is_empty() {
        return Err(Failure::Failed(missing.join("; ")));
    }
    match api()? {
        0 => book(),
        status => Err(Failure::Status(status)),
    }
}

/// Builds the API documentation with warnings denied; the exit status.
pub(crate) fn api() -> Result<u8, Failure> {
    cargo::status(cargo::command(&["doc", "--quiet", "--workspace", "--all-features", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn book() -> Result<(), Failure> {
    if Command::new("mdbook").arg("--version").output().is_err() {
        println!("mdbook is not installed; to build the book: cargo install mdbook, then run this again");
        return Ok(());
    }
    match cargo::status(Command::new("mdbook").args(["build", "docs"]).current_dir(cargo::root()))? {
        0 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

/// Pages that the summary names, or that a system should have, and that do not exist; as sentences.
pub(crate) fn missing_pages() -> Result<Vec<String>, Failure> {
    let folder = cargo::root().join("docs/src");
    let summary =
        std::fs::read_to_string(folder.join("SUMMARY.md")).map_err(|error| Failure::Failed(format!("docs/src/SUMMARY.md: {error}")))?;
    let pages = pages(&summary);
    let mut missing: Vec<String> = pages
        .iter()
        .filter(|page| !folder.join(page).is_file())
        .map(|page| format!("SUMMARY.md names {page}, which does not exist"))
        .collect();
    for slug in systems()? {
        let page = format!("systems/{slug}.md");
        if !pages.contains(&page.as_str()) {
            missing.push(format!("the system {slug} has no page {page} in SUMMARY.md"));
        }
    }
    Ok(missing)
}

/// The slugs of the systems that `gradus` knows.
pub(crate) fn systems() -> Result<Vec<String>, Failure> {
    let list = cargo::output(&mut cargo::command(&["run", "--quiet", "--package", "gradus-cli", "--", "list", "--json"]))?;
    Ok(slugs(&list).into_iter().map(String::from).collect())
}

/// The link targets of the summary.
fn pages(summary: &str) -> Vec<&str> {
    summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|page| !page.is_empty()).collect()
}

/// The values of the keys `"slug"` of a JSON text; slugs have no escapes.
fn slugs(json: &str) -> Vec<&str> {
    json.split("\"slug\"")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_from_links() {
        assert_eq!(pages("# Summary\n[A](a.md)\n- [B](systems/b.md)\n- [draft]()\n"), ["a.md", "systems/b.md"]);
    }

    #[test]
    fn slugs_are_read_with_and_without_spaces() {
        assert_eq!(slugs(r#"[{"slug":"one-a","title":"x"},{ "slug" : "two" }]"#), ["one-a", "two"]);
        assert_eq!(slugs("[]"), Vec::<&str>::new());
    }
}
