//! Steps at which the discretised dynamics contract, from a margin `α` and a Lipschitz constant `β` in one metric.

use super::SmallGainError;
use super::checker::rk4_slope;
use crate::rigorous::Interval;
use crate::scalar::Real;

/// Margin and Lipschitz constant of a pseudo-gradient in one metric, `0 < α ≤ β`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub(super) margin: f64,
    pub(super) lipschitz: f64,
}

impl Rates {
    /// The pair `α`, `β`.
    ///
    /// # Errors
    /// [`SmallGainError::InvalidBound`] unless `0 < α ≤ β` and both are finite.
    pub fn new(margin: f64, lipschitz: f64) -> Result<Self, SmallGainError> {
        let invalid = |what: &str, value, expected| Err(SmallGainError::InvalidBound { what: what.into(), value, expected });
        if !(margin > 0.0 && margin.is_finite()) {
            return invalid("the margin", margin, "positive and finite");
        }
        if !(lipschitz >= margin && lipschitz.is_finite()) {
            return invalid("the Lipschitz constant", lipschitz, "finite and at least the margin");
        }
        Ok(Self { margin, lipschitz })
    }

    /// The margin `α`.
    pub fn margin(self) -> f64 {
        self.margin
    }

    /// The Lipschitz constant `β`.
    pub fn lipschitz(self) -> f64 {
        self.lipschitz
    }

    /// Both, for computing with outward rounding.
    fn intervals(self) -> [Interval; 2] {
        [self.margin, self.lipschitz].map(Interval::point)
    }

    /// The supremum `2 α / β²` of the steps at which projected gradient play (Euler) contracts, rounded down.
    pub fn euler_limit(self) -> f64 {
        let [alpha, beta] = self.intervals();
        (alpha * 2.0 / beta / beta).lo()
    }

    /// The step `α / β²` at which it contracts most.
    pub fn best_euler_step(self) -> f64 {
        0.5 * self.euler_limit()
    }

    /// The supremum `2 / β` of the steps at which it contracts if the Jacobian, scaled by the metric, is symmetric, as in potential games.
    pub fn symmetric_euler_limit(self) -> f64 {
        (Interval::point(2.0) / self.lipschitz).lo()
    }

    /// By what a step `h` of gradient play multiplies distances at most, `√(1 - 2hα + h²β²)`, rounded up; below 1 under
    /// [`Rates::euler_limit`].
    pub fn euler_factor(self, h: f64) -> f64 {
        let ([alpha, beta], h) = (self.intervals(), Interval::point(h));
        root(Interval::point(1.0) - (h * alpha * 2.0 - h.square() * beta.square()))
    }

    /// By what a step `h` of the classical Runge–Kutta method multiplies distances at most, for nonlinear fields too, rounded up.
    pub fn rk4_factor(self, h: f64) -> f64 {
        root(Interval::point(1.0) + self.rk4_slope(h) * h)
    }

    /// The supremum of the steps at which the classical Runge–Kutta method contracts, for nonlinear fields too: the bounds of the stages'
    /// differences hold for every field with these rates. It tends to `α / β²` for small `α / β`. Rounded down.
    pub fn rk4_limit(self) -> f64 {
        // The slope grows with the step: it is negative at 0 and positive at 3 / β.
        let (mut low, mut high) = (0.0, 3.0 / self.lipschitz);
        loop {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                return low;
            }
            if self.rk4_slope(middle).hi() < 0.0 { low = middle } else { high = middle }
        }
    }

    /// The step `2.5 / β` of the classical Runge–Kutta method that is usual for linear fields: their iterates converge in the end, and need
    /// not at first; of nonlinear fields it says nothing. The stability region holds the half disc of radius 2.6.
    pub fn rk4_guideline(self) -> f64 {
        (Interval::point(2.5) / self.lipschitz).lo()
    }

    /// `(q² - 1) / h` of the bound `q` of a step: negative where the step contracts, and so do all smaller ones.
    ///
    /// Not `q` itself, which differs from 1 by less than rounding errors for small `α / β`.
    fn rk4_slope(self, h: f64) -> Interval {
        let [alpha, beta] = self.intervals();
        rk4_slope(alpha, beta, Interval::point(h))
    }

    /// The squared radius within which stochastic gradient play with step `h` ends, `h σ² / (2α - hβ²)`, where the gradients' errors have
    /// mean 0 and `E|error|² ≤ σ²` in the metric, whatever the state; `∞` at and above [`Rates::euler_limit`].
    pub fn noise_radius_squared(self, h: f64, variance: f64) -> f64 {
        let rest = 2.0 * self.margin - h * self.lipschitz * self.lipschitz;
        if rest > 0.0 { h * variance / rest } else { f64::INFINITY }
    }
}

/// The root of a number that is not negative, rounded up.
fn root(square: Interval) -> f64 {
    let mut root = square.hi().max(0.0).sqrt();
    // As the checker squares it.
    while root.is_finite() && Interval::point(root).square().lo() < square.hi() {
        root = root.next_up();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(margin: f64, lipschitz: f64) -> Rates {
        Rates::new(margin, lipschitz).unwrap()
    }

    #[test]
    fn worked_examples() {
        for (alpha, beta, limit) in
            [(1.0, 1.0, 0.403_204_26), (0.5, 1.0, 0.275_115_46), (0.1, 1.0, 0.084_152_30), (0.292_893_22, 1.707_106_78, 0.076_583_42)]
        {
            assert!((rates(alpha, beta).rk4_limit() - limit).abs() < 1e-8, "{alpha} {beta}: {}", rates(alpha, beta).rk4_limit());
        }
        let toy = rates(1.0 - 0.5f64.sqrt(), 1.0 + 0.5f64.sqrt());
        assert!((toy.euler_limit() - 0.201_010_13).abs() < 1e-8);
        assert!((rates(1.0, 26f64.sqrt()).euler_limit() - 0.076_923_076_9).abs() < 1e-9);
    }

    #[test]
    fn tiny_margins() {
        let limit = rates(1e-9, 1.0).rk4_limit();
        assert!((limit / 1e-9 - 1.0).abs() < 1e-6);
        assert!(rates(1e-9, 1.0).noise_radius_squared(3e-9, 1.0).is_infinite());
        assert!((rates(1.0, 2.0).noise_radius_squared(0.25, 4.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_is_no_rate_is_named() {
        for (alpha, beta) in [(0.0, 1.0), (-1.0, 1.0), (f64::NAN, 1.0), (2.0, 1.0), (1.0, f64::INFINITY), (1.0, f64::NAN)] {
            assert!(matches!(Rates::new(alpha, beta), Err(SmallGainError::InvalidBound { .. })));
        }
    }

    type Point = [f64; 3];

    fn add(x: Point, by: f64, y: Point) -> Point {
        [0, 1, 2].map(|i| x[i] + by * y[i])
    }

    fn dot(x: Point, y: Point) -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    }

    /// A monotone field: `m x`, a rotation with the axis `turn`, and ridge functions `v σ(⟨v, x⟩)` with slopes between 0 and 1, `tanh` and
    /// the derivative of four softplus; with its margin and Lipschitz constant.
    fn field(m: f64, turn: Point, ridges: [Point; 2]) -> (impl Fn(Point) -> Point, Rates) {
        let f = move |x: Point| {
            let turned = [turn[1] * x[2] - turn[2] * x[1], turn[2] * x[0] - turn[0] * x[2], turn[0] * x[1] - turn[1] * x[0]];
            let bent = [dot(ridges[0], x).tanh(), 4.0 / (1.0 + (-dot(ridges[1], x)).exp())];
            add(add(add([0, 1, 2].map(|i| m * x[i]), 1.0, turned), bent[0], ridges[0]), bent[1], ridges[1])
        };
        let most = m + dot(turn, turn).sqrt() + ridges.iter().map(|&v| dot(v, v)).sum::<f64>();
        (f, rates(m, most))
    }

    fn rk4(f: &impl Fn(Point) -> Point, x: Point, h: f64) -> Point {
        let k1 = f(x);
        let k2 = f(add(x, -0.5 * h, k1));
        let k3 = f(add(x, -0.5 * h, k2));
        let k4 = f(add(x, -h, k3));
        add(x, -h / 6.0, [0, 1, 2].map(|i| k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn steps_contract_as_much_as_they_say(
                m in 0.01..2.0f64,
                turn in prop::array::uniform3(-3.0..3.0),
                ridges in prop::array::uniform2(prop::array::uniform3(-1.0..1.0)),
                x in prop::array::uniform3(-3.0..3.0),
                y in prop::array::uniform3(-3.0..3.0),
                share in 0.01..1.5f64,
            ) {
                let (f, rates) = field(m, turn, ridges);
                let apart = |x: Point, y: Point| dot(add(x, -1.0, y), add(x, -1.0, y)).sqrt();
                prop_assume!(apart(x, y) > 1e-6);
                let h = share * rates.euler_limit();
                let euler = |x: Point| add(x, -h, f(x));
                prop_assert!(apart(euler(x), euler(y)) <= rates.euler_factor(h) * apart(x, y) * (1.0 + 1e-12));
                let h = share * rates.rk4_limit();
                prop_assert!(apart(rk4(&f, x, h), rk4(&f, y, h)) <= rates.rk4_factor(h) * apart(x, y) * (1.0 + 1e-12));
                prop_assert!(share >= 1.0 || rates.rk4_slope(h).hi() < 0.0);
            }
        }
    }
}
