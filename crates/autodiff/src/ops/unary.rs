//! Functions of one element at a time.

use std::f64::consts::FRAC_2_SQRT_PI;

use crate::kernels::{functions, pointwise};
use crate::node::{Activation, Cx, Rule};
use crate::{Scalar, Tensor};

/// A pointwise function whose derivative is a function of the input `x` or the output `y`: `slope` of one element, and
/// the same as tensor operations for derivatives of higher order.
struct Unary<T: Scalar, S, D> {
    name: &'static str,
    saved: Saved<T>,
    slope: S,
    derivative: D,
}

enum Saved<T: Scalar> {
    Input(Tensor<T>),
    Output(Tensor<T>),
}

impl<T, S, D> Rule<T> for Unary<T, S, D>
where
    T: Scalar,
    S: Fn(T) -> T + Send + Sync + 'static,
    D: Fn(&Tensor<T>) -> Tensor<T> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let (Saved::Input(saved) | Saved::Output(saved)) = &self.saved;
        if cx.is_plain(&g) && g.shape() == saved.shape() {
            return cx.add(
                0,
                g.zip_detached(
                    saved,
                    #[inline(always)]
                    |g, x| g * (self.slope)(x),
                ),
            );
        }
        if cx.uniform(&g) && g.rank() == 0 {
            let g = g.item();
            return cx.add(
                0,
                saved.constant_map(
                    #[inline(always)]
                    |x| g * (self.slope)(x),
                ),
            );
        }
        let at = match &self.saved {
            Saved::Input(x) => cx.get(x),
            Saved::Output(y) => cx.output(y),
        };
        cx.add(0, g * (self.derivative)(&at));
    }
    fn takes_uniform(&self) -> bool {
        true
    }
    fn activation(&self) -> Activation {
        match self.name {
            "relu" => Activation::Relu,
            "softplus" | "leaky_relu" | "elu" | "silu" | "gelu" | "gelu_tanh" => Activation::Other,
            _ => Activation::None,
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

/// `x ↦ scale · x + shift`.
struct Affine<T> {
    scale: T,
}

impl<T: Scalar> Rule<T> for Affine<T> {
    fn name(&self) -> &'static str {
        "affine"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.affine(self.scale, T::ZERO));
    }
    fn takes_uniform(&self) -> bool {
        true
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

/// `x ↦ x / divisor`.
struct Quotient<T> {
    divisor: T,
}

impl<T: Scalar> Rule<T> for Quotient<T> {
    fn name(&self) -> &'static str {
        "div"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.divided_by(self.divisor));
    }
    fn takes_uniform(&self) -> bool {
        true
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

impl<T: Scalar> Tensor<T> {
    #[track_caller]
    pub(super) fn of_input(
        &self,
        name: &'static str,
        f: impl Fn(T) -> T + Sync,
        slope: impl Fn(T) -> T + Send + Sync + 'static,
        derivative: impl Fn(&Tensor<T>) -> Tensor<T> + Send + Sync + 'static,
    ) -> Self {
        let y = Tensor::raw(pointwise::map(self.as_slice(), f), *self.shape_ref());
        y.record([self.node().cloned(), None, None], || Unary { name, saved: Saved::Input(self.clone()), slope, derivative })
    }

    #[track_caller]
    pub(super) fn of_output(
        &self,
        name: &'static str,
        f: impl Fn(T) -> T + Sync,
        slope: impl Fn(T) -> T + Send + Sync + 'static,
        derivative: impl Fn(&Tensor<T>) -> Tensor<T> + Send + Sync + 'static,
    ) -> Self {
        let y = Tensor::raw(pointwise::map(self.as_slice(), f), *self.shape_ref());
        let saved = y.detach();
        y.record([self.node().cloned(), None, None], || Unary { name, saved: Saved::Output(saved), slope, derivative })
    }

    /// `x / divisor`, rounded once; in place when nobody else holds the elements.
    #[track_caller]
    pub(super) fn divided_by(self, divisor: T) -> Self {
        self.map_owned(move |x| x / divisor, || Quotient { divisor })
    }

    /// `f` at each element, in place when nobody else holds the elements.
    #[track_caller]
    fn map_owned<R: Rule<T>>(mut self, f: impl Fn(T) -> T + Sync, rule: impl FnOnce() -> R) -> Self {
        let (node, shape) = (self.node().cloned(), *self.shape_ref());
        let y = match self.unique() {
            Some(x) => {
                pointwise::map_in_place(x, f);
                self.without_node()
            }
            None => Tensor::raw(pointwise::map(self.as_slice(), f), shape),
        };
        y.record([node, None, None], rule)
    }

    /// `scale · x + shift`, in place when nobody else holds the elements.
    #[track_caller]
    pub fn affine(self, scale: T, shift: T) -> Self {
        let rule = || Affine { scale };
        // Without a shift nothing is added: `-0 + 0` would lose the sign.
        if shift == T::ZERO { self.map_owned(move |x| scale * x, rule) } else { self.map_owned(move |x| scale * x + shift, rule) }
    }

    /// The exponential function.
    #[track_caller]
    pub fn exp(&self) -> Self {
        self.of_output("exp", T::exp, |y| y, Tensor::clone)
    }

    /// The natural logarithm.
    #[track_caller]
    pub fn ln(&self) -> Self {
        self.of_input("ln", T::ln, |x| T::ONE / x, |x| x.recip())
    }

    /// `e^x - 1`, accurate near 0 (`expm1`).
    #[doc(alias = "expm1")]
    #[track_caller]
    pub fn exp_m1(&self) -> Self {
        // Not of the output, `y + 1`: where the slope is small, it has cancelled.
        self.of_input("exp_m1", T::exp_m1, T::exp, Tensor::exp)
    }

    /// `ln(1 + x)`, accurate near 0 (`log1p`).
    #[doc(alias = "log1p")]
    #[track_caller]
    pub fn ln_1p(&self) -> Self {
        self.of_input("ln_1p", T::ln_1p, |x| T::ONE / (T::ONE + x), |x| (x + T::ONE).recip())
    }

    /// `1 / x`.
    #[track_caller]
    pub fn recip(&self) -> Self {
        self.of_output("recip", |x| T::ONE / x, |y| -(y * y), |y| -(y * y))
    }

    /// The square root.
    #[track_caller]
    pub fn sqrt(&self) -> Self {
        self.of_output("sqrt", T::sqrt, |y| T::from_f64(0.5) / y, |y| y.recip().affine(T::from_f64(0.5), T::ZERO))
    }

    /// The square.
    #[track_caller]
    pub fn square(&self) -> Self {
        self.of_input("square", |x| x * x, |x| x + x, |x| x.clone().affine(T::from_f64(2.0), T::ZERO))
    }

    /// The hyperbolic tangent.
    #[track_caller]
    pub fn tanh(&self) -> Self {
        self.of_output("tanh", T::tanh, |y| T::ONE - y * y, |y| (y * y).affine(-T::ONE, T::ONE))
    }

    /// The sine.
    #[track_caller]
    pub fn sin(&self) -> Self {
        self.of_input("sin", T::sin, T::cos, Tensor::cos)
    }

    /// The cosine.
    #[track_caller]
    pub fn cos(&self) -> Self {
        self.of_input("cos", T::cos, |x| -x.sin(), |x| -x.sin())
    }

    /// The tangent.
    #[track_caller]
    pub fn tan(&self) -> Self {
        self.of_output("tan", T::tan, |y| T::ONE + y * y, |y| y.square() + T::ONE)
    }

    /// The inverse of the tangent, between -π/2 and π/2.
    #[track_caller]
    pub fn atan(&self) -> Self {
        self.of_input("atan", T::atan, |x| T::ONE / (T::ONE + x * x), |x| (x.square() + T::ONE).recip())
    }

    /// The hyperbolic sine.
    #[track_caller]
    pub fn sinh(&self) -> Self {
        self.of_input("sinh", T::sinh, T::cosh, Tensor::cosh)
    }

    /// The hyperbolic cosine.
    #[track_caller]
    pub fn cosh(&self) -> Self {
        self.of_input("cosh", T::cosh, T::sinh, Tensor::sinh)
    }

    /// The error function `erf x = 2/√π ∫₀ˣ e^{-t²} dt`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// assert_eq!(Tensor::<f64>::scalar(1.0).erf().item(), 0.842700792949714869);
    /// ```
    #[track_caller]
    pub fn erf(&self) -> Self {
        self.of_input("erf", T::erf, |x| T::from_f64(FRAC_2_SQRT_PI) * (-(x * x)).exp(), |x| gaussian(x) * T::from_f64(FRAC_2_SQRT_PI))
    }

    /// `1 - erf x`, with a small relative error also where it is small.
    #[track_caller]
    pub fn erfc(&self) -> Self {
        self.of_input("erfc", T::erfc, |x| T::from_f64(-FRAC_2_SQRT_PI) * (-(x * x)).exp(), |x| gaussian(x) * T::from_f64(-FRAC_2_SQRT_PI))
    }

    /// The absolute value; the derivative at 0 is 0.
    #[track_caller]
    pub fn abs(&self) -> Self {
        self.of_input("abs", T::abs, functions::sign, Tensor::sign)
    }

    /// -1, 0 or 1, 0 for a NaN; a constant to every derivative.
    #[track_caller]
    pub fn sign(&self) -> Self {
        self.constant_map(functions::sign)
    }

    /// -1, 0 or 1, with the derivative of the identity: the straight-through estimator (Bengio, Léonard, Courville 2013).
    #[track_caller]
    pub fn sign_straight_through(&self) -> Self {
        self.straight_through(functions::sign)
    }

    /// The greatest whole number that is not greater; a constant to every derivative.
    #[track_caller]
    pub fn floor(&self) -> Self {
        self.constant_map(T::floor)
    }

    /// The least whole number that is not less; a constant to every derivative.
    #[track_caller]
    pub fn ceil(&self) -> Self {
        self.constant_map(T::ceil)
    }

    /// The nearest whole number, the even one of two; a constant to every derivative.
    #[track_caller]
    pub fn round(&self) -> Self {
        self.constant_map(T::round_ties_even)
    }

    /// [`Tensor::round`] with the derivative of the identity: the straight-through estimator (Bengio, Léonard, Courville
    /// 2013), as quantisation takes it.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad};
    /// let x = Tensor::vector(&[0.4, 1.5, -2.6]);
    /// assert_eq!(x.round_straight_through().to_vec(), [0.0, 2.0, -3.0]);
    /// assert_eq!(grad(|x: &Tensor| x.round_straight_through().square().sum(), &x).to_vec(), [0.0, 4.0, -6.0]);
    /// ```
    #[track_caller]
    pub fn round_straight_through(&self) -> Self {
        self.straight_through(T::round_ties_even)
    }

    /// `f` at each element, with the derivative of the identity.
    #[track_caller]
    fn straight_through(&self, f: impl Fn(T) -> T + Sync) -> Self {
        self.constant_map(f).record([self.node().cloned(), None, None], || Affine { scale: T::ONE })
    }

    /// The element, or the nearest of `low` and `high` where it lies outside them; either may be infinite. The derivative
    /// is 1 from `low` to `high` with both ends, so that what starts at an end can leave it, and 0 outside (PyTorch 2.15
    /// has 0 at the ends when both are given, 1 when one is). A NaN stays one; when `low > high`, every element becomes `high`.
    #[track_caller]
    pub fn clamp(&self, low: T, high: T) -> Self {
        let f = move |x: T| {
            let raised = if x < low { low } else { x };
            if raised > high { high } else { raised }
        };
        let inside = move |x: T| if x >= low && x <= high { T::ONE } else { T::ZERO };
        self.of_input("clamp", f, inside, move |x| x.constant_map(inside))
    }

    /// 1 where the element is greater than `threshold`, else 0; a constant to every derivative.
    #[track_caller]
    pub fn greater_than(&self, threshold: T) -> Self {
        self.constant_map(move |x| if x > threshold { T::ONE } else { T::ZERO })
    }

    /// The constant `f(self, other)` at each element of two tensors of one shape, in place when nobody else holds this one's.
    fn zip_detached(mut self, other: &Self, f: impl Fn(T, T) -> T + Sync) -> Self {
        let shape = *self.shape_ref();
        match self.unique() {
            Some(x) => {
                pointwise::zip_in_place(x, other.as_slice(), f);
                self.without_node()
            }
            None => Tensor::raw(pointwise::zip(self.as_slice(), other.as_slice(), f), shape),
        }
    }

    /// The constant `f(x)` at each element, in the order of the elements.
    pub(super) fn constant_map(&self, f: impl Fn(T) -> T + Sync) -> Self {
        Tensor::raw(pointwise::map(self.as_slice(), f), *self.shape_ref())
    }

    /// The value to a constant power.
    #[track_caller]
    pub fn powf(&self, exponent: T) -> Self {
        let y = self.constant_map(move |x| x.powf(exponent));
        y.record([self.node().cloned(), None, None], || Power { x: self.clone(), exponent })
    }
}

/// `e^{-x²}`.
fn gaussian<T: Scalar>(x: &Tensor<T>) -> Tensor<T> {
    (-x.square()).exp()
}

struct Power<T: Scalar> {
    x: Tensor<T>,
    exponent: T,
}

impl<T: Scalar> Rule<T> for Power<T> {
    fn name(&self) -> &'static str {
        "powf"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if self.exponent == T::ZERO {
            return cx.add(0, g.affine(T::ZERO, T::ZERO));
        }
        let slope = cx.get(&self.x).powf(self.exponent - T::ONE).affine(self.exponent, T::ZERO);
        cx.add(0, g * slope);
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}
