//! A verdict in words.

use std::fmt::Write;

use gradus_games::file::GameFile;
use gradus_games::small_gain::{BlockBounds, Certified, MapVerdict, Mode, Refusal, Update, Verdict, advise, timescale_band};
use gradus_report::{Cell, Table};

use super::MapResult;

/// A few lines: what was found, and what would help.
pub(super) fn verdict(file: &GameFile, verdict: &Verdict) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match verdict {
        Verdict::Certified(found) => certified(&mut text, file, found),
        Verdict::Refused(found) => {
            let signs = matches!(found.mode, Mode::Uniform | Mode::PerBox);
            let reasons = found.reasons.iter().try_for_each(|reason| writeln!(text, "refused: {}", named(file, reason)));
            let hint = |text: &mut String| match found.reasons.iter().any(|reason| reason.code() == "SmallGainViolated") && signs {
                true => writeln!(text, "  signs             norms do not know that couplings may cancel: --mode block-lmi does"),
                false => Ok(()),
            };
            reasons.and_then(|()| advice(&mut text, found.bounds.as_ref())).and_then(|()| hint(&mut text))
        }
        Verdict::Inconclusive(found) => {
            // Advice is about norms, which this mode looks beyond.
            let bounds = found.bounds.as_ref().filter(|_| !matches!(found.mode, Mode::BlockLmi(_)));
            writeln!(text, "inconclusive: {found}").and_then(|()| advice(&mut text, bounds))
        }
    };
    let _ = players(&mut text, file);
    text
}

fn certified(text: &mut String, file: &GameFile, found: &Certified) -> std::fmt::Result {
    let (certificate, rates) = (&found.certificate, found.rates());
    let condition = if certificate.conditional { ", while the iterates stay in the region" } else { "" };
    writeln!(text, "certified: gradient play contracts{condition}")?;
    writeln!(text, "  margin            {:.6}", certificate.alpha)?;
    writeln!(text, "  Lipschitz         {:.6}", certificate.beta)?;
    let weights: Vec<String> = certificate.weights.iter().map(|weight| format!("{weight:.6}")).collect();
    writeln!(text, "  weights           {}", weights.join(", "))?;
    if let Some(whole) = &certificate.whole {
        for (player, block) in file.players.iter().zip(&whole.blocks).filter(|(_, block)| block.nrows() > 1) {
            let row = |row: usize| block.row(row).iter().map(|entry| format!("{entry:.6}")).collect::<Vec<_>>().join(", ");
            let rows: Vec<String> = (0..block.nrows()).map(|i| format!("[{}]", row(i))).collect();
            writeln!(text, "  metric            {}: [{}]", player.escape_debug(), rows.join(", "))?;
        }
    } else if let Ok(Some(band)) = timescale_band(&found.bounds, 0.0) {
        writeln!(text, "  timescale band    w2/w1 from {:.6} to {:.6}", band.low, band.high)?;
    }
    writeln!(text, "  steps             Euler below {:.6}, Runge-Kutta 4 below {:.6}", rates.euler_limit(), rates.rk4_limit())?;
    if let Some(equilibrium) = &certificate.equilibrium {
        let point = file.variables.iter().zip(&equilibrium.centre).map(|(name, x)| format!("{name} = {x:.6}"));
        writeln!(text, "  equilibrium       {} within {:.1e}", point.collect::<Vec<_>>().join(", "), equilibrium.radius)?;
    }
    let complete = if found.complete { "" } else { ", all that were allowed: bounds may be loose" };
    let boxes = if found.boxes == 1 { "1 box".to_string() } else { format!("{} boxes", found.boxes) };
    writeln!(text, "  bounds            {}, {boxes}{complete}", found.mode.name())
}

/// What came of updates that were certified directly, a line each.
pub(super) fn maps(maps: &[(Update, MapResult)]) -> String {
    let line = |(update, verdict): &(Update, MapResult)| {
        let found = match verdict {
            Err(error) => error.to_string(),
            Ok(MapVerdict::Contracts { certificate, .. }) => format!("each step multiplies distances by {:.6} at most", certificate.q),
            Ok(MapVerdict::Expands { norm, point }) => format!("a step multiplies some distances by {norm:.6} at {point:?}"),
            Ok(MapVerdict::Inconclusive { attained, bound, .. }) => format!("a factor between {attained:.6} and {bound:.6}: inconclusive"),
        };
        format!("  {:<18}h = {}: {found}\n", update.name(), update.step())
    };
    maps.iter().map(line).collect()
}

/// A refusal with the players' and variables' names beside their numbers.
fn named(file: &GameFile, reason: &Refusal) -> String {
    let point = file.variables.iter().zip(reason.point()).map(|(name, x)| format!("{name} = {x}")).collect::<Vec<_>>().join(", ");
    format!("{reason} ({point})")
}

fn advice(text: &mut String, bounds: Option<&BlockBounds>) -> std::fmt::Result {
    let Some(bounds) = bounds else { return Ok(()) };
    // A tenth of the largest curvature is a margin that is worth having.
    let scale = bounds.curvature().iter().copied().fold(0.0, f64::max);
    let tenth = if scale > 0.0 { 0.1 * scale } else { 0.1 };
    // Two digits of it.
    let target = format!("{tenth:.1e}").parse().unwrap_or(tenth);
    writeln!(text, "  advice: {}", advise(bounds, target))
}

fn players(text: &mut String, file: &GameFile) -> std::fmt::Result {
    let mut names = file.variables.iter();
    let each = file.players.iter().zip(file.game.dimensions()).enumerate().map(|(player, (name, &size))| {
        let own: Vec<&str> = names.by_ref().take(size).map(String::as_str).collect();
        format!("{player} {} ({})", name.escape_debug(), own.join(", "))
    });
    writeln!(text, "  players           {}", each.collect::<Vec<_>>().join("; "))
}

/// The bounds of the Jacobian's blocks, a player a row.
pub(super) fn bounds(file: &GameFile, verdict: &Verdict) -> Table {
    let bounds = match verdict {
        Verdict::Certified(found) => Some(&found.bounds),
        Verdict::Refused(found) => found.bounds.as_ref(),
        Verdict::Inconclusive(found) => found.bounds.as_ref(),
    };
    let mut table = Table::new("Bounds on the whole region", ["player", "least curvature", "own Lipschitz"]);
    table.columns.extend(file.players.iter().map(|name| format!("coupling to {name}")));
    for (i, name) in file.players.iter().enumerate() {
        let mut row: Vec<Cell> = vec![name.as_str().into()];
        let number = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
        row.push(number(bounds.map(|bounds| bounds.curvature()[i])));
        row.push(number(bounds.map(|bounds| bounds.own_lipschitz()[i])));
        row.extend((0..file.players.len()).map(|j| number(bounds.filter(|_| i != j).map(|bounds| bounds.coupling()[(i, j)]))));
        table.rows.push(row);
    }
    table
}
