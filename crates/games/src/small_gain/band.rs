//! Two players: closed forms.

use super::{BlockBounds, SmallGainError};
use crate::rigorous::Interval;
use crate::scalar::Real;

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

/// The timescale band of two players: the ratios of weights at which the margin is at least `margin`, if there are any; its ends are rounded
/// inwards.
///
/// # Errors
/// [`SmallGainError::Dimension`] for another number of players.
pub fn timescale_band(bounds: &BlockBounds, margin: f64) -> Result<Option<Band>, SmallGainError> {
    if bounds.players() != 2 {
        return Err(SmallGainError::Dimension { what: "players of a band", expected: 2, got: bounds.players() });
    }
    let [p, q] = [0, 1].map(|i| Interval::point(bounds.curvature[i]) - Interval::point(margin));
    let (a, b) = (bounds.coupling[(0, 1)], bounds.coupling[(1, 0)]);
    let gain = Interval::point(a) * b;
    let p = p * q;
    if !(margin < bounds.curvature[0] && margin < bounds.curvature[1] && p.hi() >= gain.lo()) {
        return Ok(None);
    }
    if b == 0.0 {
        return Ok(Some(Band { low: (Interval::point(a).square() / (p * 4.0)).hi(), high: f64::INFINITY }));
    }
    let rest = Interval::new((p - gain).lo().max(0.0), (p - gain).hi().max(0.0)).unwrap_or(Interval::ENTIRE);
    // The ends multiply to (L₁₂/L₂₁)²: the lower one by that, as its own formula cancels.
    let high = (p * 2.0 - gain + (p * rest).sqrt() * 2.0) / Interval::point(b).square();
    let ratio = Interval::point(a) / b;
    let band = Band { low: (ratio * (ratio / high)).hi(), high: high.lo() };
    // Of a single ratio, rounding leaves nothing.
    Ok(Some(if band.low <= band.high { band } else { Band { low: a / b, high: a / b } }))
}
