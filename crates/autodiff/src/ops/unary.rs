//! Functions of one element at a time.

use crate::kernels::pointwise;
use crate::node::{Activation, Cx, Rule};
use crate::{Scalar, Tensor};

/// A pointwise function whose derivative is a function of the input `x` or the output `y`: `slope` of one element, and
/// the same as tensor operations for derivatives of higher order.
struct Unary<T: Scalar, S> {
    name: &'static str,
    saved: Saved<T>,
    slope: S,
    derivative: fn(&Tensor<T>) -> Tensor<T>,
}

enum Saved<T: Scalar> {
    Input(Tensor<T>),
    Output(Tensor<T>),
}

impl<T: Scalar, S: Fn(T) -> T + Send + Sync + 'static> Rule<T> for Unary<T, S> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let (Saved::Input(saved) | Saved::Output(saved)) = &self.saved;
        if cx.is_plain(&g) && g.shape() == saved.shape() {
            return cx.add(0, g.zip_detached(saved, |g, x| g * (self.slope)(x)));
        }
        let at = match &self.saved {
            Saved::Input(x) => cx.get(x),
            Saved::Output(y) => cx.output(y),
        };
        cx.add(0, g * (self.derivative)(&at));
    }
    fn activation(&self) -> Activation {
        match self.name {
            "relu" => Activation::Relu,
            "softplus" => Activation::Other,
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
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

impl<T: Scalar> Tensor<T> {
    #[track_caller]
    fn of_input<S: Fn(T) -> T + Send + Sync + 'static>(
        &self,
        name: &'static str,
        f: impl Fn(T) -> T + Sync,
        slope: S,
        derivative: fn(&Tensor<T>) -> Tensor<T>,
    ) -> Self {
        let y = Tensor::raw(pointwise::map(self.as_slice(), f), *self.shape_ref());
        y.record([self.node().cloned(), None, None], || Unary { name, saved: Saved::Input(self.clone()), slope, derivative })
    }

    #[track_caller]
    fn of_output<S: Fn(T) -> T + Send + Sync + 'static>(
        &self,
        name: &'static str,
        f: impl Fn(T) -> T + Sync,
        slope: S,
        derivative: fn(&Tensor<T>) -> Tensor<T>,
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

    /// The logistic function `1 / (1 + e⁻ˣ)`.
    #[track_caller]
    pub fn sigmoid(&self) -> Self {
        self.of_output("sigmoid", logistic, |y| y - y * y, |y| y - &(y * y))
    }

    /// `ln(1 + eˣ)`, a smooth `max(x, 0)`, without overflow.
    #[track_caller]
    pub fn softplus(&self) -> Self {
        let f = |x: T| {
            let positive = if x > T::ZERO { x } else { T::ZERO };
            positive + (-x.abs()).exp().ln_1p()
        };
        self.of_input("softplus", f, logistic, Tensor::sigmoid)
    }

    /// `max(x, 0)`; the derivative at 0 is 0.
    #[track_caller]
    pub fn relu(&self) -> Self {
        self.of_input("relu", |x| if x < T::ZERO { T::ZERO } else { x }, step, |x| x.greater_than(T::ZERO))
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

    /// The absolute value; the derivative at 0 is 0.
    #[track_caller]
    pub fn abs(&self) -> Self {
        self.of_input("abs", T::abs, sign, Tensor::sign)
    }

    /// -1, 0 or 1; a constant to every derivative.
    #[track_caller]
    pub fn sign(&self) -> Self {
        self.constant_map(sign)
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

fn sign<T: Scalar>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        T::ZERO
    }
}

fn logistic<T: Scalar>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

fn step<T: Scalar>(x: T) -> T {
    if x > T::ZERO { T::ONE } else { T::ZERO }
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
