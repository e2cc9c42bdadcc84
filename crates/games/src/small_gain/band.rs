//! Two players: closed forms.

use super::{BlockBounds, SmallGainError};

/// The ratios `w₂/w₁` of two weights at which a margin holds, from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The least ratio, at least 0.
    pub low: f64,
    /// The greatest ratio; `∞` where there is none.
    pub high: f64,
}

impl Band {
    /// Whether a ratio is inside.
    pub fn contains(self, ratio: f64) -> bool {
        self.low <= ratio && ratio <= self.high
    }
}

/// The timescale band of two players: the ratios of weights at which the margin is at least `margin`, if there are any.
///
/// # Errors
/// [`SmallGainError::Dimension`] for another number of players.
pub fn timescale_band(bounds: &BlockBounds, margin: f64) -> Result<Option<Band>, SmallGainError> {
    if bounds.players() != 2 {
        return Err(SmallGainError::Dimension { what: "players of a band", expected: 2, got: bounds.players() });
    }
    let [p, q] = [0, 1].map(|i| bounds.curvature[i] - margin);
    let (a, b) = (bounds.coupling[(0, 1)], bounds.coupling[(1, 0)]);
    let (p, gain) = (p.min(q) * p.max(q), a * b);
    if !(margin < bounds.curvature[0] && margin < bounds.curvature[1] && p >= gain) {
        return Ok(None);
    }
    if b == 0.0 {
        return Ok(Some(Band { low: a * a / (4.0 * p), high: f64::INFINITY }));
    }
    // The ends multiply to (L₁₂/L₂₁)²: the lower one by that, as its own formula cancels.
    let high = (2.0 * p - gain + 2.0 * (p * (p - gain)).sqrt()) / (b * b);
    let ratio = a / b;
    Ok(Some(Band { low: ratio * (ratio / high), high }))
}
