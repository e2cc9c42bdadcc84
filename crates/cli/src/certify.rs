//! `gradus certify`: a game as a file, and a certificate or the reason why there is none.

mod text;

use std::path::Path;
use std::time::Duration;

use gradus_base::{Observer, check_writable};
use gradus_experiments::certificate_figures;
use gradus_games::file::certificate::CertificateFile;
use gradus_games::file::verdict::{ErrorDocument, VerdictDocument};
use gradus_games::file::{GameFile, GameFileError};
use gradus_games::small_gain::{
    Certifier, MapCertifier, MapVerdict, Mode, Region, Search, SmallGainError, Structure, Tolerance, Update, Verdict,
};
use gradus_report::{Document, save_document};

use crate::arguments::Certify;
use crate::progress::{Bars, Lines};
use crate::reproduce::set_threads;
use crate::{Failure, Session};

/// What comes of an update.
type MapResult = Result<MapVerdict, SmallGainError>;

/// Boxes that the region is cut into for an update.
const MOST_BOXES_OF_A_MAP: usize = 2_000;
/// Between two lines of progress where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs the command and returns the exit status.
pub(crate) fn run(request: &Certify, session: &mut Session) -> Result<u8, Failure> {
    for path in [&request.cert, &request.html, &request.report].into_iter().flatten() {
        check_writable(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    }
    set_threads(request.threads)?;
    let shown = request.game.display().to_string();
    let file = match read_game(&request.game) {
        Ok(file) => file,
        Err(error) => return refuse(request, session, &ErrorDocument::from(&error), format!("{shown}: {error}")),
    };
    let weights = match weights(request.weights.as_deref(), file.players.len()) {
        Ok(weights) => weights,
        Err(message) => return refuse(request, session, &ErrorDocument::weights(&message), format!("--weights: {message}")),
    };
    let region = match (&file.region, file.constrained) {
        (None, _) => Region::Free,
        (Some(sides), true) => Region::Constrained(sides.clone()),
        (Some(sides), false) => Region::Local(sides.clone()),
    };
    let tolerance = request.tol.map_or(Tolerance::Relative(1e-6), Tolerance::Absolute);
    let certifier = Certifier {
        search: Search { tolerance, most_boxes: request.max_boxes },
        mode: match request.mode.as_str() {
            "uniform" => Mode::Uniform,
            "per-box" => Mode::PerBox,
            _ => Mode::BlockLmi(Structure::Full),
        },
        weights,
        ..Certifier::default()
    };
    let found = search(&certifier, &file, &region, session).and_then(|verdict| {
        let maps = maps(request, &certifier, &file, &region, &verdict, session)?;
        Ok((verdict, maps))
    });
    let (mut verdict, maps) = match found {
        Ok(found) => found,
        Err(SmallGainError::Cancelled) => return Err(Failure::Stopped),
        Err(error) => return refuse(request, session, &ErrorDocument::from(&error), format!("{shown}: {error}")),
    };
    if let Verdict::Certified(found) = &mut verdict {
        let proofs = maps.iter().filter_map(|(_, verdict)| match verdict {
            Ok(MapVerdict::Contracts { certificate, .. }) => Some((**certificate).clone()),
            _ => None,
        });
        found.certificate.maps = proofs.collect();
    }
    write(request, &file, &region, &verdict, &maps)?;
    let text = if request.json {
        VerdictDocument::from(&verdict).with_maps(&maps).json()
    } else {
        text::verdict(&file, &verdict) + &text::maps(&maps)
    };
    session.print(&text)?;
    Ok(match verdict {
        Verdict::Certified(_) => 0,
        Verdict::Refused(_) => 1,
        Verdict::Inconclusive(_) => 3,
    })
}

/// Reads a game from a file, or from standard input for `-`.
pub(crate) fn read_game(path: &Path) -> Result<GameFile, GameFileError> {
    if path == Path::new("-") { GameFile::read(std::io::stdin().lock()) } else { GameFile::read(std::fs::File::open(path)?) }
}

/// Positive weights, of which the first is 1.
fn weights(text: Option<&str>, players: usize) -> Result<Option<Vec<f64>>, String> {
    let Some(text) = text else { return Ok(None) };
    let weight = |text: &str| {
        let weight = text.trim().parse::<f64>().ok().filter(|weight| *weight > 0.0 && weight.is_finite());
        weight.ok_or_else(|| format!("{:?} is no positive, finite weight", text.trim()))
    };
    let weights = text.split(',').map(weight).collect::<Result<Vec<f64>, String>>()?;
    if weights.len() != players {
        return Err(format!("{} weights for {players} players", weights.len()));
    }
    let scaled: Vec<f64> = weights.iter().map(|weight| weight / weights[0]).collect();
    if scaled.iter().all(|weight| *weight > 0.0 && weight.is_finite()) {
        Ok(Some(scaled))
    } else {
        Err("the weights' ratios overflow".into())
    }
}

fn search(certifier: &Certifier, file: &GameFile, region: &Region, session: &mut Session) -> Result<Verdict, SmallGainError> {
    let cancel = session.cancel.clone();
    let certify = |observer: &mut dyn Observer| certifier.certify_watched(&file.game, region, &cancel, observer);
    if session.bars { certify(&mut Bars::default()) } else { certify(&mut Lines::new(session.stderr, "certify", INTERVAL)) }
}

/// What comes of the updates that were asked for: in the certificate's weights, or in equal ones.
fn maps(
    request: &Certify,
    certifier: &Certifier,
    file: &GameFile,
    region: &Region,
    verdict: &Verdict,
    session: &mut Session,
) -> Result<Vec<(Update, MapResult)>, SmallGainError> {
    let weights = match (verdict, &certifier.weights) {
        (Verdict::Certified(found), _) => found.certificate.weights.clone(),
        (_, Some(weights)) => weights.clone(),
        _ => vec![1.0; file.players.len()],
    };
    // A factor is of use to a few digits, and the bounds of a whole map's Jacobian come closer slowly.
    let search = Search { tolerance: Tolerance::Relative(1e-3), most_boxes: certifier.search.most_boxes.min(MOST_BOXES_OF_A_MAP) };
    let certify = |update: &Update| {
        let certifier = MapCertifier { update: update.clone(), weights: weights.clone(), search };
        match certifier.certify_until(&file.game, region, &session.cancel) {
            Err(SmallGainError::Cancelled) => Err(SmallGainError::Cancelled),
            // What is found of the game stands.
            found => Ok((update.clone(), found)),
        }
    };
    request.maps.iter().map(certify).collect()
}

/// Says what is wrong with the input: on standard error for a person, and on standard output for a program.
fn refuse(request: &Certify, session: &mut Session, document: &ErrorDocument, message: String) -> Result<u8, Failure> {
    if request.json {
        session.print(&document.json())?;
    }
    Err(Failure::Game(message))
}

/// Writes the files that were asked for.
fn write(request: &Certify, file: &GameFile, region: &Region, verdict: &Verdict, maps: &[(Update, MapResult)]) -> Result<(), Failure> {
    if let (Some(path), Verdict::Certified(found)) = (&request.cert, verdict) {
        let certificate = CertificateFile::new(file.players.join(", "), &file.game, found.certificate.clone());
        certificate.write(path).map_err(|error| Failure::Game(error.to_string()))?;
    }
    if let Some(path) = &request.report {
        let text = VerdictDocument::from(verdict).with_maps(maps).json();
        let written = gradus_base::atomic_write(path, |file| file.write_all(text.as_bytes()));
        written.map_err(|error| Failure::Game(format!("{}: {error}", path.display())))?;
    }
    if let Some(path) = &request.html {
        let figures = match verdict {
            Verdict::Certified(found) => certificate_figures(&file.game, &file.variables, found, region),
            _ => Vec::new(),
        };
        let text = text::verdict(file, verdict) + &text::maps(maps);
        let summary = text.lines().map(|line| line.trim().to_string()).collect();
        let document = Document {
            title: format!("The game of {}", file.players.join(", ")),
            summary,
            tables: vec![text::bounds(file, verdict)],
            figures,
        };
        // No exit status of a verdict: 1 is a refusal.
        save_document(path, &document).map_err(|error| Failure::Game(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
