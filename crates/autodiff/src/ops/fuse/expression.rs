//! Symbolic elements: what a fused closure computes with.

use std::cell::{Cell, RefCell};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::program::{Builder, Instruction, Value};
use crate::Scalar;
use crate::kernels::fused::{Function, Operator};
use crate::ops::activation::{GELU_CUBIC, GELU_FLAT};

/// A symbolic element in the closure of [`fuse`](crate::fuse()): arithmetic on it writes down what is to be done with each
/// element. The methods are those of [`Tensor`](crate::Tensor), and give the same values. `'t` is that of one closure, so that
/// the symbols of two closures cannot be mixed.
pub struct Expression<'t, T: Scalar = f32> {
    pub(super) trace: &'t RefCell<Builder<T>>,
    pub(super) value: Value,
    /// Makes `'t` invariant.
    brand: PhantomData<Cell<&'t ()>>,
}

impl<T: Scalar> Clone for Expression<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Scalar> Copy for Expression<'_, T> {}

mod sealed {
    pub trait Sealed {}
}

/// What stands beside an [`Expression`]: another one, or a number (sealed).
pub trait Operand<'t, T: Scalar>: sealed::Sealed {
    /// The operand as an expression of the closure of `beside`.
    #[doc(hidden)]
    fn beside(self, beside: Expression<'t, T>) -> Expression<'t, T>;
}

impl<T: Scalar> sealed::Sealed for Expression<'_, T> {}

impl<'t, T: Scalar> Operand<'t, T> for Expression<'t, T> {
    fn beside(self, _: Expression<'t, T>) -> Expression<'t, T> {
        self
    }
}

impl<'t, T: Scalar> Expression<'t, T> {
    pub(super) fn new(trace: &'t RefCell<Builder<T>>, value: Value) -> Self {
        Self { trace, value, brand: PhantomData }
    }

    /// The constant of the same closure.
    pub(super) fn constant(self, x: T) -> Self {
        Self::new(self.trace, self.trace.borrow_mut().constant(x))
    }

    pub(super) fn function(self, function: Function) -> Self {
        Self::new(self.trace, self.trace.borrow_mut().function(function, self.value))
    }

    fn operator(self, operator: Operator, other: impl Operand<'t, T>) -> Self {
        let other = other.beside(self);
        Self::new(self.trace, self.trace.borrow_mut().operator(operator, self.value, other.value))
    }

    /// Notes that the closure used a rectifier.
    fn rectified(self) -> Self {
        self.trace.borrow_mut().rectifies = true;
        self
    }

    /// The exponential function.
    pub fn exp(self) -> Self {
        self.function(Function::Exp)
    }

    /// The natural logarithm.
    pub fn ln(self) -> Self {
        self.function(Function::Ln)
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.function(Function::Tanh)
    }

    /// The logistic function `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(self) -> Self {
        self.function(Function::Sigmoid)
    }

    /// `ln(1 + eˣ)`, without overflow.
    pub fn softplus(self) -> Self {
        self.function(Function::Softplus).rectified()
    }

    /// `-ln(1 + e⁻ˣ)`, without overflow.
    pub fn log_sigmoid(self) -> Self {
        -(-self).function(Function::Softplus)
    }

    /// `x` where it is positive, else `slope · x`; the derivative at 0 is `slope`.
    pub fn leaky_relu(self, slope: T) -> Self {
        self.gt(self.constant(T::ZERO)).where_(self, self * self.constant(slope)).rectified()
    }

    /// `x` where it is positive, else `alpha (eˣ - 1)`; the derivative at 0 is `alpha`.
    pub fn elu(self, alpha: T) -> Self {
        let zero = self.constant(T::ZERO);
        // The exponential of a large positive element would be infinite, and its derivative times 0 not a number.
        let negative = self.minimum(zero).exp_m1() * self.constant(alpha);
        self.gt(zero).where_(self, negative).rectified()
    }

    /// `x` times the logistic function of `x`.
    pub fn silu(self) -> Self {
        (self * self.sigmoid()).rectified()
    }

    /// `x Φ(x)`, where `Φ` is the standard normal distribution function.
    pub fn gelu(self) -> Self {
        let constant = |c: f64| self.constant(T::from_f64(c));
        (self * ((self * constant(-FRAC_1_SQRT_2)).erfc() * constant(0.5))).rectified()
    }

    /// The tanh form of [`Expression::gelu`], `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    pub fn gelu_tanh(self) -> Self {
        let constant = |c: f64| self.constant(T::from_f64(c));
        // ½ (1 + tanh u) is the logistic function of 2u, which does not cancel for negative `x`.
        let double = 2.0 * FRAC_2_PI.sqrt();
        let x = self.clamp(T::from_f64(-GELU_FLAT), T::from_f64(GELU_FLAT));
        let inner = x * (x.square() * constant(double * GELU_CUBIC) + constant(double));
        (self * inner.sigmoid()).rectified()
    }

    /// The element, or the nearest of `low` and `high` where it lies outside them. The derivative is 1 from `low` to `high`
    /// with both ends, and 0 outside.
    pub fn clamp(self, low: T, high: T) -> Self {
        self.maximum(self.constant(low)).minimum(self.constant(high))
    }

    /// `max(x, 0)`; the derivative at 0 is 0.
    pub fn relu(self) -> Self {
        self.function(Function::Relu).rectified()
    }

    /// `eˣ - 1`, accurate near 0.
    pub fn exp_m1(self) -> Self {
        self.function(Function::ExpM1)
    }

    /// `ln(1 + x)`, accurate near 0.
    pub fn ln_1p(self) -> Self {
        self.function(Function::Ln1p)
    }

    /// The error function `2/√π ∫₀ˣ e^{-t²} dt`.
    pub fn erf(self) -> Self {
        self.function(Function::Erf)
    }

    /// `1 - erf x`, with a small relative error also where it is small.
    pub fn erfc(self) -> Self {
        self.function(Function::Erfc)
    }

    /// The tangent.
    pub fn tan(self) -> Self {
        self.function(Function::Tan)
    }

    /// The inverse of the tangent.
    pub fn atan(self) -> Self {
        self.function(Function::Atan)
    }

    /// The hyperbolic sine.
    pub fn sinh(self) -> Self {
        self.function(Function::Sinh)
    }

    /// The hyperbolic cosine.
    pub fn cosh(self) -> Self {
        self.function(Function::Cosh)
    }

    /// The greatest whole number that is not greater; a constant to every derivative.
    pub fn floor(self) -> Self {
        self.function(Function::Floor)
    }

    /// The least whole number that is not less; a constant to every derivative.
    pub fn ceil(self) -> Self {
        self.function(Function::Ceil)
    }

    /// The nearest whole number, the even one of two; a constant to every derivative.
    pub fn round(self) -> Self {
        self.function(Function::Round)
    }

    /// The sine.
    pub fn sin(self) -> Self {
        self.function(Function::Sin)
    }

    /// The cosine.
    pub fn cos(self) -> Self {
        self.function(Function::Cos)
    }

    /// The square root.
    pub fn sqrt(self) -> Self {
        self.function(Function::Sqrt)
    }

    /// The square.
    pub fn square(self) -> Self {
        self * self
    }

    /// `1 / x`.
    pub fn recip(self) -> Self {
        self.function(Function::Recip)
    }

    /// The value to a constant power. 2, 3 and 4 are products.
    pub fn powf(self, exponent: T) -> Self {
        let exponent = self.constant(exponent);
        self.operator(Operator::Power, exponent)
    }

    /// The absolute value; the derivative at 0 is 0.
    pub fn abs(self) -> Self {
        self.function(Function::Abs)
    }

    /// -1, 0 or 1; a constant to every derivative.
    pub fn sign(self) -> Self {
        self.function(Function::Sign)
    }

    /// The greater of two elements. On ties this one takes the gradient; a NaN on either side gives NaN.
    pub fn maximum(self, other: impl Operand<'t, T>) -> Self {
        self.operator(Operator::Maximum, other)
    }

    /// The lesser of two elements. On ties this one takes the gradient; a NaN on either side gives NaN.
    pub fn minimum(self, other: impl Operand<'t, T>) -> Self {
        self.operator(Operator::Minimum, other)
    }

    /// 1 where `self > other`, else 0; a constant to every derivative, as are the other comparisons.
    pub fn gt(self, other: impl Operand<'t, T>) -> Self {
        self.operator(Operator::Greater, other)
    }

    /// 1 where `self >= other`, else 0.
    pub fn ge(self, other: impl Operand<'t, T>) -> Self {
        self.operator(Operator::GreaterEqual, other)
    }

    /// 1 where `self < other`, else 0.
    pub fn lt(self, other: impl Operand<'t, T>) -> Self {
        other.beside(self).operator(Operator::Greater, self)
    }

    /// 1 where `self <= other`, else 0.
    pub fn le(self, other: impl Operand<'t, T>) -> Self {
        other.beside(self).operator(Operator::GreaterEqual, self)
    }

    /// 1 where `self == other`, else 0.
    pub fn equal(self, other: impl Operand<'t, T>) -> Self {
        self.operator(Operator::Equal, other)
    }

    /// 1 where `self != other`, else 0.
    pub fn not_equal(self, other: impl Operand<'t, T>) -> Self {
        self.operator(Operator::NotEqual, other)
    }

    /// `a` where this value is not 0, else `b`. No gradient passes to this value, and what is not chosen gets none.
    pub fn where_(self, a: impl Operand<'t, T>, b: impl Operand<'t, T>) -> Self {
        let (a, b) = (a.beside(self), b.beside(self));
        Self::new(self.trace, self.trace.borrow_mut().push(Instruction::Select([self.value, a.value, b.value])))
    }
}

impl<T: Scalar> Neg for Expression<'_, T> {
    type Output = Self;
    fn neg(self) -> Self {
        self.function(Function::Negate)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $operator:ident) => {
        impl<'t, T: Scalar, R: Operand<'t, T>> $trait<R> for Expression<'t, T> {
            type Output = Self;
            fn $method(self, other: R) -> Self {
                self.operator(Operator::$operator, other)
            }
        }
        operator!(@ $trait, $method, $operator, f32);
        operator!(@ $trait, $method, $operator, f64);
    };
    (@ $trait:ident, $method:ident, $operator:ident, $t:ident) => {
        impl<'t> $trait<Expression<'t, $t>> for $t {
            type Output = Expression<'t, $t>;
            fn $method(self, other: Expression<'t, $t>) -> Expression<'t, $t> {
                other.constant(self).operator(Operator::$operator, other)
            }
        }
    };
}

operator!(Add, add, Add);
operator!(Sub, sub, Subtract);
operator!(Mul, mul, Multiply);
operator!(Div, div, Divide);

macro_rules! number {
    ($t:ident) => {
        impl sealed::Sealed for $t {}
        impl<'t> Operand<'t, $t> for $t {
            fn beside(self, beside: Expression<'t, $t>) -> Expression<'t, $t> {
                beside.constant(self)
            }
        }
    };
}

number!(f32);
number!(f64);
