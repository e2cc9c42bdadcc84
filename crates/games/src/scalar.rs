//! The numbers that games are written in: one formula serves values, derivatives and rigorous enclosures.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::rigorous::Interval;

/// A number of a formula: `f64`, an [`Interval`], a [`Symbol`](crate::expression::Symbol), or a [`Dual`] of one of these.
///
/// ```
/// use gradus_games::scalar::{Dual, Real};
///
/// fn loss<R: Real>(x: R, y: R) -> R {
///     x.square() + x * y.sin()
/// }
///
/// assert_eq!(loss(3.0, 0.0), 9.0);
/// let slope = loss(Dual::variable(3.0), Dual::constant(0.0)).slope;
/// assert_eq!(slope, 6.0); // ∂/∂x
/// ```
pub trait Real:
    Copy
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
{
    /// The number `value`.
    fn constant(value: f64) -> Self {
        Self::rounded(value, Interval::point(value))
    }

    /// The number as an `f64`, if it is one.
    fn number(self) -> Option<f64> {
        None
    }

    /// A number that is no `f64`, by the one nearest to it and numbers around it.
    fn rounded(nearest: f64, around: Interval) -> Self;

    /// `π`.
    fn pi() -> Self {
        Self::rounded(std::f64::consts::PI, Interval::PI)
    }

    /// Euler's number `e`.
    fn e() -> Self {
        Self::rounded(std::f64::consts::E, Interval::E)
    }

    /// `self²`.
    fn square(self) -> Self;

    /// The power with a whole exponent. `0⁰` is 1.
    fn powi(self, exponent: i32) -> Self;

    /// The power of a positive base.
    fn powf(self, exponent: f64) -> Self {
        (self.ln() * exponent).exp()
    }

    /// `eˣ`.
    fn exp(self) -> Self;

    /// The natural logarithm.
    fn ln(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// The sine, of radians.
    fn sin(self) -> Self;

    /// The cosine, of radians.
    fn cos(self) -> Self;

    /// The hyperbolic tangent.
    fn tanh(self) -> Self;

    /// The hyperbolic sine.
    fn sinh(self) -> Self;

    /// The hyperbolic cosine.
    fn cosh(self) -> Self;

    /// The angle of a tangent, in `[-π/2, π/2]`.
    fn atan(self) -> Self;

    /// `1 / (1 + e⁻ˣ)`.
    fn sigmoid(self) -> Self;

    /// `ln(1 + eˣ)`.
    fn softplus(self) -> Self;
}

/// By `libm`, whose results are the same everywhere; those of the standard library are not.
impl Real for f64 {
    fn constant(value: f64) -> Self {
        value
    }
    fn number(self) -> Option<f64> {
        Some(self)
    }
    fn rounded(nearest: f64, _: Interval) -> Self {
        nearest
    }
    fn square(self) -> Self {
        self * self
    }
    fn powi(self, exponent: i32) -> Self {
        power(self, exponent.unsigned_abs(), exponent < 0)
    }
    fn exp(self) -> Self {
        libm::exp(self)
    }
    fn ln(self) -> Self {
        libm::log(self)
    }
    fn sqrt(self) -> Self {
        libm::sqrt(self)
    }
    fn sin(self) -> Self {
        libm::sin(self)
    }
    fn cos(self) -> Self {
        libm::cos(self)
    }
    fn tanh(self) -> Self {
        libm::tanh(self)
    }
    fn sinh(self) -> Self {
        libm::sinh(self)
    }
    fn cosh(self) -> Self {
        libm::cosh(self)
    }
    fn atan(self) -> Self {
        libm::atan(self)
    }
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + libm::exp(-self))
    }
    fn softplus(self) -> Self {
        self.max(0.0) + libm::log1p(libm::exp(-self.abs()))
    }
}

/// The power by repeated squaring; its inverse when `inverse`.
pub(crate) fn power<R: Real>(base: R, mut exponent: u32, inverse: bool) -> R {
    let (mut square, mut product) = (base, R::constant(1.0));
    while exponent > 0 {
        if exponent % 2 == 1 {
            product = product * square;
        }
        exponent /= 2;
        if exponent > 0 {
            square = square.square();
        }
    }
    if inverse { R::constant(1.0) / product } else { product }
}

/// A value and its derivative along one direction: forward mode. A dual of duals has second derivatives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dual<R> {
    /// The value.
    pub value: R,
    /// The derivative.
    pub slope: R,
}

impl<R: Real> Dual<R> {
    /// A number along which nothing changes.
    pub fn constant(value: R) -> Self {
        Self { value, slope: R::constant(0.0) }
    }

    /// The variable with respect to which derivatives are taken.
    pub fn variable(value: R) -> Self {
        Self { value, slope: R::constant(1.0) }
    }

    /// `f` of this number, where `derivative` is `f'` of its value.
    fn chain(self, value: R, derivative: R) -> Self {
        Self { value, slope: self.slope * derivative }
    }
}

impl<R: Real> Add for Dual<R> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl<R: Real> Sub for Dual<R> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, slope: self.slope - other.slope }
    }
}

impl<R: Real> Mul for Dual<R> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let slope = self.slope * other.value + self.value * other.slope;
        Self { value: self.value * other.value, slope }
    }
}

impl<R: Real> Div for Dual<R> {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let slope = (self.slope - value * other.slope) / other.value;
        Self { value, slope }
    }
}

/// The four operations of a kind of number with an `f64` on the right.
macro_rules! with_numbers {
    ([$($generic:tt)*] $type:ty) => {
        impl<$($generic)*> Add<f64> for $type {
            type Output = Self;
            fn add(self, other: f64) -> Self {
                self + <Self as Real>::constant(other)
            }
        }
        impl<$($generic)*> Sub<f64> for $type {
            type Output = Self;
            fn sub(self, other: f64) -> Self {
                self - <Self as Real>::constant(other)
            }
        }
        impl<$($generic)*> Mul<f64> for $type {
            type Output = Self;
            fn mul(self, other: f64) -> Self {
                self * <Self as Real>::constant(other)
            }
        }
        impl<$($generic)*> Div<f64> for $type {
            type Output = Self;
            fn div(self, other: f64) -> Self {
                self / <Self as Real>::constant(other)
            }
        }
    };
}
pub(crate) use with_numbers;

with_numbers!([R: Real] Dual<R>);

impl<R: Real> Neg for Dual<R> {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

impl<R: Real> Real for Dual<R> {
    fn rounded(nearest: f64, around: Interval) -> Self {
        Dual::constant(R::rounded(nearest, around))
    }
    fn square(self) -> Self {
        let (value, derivative) = (self.value.square(), self.value * 2.0);
        self.chain(value, derivative)
    }
    fn powi(self, exponent: i32) -> Self {
        if exponent == 0 {
            return Real::constant(1.0);
        }
        let value = self.value.powi(exponent);
        // The least exponent has none below it.
        let before = exponent.checked_sub(1).map_or_else(|| value / self.value, |less| self.value.powi(less));
        self.chain(value, R::constant(f64::from(exponent)) * before)
    }
    fn exp(self) -> Self {
        let value = self.value.exp();
        self.chain(value, value)
    }
    fn ln(self) -> Self {
        let (value, derivative) = (self.value.ln(), R::constant(1.0) / self.value);
        self.chain(value, derivative)
    }
    fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        self.chain(value, R::constant(0.5) / value)
    }
    fn sin(self) -> Self {
        let (value, derivative) = (self.value.sin(), self.value.cos());
        self.chain(value, derivative)
    }
    fn cos(self) -> Self {
        let (value, derivative) = (self.value.cos(), -self.value.sin());
        self.chain(value, derivative)
    }
    fn tanh(self) -> Self {
        let value = self.value.tanh();
        self.chain(value, R::constant(1.0) - value.square())
    }
    fn sinh(self) -> Self {
        let (value, derivative) = (self.value.sinh(), self.value.cosh());
        self.chain(value, derivative)
    }
    fn cosh(self) -> Self {
        let (value, derivative) = (self.value.cosh(), self.value.sinh());
        self.chain(value, derivative)
    }
    fn atan(self) -> Self {
        let (value, derivative) = (self.value.atan(), R::constant(1.0) / (R::constant(1.0) + self.value.square()));
        self.chain(value, derivative)
    }
    fn sigmoid(self) -> Self {
        // σ(x) σ(-x) and not σ (1 - σ), which loses what is left of 1.
        let (value, derivative) = (self.value.sigmoid(), self.value.sigmoid() * (-self.value).sigmoid());
        self.chain(value, derivative)
    }
    fn softplus(self) -> Self {
        let (value, derivative) = (self.value.softplus(), self.value.sigmoid());
        self.chain(value, derivative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every function of the trait, each once.
    fn all<R: Real>(x: R) -> Vec<(&'static str, R)> {
        let one = R::constant(1.0);
        vec![
            ("square", x.square()),
            ("powi 3", x.powi(3)),
            ("powi -2", x.powi(-2)),
            ("powi 0", x.powi(0)),
            ("powf", x.powf(1.7)),
            ("exp", x.exp()),
            ("ln", x.ln()),
            ("sqrt", x.sqrt()),
            ("sin", x.sin()),
            ("cos", x.cos()),
            ("tanh", x.tanh()),
            ("sinh", x.sinh()),
            ("cosh", x.cosh()),
            ("atan", x.atan()),
            ("sigmoid", x.sigmoid()),
            ("softplus", x.softplus()),
            ("quotient", (x - one) / (x * x + one)),
            ("negative", -x),
        ]
    }

    #[test]
    fn slopes_are_central_differences_and_so_are_their_slopes() {
        let step = 1e-5;
        for x in [0.3, 1.0, 2.5] {
            let (ahead, behind) = (all(Dual::variable(x + step)), all(Dual::variable(x - step)));
            let second = all(Dual { value: Dual::variable(x), slope: Dual::constant(1.0) });
            for (((name, found), ahead), behind) in second.into_iter().zip(ahead).zip(behind) {
                let slope = (ahead.1.value - behind.1.value) / (2.0 * step);
                let curvature = (ahead.1.slope - behind.1.slope) / (2.0 * step);
                assert!((found.value.slope - slope).abs() < 1e-8 * slope.abs().max(1.0), "{name} at {x}");
                assert!((found.slope.slope - curvature).abs() < 1e-7 * curvature.abs().max(1.0), "{name} at {x}: {found:?}");
            }
        }
    }

    #[test]
    fn powers_of_zero_and_below() {
        assert_eq!(Real::powi(0.0, 0), 1.0);
        assert_eq!(Real::powi(-2.0, 3), -8.0);
        assert_eq!(Real::powi(2.0, -2), 0.25);
        let cube = Real::powi(Dual::variable(0.0), 3);
        assert_eq!((cube.value, cube.slope), (0.0, 0.0));
        assert_eq!(Real::powi(Dual::variable(0.0), 1).slope, 1.0);
        assert_eq!(Real::powi(Dual::variable(1.0), i32::MIN).slope, f64::from(i32::MIN));
    }
}
