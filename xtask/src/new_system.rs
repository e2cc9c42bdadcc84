//! `cargo xtask new-system`: the frame of a system, from its module to its page.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::prelude::*;

use crate::{Failure, cargo};

const HELP: &str = "\
Begins a system: the module of its method with tests, its experiment, its page of the book, and the
lines that name them. What it writes passes `cargo xtask test` as it is: a frame, in which gradient
descent on a parabola stands where the method will be.

Usage: cargo xtask new-system SLUG [OPTIONS]

SLUG is the system's short name: lower-case letters, digits and `-`.

Options:
  --crate CRATE      The crate of the method, without `gradus-` [default: learning]
  --module MODULE    The method's module, the field's term for it [default: SLUG with `_`]
  --title TITLE      The paper's title [default: SLUG in words]
  --authors AUTHORS  Its authors, as in a citation [default: The authors]
  --year YEAR        Its year [default: this year]
  --arxiv ID         Its arXiv identifier
  -h, --help         This text
";

/// Words that Rust keeps for itself, of those that are in lower case.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if \
                        impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try \
                        type typeof unsafe unsized use virtual where while yield";

/// Modules that would be taken for something else: for Rust's own crates, for a program (cargo's `main.rs` and `bin/`), for the
/// tests, or for the pages of a crate.
const TAKEN: &str = "alloc bin book core lib main pages readme std tests";

/// Types that the frame uses without a path.
const PRELUDE: &str = "Default Err Ok Result Some Vec";

/// What the frame is filled with.
#[derive(Debug, PartialEq)]
struct System {
    slug: String,
    home: String,
    module: String,
    title: String,
    authors: String,
    year: u16,
    arxiv: Option<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let Some(system) = parse(arguments)? else {
        print!("{HELP}");
        return Ok(());
    };
    let files = system.files(&cargo::root())?;
    for (file, text) in &files {
        write(file, text)?;
    }
    let rust = files.iter().map(|(file, _)| file).filter(|file| file.extension().is_some_and(|kind| kind == "rs"));
    if cargo::status(Command::new("rustfmt").args(["--edition", "2024"]).args(rust).current_dir(cargo::root()))? != 0 {
        return Err(Failure::Failed("rustfmt failed; the files are written".into()));
    }
    for (file, _) in &files {
        println!("written: {}", file.strip_prefix(cargo::root()).unwrap_or(file).display());
    }
    println!("It runs: cargo xtask reproduce {}. Now see docs/src/guide/adding-a-method.md.", system.slug);
    Ok(())
}

/// Nothing when help is asked for.
fn parse(arguments: Vec<OsString>) -> Result<Option<System>, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut slug, mut home, mut module, mut title) = (None, None, None, None);
    let (mut authors, mut year, mut arxiv) = (None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("crate") => home = Some(parser.value()?.string()?),
            Long("module") => module = Some(parser.value()?.string()?),
            Long("title") => title = Some(parser.value()?.string()?),
            Long("authors") => authors = Some(parser.value()?.string()?),
            Long("year") => year = Some(parser.value()?.parse()?),
            Long("arxiv") => arxiv = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(None),
            Value(value) if slug.is_none() => slug = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let slug = slug.ok_or_else(|| Failure::Usage("the system's short name is missing".into()))?;
    let system = System {
        home: home.unwrap_or_else(|| "learning".into()),
        module: module.unwrap_or_else(|| slug.replace('-', "_")),
        title: title.unwrap_or_else(|| words(&slug).join(" ")),
        authors: authors.unwrap_or_else(|| "The authors".into()),
        year: year.unwrap_or_else(this_year),
        arxiv,
        slug,
    };
    system.check()?;
    Ok(Some(system))
}

/// The parts of a name, each with a capital first letter.
fn words(name: &str) -> Vec<String> {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.split(['-', '_']).map(capital).collect()
}

fn this_year() -> u16 {
    const MEAN_YEAR: u64 = 31_556_952;
    let elapsed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u16::try_from(1970 + elapsed.as_secs() / MEAN_YEAR).unwrap_or(u16::MAX)
}

/// Whether every part of a name is lower-case letters and digits, the first part beginning with a letter.
fn is_name(name: &str, separator: char) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split(separator).all(part)
}

impl System {
    fn check(&self) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::Usage(what));
        if !is_name(&self.slug, '-') {
            return wrong(format!("{:?} is no short name: lower-case letters and digits, with `-` between words", self.slug));
        }
        if !is_name(&self.module, '_') {
            return wrong(format!("{:?} is no name of a module: lower-case letters and digits, with `_` between words", self.module));
        }
        let is_in = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
        for module in [self.experiment(), self.module.clone()] {
            if is_in(KEYWORDS, &module) || is_in(TAKEN, &module) || is_in(PRELUDE, &words(&module).concat()) {
                return wrong(format!("`{module}` has a meaning in Rust already: take a longer name"));
            }
        }
        // They stand in Rust texts and in Markdown.
        for text in [&self.title, &self.authors].into_iter().chain(&self.arxiv) {
            if text.trim().is_empty() || text.contains(['"', '\\', '\n', '{', '}', '[', ']', '<', '>', '`']) {
                return wrong(format!("{text:?} must not be empty nor have quotes, backslashes, brackets or line ends"));
            }
        }
        Ok(())
    }

    /// Every file with its text, new ones and changed ones. Nothing is written yet, so that a mistake leaves nothing behind.
    fn files(&self, root: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
        let home = root.join("crates").join(&self.home);
        let experiments = root.join("crates/experiments");
        let docs = root.join("docs/src");
        if !crate::arrows::is_method(&self.home) {
            return Err(Failure::Usage(format!(
                "no crate of methods is called {:?}: {}; a new one is made by hand, see docs/src/guide/adding-a-method.md",
                self.home,
                crate::arrows::methods().join(", ")
            )));
        }
        for module in [self.experiment(), self.module.clone()] {
            if dependencies(root)?.contains(&module) {
                return Err(Failure::Usage(format!("`{module}` is the name of a crate that is used here: take a longer name")));
            }
        }
        let new = [
            (home.join("src").join(&self.module).with_extension("rs"), include_str!("new_system/method.rs.txt")),
            (home.join("src").join(&self.module).join("tests.rs"), include_str!("new_system/tests.rs.txt")),
            (experiments.join("src").join(self.experiment()).with_extension("rs"), include_str!("new_system/experiment.rs.txt")),
            (docs.join("systems").join(&self.slug).with_extension("md"), include_str!("new_system/page.md")),
        ];
        if let Some((taken, _)) =
            new.iter().find(|(file, _)| file.exists() || file.with_extension("").exists() && !file.ends_with("tests.rs"))
        {
            return Err(Failure::Usage(format!("{} is there already", taken.display())));
        }
        let mut files: Vec<(PathBuf, String)> = new.into_iter().map(|(file, frame)| (file, self.fill(frame))).collect();
        let own = format!("gradus-{}.workspace = true", self.home);
        type Change<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;
        let changes: [(PathBuf, Change); 5] = [
            (home.join("src/lib.rs"), Box::new(|text| self.in_library(text))),
            (
                home.join("Cargo.toml"),
                Box::new(|text| {
                    depend(&depend(text, "dependencies", "thiserror.workspace = true")?, "dev-dependencies", "proptest.workspace = true")
                }),
            ),
            (experiments.join("src/lib.rs"), Box::new(|text| self.in_experiments(text))),
            (experiments.join("Cargo.toml"), Box::new(|text| depend(text, "dependencies", &own))),
            (docs.join("SUMMARY.md"), Box::new(|text| self.in_summary(text))),
        ];
        for (file, change) in changes {
            let failed = |what: &dyn std::fmt::Display| Failure::Failed(format!("{}: {what}", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| failed(&error))?;
            let changed = change(&text).ok_or_else(|| failed(&"there is no place for the new line"))?;
            if changed != text {
                files.push((file, changed));
            }
        }
        Ok(files)
    }

    /// The module of the experiment.
    fn experiment(&self) -> String {
        self.slug.replace('-', "_")
    }

    fn fill(&self, frame: &str) -> String {
        let arxiv = self.arxiv.as_deref();
        let values = [
            ("{SLUG}", self.slug.clone()),
            ("{CRATE}", self.home.clone()),
            ("{MODULE}", self.module.clone()),
            ("{TYPE}", words(&self.module).concat()),
            ("{TITLE}", self.title.clone()),
            ("{AUTHORS}", self.authors.clone()),
            ("{YEAR}", self.year.to_string()),
            ("{ARXIV_COMMA}", arxiv.map_or_else(String::new, |id| format!(", arXiv {id}"))),
            ("{ARXIV_OPTION}", format!("{arxiv:?}")),
        ];
        values.iter().fold(frame.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The library with the module, and with the page among the examples that are tested.
    fn in_library(&self, text: &str) -> Option<String> {
        let text = with_module(text, &format!("pub mod {};", self.module))?;
        let page =
            format!("    #[doc = include_str!(\"../../../docs/src/systems/{}.md\")]\n    mod {} {{}}\n", self.slug, self.experiment());
        let start = "mod pages {\n";
        Some(match text.split_once(start) {
            Some((before, after)) => format!("{before}{start}{page}{after}"),
            None => format!("{text}\n/// The examples of the pages about this crate.\n#[cfg(doctest)]\nmod pages {{\n{page}}}\n"),
        })
    }

    fn in_experiments(&self, text: &str) -> Option<String> {
        let text = with_module(text, &format!("mod {};", self.experiment()))?;
        // Rustfmt puts a long list on lines of its own.
        let (before, rest) = text.split_once("ALL: &[&Experiment] =")?;
        let (list, after) = rest.split_once("];")?;
        let list = list.trim_start().strip_prefix("&[")?;
        let mut all: Vec<String> = list.split(',').map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect();
        all.push(format!("&{}::EXPERIMENT", self.experiment()));
        all.sort();
        Some(format!("{before}ALL: &[&Experiment] = &[{}];{after}", all.join(", ")))
    }

    fn in_summary(&self, text: &str) -> Option<String> {
        let start = text.find("# Systems\n")?;
        let (before, systems) = text.split_at(start);
        let mut lines: Vec<String> = systems.lines().filter(|line| line.starts_with("- ")).map(str::to_owned).collect();
        lines.push(format!("- [{0}](systems/{0}.md)", self.slug));
        lines.sort();
        Some(format!("{before}# Systems\n\n{}\n", lines.join("\n")))
    }
}

/// The libraries that crates of the workspace may use, ours among them.
fn dependencies(root: &Path) -> Result<Vec<String>, Failure> {
    let manifest = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|error| Failure::Failed(format!("{}: {error}", manifest.display())))?;
    let table = text.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1).take_while(|line| !line.starts_with('['));
    Ok(table.filter_map(|line| line.split(['.', ' ', '=']).next()).map(|name| name.replace('-', "_")).collect())
}

/// The source with a module declared before its first one; rustfmt puts them in order.
fn with_module(text: &str, declaration: &str) -> Option<String> {
    let is_module = |line: &str| (line.starts_with("mod ") || line.starts_with("pub mod ")) && line.ends_with(';');
    let first = text.lines().find(|line| is_module(line))?;
    // The attributes of the first module stay with it.
    let at = text.find(&format!("\n{first}\n"))? + 1;
    let at = text[..at].rfind("\n\n").map_or(at, |blank| blank + 2);
    Some(format!("{}{declaration}\n{}", &text[..at], &text[at..]))
}

/// The manifest with a dependency, unless it has one of this name.
fn depend(text: &str, table: &str, line: &str) -> Option<String> {
    let head = format!("\n[{table}]\n");
    let name = line.split(['.', ' ', '=']).next()?;
    let Some((before, after)) = text.split_once(&head) else { return Some(format!("{}{head}{line}\n", text.trim_end().to_owned() + "\n")) };
    let known = after.lines().take_while(|line| !line.starts_with('[')).any(|line| line.split(['.', ' ', '=']).next() == Some(name));
    Some(if known { text.to_owned() } else { format!("{before}{head}{line}\n{after}") })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::Failed(format!("{}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    std::fs::write(file, text).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(line: &str) -> Result<Option<System>, Failure> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn names_and_defaults() {
        let found = system("grad-cam --crate merging --year 2016").unwrap().unwrap();
        assert_eq!((found.module.as_str(), found.title.as_str(), found.year), ("grad_cam", "Grad Cam", 2016));
        assert_eq!(found.fill("{TYPE} {CRATE} {ARXIV_OPTION}{ARXIV_COMMA}"), "GradCam merging None");
        for wrong in ["", "Grad", "1st", "a--b", "a_b", "a --module a-b", "a --year soon", "a b", "a --title \"", "../a"] {
            assert!(matches!(system(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
        for wrong in ["move", "a --module type", "main", "a --module bin", "std", "book", "a --module result", "a --title [1]"] {
            assert!(matches!(system(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
        for crate_name in ["gradus-report", "rand", "a --module serde_json"] {
            let taken = system(crate_name).unwrap().unwrap();
            assert!(matches!(taken.files(&cargo::root()), Err(Failure::Usage(m)) if m.contains("name of a crate")), "{crate_name}");
        }
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let taken = system("fisher-merging --crate merging --module fisher").unwrap().unwrap();
        assert!(matches!(taken.files(&cargo::root()), Err(Failure::Usage(m)) if m.contains("there already")));
        let nowhere = system("new --crate nowhere").unwrap().unwrap();
        assert!(matches!(nowhere.files(&cargo::root()), Err(Failure::Usage(m)) if m.contains("learning")));
    }

    #[test]
    fn lines_go_to_their_places() {
        let new = system("b-c").unwrap().unwrap();
        assert_eq!(with_module("//! x\n\n#[cfg(a)]\nmod z;\n", "mod y;").unwrap(), "//! x\n\nmod y;\n#[cfg(a)]\nmod z;\n");
        assert!(
            new.in_experiments("\nmod a;\n\nstatic ALL: &[&Experiment] = &[&a::E, &c::E];\n")
                .unwrap()
                .contains("&[&a::E, &b_c::EXPERIMENT, &c::E];")
        );
        for list in ["\n    &[&a::E, &c::E];", " &[\n    &a::E,\n    &c::E,\n];"] {
            let text = new.in_experiments(&format!("\nmod a;\n\nstatic ALL: &[&Experiment] ={list}\n")).unwrap();
            assert!(text.ends_with("ALL: &[&Experiment] = &[&a::E, &b_c::EXPERIMENT, &c::E];\n"), "{text}");
        }
        let summary = new.in_summary("# Summary\n\n# Systems\n\n- [a](systems/a.md)\n- [d](systems/d.md)\n").unwrap();
        assert!(summary.ends_with("# Systems\n\n- [a](systems/a.md)\n- [b-c](systems/b-c.md)\n- [d](systems/d.md)\n"));
        assert_eq!(depend("x\n\n[dependencies]\na = 1\n", "dependencies", "a.workspace = true").unwrap(), "x\n\n[dependencies]\na = 1\n");
        assert_eq!(depend("x\n\n[dependencies]\na = 1\n", "dependencies", "b = 2").unwrap(), "x\n\n[dependencies]\nb = 2\na = 1\n");
        assert_eq!(depend("x\n", "dev-dependencies", "b = 2").unwrap(), "x\n\n[dev-dependencies]\nb = 2\n");
    }
}
