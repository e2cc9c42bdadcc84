use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gradus_base::atomic_write;
use serde::Serialize;

use crate::html::{index_page, system_page};
use crate::{Machine, ReportError, Results, SCHEMA, System, SystemReport};

/// Writes a run into a folder: `SLUG.html`, `SLUG.json`, `SLUG/FIGURE.svg`, and brings `results.json` and `index.html`
/// up to date, where the entries of other systems stay.
///
/// Each file is replaced as a whole, so that a reader, or another run into the same folder, never sees half of one.
/// Returns the page of the system.
///
/// # Errors
/// [`ReportError::Io`] for a file that cannot be written, and the errors of [`read_results`] for what is there.
pub fn save(out: &Path, report: &SystemReport, machine: &Machine, earlier: Option<&System>) -> Result<PathBuf, ReportError> {
    let slug = &report.system.slug;
    save_figures(&out.join(slug), report)?;
    let page = out.join(format!("{slug}.html"));
    save_json(&out.join(format!("{slug}.json")), report, machine)?;
    save_html(&page, report, machine, earlier, Some("index.html"))?;
    // Read only now, so that what another run has just added is kept.
    let path = out.join("results.json");
    let mut results = if path.exists() { read_results(&path)? } else { Results::new(machine.clone()) };
    results.replace(report.system.clone(), machine.clone());
    write_json(&path, &results)?;
    write_text(&out.join("index.html"), &index_page(&results))?;
    Ok(page)
}

/// Writes the page of a system as a file of its own, without links to other files.
///
/// # Errors
/// [`ReportError::Io`].
pub fn save_page(path: &Path, report: &SystemReport, machine: &Machine, earlier: Option<&System>) -> Result<(), ReportError> {
    save_html(path, report, machine, earlier, None)
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

/// Writes the figures and removes those of an earlier run that are no more.
fn save_figures(folder: &Path, report: &SystemReport) -> Result<(), ReportError> {
    let keep: Vec<String> = report.figures.iter().map(|figure| format!("{}.svg", figure.name)).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".svg") && !keep.contains(&name) {
            // Another run may have removed it first; a stale picture does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
    for (figure, name) in report.figures.iter().zip(&keep) {
        write_text(&folder.join(name), &figure.svg)?;
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
