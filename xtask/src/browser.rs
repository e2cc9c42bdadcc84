//! `cargo xtask browser`: the report pages as a browser shows them.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use crate::{Failure, cargo};

const HELP: &str = "\
Looks at every page of a folder of reports through Chromium, in windows of 390 and 1440 pixels, in
light and in dark colours: nothing on the console, no sideways scrolling, no broken picture, and
texts with the contrast of WCAG 2.2, level AA. Installs nothing: without Chromium nothing is looked
at. Debian's package is called `chromium`; $CHROMIUM may name another one.

Usage: cargo xtask browser [FOLDER]

FOLDER holds pages that `cargo xtask reproduce` wrote [default: target/smoke, which the smoke run of
`cargo xtask test` writes]
";

const WIDTHS: [u32; 2] = [390, 1440];

/// How long Chromium may take for all pages in one colour scheme.
const PATIENCE: Duration = Duration::from_secs(300);

/// What Chromium takes a dark and a light scheme for.
const SCHEMES: [u32; 2] = [0, 1];

/// What came of looking.
pub(crate) enum Seen {
    /// There is no browser.
    Nothing,
    /// How many times a page was looked at, and what is wrong, as sentences.
    Pages(usize, Vec<String>),
}

/// Runs the command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut folder = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            Value(value) if folder.is_none() => folder = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = folder.unwrap_or_else(|| cargo::root().join("target/smoke"));
    match look(&folder)? {
        Seen::Nothing => println!("there is no Chromium, so no page was looked at"),
        Seen::Pages(count, problems) => {
            for problem in &problems {
                println!("{problem}");
            }
            println!("{count} views of the pages in {}, {} problems", folder.display(), problems.len());
            if !problems.is_empty() {
                return Err(Failure::Status(1));
            }
        }
    }
    Ok(())
}

/// Looks at every page of a folder.
pub(crate) fn look(folder: &Path) -> Result<Seen, Failure> {
    let Some(browser) = browser() else { return Ok(Seen::Nothing) };
    let pages = pages(folder)?;
    let scratch = cargo::root().join("target/browser");
    let io = |error| Failure::Failed(format!("{}: {error}", scratch.display()));
    std::fs::create_dir_all(&scratch).map_err(io)?;
    let visit = scratch.join("visit.html");
    std::fs::write(&visit, visit_page(&pages)).map_err(io)?;
    let (mut count, mut problems) = (0, Vec::new());
    for scheme in SCHEMES {
        let (page, log) = visit_in(&browser, &visit, &scratch, scheme)?;
        let (seen, found) = findings(&page, &log);
        count += seen;
        problems.extend(found);
    }
    let expected = pages.len() * WIDTHS.len() * SCHEMES.len();
    if count != expected {
        problems.push(format!("{count} of {expected} views were finished"));
    }
    Ok(Seen::Pages(count, problems))
}

fn browser() -> Option<OsString> {
    let names = std::env::var_os("CHROMIUM").into_iter().chain(["chromium", "chromium-browser", "google-chrome"].map(OsString::from));
    names.into_iter().find(|name| Command::new(name).arg("--version").stderr(Stdio::null()).output().is_ok_and(|run| run.status.success()))
}

/// The addresses of the pages of a folder.
fn pages(folder: &Path) -> Result<Vec<String>, Failure> {
    let missing = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", folder.display()));
    let folder = folder.canonicalize().map_err(|error| missing(&error))?;
    let entries = std::fs::read_dir(&folder).map_err(|error| missing(&error))?;
    let mut pages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "html"));
    pages.sort();
    if pages.is_empty() {
        return Err(missing(&"there is no page in this folder"));
    }
    Ok(pages.iter().map(|page| address(page)).collect())
}

fn address(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let path = path.to_string_lossy();
    let encoded = path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    format!("file://{}", encoded.collect::<String>())
}

fn visit_page(pages: &[String]) -> String {
    // Rust's notation of these lists is JavaScript's: addresses hold no character that either escapes.
    format!(
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<body>\n<script>\nconst PAGES = {pages:?};\nconst WIDTHS = {WIDTHS:?};\n{}</script>\n",
        include_str!("browser.js")
    )
}

/// The page after the visit, and what Chromium logged.
fn visit_in(browser: &OsString, visit: &Path, scratch: &Path, scheme: u32) -> Result<(String, String), Failure> {
    let (page, log, profile) = (scratch.join("page.html"), scratch.join("log.txt"), scratch.join("profile"));
    let io = |error: std::io::Error| Failure::Failed(format!("{}: {error}", scratch.display()));
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-quic", "--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom"])
        // Time that the pages do not use is skipped.
        .args(["--virtual-time-budget=3600000", "--window-size=1600,1000"])
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--user-data-dir={}", profile.display()))
        // Containers seldom allow Chromium's sandbox, and it refuses to start with it for the superuser. The pages are our own.
        .arg("--no-sandbox")
        .arg(address(visit))
        .stdin(Stdio::null())
        .stdout(File::create(&page).map_err(io)?)
        .stderr(File::create(&log).map_err(io)?);
    let mut child = command.spawn().map_err(io)?;
    let start = Instant::now();
    while child.try_wait().map_err(io)?.is_none() {
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            return Err(Failure::Failed(format!("Chromium did not come to an end in {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = std::fs::remove_dir_all(&profile);
    let read = |file| std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(io);
    Ok((read(page)?, read(log)?))
}

/// The number of views, and the problems as sentences.
fn findings(page: &str, log: &str) -> (usize, Vec<String>) {
    let (mut seen, mut problems) = (0, Vec::new());
    for line in page.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["problem", page, width, scheme, what] => problems.push(format!("{page}, {width} px, {scheme}: {what}")),
            ["looked", count, _] => seen += count.parse::<usize>().unwrap_or(0),
            _ => {}
        }
    }
    let console = log.lines().filter_map(|line| line.split_once(":CONSOLE")).filter_map(|(_, rest)| rest.split_once("] "));
    problems.extend(console.map(|(_, said)| format!("on the console: {said}")));
    (seen, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_from_the_page_and_from_the_log() {
        let page = "<pre>\nproblem\tfile:///a.html\t390\tdark\tscrolls sideways\nlooked\t4\tdark\n</pre>";
        let log = "[1:1:ERROR:dbus] no bus\n[1:1:0/0:INFO:CONSOLE:7] \"oh no\", source: file:///a.html (7)\n";
        let (seen, problems) = findings(page, log);
        assert_eq!(seen, 4);
        assert_eq!(problems, ["file:///a.html, 390 px, dark: scrolls sideways", "on the console: \"oh no\", source: file:///a.html (7)"]);
    }

    #[test]
    fn addresses_escape_what_is_special_in_them() {
        assert_eq!(address(Path::new("/a b/ü\".html")), "file:///a%20b/%C3%BC%22.html");
    }

    #[test]
    fn a_folder_without_pages_is_wrong_use() {
        assert!(matches!(pages(Path::new("/no/such/folder")), Err(Failure::Usage(_))));
        assert!(matches!(pages(&cargo::root().join("xtask/src")), Err(Failure::Usage(m)) if m.contains("no page")));
    }

    /// The checks find what they are for; without Chromium there is nothing to test.
    #[test]
    fn bad_pages_are_found() {
        let folder = cargo::root().join("target/browser/bad");
        std::fs::create_dir_all(&folder).unwrap();
        let page = "<!DOCTYPE html><meta charset=\"utf-8\"><body style=\"background: #fff; color: #ccc\">fa\tint\
                    <div style=\"width: 600px; color: #000\">wide</div><script>console.error(\"oh no\")</script>";
        std::fs::write(folder.join("bad.html"), page).unwrap();
        let Seen::Pages(count, problems) = look(&folder).unwrap() else { return };
        assert_eq!(count, 4);
        let found = |what: &str| problems.iter().filter(|problem| problem.contains(what)).count();
        assert_eq!((found("contrast 1.61"), found("scrolls sideways"), found("oh no")), (4, 2, 4), "{problems:#?}");
        assert_eq!(problems.len(), 10, "{problems:#?}");
    }
}
