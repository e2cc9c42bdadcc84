//! `gradus list`: the systems, their claims, options and data.

use std::fmt::Write;

use gradus_experiments::{ClaimSpec, Experiment};
use gradus_report::{Profile, duration, format_number};

use crate::arguments::List;
use crate::{Failure, Session};

/// Runs the command.
pub(crate) fn run(request: &List, session: &mut Session) -> Result<(), Failure> {
    let chosen = match &request.slug {
        Some(slug) => vec![find(session.experiments, slug)?],
        None => session.experiments.to_vec(),
    };
    let text = match chosen[..] {
        _ if request.json => json(&chosen),
        [one] if request.slug.is_some() => details(one),
        _ => table(&chosen),
    };
    session.print(&text)
}

/// The experiment with a slug.
pub(crate) fn find<'a>(experiments: &[&'a Experiment], slug: &str) -> Result<&'a Experiment, Failure> {
    let known = || experiments.iter().map(|experiment| experiment.slug).collect::<Vec<_>>().join(", ");
    let found = experiments.iter().find(|experiment| experiment.slug == slug);
    found.copied().ok_or_else(|| Failure::Usage(format!("there is no system {slug:?}; there are: {}", known())))
}

fn json(experiments: &[&Experiment]) -> String {
    // Declarations are plain words and numbers, which always have a JSON form.
    serde_json::to_string_pretty(experiments).unwrap_or_default() + "\n"
}

fn table(experiments: &[&Experiment]) -> String {
    let width = experiments.iter().map(|experiment| experiment.slug.len()).max().unwrap_or(0).max(6);
    let mut text = format!("{:width$}  claims  quick       full        title\n", "system");
    for experiment in experiments {
        let [quick, full] = [Profile::Quick, Profile::Full].map(|profile| duration(experiment.seconds.of(profile)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:width$}  {:>6}  {quick:10}  {full:10}  {}", experiment.slug, experiment.claims.len(), experiment.title);
    }
    text
}

fn details(experiment: &Experiment) -> String {
    let mut text = format!(
        "{}\n{}, {}{}\n\n{}\n\nTime on two cores: {}\nData: {}\n\nClaims\n",
        experiment.title,
        experiment.authors,
        experiment.year,
        experiment.arxiv.map_or_else(String::new, |id| format!(", arXiv {id}")),
        experiment.summary,
        Profile::ALL.map(|profile| format!("{profile} {}", duration(experiment.seconds.of(profile)))).join(", "),
        experiment.data,
    );
    for claim in experiment.claims {
        text += &claim_lines(claim);
    }
    text += "\nOptions, for --option NAME=VALUE\n";
    for option in experiment.options {
        text += &format!("  {}={}\n      {} ({})\n", option.name, option.default, option.help, option.kind);
    }
    if experiment.options.is_empty() {
        text += "  none\n";
    }
    text
}

fn claim_lines(claim: &ClaimSpec) -> String {
    let profiles = claim.profiles.iter().map(|profile| {
        let condition = claim.judge(*profile, &[]).condition();
        format!("{profile} {condition}")
    });
    let gate = if claim.gate { "" } else { "; provisional, not gated" };
    let paper = claim.paper.map_or_else(String::new, |paper| format!("; paper: {}, {}", format_number(paper.value), paper.source));
    format!("  {}: {}\n      {}: {}{gate}{paper}\n", claim.id, claim.text, claim.metric, profiles.collect::<Vec<_>>().join(", "))
}
