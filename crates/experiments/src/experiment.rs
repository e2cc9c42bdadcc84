use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Instant, SystemTime};

use gradus_base::{Cancel, Observer};
use gradus_report::{Claim, Figure, FigureFile, Profile, SYSTEM_SCHEMA, System, SystemReport, Table, Verdict};
use serde::{Serialize, Serializer};

use crate::{ClaimSpec, Context, ExperimentError, Settings};

/// A paper's experiment: what it claims, and the function that measures it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Experiment {
    /// Short name, such as `fisher-merging`.
    pub slug: &'static str,
    /// Title of the paper.
    pub title: &'static str,
    /// Authors of the paper, as in a citation.
    pub authors: &'static str,
    /// Year of the paper.
    pub year: u16,
    /// arXiv identifier, such as `2111.09832`.
    pub arxiv: Option<&'static str>,
    /// What the method does, and what is run, in a few sentences.
    pub summary: &'static str,
    /// The default data, and what `--data` accepts.
    pub data: &'static str,
    /// Whether it accepts `--data`.
    pub takes_data: bool,
    /// The claims, each with its threshold.
    pub claims: &'static [ClaimSpec],
    /// Options of its own.
    pub options: &'static [OptionSpec],
    /// The number of seeds, where the user asks for no other.
    pub seeds: ByProfile<usize>,
    /// About how long a run with these seeds and the default data takes on two cores, in seconds: at most 5, 60 and 900.
    pub seconds: ByProfile<f64>,
    /// Measures the claims; not serialised. It may measure a claim in any profile; the ones that the profile does not judge are left out.
    #[serde(skip)]
    pub run: fn(&Context<'_>) -> Result<Outcome, ExperimentError>,
}

/// One value for each profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ByProfile<T> {
    /// For [`Profile::Smoke`].
    pub smoke: T,
    /// For [`Profile::Quick`].
    pub quick: T,
    /// For [`Profile::Full`].
    pub full: T,
}

impl<T: Copy> ByProfile<T> {
    /// The value of a profile.
    pub fn of(self, profile: Profile) -> T {
        match profile {
            Profile::Smoke => self.smoke,
            Profile::Quick => self.quick,
            Profile::Full => self.full,
        }
    }
}

/// An option that an experiment declares, set with `--option NAME=VALUE`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OptionSpec {
    /// Its name: lower-case letters, digits and `-`.
    pub name: &'static str,
    /// What it changes, as a sentence.
    pub help: &'static str,
    /// The value when it is not given, of the right kind.
    pub default: &'static str,
    /// Which values it takes.
    #[serde(rename = "values")]
    pub kind: OptionKind,
}

/// Which values an option takes.
#[derive(Clone, Copy, Debug)]
pub enum OptionKind {
    /// `true` or `false`.
    Flag,
    /// A whole number between two limits, both included.
    Integer(u64, u64),
    /// A finite number between two limits, both included.
    Number(f64, f64),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// The path of a file, or nothing; the function reads it and says what is wrong with it, before anything runs.
    File(fn(&Path) -> Result<(), ExperimentError>),
    /// Any text.
    Text,
}

impl OptionKind {
    fn admits(self, value: &str) -> bool {
        match self {
            Self::Flag => value.parse::<bool>().is_ok(),
            Self::Integer(low, high) => value.parse().is_ok_and(|number: u64| (low..=high).contains(&number)),
            Self::Number(low, high) => value.parse().is_ok_and(|number: f64| number.is_finite() && (low..=high).contains(&number)),
            Self::Choice(words) => words.contains(&value),
            Self::File(_) | Self::Text => true,
        }
    }
}

/// What the kind expects, as a noun: `a whole number from 1 to 9`.
impl std::fmt::Display for OptionKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Flag => write!(formatter, "true or false"),
            Self::Integer(low, u64::MAX) => write!(formatter, "a whole number from {low} on"),
            Self::Integer(low, high) => write!(formatter, "a whole number from {low} to {high}"),
            Self::Number(low, high) if low.is_infinite() && high.is_infinite() => write!(formatter, "a number"),
            Self::Number(low, high) if high.is_infinite() => write!(formatter, "a number from {low} on"),
            Self::Number(low, high) => write!(formatter, "a number from {low} to {high}"),
            Self::Choice(words) => write!(formatter, "one of {}", words.join(", ")),
            Self::File(_) => write!(formatter, "a file"),
            Self::Text => write!(formatter, "a text"),
        }
    }
}

/// As the text of [`Display`](std::fmt::Display).
impl Serialize for OptionKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Experiment {
    /// Everything that can be wrong with settings before a run. Returns every option with its value: the given one,
    /// otherwise the default.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownOption`], [`ExperimentError::OptionValue`], [`ExperimentError::File`] for a file of an
    /// option that cannot be read or does not parse, [`ExperimentError::NoData`] for data that would be ignored.
    pub fn check(&self, settings: &Settings) -> Result<BTreeMap<String, String>, ExperimentError> {
        if settings.data.is_some() && !self.takes_data {
            return Err(ExperimentError::NoData { slug: self.slug.into() });
        }
        let mut options: BTreeMap<String, String> = self.options.iter().map(|option| (option.name.into(), option.default.into())).collect();
        for (name, value) in &settings.options {
            let Some(option) = self.options.iter().find(|option| option.name == name) else {
                let known = self.options.iter().map(|option| option.name.into()).collect();
                return Err(ExperimentError::UnknownOption { slug: self.slug.into(), name: name.clone(), known });
            };
            match option.kind {
                OptionKind::File(read) if !value.is_empty() => read(Path::new(value))?,
                kind if !kind.admits(value) => return Err(ExperimentError::option(name, value, &kind.to_string())),
                _ => {}
            }
            options.insert(name.clone(), value.clone());
        }
        Ok(options)
    }

    /// About how long a run takes on two cores with the default data, in seconds; as much longer as there are more seeds.
    pub fn estimate(&self, settings: &Settings) -> f64 {
        let own = self.seeds.of(settings.profile).max(1);
        self.seconds.of(settings.profile) * settings.seeds.unwrap_or(own) as f64 / own as f64
    }
}

/// What a run found. Everything is optional: a claim without values `needs-more`.
///
/// ```
/// use gradus_experiments::Outcome;
///
/// let mut outcome = Outcome::default();
/// outcome.measure("gain", [2.1, 1.6]);
/// outcome.number("restarts", 0);
/// assert_eq!(outcome.values["gain"].len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The values of each claim, one per seed.
    pub values: BTreeMap<String, Vec<f64>>,
    /// The figures, in the order of the page.
    pub figures: Vec<Figure>,
    /// Further tables, in the order of the page.
    pub tables: Vec<Table>,
    /// What a reader should know: deviations from the paper, findings.
    pub notes: Vec<String>,
    /// Every other number of the run, by name.
    pub numbers: serde_json::Map<String, serde_json::Value>,
}

impl Outcome {
    /// Adds what was measured for a claim: one value per seed, or one value for an exact claim.
    pub fn measure(&mut self, claim: &str, values: impl IntoIterator<Item = f64>) {
        self.values.entry(claim.into()).or_default().extend(values);
    }

    /// Adds a sentence or two that a reader should know.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds anything that serialises to the numbers of the JSON report; what JSON cannot hold becomes null.
    pub fn number(&mut self, name: &str, value: impl Serialize) {
        self.numbers.insert(name.into(), serde_json::to_value(value).unwrap_or_default());
    }
}

/// What the gated claims that the profile measures come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Every one holds.
    Holds,
    /// None fails, but at least one could not be measured, such as for lack of data.
    NeedsMore,
    /// At least one does not hold.
    Fails,
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// Everything for the page and the JSON report.
    pub report: SystemReport,
    /// What the gated claims come to.
    pub status: Status,
}

/// Runs an experiment and judges its claims.
///
/// # Errors
/// [`ExperimentError`]: an option that the experiment does not take, data that cannot be read, an interruption, or a
/// step of the method that failed.
pub fn reproduce(
    experiment: &Experiment,
    settings: &Settings,
    cancel: &Cancel,
    observer: &mut (dyn Observer + Send),
) -> Result<Reproduction, ExperimentError> {
    let context = Context::new(experiment, settings, cancel, observer)?;
    let start = Instant::now();
    let outcome = (experiment.run)(&context)?;
    let seconds = (start.elapsed() + context.saved()).as_secs_f64();
    report(experiment, &context, outcome, settings, seconds)
}

fn report(
    experiment: &Experiment,
    context: &Context,
    mut outcome: Outcome,
    settings: &Settings,
    seconds: f64,
) -> Result<Reproduction, ExperimentError> {
    if let Some(claim) = outcome.values.keys().find(|id| experiment.claims.iter().all(|claim| claim.id != id.as_str())) {
        return Err(ExperimentError::UndeclaredClaim { slug: experiment.slug.into(), claim: claim.clone() });
    }
    let names: Vec<&str> = outcome.figures.iter().map(|figure| figure.name.as_str()).collect();
    if let Some(i) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
        return Err(ExperimentError::RepeatedFigure { slug: experiment.slug.into(), figure: names[i].into() });
    }
    outcome.values.retain(|id, _| experiment.claims.iter().any(|claim| claim.id == id && claim.profiles.contains(&settings.profile)));
    let judge = |claim: &ClaimSpec| claim.judge(settings.profile, outcome.values.get(claim.id).map_or(&[], Vec::as_slice));
    let claims: Vec<_> = experiment.claims.iter().map(judge).collect();
    let counts = |claim: &&Claim| claim.gate && claim.profiles.contains(&settings.profile);
    let gated = claims.iter().filter(counts).map(|claim| match claim.verdict {
        Verdict::Holds => Status::Holds,
        Verdict::NeedsMore => Status::NeedsMore,
        Verdict::DoesNotHold => Status::Fails,
    });
    let status = gated.max().unwrap_or(Status::Holds);
    let system = System {
        slug: experiment.slug.into(),
        title: experiment.title.into(),
        profile: settings.profile,
        seed: settings.seed,
        seeds: settings.seeds,
        seconds,
        finished: utc(SystemTime::now()),
        options: context.options().clone(),
        data: settings.data.as_ref().map(|path| path.display().to_string()),
        claims,
        figures: outcome.figures.iter().map(|figure| file(experiment.slug, figure)).collect(),
        machine: None,
    };
    let report = SystemReport {
        schema: SYSTEM_SCHEMA.into(),
        system,
        authors: experiment.authors.into(),
        year: experiment.year,
        arxiv: experiment.arxiv.map(String::from),
        summary: experiment.summary.into(),
        values: outcome.values,
        figures: outcome.figures,
        tables: outcome.tables,
        notes: outcome.notes,
        numbers: outcome.numbers.into(),
    };
    Ok(Reproduction { report, status })
}

fn file(slug: &str, figure: &Figure) -> FigureFile {
    FigureFile { file: format!("{slug}/{}.svg", figure.name), title: figure.title.clone(), alt: figure.alt.clone() }
}

/// A point in time as `2026-01-31T09:30:00Z`. The date follows H. Hinnant's `civil_from_days`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests;
