use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Figure, Table, format_number};

/// The name and version of the schema of `results.json`.
pub const SCHEMA: &str = "gradus-results/1";

/// The name and version of the schema of `SLUG.json`.
pub const SYSTEM_SCHEMA: &str = "gradus-system/1";

/// The content of `results.json`: the last run of each system in one folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// The machine of the last run.
    pub machine: Machine,
    /// One entry per system, in the order of the slugs.
    pub systems: Vec<System>,
}

impl Results {
    /// No system yet.
    pub fn new(machine: Machine) -> Self {
        Self { schema: SCHEMA.into(), machine, systems: Vec::new() }
    }

    /// Puts `system`, just run on `machine`, in the place of the entry with its slug.
    ///
    /// Entries that were measured on another machine keep a note of it.
    pub fn replace(&mut self, system: System, machine: Machine) {
        self.systems.retain(|other| other.slug != system.slug);
        let earlier = std::mem::replace(&mut self.machine, machine);
        for other in &mut self.systems {
            let own = other.machine.take().unwrap_or_else(|| earlier.clone());
            other.machine = (own != self.machine).then_some(own);
        }
        self.systems.push(system);
        self.systems.sort_by(|a, b| a.slug.cmp(&b.slug));
    }

    /// The entry of a system.
    pub fn system(&self, slug: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.slug == slug)
    }
}

/// Where numbers were measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system, such as `linux`.
    pub os: String,
    /// Processor family, such as `x86_64`.
    pub arch: String,
    /// Processor name, empty where the system does not tell.
    pub cpu: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Threads that were used.
    pub threads: usize,
    /// Version of Gradus.
    pub gradus: String,
}

impl Machine {
    /// This machine, used with so many threads.
    pub fn this(threads: usize) -> Self {
        Self {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            gradus: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// From Linux's `/proc/cpuinfo`; empty elsewhere.
fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, name)| name.trim().into())
}

/// How much is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The whole path on a tiny size, in at most 5 seconds; exact claims only.
    Smoke,
    /// At most a minute on two cores.
    #[default]
    Quick,
    /// At most a quarter of an hour.
    Full,
}

impl Profile {
    /// All profiles, the smallest first.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Full];

    /// `smoke`, `quick` or `full`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.name())
    }
}

/// One run of one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Short name, such as `fisher-merging`.
    pub slug: String,
    /// Title of the paper.
    pub title: String,
    /// The profile of the run.
    pub profile: Profile,
    /// The first seed of the run.
    pub seed: u64,
    /// The number of seeds that was asked for; null for the experiment's own.
    #[serde(default)]
    pub seeds: Option<usize>,
    /// How long the run took, parts resumed from an earlier run included.
    pub seconds: f64,
    /// When the run ended, in UTC, such as `2026-01-31T09:30:00Z`.
    pub finished: String,
    /// The options of the experiment, defaults included.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The folder given with `--data`; null for the data that comes with Gradus.
    #[serde(default)]
    pub data: Option<String>,
    /// The claims, in the order of the experiment.
    pub claims: Vec<Claim>,
    /// The figures.
    pub figures: Vec<FigureFile>,
    /// The machine, where it is not the one of the last run of any system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

impl System {
    /// How many claims the profile of the run leaves out, and which profiles measure them; none if it measures them all.
    pub fn left_out(&self) -> Option<String> {
        let left_out: Vec<&Claim> = self.claims.iter().filter(|claim| !claim.profiles.contains(&self.profile)).collect();
        let measured = |profile: Profile| left_out.iter().filter(|claim| claim.profiles.contains(&profile)).count();
        let others = Profile::ALL.map(|profile| (profile, measured(profile)));
        let others: Vec<String> =
            others.iter().filter(|(_, count)| *count > 0).map(|(profile, count)| format!("{profile} {count}")).collect();
        let (profile, count, all) = (self.profile, left_out.len(), self.claims.len());
        (count > 0)
            .then(|| format!("The {profile} profile leaves out {count} of {all} claims; other profiles measure: {}.", others.join(", ")))
    }

    /// The number of claims with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.claims.iter().filter(|claim| claim.verdict == verdict).count()
    }
}

/// A claim, what was measured for it, and the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Short name within the system.
    pub id: String,
    /// The claim as a sentence.
    pub text: String,
    /// What is measured, with its unit.
    pub metric: String,
    /// How the mean is compared with the threshold.
    pub direction: Direction,
    /// What the mean is compared with.
    pub threshold: Threshold,
    /// The mean over the seeds; null where nothing was measured, or where the mean is not finite.
    pub measured: Option<f64>,
    /// The 95 % Student-t interval of the mean; null for exact and one-seed claims.
    pub interval: Option<[f64; 2]>,
    /// The number of values that the mean is of.
    pub seeds: usize,
    /// The paper's own number, where it gives one.
    pub paper: Option<Paper>,
    /// Whether the exit status depends on this claim in the profiles that measure it; `false` for a provisional one.
    pub gate: bool,
    /// The profiles that measure the claim.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// The mean against the threshold.
    pub verdict: Verdict,
}

/// How a mean is compared with a [`Threshold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// At least the threshold.
    #[serde(rename = ">=")]
    AtLeast,
    /// At most the threshold.
    #[serde(rename = "<=")]
    AtMost,
    /// Inside a closed range.
    #[serde(rename = "within")]
    Within,
    /// Equal to the threshold.
    #[serde(rename = "exact")]
    Exact,
}

/// A number, or the two ends of a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Threshold {
    /// For every direction but [`Direction::Within`].
    Value(f64),
    /// Lowest and highest value, for [`Direction::Within`].
    Range([f64; 2]),
}

/// A number that a paper reports, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paper {
    /// The number, in the unit of the claim's metric.
    pub value: f64,
    /// The table, figure or section.
    pub source: String,
}

/// What a run says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The mean passes the threshold.
    Holds,
    /// It does not.
    DoesNotHold,
    /// Not measured: in this profile, or without some data.
    NeedsMore,
}

impl Claim {
    /// The mean for people, or why there is none.
    pub fn mean_in_words(&self) -> String {
        match self.measured {
            Some(mean) => format_number(mean),
            None if self.seeds > 0 => "not finite".into(),
            None => "not measured".into(),
        }
    }

    /// What the mean must satisfy, for people: `≥ 0.7`, `within 0.97 … 1.03`.
    pub fn condition(&self) -> String {
        let sign = match self.direction {
            Direction::AtLeast => "≥",
            Direction::AtMost => "≤",
            Direction::Within => "within",
            Direction::Exact => "=",
        };
        match self.threshold {
            Threshold::Value(value) => format!("{sign} {}", format_number(value)),
            Threshold::Range([low, high]) => format!("{sign} {} … {}", format_number(low), format_number(high)),
        }
    }
}

impl Verdict {
    /// `holds`, `does not hold` or `needs more`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::NeedsMore => "needs more",
        }
    }
}

/// A figure as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FigureFile {
    /// Path of the SVG file from the folder of `results.json`, with `/`.
    pub file: String,
    /// What the figure shows.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
}

/// Everything about one run of one system: its page, and the file `SLUG.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemReport {
    /// [`SYSTEM_SCHEMA`].
    pub schema: String,
    /// The entry of `results.json`.
    pub system: System,
    /// Authors of the paper, as in a citation.
    pub authors: String,
    /// Year of the paper.
    pub year: u16,
    /// arXiv identifier, such as `2111.09832`.
    pub arxiv: Option<String>,
    /// What the method does, in a few sentences.
    pub summary: String,
    /// The value of each seed, by claim.
    pub values: BTreeMap<String, Vec<f64>>,
    /// The figures with their numbers.
    pub figures: Vec<Figure>,
    /// Further tables.
    pub tables: Vec<Table>,
    /// What a reader should know: deviations from the paper, findings.
    pub notes: Vec<String>,
    /// Every other number of the run.
    pub numbers: serde_json::Value,
}
