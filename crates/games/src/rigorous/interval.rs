//! Closed intervals.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::rounding::{add_down, add_up, div_down, div_up, mul_down, mul_up, sqrt_down, sqrt_up};
use crate::scalar::{Real, power, with_numbers};

/// A closed interval of numbers `[lo, hi]`. An infinite end, `-∞` below or `∞` above, stands for numbers of any size. What is computed with intervals encloses what is computed with any
/// numbers in them: each end is rounded outwards. An operation that is not defined somewhere in its operands gives all numbers.
///
/// ```
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
///
/// let x = Interval::new(-1.0, 2.0).unwrap();
/// assert_eq!(x.square(), Interval::new(0.0, 4.0).unwrap()); // the same number twice
/// assert_eq!(x * x, Interval::new(-2.0, 4.0).unwrap()); // any two numbers
/// let third = Interval::point(1.0) / Interval::point(3.0);
/// assert!(third.lo() < third.hi() && third.contains(1.0 / 3.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    lo: f64,
    hi: f64,
}

/// Numbers that the functions of `libm` may be away from the truth: 1 is what they promise of `exp`, `log`, `sin`, `cos`.
const NEAR: u32 = 2;
/// The same for those of which larger errors are known.
const FAR: u32 = 4;

impl Interval {
    /// All numbers.
    pub const ENTIRE: Self = Self { lo: f64::NEG_INFINITY, hi: f64::INFINITY };
    /// Around `π`.
    pub const PI: Self = Self { lo: std::f64::consts::PI, hi: std::f64::consts::PI.next_up() };
    /// Around Euler's number `e`.
    pub const E: Self = Self { lo: std::f64::consts::E, hi: std::f64::consts::E.next_up() };

    /// The interval with these ends; none where one is NaN, they are in the wrong order, or no number lies between them.
    pub fn new(lo: f64, hi: f64) -> Option<Self> {
        (lo <= hi && lo < f64::INFINITY && hi > f64::NEG_INFINITY).then_some(Self { lo, hi })
    }

    /// A single number; all numbers for what is none.
    pub fn point(x: f64) -> Self {
        if x.is_finite() { Self { lo: x, hi: x } } else { Self::ENTIRE }
    }

    /// The lower end.
    pub fn lo(self) -> f64 {
        self.lo
    }

    /// The upper end.
    pub fn hi(self) -> f64 {
        self.hi
    }

    /// Whether a number is inside.
    pub fn contains(self, x: f64) -> bool {
        self.lo <= x && x <= self.hi
    }

    /// Whether both ends are numbers.
    pub fn is_bounded(self) -> bool {
        self.lo.is_finite() && self.hi.is_finite()
    }

    #[inline]
    fn is_zero(self) -> bool {
        self.lo == 0.0 && self.hi == 0.0
    }

    /// A number about half way, inside; 0 for all numbers.
    pub fn midpoint(self) -> f64 {
        match (self.lo.is_finite(), self.hi.is_finite()) {
            (true, true) => (0.5 * self.lo + 0.5 * self.hi).clamp(self.lo, self.hi),
            (true, false) => self.lo.max(0.0),
            (false, true) => self.hi.min(0.0),
            (false, false) => 0.0,
        }
    }

    /// At least half of the width, and at least the distance from the midpoint to either end.
    pub fn radius(self) -> f64 {
        let middle = self.midpoint();
        add_up(middle, -self.lo).max(add_up(self.hi, -middle))
    }

    /// The largest absolute value inside.
    pub fn magnitude(self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    /// The smallest interval around both.
    pub fn hull(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// What both have in common, if anything.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.lo.max(other.lo), self.hi.min(other.hi))
    }

    /// From the ends of an operation, of which NaN says that there is none.
    fn of(lo: f64, hi: f64) -> Self {
        Self::new(lo, hi).unwrap_or(Self::ENTIRE)
    }

    /// The values of a function at both ends; of a single number it is asked once.
    fn at_ends(self, f: impl Fn(f64) -> f64) -> (f64, f64) {
        let at_lo = f(self.lo);
        (at_lo, if self.lo == self.hi { at_lo } else { f(self.hi) })
    }

    /// What an increasing function with values in `range` makes of this, when it errs by at most `error` numbers.
    fn increasing(self, f: impl Fn(f64) -> f64, error: u32, range: [f64; 2]) -> Self {
        let (lo, hi) = self.at_ends(f);
        Self::of(moved(lo, error, f64::next_down).max(range[0]), moved(hi, error, f64::next_up).min(range[1]))
    }

    /// Whether some `x` in this may be `(offset + k) · 2π` for a whole `k`.
    fn may_meet(self, offset: f64) -> bool {
        let turns = |x: f64| Self::point(x) / (Self::PI * Self::point(2.0)) - Self::point(offset);
        // A first whole number at or above the lower end is at or below the upper.
        turns(self.lo).lo.ceil() <= turns(self.hi).hi.floor()
    }

    /// What a function with greatest value 1 at `(top + k) · 2π` and least value -1 half a turn on makes of this.
    fn wave(self, f: impl Fn(f64) -> f64, top: f64) -> Self {
        if !self.is_bounded() {
            return Self { lo: -1.0, hi: 1.0 };
        }
        let (a, b) = self.at_ends(f);
        let lo = if self.may_meet(top + 0.5) { -1.0 } else { moved(a.min(b), NEAR, f64::next_down).max(-1.0) };
        let hi = if self.may_meet(top) { 1.0 } else { moved(a.max(b), NEAR, f64::next_up).min(1.0) };
        Self::of(lo, hi)
    }
}

/// The number that is `steps` numbers on.
fn moved(x: f64, steps: u32, step: impl Fn(f64) -> f64) -> f64 {
    (0..steps).fold(x, |x, _| step(x))
}

impl Add for Interval {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        // Most derivatives of a formula's parts are zero.
        if other.is_zero() {
            return self;
        }
        if self.is_zero() {
            return other;
        }
        Self { lo: add_down(self.lo, other.lo), hi: add_up(self.hi, other.hi) }
    }
}

impl Sub for Interval {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Interval {
    type Output = Self;
    fn neg(self) -> Self {
        Self { lo: -self.hi, hi: -self.lo }
    }
}

impl Mul for Interval {
    type Output = Self;
    #[inline]
    fn mul(self, other: Self) -> Self {
        let (a, b) = (self, other);
        if a.is_zero() || b.is_zero() {
            return Self { lo: 0.0, hi: 0.0 };
        }
        if a.hi <= 0.0 && a.lo < 0.0 {
            return -(-a * b);
        }
        if b.hi <= 0.0 && b.lo < 0.0 {
            return -(a * -b);
        }
        // Neither is below zero now.
        match (a.lo >= 0.0, b.lo >= 0.0) {
            (true, true) => Self { lo: mul_down(a.lo, b.lo), hi: mul_up(a.hi, b.hi) },
            (true, false) => Self { lo: mul_down(a.hi, b.lo), hi: mul_up(a.hi, b.hi) },
            (false, true) => Self { lo: mul_down(a.lo, b.hi), hi: mul_up(a.hi, b.hi) },
            (false, false) => Self { lo: mul_down(a.lo, b.hi).min(mul_down(a.hi, b.lo)), hi: mul_up(a.lo, b.lo).max(mul_up(a.hi, b.hi)) },
        }
    }
}

impl Div for Interval {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let (a, b) = (self, other);
        if b.contains(0.0) {
            return Self::ENTIRE;
        }
        if b.hi < 0.0 {
            return -(a / -b);
        }
        let lo = div_down(a.lo, if a.lo >= 0.0 { b.hi } else { b.lo });
        let hi = div_up(a.hi, if a.hi >= 0.0 { b.lo } else { b.hi });
        Self { lo, hi }
    }
}

with_numbers!([] Interval);

impl Real for Interval {
    fn rounded(_: f64, around: Interval) -> Self {
        around
    }
    fn square(self) -> Self {
        let (least, greatest) = (if self.contains(0.0) { 0.0 } else { self.lo.abs().min(self.hi.abs()) }, self.magnitude());
        Self { lo: mul_down(least, least), hi: mul_up(greatest, greatest) }
    }
    fn powi(self, exponent: i32) -> Self {
        if exponent % 2 == 0 && exponent != 0 {
            return power(self.square(), exponent.unsigned_abs() / 2, exponent < 0);
        }
        // An odd power grows with its base, and repeated products of the ends are as tight.
        let end = |x: f64| power(Self::point(x), exponent.unsigned_abs(), false);
        let whole = Self { lo: end(self.lo).lo, hi: end(self.hi).hi };
        if exponent < 0 { Self::point(1.0) / whole } else { whole }
    }
    fn exp(self) -> Self {
        self.increasing(libm::exp, NEAR, [0.0, f64::INFINITY])
    }
    fn ln(self) -> Self {
        if self.lo < 0.0 { Self::ENTIRE } else { self.increasing(libm::log, NEAR, [f64::NEG_INFINITY, f64::INFINITY]) }
    }
    fn sqrt(self) -> Self {
        if self.lo < 0.0 { Self::ENTIRE } else { Self::of(sqrt_down(self.lo), sqrt_up(self.hi)) }
    }
    fn sin(self) -> Self {
        self.wave(libm::sin, 0.25)
    }
    fn cos(self) -> Self {
        self.wave(libm::cos, 0.0)
    }
    fn tanh(self) -> Self {
        self.increasing(libm::tanh, FAR, [-1.0, 1.0])
    }
    fn sinh(self) -> Self {
        self.increasing(libm::sinh, FAR, [f64::NEG_INFINITY, f64::INFINITY])
    }
    fn cosh(self) -> Self {
        let least = if self.contains(0.0) { 0.0 } else { self.lo.abs().min(self.hi.abs()) };
        Self { lo: least, hi: self.magnitude() }.increasing(libm::cosh, FAR, [1.0, f64::INFINITY])
    }
    fn atan(self) -> Self {
        let right = std::f64::consts::FRAC_PI_2.next_up();
        self.increasing(libm::atan, FAR, [-right, right])
    }
    fn sigmoid(self) -> Self {
        // Each end needs one rounding of each step only.
        let lo = div_down(1.0, add_up(1.0, moved(libm::exp(-self.lo), NEAR, f64::next_up)));
        let hi = div_up(1.0, add_down(1.0, moved(libm::exp(-self.hi), NEAR, f64::next_down).max(0.0)));
        Self::of(lo.max(0.0), hi.min(1.0))
    }
    fn softplus(self) -> Self {
        // ln(1 + e⁻ˣ) + x for positive x, which does not overflow.
        let part = |x: f64| if x > 0.0 { x } else { 0.0 };
        let lo = moved(libm::log1p(moved(libm::exp(-self.lo.abs()), NEAR, f64::next_down).max(0.0)), FAR, f64::next_down);
        let hi = moved(libm::log1p(moved(libm::exp(-self.hi.abs()), NEAR, f64::next_up)), FAR, f64::next_up);
        Self::of(add_down(lo, part(self.lo)).max(0.0), add_up(hi, part(self.hi)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(lo: f64, hi: f64) -> Interval {
        Interval::new(lo, hi).unwrap()
    }

    /// A function on both kinds of number.
    type Pair = (&'static str, fn(f64) -> f64, fn(Interval) -> Interval);

    const FUNCTIONS: [Pair; 15] = [
        ("square", Real::square, Real::square),
        ("cube", |x| Real::powi(x, 3), |x| x.powi(3)),
        ("fourth power", |x| Real::powi(x, 4), |x| x.powi(4)),
        ("inverse cube", |x| Real::powi(x, -3), |x| x.powi(-3)),
        ("inverse square", |x| Real::powi(x, -2), |x| x.powi(-2)),
        ("exp", Real::exp, Real::exp),
        ("ln", Real::ln, Real::ln),
        ("sqrt", Real::sqrt, Real::sqrt),
        ("sin", Real::sin, Real::sin),
        ("cos", Real::cos, Real::cos),
        ("tanh", Real::tanh, Real::tanh),
        ("cosh", Real::cosh, Real::cosh),
        ("atan", Real::atan, Real::atan),
        ("sigmoid", Real::sigmoid, Real::sigmoid),
        ("softplus", Real::softplus, Real::softplus),
    ];

    /// Values to 1,400 bits by mpmath 1.4: a function, a number, and the largest number not above the value, by their bits.
    #[test]
    fn functions_of_numbers_enclose_the_true_values() {
        let table = include_str!("table.txt");
        assert_eq!(table.lines().count(), 400);
        for line in table.lines() {
            let [name, x, below] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let [x, below] = [x, below].map(|bits| f64::from_bits(u64::from_str_radix(bits, 16).unwrap()));
            let point = Interval::point(x);
            let found = match name {
                "exp" => point.exp(),
                "ln" => point.ln(),
                "sin" => point.sin(),
                "cos" => point.cos(),
                "tanh" => point.tanh(),
                "sinh" => point.sinh(),
                "cosh" => point.cosh(),
                "atan" => point.atan(),
                "sigmoid" => point.sigmoid(),
                "softplus" => point.softplus(),
                _ => panic!("{name}"),
            };
            // No value here is a number itself.
            assert!(found.lo() <= below && found.hi() >= below.next_up(), "{name}({x}): {found:?} {below}");
            // Many turns away, a wave may be at its top for all that is known.
            let far = x.abs() > 1e6 && ["sin", "cos"].contains(&name);
            assert!(far || found.hi() - found.lo() <= 40.0 * (below.next_up() - below), "{name}({x}): {found:?}");
        }
    }

    /// Ends of many sizes, and points between them.
    fn cases() -> impl Strategy<Value = (f64, f64, f64, f64)> {
        let end = || prop_oneof![-10.0..10.0, -1e-3..1e-3, -1e3..1e3, -1e300..1e300, Just(0.0), Just(1.0)];
        (end(), end(), 0.0..=1.0, 0.0..=1.0)
    }

    fn between(x: Interval, share: f64) -> f64 {
        (x.lo() * (1.0 - share) + x.hi() * share).clamp(x.lo(), x.hi())
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn functions_of_numbers_are_inside((a, b, share, _) in cases()) {
                let x = interval(a.min(b), a.max(b));
                let inside = between(x, share);
                for (name, f, on_intervals) in FUNCTIONS {
                    let (found, value) = (on_intervals(x), f(inside));
                    prop_assert!(value.is_nan() || found.contains(value), "{name} of {x:?}: {found:?} lacks {value} at {inside}");
                }
            }

            #[test]
            fn results_of_numbers_are_inside((a, b, share, other) in cases(), (c, d, ..) in cases()) {
                let (x, y) = (interval(a.min(b), a.max(b)), interval(c.min(d), c.max(d)));
                let (u, v) = (between(x, share), between(y, other));
                prop_assert!((x + y).contains(u + v) && (x - y).contains(u - v) && (x * y).contains(u * v));
                let quotient = u / v;
                prop_assert!(quotient.is_nan() || (x / y).contains(quotient), "{x:?} / {y:?}");
            }

            #[test]
            fn smaller_intervals_have_smaller_results((a, b, s, t) in cases()) {
                let x = interval(a.min(b), a.max(b));
                let (s, t) = (between(x, s), between(x, t));
                let part = interval(s.min(t), s.max(t));
                for (name, _, f) in FUNCTIONS {
                    let (whole, part) = (f(x), f(part));
                    // `libm` does not promise to be monotone: within its error.
                    let slack = |x: f64, step: fn(f64) -> f64| moved(x, 8, step);
                    prop_assert!(slack(whole.lo(), f64::next_down) <= part.lo() && part.hi() <= slack(whole.hi(), f64::next_up), "{name}");
                }
            }
        }
    }

    #[test]
    fn waves_turn_where_they_do() {
        assert_eq!(interval(0.0, 3.0).sin().hi(), 1.0);
        assert!(interval(0.0, 3.0).sin().lo().abs() < 1e-15);
        assert!(interval(2.0, 4.0).sin().hi() < 1.0 && interval(2.0, 4.0).sin().lo() > -1.0);
        assert_eq!(interval(2.0, 4.0).cos().lo(), -1.0);
        assert_eq!(interval(-0.1, 0.1).cos().hi(), 1.0);
        assert_eq!(interval(-1e9, 1e9).sin(), interval(-1.0, 1.0));
        assert_eq!(Interval::ENTIRE.cos(), interval(-1.0, 1.0));
        let far = interval(1e15, 1e15 + 1.0).sin();
        assert!((0..=8).all(|i| far.contains(libm::sin(1e15 + f64::from(i) / 8.0))));
    }

    #[test]
    fn what_is_not_defined_is_everything() {
        assert_eq!(interval(-1.0, 1.0).ln(), Interval::ENTIRE);
        assert_eq!(interval(-1.0, 1.0).sqrt(), Interval::ENTIRE);
        assert_eq!(interval(1.0, 2.0) / interval(-1.0, 1.0), Interval::ENTIRE);
        assert_eq!(interval(-1.0, 1.0).powi(-1), Interval::ENTIRE);
        assert_eq!(interval(0.0, 1.0).ln().lo(), f64::NEG_INFINITY);
        assert_eq!(Interval::point(f64::NAN), Interval::ENTIRE);
        assert!(Interval::new(2.0, 1.0).is_none() && Interval::new(f64::NAN, 1.0).is_none());
        assert_eq!(Interval::ENTIRE - Interval::ENTIRE, Interval::ENTIRE);
        assert_eq!(Interval::ENTIRE * Interval::point(0.0), Interval::point(0.0));
    }

    #[test]
    fn functions_are_tight_and_keep_their_range() {
        for (f, at, truth) in [
            (Interval::exp as fn(Interval) -> Interval, 1.0, std::f64::consts::E),
            (Interval::ln, 10.0, std::f64::consts::LN_10),
            (Interval::atan, 1.0, std::f64::consts::FRAC_PI_4),
            (Interval::sigmoid, 0.0, 0.5),
            (Interval::softplus, 0.0, std::f64::consts::LN_2),
            (Interval::sqrt, 2.0, std::f64::consts::SQRT_2),
        ] {
            let found = f(Interval::point(at));
            assert!(found.contains(truth) && found.hi() - found.lo() < 1e-14 * truth, "{found:?} {truth}");
        }
        assert_eq!(interval(-800.0, -750.0).exp().lo(), 0.0);
        assert_eq!(interval(700.0, 800.0).exp().hi(), f64::INFINITY);
        assert_eq!(interval(-50.0, 50.0).tanh(), interval(-1.0, 1.0));
        assert_eq!(interval(-1000.0, 1000.0).sigmoid(), interval(0.0, 1.0));
        assert!(interval(800.0, 900.0).softplus().contains(850.0));
    }

    #[test]
    fn midpoints_and_radii_reach_both_ends() {
        for x in [interval(-1.0, 2.0), interval(0.1, 0.1), interval(-f64::MAX, f64::MAX), interval(1.0, f64::INFINITY), Interval::ENTIRE] {
            let (middle, radius) = (x.midpoint(), x.radius());
            assert!(x.contains(middle) && middle - radius <= x.lo() && middle + radius >= x.hi(), "{x:?}");
        }
        assert_eq!(interval(-3.0, 1.0).magnitude(), 3.0);
        assert_eq!(interval(0.0, 2.0).intersection(interval(1.0, 3.0)), Some(interval(1.0, 2.0)));
        assert_eq!(interval(0.0, 1.0).intersection(interval(2.0, 3.0)), None);
        assert_eq!(interval(0.0, 1.0).hull(interval(2.0, 3.0)), interval(0.0, 3.0));
    }
}
