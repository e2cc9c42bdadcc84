//! Checks of the sources themselves: where property tests are, why dependencies are there, how often they are built, what packages hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{Failure, cargo};

/// Property tests outside a module `properties`, by whose name `cargo xtask test --properties` finds them.
pub(crate) fn stray_properties() -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for folder in ["crates", "benches/src", "benches/common/src", "benches/games/src", "xtask/src"] {
        for file in rust_files(&cargo::root().join(folder))? {
            let lines = stray_lines(&read(&file)?);
            found.extend(lines.into_iter().map(|line| format!("{}:{line}: `proptest!` outside `mod properties`", file.display())));
        }
    }
    Ok(found)
}

/// The Rust files below a folder, but for modules `properties` in files of their own.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|kind| kind == "rs") && path.file_stem().is_some_and(|name| name != "properties") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The lines of property tests outside modules `properties`. In formatted code, a module ends at its own indentation.
fn stray_lines(source: &str) -> Vec<usize> {
    let (mut module, mut stray) = (None, Vec::new());
    for (number, line) in (1..).zip(source.lines()) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match module {
            None if text.ends_with("mod properties {") && !text.starts_with("//") => module = Some(indent),
            None if text.starts_with("proptest! ") || text.starts_with("proptest::proptest! ") => stray.push(number),
            Some(start) if start == indent && text == "}" => module = None,
            _ => {}
        }
    }
    stray
}

/// External crates of the workspace that the architecture page gives no reason for.
pub(crate) fn dependencies_without_reason() -> Result<Vec<String>, Failure> {
    let (manifest, page) = (cargo::root().join("Cargo.toml"), cargo::root().join("docs/src/architecture.md"));
    Ok(without_reason(&read(&manifest)?, &read(&page)?))
}

fn without_reason(manifest: &str, page: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let names = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split([' ', '=', '.']).next());
    let external = names.filter(|name| !name.is_empty() && !name.starts_with('#') && !name.starts_with("gradus-"));
    external
        .filter(|name| !page.contains(&format!("`{name}`")))
        .map(|name| format!("docs/src/architecture.md gives no reason for the dependency `{name}`"))
        .collect()
}

/// What is not published stands on packages that no registry has.
const NOT_PUBLISHED: [&str; 4] = ["gradus-benches", "gradus-benches-common", "gradus-benches-games", "xtask"];

/// What `cargo package` warns of, and packages without the text of the licences.
pub(crate) fn flaws_of_packages() -> Result<Vec<String>, Failure> {
    let mut package = cargo::command(&["package", "--workspace", "--no-verify", "--allow-dirty", "--offline"]);
    package.args(NOT_PUBLISHED.iter().flat_map(|name| ["--exclude", name]));
    let mut flaws = cargo::warnings(&mut package)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let text = read(&cargo::root().join(licence))?;
        // They are links, which a clone on a system without links turns into files that hold a path.
        let copies = entries(&cargo::root().join("crates"))?.into_iter().map(|folder| folder.join(licence));
        let wrong = copies.filter(|copy| std::fs::read_to_string(copy).ok().as_ref() != Some(&text));
        flaws.extend(wrong.map(|copy| format!("{} is not the text of {licence}", copy.display())));
    }
    Ok(flaws)
}

/// What a folder holds, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = listed().map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    paths.sort();
    Ok(paths)
}

/// Packages that `cargo xtask reproduce` builds with other features than the tests: all that stand on one are built twice.
pub(crate) fn built_twice() -> Result<Vec<String>, Failure> {
    let command = built(&["--package", "gradus-cli", "--edges", "normal,build"])?;
    let tests = built(&["--workspace", "--edges", "normal,build,dev"])?;
    Ok(command.difference(&tests).map(|package| format!("the tests need other features than the gradus command: {package}")).collect())
}

/// Packages with their features.
fn built(choice: &[&str]) -> Result<BTreeSet<String>, Failure> {
    let tree = cargo::output(&mut cargo::command(&[&["tree", "--prefix", "none", "--format", "{p} {f}"], choice].concat()))?;
    Ok(tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_tests_outside_their_module_are_found() {
        assert_eq!(stray_lines("use x;\n    proptest! {\n"), [2]);
        assert_eq!(stray_lines("    mod properties {\n        proptest! {\n        }\n    }\n    proptest! {\n"), [5]);
        assert_eq!(stray_lines("mod properties {\n    proptest::proptest! {\n    }\n}\n"), Vec::<usize>::new());
        assert_eq!(stray_lines("pub(crate) mod properties {\n    proptest! {\n    }\n}\n"), Vec::<usize>::new());
        assert_eq!(stray_lines("//! proptest! {|x| {}}\nfn f() {}\n"), Vec::<usize>::new());
    }

    #[test]
    fn dependencies_without_a_reason_are_named() {
        let manifest = "[workspace]\nx = 1\n[workspace.dependencies]\ngradus-base = { path = \"b\" }\nrand = \"1\"\nserde.version = \"1\"\n\n[profile.dev]\n";
        let missing = without_reason(manifest, "| `rand` | generators |");
        assert_eq!(missing, ["docs/src/architecture.md gives no reason for the dependency `serde`"]);
    }
}
