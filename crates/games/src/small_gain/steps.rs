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

    /// A monotone field of two dimensions: `m x`, a rotation, and `tanh` of each number; with its margin and Lipschitz constant.
    fn field((m, turn, bend): (f64, f64, f64)) -> (impl Fn([f64; 2]) -> [f64; 2], Rates) {
        let f = move |[x, y]: [f64; 2]| [m * x + turn * y + bend * x.tanh(), m * y - turn * x + bend * y.tanh()];
        (f, rates(m, m + bend + turn.abs()))
    }

    fn rk4(f: &impl Fn([f64; 2]) -> [f64; 2], x: [f64; 2], h: f64) -> [f64; 2] {
        let shifted = |k: [f64; 2], by: f64| [x[0] - by * k[0], x[1] - by * k[1]];
        let k1 = f(x);
        let k2 = f(shifted(k1, 0.5 * h));
        let k3 = f(shifted(k2, 0.5 * h));
        let k4 = f(shifted(k3, h));
        [0, 1].map(|i| x[i] - h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn steps_contract_as_much_as_they_say(
                parts in (0.01..2.0, -3.0..3.0, 0.0..3.0),
                x in prop::array::uniform2(-3.0..3.0),
                y in prop::array::uniform2(-3.0..3.0),
                share in 0.01..1.5,
            ) {
                let (f, rates) = field(parts);
                let apart = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
                prop_assume!(apart(x, y) > 1e-6);
                let h = share * rates.euler_limit();
                let euler = |x: [f64; 2]| { let g = f(x); [x[0] - h * g[0], x[1] - h * g[1]] };
                prop_assert!(apart(euler(x), euler(y)) <= rates.euler_factor(h) * apart(x, y) * (1.0 + 1e-12));
                let h = share * rates.rk4_limit();
                prop_assert!(apart(rk4(&f, x, h), rk4(&f, y, h)) <= rates.rk4_factor(h) * apart(x, y) * (1.0 + 1e-12));
                prop_assert!(share >= 1.0 || rates.rk4_slope(h).hi() < 0.0);
            }
        }
    }
}
