//! The element types: `f32` and `f64`.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};
use std::thread::LocalKey;

use crate::kernels::convolution::Tiled;
use crate::kernels::matmul::{self, Finish, GemmFn, Matrix, Processor, Tiles};
use crate::kernels::{Pool, functions};
use crate::node::Doomed;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// The element type of a tensor: `f32` or `f64` (sealed).
pub trait Scalar:
    sealed::Sealed
    + Copy
    + Default
    + PartialOrd
    + PartialEq
    + fmt::Debug
    + fmt::Display
    + fmt::LowerExp
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Tiled
    + 'static
{
    /// The other precision.
    #[doc(hidden)]
    type Other: Scalar<Other = Self>;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Minus infinity, the maximum of nothing.
    const NEG_INFINITY: Self;
    /// The distance from 1 to the next greater value.
    const EPSILON: Self;
    /// The name of the type as people write it.
    const NAME: &'static str;
    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// The value, widened.
    fn to_f64(self) -> f64;
    /// e to the power of the value.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + x)`, accurate near 0.
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// `e^x - 1`, accurate near 0.
    fn exp_m1(self) -> Self;
    /// The error function `2/√π ∫₀ˣ e^{-t²} dt`.
    fn erf(self) -> Self;
    /// `1 - erf x`, accurate where it is small.
    fn erfc(self) -> Self;
    /// Tangent.
    fn tan(self) -> Self;
    /// Inverse of the tangent, between ∓π/2.
    fn atan(self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// The greatest whole number that is not greater.
    fn floor(self) -> Self;
    /// The least whole number that is not less.
    fn ceil(self) -> Self;
    /// The nearest whole number, the even one of two.
    fn round_ties_even(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// The value to a constant power.
    fn powf(self, exponent: Self) -> Self;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// `out[m, n] = op(a) op(b)`, or added to `out` when `add`; `a` is stored as `[m, k]`, or as `[k, m]` when its flag is
    /// set; `b` likewise.
    #[doc(hidden)]
    fn gemm([m, n, k]: [usize; 3], a: (&[Self], bool), b: (&[Self], bool), out: &mut [Self], add: bool, threads: usize) {
        assert!(a.0.len() == m * k && b.0.len() == k * n && out.len() == m * n);
        let a = Matrix { values: a.0, distance: if a.1 { m } else { k }, transposed: a.1 };
        let b = Matrix { values: b.0, distance: if b.1 { k } else { n }, transposed: b.1 };
        matmul::multiply([m, n, k], a, b, out, n, Finish { add, bias: None }, threads);
    }
    /// The tiles of products that are compiled for a kind of processor.
    #[doc(hidden)]
    fn tiles(processor: Processor) -> &'static Tiles<Self>;
    /// The kernel of large products.
    #[doc(hidden)]
    fn large_gemm() -> GemmFn<Self>;
    /// This thread's free memory.
    #[doc(hidden)]
    fn pool() -> &'static LocalKey<RefCell<Pool<Self>>>;
    /// This thread's nodes of the graph that wait for being freed.
    #[doc(hidden)]
    fn doomed() -> &'static LocalKey<RefCell<Doomed<Self>>>;
}

macro_rules! scalar {
    ($t:ident, $other:ident, $tiles:path, $gemm:path, $functions:ident) => {
        impl Scalar for $t {
            type Other = $other;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const EPSILON: Self = $t::EPSILON;
            const NAME: &'static str = stringify!($t);
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn exp(self) -> Self {
                functions::$functions::exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                functions::$functions::ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                functions::$functions::ln_1p(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                functions::$functions::tanh(self)
            }
            #[inline(always)]
            fn sin(self) -> Self {
                $t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                $t::cos(self)
            }
            #[inline(always)]
            fn exp_m1(self) -> Self {
                functions::$functions::exp_m1(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                functions::$functions::erf(self)
            }
            #[inline(always)]
            fn erfc(self) -> Self {
                functions::$functions::erfc(self)
            }
            #[inline(always)]
            fn tan(self) -> Self {
                $t::tan(self)
            }
            #[inline(always)]
            fn atan(self) -> Self {
                $t::atan(self)
            }
            #[inline(always)]
            fn sinh(self) -> Self {
                $t::sinh(self)
            }
            #[inline(always)]
            fn cosh(self) -> Self {
                $t::cosh(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $t::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $t::ceil(self)
            }
            #[inline(always)]
            fn round_ties_even(self) -> Self {
                $t::round_ties_even(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                functions::$functions::powf(self, exponent)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            fn tiles(processor: Processor) -> &'static Tiles<Self> {
                $tiles(processor)
            }
            fn large_gemm() -> GemmFn<Self> {
                $gemm()
            }
            fn pool() -> &'static LocalKey<RefCell<Pool<Self>>> {
                thread_local! {
                    static POOL: RefCell<Pool<$t>> = const { RefCell::new(Pool::new()) };
                }
                &POOL
            }
            fn doomed() -> &'static LocalKey<RefCell<Doomed<Self>>> {
                thread_local! {
                    static DOOMED: RefCell<Doomed<$t>> = const { RefCell::new(Doomed::new()) };
                }
                &DOOMED
            }
        }
    };
}

scalar!(f32, f64, matmul::f32_tiles, gemm_f32::gemm::f32::get_gemm_fn, single);
scalar!(f64, f32, matmul::f64_tiles, gemm_f64::gemm::f64::get_gemm_fn, double);
