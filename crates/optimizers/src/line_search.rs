//! Line searches: how far to go along a direction.

use crate::{OptimizerError, check};

/// A search for a step that meets the strong Wolfe conditions (Nocedal, Wright 2006, algorithms 3.5 and 3.6, with cubic
/// interpolation safeguarded by bisection). Near rounding, where values no longer tell, the approximate conditions of
/// Hager and Zhang (2005, section 4.1) count instead, which rest on slopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StrongWolfe {
    /// c₁ in `(0, 1/2)`: the value must fall by this share of what the slope at the start promises.
    pub sufficient_decrease: f64,
    /// c₂ in `(c₁, 1)`: the slope's size must fall to this share.
    pub curvature: f64,
    /// The largest number of evaluations, at least 1.
    pub max_evaluations: u64,
}

impl Default for StrongWolfe {
    fn default() -> Self {
        Self { sufficient_decrease: 1e-4, curvature: 0.9, max_evaluations: 30 }
    }
}

/// A function along a line: its value and slope at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinePoint {
    /// How far along the direction.
    pub step: f64,
    /// The value there.
    pub value: f64,
    /// The derivative with respect to the step.
    pub slope: f64,
}

impl LinePoint {
    fn is_finite(&self) -> bool {
        self.value.is_finite() && self.slope.is_finite()
    }
}

/// What a line search ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineStatus {
    /// Both conditions hold.
    StrongWolfe,
    /// The value differs from the first by no more than rounding, and the approximate conditions hold.
    ApproximateWolfe,
    /// Only the value falls enough: the evaluations are spent, or rounding hides what is better.
    SufficientDecrease,
    /// No step found: the point is the start.
    Failed,
}

/// The result of a line search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineSearch {
    /// The step found.
    pub point: LinePoint,
    /// How often the function was evaluated.
    pub evaluations: u64,
    /// What holds at the step.
    pub status: LineStatus,
}

impl StrongWolfe {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        let (c1, c2) = (self.sufficient_decrease, self.curvature);
        check("sufficient_decrease", c1, c1 > 0.0 && c1 < 0.5, "in (0, 1/2)")?;
        check("curvature", c2, c2 > c1 && c2 < 1.0, "between sufficient_decrease and 1")?;
        check("max_evaluations", self.max_evaluations as f64, self.max_evaluations > 0, "at least 1")
    }

    /// A step along a line. `phi` gives value and slope at a step; `value` and `slope` are those at 0, the slope negative;
    /// `first` is the step to try first. `noise` is the relative error of values by rounding, such as
    /// [`f64::EPSILON`]. Steps where the function is not finite count as too long.
    ///
    /// ```
    /// use gradus_optimizers::{LineStatus, StrongWolfe};
    ///
    /// let found = StrongWolfe::default().search(|a| (-a + a * a, -1.0 + 2.0 * a), [0.0, -1.0], 8.0, f64::EPSILON)?;
    /// assert_eq!(found.status, LineStatus::StrongWolfe);
    /// assert!((found.point.step - 0.5).abs() < 0.45);
    /// # Ok::<(), gradus_optimizers::OptimizerError>(())
    /// ```
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range, a slope that is not negative, a value that is not
    /// finite, or a first step that is not positive.
    pub fn search(
        &self,
        phi: impl FnMut(f64) -> (f64, f64),
        [value, slope]: [f64; 2],
        first: f64,
        noise: f64,
    ) -> Result<LineSearch, OptimizerError> {
        self.validate()?;
        check("the value", value, value.is_finite(), "finite")?;
        check("the slope", slope, slope < 0.0 && slope.is_finite(), "finite and negative")?;
        check("the first step", first, first > 0.0 && first.is_finite(), "finite and positive")?;
        let start = LinePoint { step: 0.0, value, slope };
        let mut search = Search { phi, start, noise: noise * value.abs(), settings: self, evaluations: 0, accepted: None };
        let best = search.bracket(first);
        let (point, status) = match search.accepted {
            Some(accepted) => accepted,
            None if best.step > 0.0 => (best, LineStatus::SufficientDecrease),
            None => (start, LineStatus::Failed),
        };
        Ok(LineSearch { point, evaluations: search.evaluations, status })
    }
}

struct Search<'a, F> {
    phi: F,
    start: LinePoint,
    /// The absolute error of values.
    noise: f64,
    settings: &'a StrongWolfe,
    evaluations: u64,
    /// The point that ended the search.
    accepted: Option<(LinePoint, LineStatus)>,
}

impl<F: FnMut(f64) -> (f64, f64)> Search<'_, F> {
    /// Evaluates at a step; a step that will do is kept in `accepted`. Nothing when the evaluations are spent.
    fn evaluate(&mut self, step: f64) -> Option<LinePoint> {
        if self.evaluations == self.settings.max_evaluations {
            return None;
        }
        self.evaluations += 1;
        let (value, slope) = (self.phi)(step);
        let point = LinePoint { step, value, slope };
        self.accepted = self.judge(&point).map(|status| (point, status));
        if self.accepted.is_some() { None } else { Some(point) }
    }

    fn judge(&self, point: &LinePoint) -> Option<LineStatus> {
        let (c1, c2) = (self.settings.sufficient_decrease, self.settings.curvature);
        if !point.is_finite() || point.slope.abs() > c2 * -self.start.slope {
            None
        } else if self.decreases(point) {
            Some(LineStatus::StrongWolfe)
        } else if (point.value - self.start.value).abs() <= self.noise && point.slope <= (2.0 * c1 - 1.0) * self.start.slope {
            Some(LineStatus::ApproximateWolfe)
        } else {
            None
        }
    }

    fn decreases(&self, point: &LinePoint) -> bool {
        point.is_finite() && point.value <= self.start.value + self.settings.sufficient_decrease * point.step * self.start.slope
    }

    /// Algorithm 3.5: longer steps until an interval holds what is sought. Gives the best point that decreases enough.
    fn bracket(&mut self, first: f64) -> LinePoint {
        let mut before = self.start;
        let mut step = first;
        while let Some(point) = self.evaluate(step) {
            if !self.decreases(&point) || (before.step > 0.0 && point.value >= before.value) {
                return self.zoom(before, point);
            }
            if point.slope >= 0.0 {
                return self.zoom(point, before);
            }
            // Neither hardly longer nor beyond what the two points can tell.
            let width = point.step - before.step;
            let longer = cubic_minimum(&before, &point).filter(|&x| x > point.step).unwrap_or(f64::INFINITY);
            step = longer.clamp(point.step + 0.1 * width, point.step + 9.0 * width);
            before = point;
        }
        before
    }

    /// Algorithm 3.6: `low` decreases enough and its slope points into the interval, which shrinks.
    fn zoom(&mut self, mut low: LinePoint, mut high: LinePoint) -> LinePoint {
        let mut widths = [f64::INFINITY; 2];
        loop {
            let width = high.step - low.step;
            if width.abs() <= f64::EPSILON * low.step.max(high.step) {
                return low;
            }
            // Two interpolations that do not shorten the interval by a third are followed by a bisection.
            let slow = width.abs() > 0.66 * widths[0];
            widths = [widths[1], width.abs()];
            let middle = low.step + 0.5 * width;
            let inner = [low.step + 0.01 * width, high.step - 0.01 * width];
            let inside = |x: &f64| *x > inner[0].min(inner[1]) && *x < inner[0].max(inner[1]);
            let step = if slow { middle } else { cubic_minimum(&low, &high).filter(inside).unwrap_or(middle) };
            let Some(point) = self.evaluate(step) else { return low };
            if !self.decreases(&point) || point.value >= low.value {
                high = point;
            } else {
                if point.slope * width >= 0.0 {
                    high = low;
                }
                low = point;
            }
        }
    }
}

/// The minimum of the cubic through two points with their slopes (Nocedal, Wright 2006, equation 3.59), if there is one.
fn cubic_minimum(a: &LinePoint, b: &LinePoint) -> Option<f64> {
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let root = (d1 * d1 - a.slope * b.slope).sqrt();
    let d2 = if b.step > a.step { root } else { -root };
    let minimum = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    minimum.is_finite().then_some(minimum)
}
