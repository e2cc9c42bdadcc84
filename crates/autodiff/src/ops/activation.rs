//! Activation functions of networks, one element at a time.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI};

use crate::kernels::functions::{relu, sigmoid, softplus};
use crate::{Scalar, Tensor};

impl<T: Scalar> Tensor<T> {
    /// The logistic function `1 / (1 + e⁻ˣ)`.
    #[track_caller]
    pub fn sigmoid(&self) -> Self {
        self.of_output("sigmoid", sigmoid, |y| y - y * y, |y| y - &(y * y))
    }

    /// The logarithm of the logistic function, `-ln(1 + e⁻ˣ)`, without overflow.
    #[track_caller]
    pub fn log_sigmoid(&self) -> Self {
        self.of_input("log_sigmoid", |x| -softplus(-x), |x| sigmoid(-x), |x| (-x).sigmoid())
    }

    /// `ln(1 + eˣ)`, a smooth `max(x, 0)`, without overflow.
    #[track_caller]
    pub fn softplus(&self) -> Self {
        self.of_input("softplus", softplus, sigmoid, Tensor::sigmoid)
    }

    /// `max(x, 0)`; the derivative at 0 is 0.
    #[track_caller]
    pub fn relu(&self) -> Self {
        self.of_input("relu", relu, step, |x| x.greater_than(T::ZERO))
    }

    /// `x` where it is positive, else `slope · x` (Maas, Hannun, Ng 2013); the derivative at 0 is `slope`.
    #[track_caller]
    pub fn leaky_relu(&self, slope: T) -> Self {
        let derivative = move |x: T| if x > T::ZERO { T::ONE } else { slope };
        self.of_input("leaky_relu", move |x| derivative(x) * x, derivative, move |x| x.constant_map(derivative))
    }

    /// `x` where it is positive, else `alpha (eˣ - 1)` (Clevert, Unterthiner, Hochreiter 2016); the derivative at 0 is `alpha`.
    #[track_caller]
    pub fn elu(&self, alpha: T) -> Self {
        let f = move |x: T| if x > T::ZERO { x } else { alpha * x.exp_m1() };
        let slope = move |x: T| if x > T::ZERO { T::ONE } else { alpha * x.exp() };
        self.of_input("elu", f, slope, move |x| {
            // The exponential of a large positive element would be infinite, and its derivative times 0 not a number.
            let negative = x.clamp(T::NEG_INFINITY, T::ZERO).exp() * alpha;
            x.greater_than(T::ZERO).where_(&Tensor::scalar(T::ONE), &negative)
        })
    }

    /// `x` times the logistic function of `x`, also called swish (Elfwing, Uchibe, Doya 2018).
    #[track_caller]
    pub fn silu(&self) -> Self {
        let slope = |x: T| {
            let s = sigmoid(x);
            s + x * s * (T::ONE - s)
        };
        self.of_input(
            "silu",
            |x| x * sigmoid(x),
            slope,
            |x| {
                let s = x.sigmoid();
                &s + x * (&s - s.square())
            },
        )
    }

    /// The Gaussian error linear unit `x Φ(x)`, where `Φ` is the standard normal distribution function (Hendrycks, Gimpel
    /// 2016, section 2). GPT-2 takes the form of [`Tensor::gelu_tanh`].
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let x = Tensor::<f64>::vector(&[-1.0, 0.0, 2.0]);
    /// let expected = [-0.158_655_253_931_457, 0.0, 1.954_499_736_103_641];
    /// assert!(x.gelu().as_slice().iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-14));
    /// ```
    #[track_caller]
    pub fn gelu(&self) -> Self {
        self.of_input(
            "gelu",
            // Too large to be compiled into the loops of their own accord.
            #[inline(always)]
            |x| x * normal_cdf(x),
            #[inline(always)]
            |x| normal_cdf(x) + x * normal_density(x),
            |x| {
                let cdf = (x * T::from_f64(-FRAC_1_SQRT_2)).erfc() * T::from_f64(0.5);
                let density = (x.square() * T::from_f64(-0.5)).exp() * T::from_f64(DENSITY);
                cdf + x * density
            },
        )
    }

    /// The Gaussian error linear unit in its tanh form `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, as in GPT-2 (Hendrycks,
    /// Gimpel 2016, section 2). It lies within 5·10⁻⁴ of [`Tensor::gelu`].
    #[track_caller]
    pub fn gelu_tanh(&self) -> Self {
        // ½ (1 + tanh u) is the logistic function of 2u, which does not cancel for negative `x`.
        let double = 2.0 * FRAC_2_PI.sqrt();
        let [first, third, slope_third] = [double, double * GELU_CUBIC, 3.0 * double * GELU_CUBIC].map(T::from_f64);
        let flat = T::from_f64(GELU_FLAT);
        let bounded = move |x: T| {
            let raised = if x < -flat { -flat } else { x };
            if raised > flat { flat } else { raised }
        };
        let inner = move |x: T| x * (first + third * x * x);
        let slope = move |x: T| {
            let x = bounded(x);
            let s = sigmoid(inner(x));
            s + x * s * (T::ONE - s) * (first + slope_third * x * x)
        };
        self.of_input(
            "gelu_tanh",
            move |x| x * sigmoid(inner(bounded(x))),
            slope,
            move |x| {
                let x = &x.clamp(-flat, flat);
                let square = x.square();
                let s = (x * (&square * third + first)).sigmoid();
                &s + x * (&s - s.square()) * (square * slope_third + first)
            },
        )
    }
}

/// The magnitude beyond which the tanh form is `x` or 0 to the last bit. Its cube takes no more: where that overflowed, the
/// derivative would be infinity times 0.
pub(super) const GELU_FLAT: f64 = 100.0;
/// The coefficient of the cube in the tanh form of the Gaussian error linear unit.
pub(super) const GELU_CUBIC: f64 = 0.044_715;
/// `1 / √(2π)`, the standard normal density at 0.
const DENSITY: f64 = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

fn step<T: Scalar>(x: T) -> T {
    if x > T::ZERO { T::ONE } else { T::ZERO }
}

#[inline(always)]
fn normal_cdf<T: Scalar>(x: T) -> T {
    T::from_f64(0.5) * (x * T::from_f64(-FRAC_1_SQRT_2)).erfc()
}

fn normal_density<T: Scalar>(x: T) -> T {
    T::from_f64(DENSITY) * (T::from_f64(-0.5) * x * x).exp()
}
