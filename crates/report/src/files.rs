use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use gradus_base::{atomic_write, check_writable, with_lock};
use serde::Serialize;

use crate::html::{Document, GENERATOR, index_page, system_page};
use crate::{FigureFile, Machine, ReportError, Results, SCHEMA, System, SystemReport};

/// Whether [`save`] could write these systems into a folder, which is made when missing: to be asked before a long run.
///
/// # Errors
/// [`ReportError::Io`] for a file that could not be written, [`ReportError::Foreign`] for a page that is there and not
/// ours, and the errors of [`read_results`] for what is there.
pub fn check_folder<'a>(out: &Path, slugs: impl IntoIterator<Item = &'a str>) -> Result<(), ReportError> {
    let mut pages = vec![out.join("index.html")];
    let mut files = vec![out.join("results.json")];
    for slug in slugs {
        pages.push(out.join(format!("{slug}.html")));
        files.extend([out.join(format!("{slug}.json")), out.join(slug).join("figure.svg")]);
    }
    pages.iter().try_for_each(|page| check_ours(page))?;
    for file in pages.iter().chain(&files) {
        check_writable(file).map_err(|source| ReportError::Io { path: file.into(), source })?;
    }
    earlier_results(&out.join("results.json")).map(drop)
}

/// Writes a run into a folder: `SLUG.html`, `SLUG.json`, `SLUG/FIGURE.svg`, and brings `results.json` and `index.html`
/// up to date, where the entries of other systems stay.
///
/// Each file is replaced as a whole, and runs into the same folder wait for each other with the lock file `.lock`.
/// Returns the pages of all systems and of this one.
///
/// # Errors
/// [`ReportError::Io`] for a file that cannot be written, and those of [`check_folder`].
pub fn save(out: &Path, report: &SystemReport, machine: &Machine, earlier: Option<&System>) -> Result<[PathBuf; 2], ReportError> {
    let lock = out.join(".lock");
    let saved = with_lock(&lock, || save_alone(out, report, machine, earlier));
    saved.unwrap_or_else(|source| Err(ReportError::Io { path: lock, source }))
}

fn save_alone(out: &Path, report: &SystemReport, machine: &Machine, earlier: Option<&System>) -> Result<[PathBuf; 2], ReportError> {
    let slug = &report.system.slug;
    let pages = [out.join("index.html"), out.join(format!("{slug}.html"))];
    pages.iter().try_for_each(|page| check_ours(page))?;
    let path = out.join("results.json");
    let mut results = earlier_results(&path)?.unwrap_or_else(|| Results::new(machine.clone()));
    save_figures(out, report, results.system(slug).map_or(&[], |before| &before.figures))?;
    save_json(&out.join(format!("{slug}.json")), report, machine)?;
    save_html(&pages[1], report, machine, earlier, Some("index.html"))?;
    results.replace(report.system.clone(), machine.clone());
    write_json(&path, &results)?;
    write_text(&pages[0], &index_page(&results))?;
    Ok(pages)
}

/// An error for a page that something else than this crate wrote: it is the user's own, and would be lost.
fn check_ours(page: &Path) -> Result<(), ReportError> {
    let mut head = Vec::new();
    match fs::File::open(page).and_then(|file| file.take(1 << 10).read_to_end(&mut head)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ReportError::Io { path: page.into(), source }),
        Ok(_) => {}
    }
    if String::from_utf8_lossy(&head).contains(GENERATOR) { Ok(()) } else { Err(ReportError::Foreign { path: page.into() }) }
}

fn earlier_results(path: &Path) -> Result<Option<Results>, ReportError> {
    if path.exists() { read_results(path).map(Some) } else { Ok(None) }
}

/// Writes the page of a system as a file of its own, without links to other files.
///
/// # Errors
/// [`ReportError::Io`].
pub fn save_page(path: &Path, report: &SystemReport, machine: &Machine, earlier: Option<&System>) -> Result<(), ReportError> {
    save_html(path, report, machine, earlier, None)
}

/// Writes a page of anything as a file.
///
/// # Errors
/// [`ReportError::Foreign`] where a page is that this crate did not write, [`ReportError::Io`].
pub fn save_document(path: &Path, document: &Document) -> Result<(), ReportError> {
    check_ours(path)?;
    write_text(path, &document.page())
}

/// Writes everything about a run as JSON.
///
/// # Errors
/// [`ReportError::Io`].
pub fn save_json(path: &Path, report: &SystemReport, machine: &Machine) -> Result<(), ReportError> {
    write_json(path, &on(report, machine))
}

/// Reads a `results.json`.
///
/// # Errors
/// [`ReportError::Io`] for a file that cannot be read, [`ReportError::Json`] for one that is not JSON of the schema,
/// [`ReportError::Schema`] for another schema or version, [`ReportError::Slug`] for a system whose slug is not
/// lower-case letters, digits and `-`.
pub fn read_results(path: &Path) -> Result<Results, ReportError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: String,
    }
    let content = fs::read(path).map_err(|source| ReportError::Io { path: path.into(), source })?;
    let json = |source| ReportError::Json { path: path.into(), source };
    // The version first: another version's keys would only give a misleading message.
    let found = serde_json::from_slice::<Versioned>(&content).map_err(json)?.schema;
    if found != SCHEMA {
        return Err(ReportError::Schema { path: path.into(), found, expected: SCHEMA });
    }
    let results: Results = serde_json::from_slice(&content).map_err(json)?;
    let slug = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match results.systems.iter().find(|system| !slug(&system.slug)) {
        Some(system) => Err(ReportError::Slug { path: path.into(), found: system.slug.clone() }),
        None => Ok(results),
    }
}

fn on(report: &SystemReport, machine: &Machine) -> SystemReport {
    let mut report = report.clone();
    report.system.machine = Some(machine.clone());
    report
}

fn save_html(
    path: &Path,
    report: &SystemReport,
    machine: &Machine,
    earlier: Option<&System>,
    index: Option<&str>,
) -> Result<(), ReportError> {
    write_text(path, &system_page(&on(report, machine), earlier, index))
}

/// Writes the figures and removes those that the earlier run of the system wrote and that are no more. Other files in
/// the folder are the user's.
fn save_figures(out: &Path, report: &SystemReport, before: &[FigureFile]) -> Result<(), ReportError> {
    let now = &report.system.figures;
    // A results file may have been edited: only what is surely a figure of this system is removed.
    let own = |file: &str| {
        let name = file.strip_prefix(&report.system.slug).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(".svg"));
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    };
    for gone in before.iter().filter(|gone| own(&gone.file) && now.iter().all(|kept| kept.file != gone.file)) {
        // The user may have removed it; a stale picture does no harm.
        let _ = fs::remove_file(out.join(&gone.file));
    }
    for (figure, file) in report.figures.iter().zip(now) {
        write_text(&out.join(&file.file), &figure.svg)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ReportError> {
    write(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    })
}

fn write_text(path: &Path, text: &str) -> Result<(), ReportError> {
    write(path, |file| file.write_all(text.as_bytes()))
}

fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), ReportError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let done = folder.map_or(Ok(()), fs::create_dir_all).and_then(|()| atomic_write(path, content));
    done.map_err(|source| ReportError::Io { path: path.into(), source })
}
