//! `gradus reproduce`: runs experiments, judges their claims, writes the report.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gradus_base::{Observer, check_writable};
use gradus_experiments::{Experiment, Reproduction, Settings};
use gradus_report::{Claim, Machine, ReportError, Results, System, SystemReport};
use gradus_report::{check_folder, duration, format_number, read_results, save, save_json, save_page};

use crate::arguments::Reproduce;
use crate::progress::{Bars, Lines};
use crate::{Failure, Session, list, status};

/// Between two lines of progress where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs the command and returns the exit status: the gravest of all systems.
pub(crate) fn run(request: &Reproduce, session: &mut Session) -> Result<u8, Failure> {
    let experiments = choose(request, session.experiments)?;
    let settings = settings(request, &experiments)?;
    let earlier = check_files(request, &experiments)?;
    set_threads(request.threads)?;
    let machine = Machine::this(rayon::current_num_threads());
    announce(&experiments, &settings, session);
    let mut done = Results::new(machine.clone());
    let mut statuses = vec![0];
    for (experiment, settings) in experiments.iter().zip(&settings) {
        let earlier = earlier.as_ref().and_then(|results| results.system(experiment.slug));
        let outcome = one(experiment, settings, session).and_then(|found| {
            write(request, &found.report, &machine, earlier, session)?;
            Ok(found)
        });
        match outcome {
            Ok(found) => {
                statuses.push(status(found.status));
                done.replace(found.report.system, machine.clone());
            }
            // Whatever the error says: a method may have put the interruption into its own words.
            Err(_) if session.cancel.is_cancelled() => {
                return Err(Failure::Interrupted(request.out.display().to_string()));
            }
            Err(failure) if experiments.len() == 1 => return Err(failure),
            // The others can still be run.
            Err(failure) => {
                session.tell(&format!("error: {}: {failure}", experiment.slug));
                statuses.push(failure.status());
            }
        }
    }
    if request.json {
        session.print(&json(&done))?;
    }
    Ok(gravest(&statuses))
}

/// Wrong use before a claim that fails, and that before one that was not measured.
fn gravest(statuses: &[u8]) -> u8 {
    [2, 1, 3].into_iter().find(|status| statuses.contains(status)).unwrap_or(0)
}

fn choose<'a>(request: &Reproduce, experiments: &[&'a Experiment]) -> Result<Vec<&'a Experiment>, Failure> {
    let mut chosen: Vec<&Experiment> = Vec::new();
    for slug in &request.slugs {
        let experiment = list::find(experiments, slug)?;
        if chosen.iter().all(|other| other.slug != slug) {
            chosen.push(experiment);
        }
    }
    if request.slugs.is_empty() {
        chosen = experiments.to_vec();
    }
    if chosen.is_empty() { Err(Failure::NothingToRun) } else { Ok(chosen) }
}

/// The settings of each experiment. An option goes to every experiment that declares it.
fn settings(request: &Reproduce, experiments: &[&Experiment]) -> Result<Vec<Settings>, Failure> {
    let mut options = BTreeMap::new();
    for (name, value) in &request.options {
        if options.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::Usage(format!("option {name} is given twice")));
        }
    }
    let declares = |experiment: &Experiment, name: &str| experiment.options.iter().any(|option| option.name == name);
    if let ([_, _, ..], Some(name)) =
        (experiments, options.keys().find(|name| !experiments.iter().any(|experiment| declares(experiment, name))))
    {
        return Err(Failure::Usage(format!("none of the systems has an option {name:?}")));
    }
    let several = experiments.len() > 1;
    if let (Some(folder), false) = (&request.data, experiments.iter().any(|experiment| experiment.takes_data)) {
        return Err(Failure::Usage(format!("--data {}: {} no data", folder.display(), takes(experiments))));
    }
    let each = experiments.iter().map(|experiment| {
        let own = options.iter().filter(|(name, _)| !several || declares(experiment, name));
        let settings = Settings {
            profile: request.profile,
            seed: request.seed,
            seeds: request.seeds.map(|seeds| seeds as usize),
            // Of several systems, those without data of their own run as ever.
            data: request.data.clone().filter(|_| experiment.takes_data),
            options: own.map(|(name, value)| (name.clone(), value.clone())).collect(),
            out: Some(request.out.clone()),
            resume: request.resume,
        };
        // Everything is checked before the first run starts.
        experiment.check(&settings)?;
        Ok(settings)
    });
    each.collect()
}

/// Who takes, as the beginning of a sentence.
fn takes(experiments: &[&Experiment]) -> String {
    match experiments {
        [one] => format!("{} takes", one.slug),
        _ => "the systems take".into(),
    }
}

/// What can be wrong with the files of the request is said before anything runs. Returns the results to compare with.
fn check_files(request: &Reproduce, experiments: &[&Experiment]) -> Result<Option<Results>, Failure> {
    let systems = experiments.len();
    if systems != 1 && (request.html.is_some() || request.report.is_some()) {
        return Err(Failure::Usage(format!("--html and --report take one system, and {systems} are to run")));
    }
    if let Some(folder) = request.data.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(Failure::Usage(format!("--data {}: no such folder", folder.display())));
    }
    // What is in a results file is data; that a file cannot be read or written is wrong use.
    let of = |option: &'static str| {
        move |error| match error {
            error @ (ReportError::Io { .. } | ReportError::Foreign { .. }) => Failure::Usage(format!("{option} {error}")),
            other => other.into(),
        }
    };
    check_folder(&request.out, experiments.iter().map(|experiment| experiment.slug)).map_err(of("--out"))?;
    for (option, file) in [("--html", &request.html), ("--report", &request.report)] {
        if let Some(file) = file {
            check_writable(file).map_err(|error| Failure::Usage(format!("{option} {}: {error}", file.display())))?;
        }
    }
    request.compare.as_deref().map(|path| read_results(path).map_err(of("--compare"))).transpose()
}

pub(crate) fn set_threads(threads: Option<u32>) -> Result<(), Failure> {
    let Some(threads) = threads else { return Ok(()) };
    let built = rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build_global();
    built.map_err(|error| Failure::Usage(format!("--threads {threads}: {error}")))
}

/// Says how long it will take.
fn announce(experiments: &[&Experiment], settings: &[Settings], session: &mut Session) {
    let seconds: f64 = experiments.iter().zip(settings).map(|(experiment, settings)| experiment.estimate(settings)).sum();
    if !session.bars {
        let slugs: Vec<&str> = experiments.iter().map(|experiment| experiment.slug).collect();
        return session.tell(&format!("estimate\t{}\t{seconds:.1}", slugs.join(",")));
    }
    let systems = match experiments {
        [one] => one.slug.to_string(),
        several => format!("{} systems", several.len()),
    };
    let longer = if settings.iter().any(|settings| settings.data.is_some()) { ", longer with your data" } else { "" };
    let profile = settings.first().map(|settings| settings.profile).unwrap_or_default();
    session.tell(&format!("{systems}, {profile} profile: about {} on two cores{longer}", duration(seconds)));
}

fn one(experiment: &Experiment, settings: &Settings, session: &mut Session) -> Result<Reproduction, Failure> {
    let cancel = session.cancel.clone();
    let mut bars;
    let mut lines;
    let observer: &mut (dyn Observer + Send) = if session.bars {
        bars = Bars::default();
        &mut bars
    } else {
        lines = Lines::new(session.stderr, experiment.slug, INTERVAL);
        &mut lines
    };
    let run = AssertUnwindSafe(|| gradus_experiments::reproduce(experiment, settings, &cancel, observer));
    match catch_unwind(run) {
        Ok(done) => Ok(done?),
        // Nothing of the broken run is used.
        Err(panic) => Err(Failure::Panic(crate::panic::message(&*panic))),
    }
}

fn write(
    request: &Reproduce,
    report: &SystemReport,
    machine: &Machine,
    earlier: Option<&System>,
    session: &mut Session,
) -> Result<(), Failure> {
    let pages = save(&request.out, report, machine, earlier)?;
    if let Some(path) = &request.html {
        save_page(path, report, machine, earlier)?;
    }
    if let Some(path) = &request.report {
        save_json(path, report, machine)?;
    }
    if request.json {
        return Ok(());
    }
    if request.compare.is_some() && earlier.is_none() {
        session.note(&report.system.slug, "the earlier results do not have this system");
    }
    let written = pages.iter().chain(&request.html).chain(&request.report);
    session.print(&summary(&report.system, earlier, written.map(PathBuf::as_path)))
}

/// A line about the system, one per claim, and the paths written.
fn summary<'a>(system: &System, earlier: Option<&System>, written: impl Iterator<Item = &'a Path>) -> String {
    let width = system.claims.iter().map(|claim| claim.id.len()).max().unwrap_or(0);
    let mut text = format!("{} ({}, seed {}, {})\n", system.slug, system.profile, system.seed, duration(system.seconds));
    for claim in &system.claims {
        text += &format!("  {:13}  {:width$}  {}\n", claim.verdict.words(), claim.id, numbers(claim, earlier));
    }
    if let Some(words) = system.left_out() {
        text += &format!("  {words}\n");
    }
    for path in written {
        text += &format!("  written: {}\n", path.display());
    }
    text
}

/// The mean with its interval, the condition, the paper's number and the earlier run's.
fn numbers(claim: &Claim, earlier: Option<&System>) -> String {
    let mut text = claim.mean_in_words();
    if let Some([low, high]) = claim.interval {
        text += &format!(" [{}, {}]", format_number(low), format_number(high));
    }
    text += &format!(", claimed {}", claim.condition());
    if let Some(paper) = &claim.paper {
        text += &format!(", paper {}", format_number(paper.value));
    }
    if let Some(before) = earlier.and_then(|system| system.claims.iter().find(|before| before.id == claim.id)) {
        text += &format!(", earlier {} ({})", before.mean_in_words(), before.verdict.words());
    }
    if !claim.gate {
        text += ", provisional";
    }
    text
}

fn json(results: &Results) -> String {
    // Plain data with string keys always has a JSON form.
    serde_json::to_string_pretty(results).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::gravest;

    #[test]
    fn the_gravest_status_wins() {
        assert_eq!(gravest(&[0]), 0);
        assert_eq!(gravest(&[0, 3, 0]), 3);
        assert_eq!(gravest(&[3, 1]), 1);
        assert_eq!(gravest(&[1, 3, 2]), 2);
    }
}
