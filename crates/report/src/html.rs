//! Self-contained pages. All text goes through maud, which escapes it; the only raw pieces are our own style and the
//! figures' SVG, which was built the same way.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::{Cell, Claim, Figure, Machine, Results, System, SystemReport, Table, Verdict, format_number};

const STYLE: &str = include_str!("style.css");

/// At the beginning of every page, by which it is known as ours.
pub(crate) const GENERATOR: &str = "<meta charset=\"utf-8\"><meta name=\"generator\" content=\"gradus\">";

/// The page of all systems in a folder, with a link to `SLUG.html` of each.
pub fn index_page(results: &Results) -> String {
    let claims = |verdict| results.systems.iter().map(|system| system.count(verdict)).sum();
    page(
        "Reproduced papers",
        html! {
            header {
                h1 { "Reproduced papers" }
                p.quiet { "Each paper's claims, run again by " code { "gradus reproduce" } ". A claim that does not hold is a finding." }
                (tally(claims))
            }
            main {
                div.card {
                    table.wide role="table" {
                        thead role="rowgroup" { tr role="row" {
                            th.claim role="columnheader" scope="col" { "System" }
                            @for heading in ["Profile", "Claims", "Time", "Finished"] { th role="columnheader" scope="col" { (heading) } }
                        } }
                        tbody role="rowgroup" { @for system in &results.systems { (index_row(system)) } }
                    }
                }
                h2 { "Machine" }
                (machine(&results.machine))
                p { "The same as data: " a href="results.json" { "results.json" } "." }
            }
        },
    )
}

fn index_row(system: &System) -> Markup {
    html! {
        tr role="row" {
            th.claim role="rowheader" scope="row" {
                a href=(format!("{}.html", system.slug)) { (system.title) }
                div.quiet.small { (system.slug) }
            }
            td role="cell" data-label="Profile" { span { (system.profile) ", seed " (system.seed) } }
            td role="cell" data-label="Claims" { (tally(|verdict| system.count(verdict))) }
            td.time role="cell" data-label="Time" { span { (duration(system.seconds)) } }
            td role="cell" data-label="Finished" {
                span {
                    (moment(&system.finished))
                    @if let Some(own) = &system.machine { div.quiet.small { "on " (machine_name(own)) } }
                }
            }
        }
    }
}

/// The page of one system. `earlier` is shown beside each claim; `index` is the address of the page of all systems,
/// and without it the page links to no other file.
pub fn system_page(report: &SystemReport, earlier: Option<&System>, index: Option<&str>) -> String {
    let system = &report.system;
    page(
        &system.title,
        html! {
            header {
                @if let Some(index) = index { nav { a href=(index) { "All systems" } } }
                h1 { (system.title) }
                p.quiet {
                    (report.authors) ", " (report.year)
                    @if let Some(id) = &report.arxiv { " · " a href=(format!("https://arxiv.org/abs/{id}")) { "arXiv " (id) } }
                }
                (tally(|verdict| system.count(verdict)))
                p { (report.summary) }
            }
            main {
                (claims(report, earlier))
                (figures(report, index.is_some()))
                @if !report.tables.is_empty() {
                    h2 { "Tables" }
                    @for shown in &report.tables { div.card { (table(shown, true)) } }
                }
                @if !report.notes.is_empty() {
                    h2 { "Notes" }
                    ul.notes { @for note in &report.notes { li { (note) } } }
                }
                (run(report))
                (other_numbers(&report.numbers))
                @if index.is_some() { p { "The same as data: " a href=(format!("{}.json", system.slug)) { (system.slug) ".json" } "." } }
            }
        },
    )
}

/// Sentences, tables and figures about anything, as a page that links to no other file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// The title.
    pub title: String,
    /// Paragraphs below it.
    pub summary: Vec<String>,
    /// Tables, each in its own card.
    pub tables: Vec<Table>,
    /// Figures.
    pub figures: Vec<Figure>,
}

impl Document {
    /// The page.
    pub fn page(&self) -> String {
        page(
            &self.title,
            html! {
                header {
                    h1 { (self.title) }
                    @for paragraph in &self.summary { p { (paragraph) } }
                }
                main {
                    @for shown in &self.tables { div.card { (table(shown, true)) } }
                    div.figures { @for figure in &self.figures { (figure_card(figure, None)) } }
                }
            },
        )
    }
}

fn page(title: &str, body: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (PreEscaped(GENERATOR))
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { (title) " · Gradus" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                footer { p { "Written by gradus " (env!("CARGO_PKG_VERSION")) "." } }
            }
        }
    }
    .into_string()
}

/// How many claims have each verdict.
fn tally(count: impl Fn(Verdict) -> usize) -> Markup {
    html! {
        ul.tally {
            @for verdict in [Verdict::Holds, Verdict::DoesNotHold, Verdict::NeedsMore] {
                @let number = count(verdict);
                @if number > 0 { li { (verdict_mark(verdict)) " " span.number { "× " (number) } } }
            }
        }
    }
}

fn verdict_mark(verdict: Verdict) -> Markup {
    let (class, symbol) = match verdict {
        Verdict::Holds => ("holds", "✓"),
        Verdict::DoesNotHold => ("does-not-hold", "✗"),
        Verdict::NeedsMore => ("needs-more", "…"),
    };
    html! { span class=(format!("verdict {class}")) { span aria-hidden="true" { (symbol) " " } (verdict.words()) } }
}

fn claims(report: &SystemReport, earlier: Option<&System>) -> Markup {
    html! {
        h2 { "Claims" }
        div.card {
            table.wide role="table" {
                thead role="rowgroup" { tr role="row" {
                    th.claim role="columnheader" scope="col" { "Claim" }
                    @for heading in ["Threshold", "Measured", "Paper"] { th role="columnheader" scope="col" { (heading) } }
                    @if earlier.is_some() { th role="columnheader" scope="col" { "Earlier run" } }
                    th role="columnheader" scope="col" { "Verdict" }
                } }
                tbody role="rowgroup" {
                    @for claim in &report.system.claims {
                        tr role="row" {
                            th.claim role="rowheader" scope="row" {
                                div { (claim.text) }
                                div.quiet.small { (claim.metric) @if !claim.gate { " · provisional, not gated" } }
                            }
                            td role="cell" data-label="Threshold" { span { (claim.condition()) } }
                            td role="cell" data-label="Measured" { (measured(claim, report.values.get(&claim.id).map_or(&[], Vec::as_slice))) }
                            td role="cell" data-label="Paper" { (paper(claim)) }
                            @if let Some(earlier) = earlier { td role="cell" data-label="Earlier run" { (before(claim, earlier)) } }
                            td role="cell" data-label="Verdict" { (verdict_mark(claim.verdict)) }
                        }
                    }
                }
            }
        }
        p.quiet.small { "Measured: the mean over the seeds, with its 95 % Student-t interval in brackets. Numbers under Paper are the paper's own." }
        @if let Some(words) = report.system.left_out() { p.quiet.small { (words) } }
        @if let Some(earlier) = earlier { (comparison(&report.system, earlier)) }
    }
}

fn measured(claim: &Claim, values: &[f64]) -> Markup {
    html! {
        div.number {
            @if claim.measured.is_some() { strong { (claim.mean_in_words()) } } @else { span.quiet { (claim.mean_in_words()) } }
            @if let Some([low, high]) = claim.interval { " " span.whole { "[" (format_number(low)) ", " (format_number(high)) "]" } }
            @if values.len() > 1 {
                details.small { summary { (values.len()) " seeds" }
                    ol { @for value in values { li { (format_number(*value)) } } }
                }
            }
        }
    }
}

fn paper(claim: &Claim) -> Markup {
    html! {
        @match &claim.paper {
            Some(paper) => div.number { (format_number(paper.value)) div.quiet.small { (paper.source) } },
            None => span.quiet { "–" },
        }
    }
}

fn before(claim: &Claim, earlier: &System) -> Markup {
    let Some(before) = earlier.claims.iter().find(|before| before.id == claim.id) else {
        return html! { span.quiet { "no such claim" } };
    };
    html! {
        div.number {
            (before.mean_in_words())
            @if before.verdict != claim.verdict { div.small { "was: " (verdict_mark(before.verdict)) } }
        }
    }
}

fn comparison(system: &System, earlier: &System) -> Markup {
    html! {
        p.quiet.small {
            "Compared with the run of " (moment(&earlier.finished)) " (" (earlier.profile) ", seed " (earlier.seed) ")."
            @if (earlier.profile, earlier.seed, earlier.seeds) != (system.profile, system.seed, system.seeds) || earlier.options != system.options {
                " The two runs have different settings."
            }
        }
    }
}

fn figures(report: &SystemReport, links: bool) -> Markup {
    if report.figures.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Figures" }
        div.figures {
            @for figure in &report.figures { (figure_card(figure, links.then(|| format!("{}/{}.svg", report.system.slug, figure.name)))) }
        }
    }
}

fn figure_card(figure: &Figure, link: Option<String>) -> Markup {
    html! {
        figure.card {
            figcaption {
                h3 { (figure.title) }
                div.small.quiet { (figure.alt) }
            }
            (PreEscaped(&figure.svg))
            details { summary { "Numbers" } (table(&figure.table, false)) }
            @if let Some(link) = link { a.small href=(link) { "SVG file" } }
        }
    }
}

/// A table, which a screen reader announces by its title; readers who see it may have that before them already.
fn table(table: &Table, caption: bool) -> Markup {
    let number = |column: usize| table.rows.iter().all(|row| !matches!(row.get(column), Some(Cell::Text(_))));
    let class = |column: usize| if number(column) { "number" } else { "" };
    html! {
        // Reachable by keyboard, because it may scroll.
        div.scroll tabindex="0" role="region" aria-label=(table.title) {
            table {
                @if caption { caption { (table.title) } }
                thead { tr { @for (i, heading) in table.columns.iter().enumerate() { th scope="col" class=(class(i)) { (heading) } } } }
                tbody { @for row in &table.rows { tr { @for (i, cell) in row.iter().enumerate() { td class=(class(i)) { (cell) } } } } }
            }
        }
    }
}

fn run(report: &SystemReport) -> Markup {
    let system = &report.system;
    html! {
        h2 { "Run again" }
        pre { (command(system)) }
        dl {
            dt { "Time" } dd { (duration(system.seconds)) }
            dt { "Finished" } dd { (moment(&system.finished)) }
            dt { "Data" } dd { @match &system.data { Some(folder) => (folder), None => "the default" } }
        }
        h2 { "Machine" }
        @if let Some(own) = &system.machine { (machine(own)) }
    }
}

/// More values than a reader takes in at once stay in the JSON report.
const MOST_VALUES: usize = 8;

fn other_numbers(numbers: &Value) -> Markup {
    let mut shown = Table::new("Other numbers", ["name", "value"]);
    add_numbers(&mut shown, "", numbers);
    html! {
        @if !shown.rows.is_empty() {
            details { summary { (shown.title) } (table(&shown, false)) }
        }
    }
}

/// One row for each number, text or short list, and of anything longer how long it is.
fn add_numbers(shown: &mut Table, name: &str, value: &Value) {
    let cell = match value {
        Value::Object(entries) => {
            let below = |key: &str| if name.is_empty() { key.into() } else { format!("{name}.{key}") };
            return entries.iter().for_each(|(key, value)| add_numbers(shown, &below(key), value));
        }
        Value::Array(values) if values.len() > MOST_VALUES || values.iter().any(|value| value.is_array() || value.is_object()) => {
            format!("in the JSON report ({})", values.len()).into()
        }
        Value::Array(values) => values.iter().map(|value| simple(value).to_string()).collect::<Vec<_>>().join(", ").into(),
        value => simple(value),
    };
    shown.rows.push(vec![name.into(), cell]);
}

fn simple(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Missing,
        Value::String(text) => text.as_str().into(),
        value => value.as_f64().map_or_else(|| value.to_string().into(), Cell::Number),
    }
}

/// The command that repeats a run, with arguments quoted for a shell where they need it.
fn command(system: &System) -> String {
    let mut command = format!("gradus reproduce {} --profile {} --seed {}", system.slug, system.profile, system.seed);
    if let Some(seeds) = system.seeds {
        command += &format!(" --seeds {seeds}");
    }
    if let Some(folder) = &system.data {
        command += &format!(" --data {}", quoted(folder));
    }
    for (name, value) in &system.options {
        command += &format!(" --option {}", quoted(&format!("{name}={value}")));
    }
    command
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) { argument.into() } else { format!("'{}'", argument.replace('\'', r"'\''")) }
}

/// `2026-01-31T09:30:00Z` with spaces, for people.
fn moment(finished: &str) -> Markup {
    html! { time datetime=(finished) { (finished.replace('T', " ").replace('Z', " UTC")) } }
}

fn machine(machine: &Machine) -> Markup {
    html! {
        dl {
            dt { "Processor" } dd { (machine_name(machine)) }
            dt { "System" } dd { (machine.os) ", " (machine.arch) }
            dt { "Threads" } dd { (machine.threads) " of " (machine.cores) }
            dt { "Gradus" } dd { (machine.gradus) }
        }
    }
}

fn machine_name(machine: &Machine) -> &str {
    if machine.cpu.is_empty() { &machine.arch } else { &machine.cpu }
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 0 min`.
pub fn duration(seconds: f64) -> String {
    // Of what is not a duration, nothing better can be said; casts of it would saturate.
    let whole = seconds.round().clamp(0.0, 1e9) as u64;
    match whole {
        _ if seconds < 9.95 => format!("{:.1} s", seconds.max(0.0)),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}
