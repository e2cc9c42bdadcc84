//! Estimates as JSON, `sgn-estimate/1`: no certificate, and of another form than one, so that none can be taken for the other.

use serde::Serialize;

use super::verdict::{Bounds, text};
use crate::small_gain::{Estimate, optimal_weights};

/// The format that is written.
pub const FORMAT: &str = "sgn-estimate/1";

/// What samples suggest: block bounds, and the weights and the margin that would follow from them.
///
/// ```
/// use gradus_games::file::estimate::EstimateDocument;
/// use gradus_games::small_gain::{Sampling, estimate};
/// use gradus_games::zoo;
///
/// let waves = zoo::waves()?;
/// let sampled = estimate(&waves.game, &waves.region, Sampling::Corners)?;
/// let text = EstimateDocument::from(&sampled).json();
/// assert!(text.starts_with(r#"{"format":"sgn-estimate/1","points":4,"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimateDocument {
    format: &'static str,
    points: usize,
    bounds: Bounds,
    weights: Vec<f64>,
    /// Not proven, nor bounded by anything.
    alpha: f64,
}

impl EstimateDocument {
    /// The JSON text, in one line.
    pub fn json(&self) -> String {
        text(self)
    }
}

impl From<&Estimate> for EstimateDocument {
    fn from(estimate: &Estimate) -> Self {
        let best = optimal_weights(&estimate.bounds);
        let bounds = Bounds::from(&estimate.bounds);
        Self { format: FORMAT, points: estimate.points, bounds, weights: best.weights, alpha: best.margin }
    }
}
