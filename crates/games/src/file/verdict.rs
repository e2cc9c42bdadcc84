//! Verdicts as JSON, `gradus-verdict/1`: what `gradus certify --json` prints.

use nalgebra::DMatrix;
use serde::Serialize;

use super::GameFileError;
use crate::rigorous::Interval;
use crate::small_gain::{BlockBounds, Inconclusive, MapVerdict, Mode, Refusal, SmallGainError, Update, Verdict, timescale_band};

/// The format that is written.
pub const FORMAT: &str = "gradus-verdict/1";

/// A verdict in the form of the format. Numbers are the shortest decimals that are read back as the same numbers; bounds are rounded to
/// the safe side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerdictDocument {
    format: &'static str,
    verdict: &'static str,
    alpha: Option<f64>,
    beta: Option<f64>,
    weights: Option<Vec<f64>>,
    /// The rows of the players' matrices, of a metric that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<Vec<Vec<Vec<f64>>>>,
    band: Option<[Option<f64>; 2]>,
    mode: &'static str,
    attained: bool,
    steps: Option<Steps>,
    /// Updates that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    maps: Vec<Map>,
    bounds: Option<Bounds>,
    equilibrium: Option<Point>,
    conditional: bool,
    boxes: usize,
    reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Steps {
    euler: f64,
    rk4: Rk4,
}

/// What came of an update that was certified directly.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Map {
    rule: &'static str,
    h: f64,
    verdict: &'static str,
    /// By what a step multiplies distances at most.
    factor: Option<f64>,
    /// By what it multiplies some at least.
    expands: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Rk4 {
    tier: &'static str,
    h: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bounds {
    mu: Vec<f64>,
    #[serde(rename = "L")]
    coupling: Vec<Vec<f64>>,
    own: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Point {
    point: Vec<f64>,
    /// In the metric.
    radius: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Reason {
    code: &'static str,
    message: String,
    #[serde(flatten)]
    details: Details,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Details {
    Curvature { player: usize, mu: f64, point: Vec<f64> },
    Gain { rho: f64, worst_cycle: Vec<usize>, gain: f64, point: Vec<f64> },
    Unstable { players: Vec<usize>, point: Vec<f64> },
    Margin { margin: f64, point: Vec<f64> },
    Inconclusive { best_alpha_lower: Option<f64>, best_alpha_upper: Option<f64>, worst_box: Vec<[f64; 2]> },
}

/// An error in the form of the format.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorDocument {
    format: &'static str,
    error: ErrorKeys,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct ErrorKeys {
    code: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    player: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<Vec<f64>>,
}

impl From<&Verdict> for VerdictDocument {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Certified(found) => {
                let (certificate, rates) = (&found.certificate, found.rates());
                Self {
                    alpha: Some(certificate.alpha),
                    beta: Some(certificate.beta),
                    weights: Some(certificate.weights.clone()),
                    blocks: certificate.whole.as_ref().map(|whole| whole.blocks.iter().map(rows).collect()),
                    // A band is one of the small-gain condition.
                    band: if certificate.whole.is_some() { None } else { band(&found.bounds) },
                    attained: found.attained,
                    steps: Some(Steps { euler: rates.euler_limit(), rk4: Rk4 { tier: "incremental", h: rates.rk4_limit() } }),
                    equilibrium: certificate.equilibrium.as_ref().map(|e| Point { point: e.centre.clone(), radius: e.radius + 0.0 }),
                    conditional: certificate.conditional,
                    ..Self::new("certified", found.mode, Some(&found.bounds), found.boxes)
                }
            }
            Verdict::Refused(found) => Self {
                reasons: found.reasons.iter().map(Reason::from).collect(),
                ..Self::new("refused", found.mode, found.bounds.as_ref(), found.boxes)
            },
            Verdict::Inconclusive(found) => {
                Self { reasons: vec![Reason::from(found)], ..Self::new("inconclusive", found.mode, found.bounds.as_ref(), found.boxes) }
            }
        }
    }
}

impl From<&BlockBounds> for Bounds {
    fn from(bounds: &BlockBounds) -> Self {
        let coupling = rows(bounds.coupling());
        Self { mu: bounds.curvature().to_vec(), coupling, own: bounds.own_lipschitz().to_vec() }
    }
}

impl VerdictDocument {
    /// The JSON text, in one line.
    pub fn json(&self) -> String {
        text(self)
    }

    /// With what came of updates that were certified directly.
    #[must_use]
    pub fn with_maps(self, found: &[(Update, Result<MapVerdict, SmallGainError>)]) -> Self {
        let map = |(update, verdict): &(Update, Result<MapVerdict, SmallGainError>)| {
            let (verdict, factor, expands) = match verdict {
                Ok(MapVerdict::Contracts { certificate, .. }) => ("contracts", Some(certificate.q), None),
                Ok(MapVerdict::Expands { norm, .. }) => ("expands", None, Some(*norm)),
                Ok(MapVerdict::Inconclusive { .. }) | Err(_) => ("inconclusive", None, None),
            };
            Map { rule: update.name(), h: update.step(), verdict, factor, expands }
        };
        Self { maps: found.iter().map(map).collect(), ..self }
    }

    fn new(verdict: &'static str, mode: Mode, bounds: Option<&BlockBounds>, boxes: usize) -> Self {
        Self {
            format: FORMAT,
            verdict,
            alpha: None,
            beta: None,
            weights: None,
            blocks: None,
            band: None,
            mode: mode.name(),
            attained: false,
            steps: None,
            maps: Vec::new(),
            bounds: bounds.map(Bounds::from),
            equilibrium: None,
            conditional: true,
            boxes,
            reasons: Vec::new(),
        }
    }
}

fn rows(matrix: &DMatrix<f64>) -> Vec<Vec<f64>> {
    matrix.row_iter().map(|row| row.iter().copied().collect()).collect()
}

pub(super) fn text(document: &impl Serialize) -> String {
    // Words and numbers always have a JSON form.
    serde_json::to_string(document).unwrap_or_default() + "\n"
}

/// The band of two players; an end that is infinite is none.
fn band(bounds: &BlockBounds) -> Option<[Option<f64>; 2]> {
    let band = timescale_band(bounds, 0.0).ok().flatten()?;
    // Without the sign of a zero.
    Some([Some(band.low + 0.0), Some(band.high).filter(|high| high.is_finite())])
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        let details = match refusal.clone() {
            Refusal::NonPositiveCurvature { player, mu, point } => Details::Curvature { player, mu, point },
            Refusal::SmallGainViolated { rho, worst_cycle, gain, point } => Details::Gain { rho, worst_cycle, gain, point },
            Refusal::Unstable { players, point } => Details::Unstable { players, point },
            Refusal::NonPositiveMargin { margin, point } => Details::Margin { margin, point },
        };
        Self { code: refusal.code(), message: refusal.to_string(), details }
    }
}

impl From<&Inconclusive> for Reason {
    fn from(found: &Inconclusive) -> Self {
        let finite = |x: f64| Some(x).filter(|x| x.is_finite());
        let ends = |side: &Interval| [side.lo(), side.hi()];
        let details = Details::Inconclusive {
            best_alpha_lower: finite(found.alpha_lower),
            best_alpha_upper: finite(found.alpha_upper),
            worst_box: found.worst_box.iter().map(ends).collect(),
        };
        Self { code: "Inconclusive", message: found.to_string(), details }
    }
}

impl ErrorDocument {
    /// The JSON text, in one line.
    pub fn json(&self) -> String {
        text(self)
    }

    fn new(code: &str, message: String) -> Self {
        Self { format: FORMAT, error: ErrorKeys { code: code.into(), message, player: None, column: None, point: None } }
    }

    /// Weights that cannot be read.
    pub fn weights(message: impl Into<String>) -> Self {
        Self::new("InvalidWeight", message.into())
    }
}

impl From<&GameFileError> for ErrorDocument {
    fn from(error: &GameFileError) -> Self {
        let mut document = Self::new(error.code(), error.to_string());
        match error {
            GameFileError::Formula { player, column, .. } => {
                (document.error.player, document.error.column) = (Some(*player), Some(*column));
            }
            // The name is all of the text that is wrong.
            GameFileError::Name { player, .. } => {
                (document.error.player, document.error.column) = (Some(player.unwrap_or(0)), Some(1));
            }
            _ => {}
        }
        document
    }
}

impl From<&SmallGainError> for ErrorDocument {
    fn from(error: &SmallGainError) -> Self {
        let mut document = Self::new(error.code(), error.to_string());
        if let SmallGainError::NonFinite { point, .. } = error {
            document.error.point = Some(point.clone());
        }
        document
    }
}
