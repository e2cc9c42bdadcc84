//! `gradus verify`: checks a certificate.

use gradus_games::file::GameFile;
use gradus_games::file::certificate::{CertificateFile, CertificateFileError};
use gradus_games::small_gain::{Certificate, CertificateError, Verified};
use serde_json::json;

use crate::arguments::Verify;
use crate::certify::read_game;
use crate::{Failure, Session};

/// Runs the command and returns the exit status.
pub(crate) fn run(request: &Verify, session: &mut Session) -> Result<u8, Failure> {
    let path = request.certificate.display().to_string();
    let game = match &request.game {
        Some(game) => Some(read_game(game).map_err(|error| Failure::Game(format!("{}: {error}", game.display())))?),
        None => None,
    };
    let found = CertificateFile::read(&request.certificate).and_then(|file| {
        let verified = file.verify(game.as_ref().map(|GameFile { game, .. }| game))?;
        game.as_ref().map_or(Ok(()), |game| check_region(&file.certificate, game))?;
        Ok((file, verified))
    });
    match found {
        Ok((file, verified)) => {
            session.print(&if request.json { as_json(&file, verified) } else { as_text(&file, verified) })?;
            Ok(0)
        }
        Err(CertificateFileError::Certificate(error)) => {
            if request.json {
                session.print(&(json!({ "verdict": "Rejected", "reason": error.to_string() }).to_string() + "\n"))?;
            }
            Err(Failure::Rejected(format!("{path}: rejected: {error}")))
        }
        Err(error) => Err(Failure::Game(error.to_string())),
    }
}

/// Whether a certificate is of the region of a game's file, or of a larger one that players may leave.
fn check_region(certificate: &Certificate, game: &GameFile) -> Result<(), CertificateError> {
    let holds = match (&certificate.region, &game.region) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(certified), Some(region)) if certificate.constrained || game.constrained => {
            certificate.constrained == game.constrained && certified == region
        }
        (Some(certified), Some(region)) => certified.iter().zip(region).all(|(all, side)| all.lo() <= side.lo() && side.hi() <= all.hi()),
    };
    if holds { Ok(()) } else { Err(CertificateError::Hash("the certificate is of another region than the game's".into())) }
}

/// Where the certificate holds.
fn region(certificate: &Certificate) -> String {
    let Some(region) = &certificate.region else { return "at all points".into() };
    let sides: Vec<String> = region.iter().map(|side| format!("[{}, {}]", side.lo(), side.hi())).collect();
    let confined = if certificate.constrained { ", to which players are confined" } else { "" };
    format!("in {}{confined}", sides.join(" x "))
}

fn word(verified: Verified) -> &'static str {
    match verified {
        Verified::Verified => "Verified",
        Verified::VerifiedGivenBounds => "VerifiedGivenBounds",
    }
}

fn as_json(file: &CertificateFile, verified: Verified) -> String {
    let certificate = &file.certificate;
    let claims = json!({
        "verdict": word(verified),
        "game": file.name,
        "alpha": certificate.alpha,
        "beta": certificate.beta,
        "weights": certificate.weights,
        "conditional": certificate.conditional,
        "region": certificate.region.as_ref().map(|region| region.iter().map(|side| [side.lo(), side.hi()]).collect::<Vec<_>>()),
        "constrained": certificate.constrained,
        "leaves": certificate.leaves.len(),
    });
    claims.to_string() + "\n"
}

fn as_text(file: &CertificateFile, verified: Verified) -> String {
    let certificate = &file.certificate;
    let trusted = match verified {
        Verified::Verified => "",
        Verified::VerifiedGivenBounds => " (bounds, residual and linearity are taken on trust: --game GAME.json checks them)",
    };
    let condition = if certificate.conditional { ", of iterates that stay in the region" } else { "" };
    format!(
        "{}: {}{trusted}\n  {}\n  margin at least {} and Lipschitz constant at most {} with weights {:?}{condition}\n",
        file.name.escape_debug(),
        word(verified),
        region(certificate),
        certificate.alpha,
        certificate.beta,
        certificate.weights
    )
}
