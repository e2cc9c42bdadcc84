use std::path::PathBuf;

use gradus_games::small_gain::Update;

use clap::{Args, Parser, Subcommand};
use gradus_report::Profile;

/// Gradient-based learning beyond plain training: runs papers' claims again, and certifies games.
///
/// Exit status: 0 every gated claim that the profile measures holds; 1 one does not, or a data file is bad;
/// 2 wrong use; 3 inconclusive; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "gradus", version, verbatim_doc_comment)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the systems, or show one system's claims, options and data
    List(List),
    /// Run systems' experiments and write a report
    Reproduce(Reproduce),
    /// Prove that gradient play of a game converges, or say why it need not
    Certify(Certify),
    /// Check a certificate, without what made it
    Verify(Verify),
}

/// Exit status: 0 certified; 1 refused; 2 a bad game file or wrong use; 3 inconclusive.
#[derive(Debug, Args)]
pub(crate) struct Certify {
    /// The game, as JSON (`gradus-game/1`); `-` for standard input
    #[arg(value_name = "GAME.json")]
    pub(crate) game: PathBuf,
    /// Print the verdict as JSON (`gradus-verdict/1`), and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the certificate (`sgn-cert/1`), if there is one
    #[arg(long, value_name = "CERT.json")]
    pub(crate) cert: Option<PathBuf>,
    /// One bound of each norm for the whole region, a margin in each box of it, or the whole Jacobian with its signs
    #[arg(long, default_value = "uniform", value_parser = ["uniform", "per-box", "block-lmi"])]
    pub(crate) mode: String,
    /// Certify this update directly, too, with steps H: euler, rk4, extragradient or optimistic; may be given several times
    #[arg(long = "map", value_name = "RULE:H", value_parser = update)]
    pub(crate) maps: Vec<Update>,
    /// Take these weights, and do not look for the best ones
    #[arg(long, value_name = "W1,..,WN", allow_hyphen_values = true)]
    pub(crate) weights: Option<String>,
    /// How far bounds may be from what is met in the region; without it, 1e-6 times the larger of 1 and the bound
    #[arg(long, value_name = "T", value_parser = tolerance)]
    pub(crate) tol: Option<f64>,
    /// The most boxes that the region is cut into
    #[arg(long, value_name = "B", default_value_t = 200_000, value_parser = boxes)]
    pub(crate) max_boxes: usize,
    /// Number of threads; without it, one per processor. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Draw the certificate, or what is known without one, as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the verdict as JSON to a file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Exit status: 0 it holds; 1 it does not; 2 a file that cannot be read, a bad game file or wrong use.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The certificate
    #[arg(value_name = "CERT.json")]
    pub(crate) certificate: PathBuf,
    /// The game that it is of: its bounds are checked, too
    #[arg(long, value_name = "GAME.json")]
    pub(crate) game: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn update(text: &str) -> Result<Update, String> {
    let (rule, step) = text.split_once(':').ok_or("expected a rule and its step, as in `rk4:0.1`")?;
    let h = step.parse().ok().filter(|h: &f64| *h > 0.0 && h.is_finite()).ok_or("expected a positive number as the step")?;
    match rule {
        "euler" => Ok(Update::Euler { h }),
        "rk4" => Ok(Update::Rk4 { h }),
        "extragradient" => Ok(Update::Extragradient { h }),
        "optimistic" => Ok(Update::Optimistic { h }),
        _ => Err(format!("no rule {rule:?}: expected euler, rk4, extragradient or optimistic")),
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err("expected a positive number".into()) }
}

fn boxes(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&boxes| boxes > 0).ok_or_else(|| "expected a whole number from 1 on".into())
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The system to show
    pub(crate) slug: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reproduce {
    /// The systems to run; without any, all
    #[arg(value_name = "SLUG")]
    pub(crate) slugs: Vec<String>,
    /// Run every system
    #[arg(long, conflicts_with = "slugs")]
    pub(crate) all: bool,
    /// How much to run: smoke (seconds), quick (a minute) or full (a quarter of an hour)
    #[arg(long, default_value = "quick", value_parser = profile)]
    pub(crate) profile: Profile,
    /// Folder with real data sets in their original formats
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// An option of the experiment; `gradus list SLUG` shows them
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = option)]
    pub(crate) options: Vec<(String, String)>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Number of seeds, in the place of the experiment's own
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seeds: Option<u32>,
    /// Number of threads; without it, one per processor. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Folder for the report: index.html, results.json, one page per system
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) out: PathBuf,
    /// Go on from the finished parts of an interrupted run
    #[arg(long)]
    pub(crate) resume: bool,
    /// Show an earlier results.json beside the new measurements
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Also write the page of the one system to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Also write everything about the one system to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| "expected smoke, quick or full".into())
}

fn option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}
