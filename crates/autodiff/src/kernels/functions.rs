//! Elementary functions without branches, so that loops over them vectorise. They are written with fused multiply-add, which
//! is rounded in the same way wherever it runs: a vector, one element and every processor give the same bits.

use crate::Scalar;

/// `c₀ xⁿ + c₁ xⁿ⁻¹ + … + cₙ` by Horner's rule.
macro_rules! polynomial {
    ($x:expr; $first:literal $(, $c:expr)*) => {{
        let x = $x;
        let p = $first;
        $(let p = x.mul_add(p, $c);)*
        p
    }};
}

/// The functions of one precision. Coefficients are those of nearly best approximations (Lawson's iteration for `f32`,
/// interpolation at Chebyshev points for `f64`), whose own error is below a fifth of a unit.
macro_rules! elementary {
    (
        $t:ident $bits:ident $signed:ident,
        mantissa: $mantissa:literal,
        bias: $bias:literal,
        round: $round:literal,
        ln2: [$ln2_high:literal, $ln2_low:literal],
        exp: [$zero:literal, $infinity:literal; $($exp:literal),*],
        exp_m1: $minus_one:literal,
        tanh: [$one:literal; $($tanh:literal),*],
        ln: [$half_root:literal; $($ln:literal),*],
    ) => {
        /// Adding it rounds to a whole number, which then stands in the low bits.
        const ROUND: $t = $round;

        /// `r` of which `n ln 2 + r` is `x` (Cody and Waite), and the bits of `ROUND + n`, for that sum.
        #[inline(always)]
        fn reduced(x: $t, shifted: $t) -> ($t, $bits) {
            let n = shifted - ROUND;
            (n.mul_add(-$ln2_low, n.mul_add(-$ln2_high, x)), shifted.to_bits())
        }

        /// `2ⁿ` for a normal result, of bits that end in those of `n`.
        #[inline(always)]
        fn power_of_two(n: $bits) -> $t {
            $t::from_bits((n << $mantissa).wrapping_add($bias << $mantissa))
        }

        /// `e^x`.
        #[inline(always)]
        pub(crate) fn exp(x: $t) -> $t {
            // Beyond these the result is 0 or infinite whatever the argument; a NaN passes through `clamp`.
            let x = x.clamp($zero, $infinity);
            let (r, n) = reduced(x, x.mul_add(std::$t::consts::LOG2_E, ROUND));
            let y = polynomial!(r; $($exp,)* 1.0, 1.0);
            // 2ⁿ in two factors, so that results below the normal range are rounded once and not cut off. Shifted by one less,
            // `n` is halved; what was its lowest bit is cleared.
            let half = (n << ($mantissa - 1)) & ($bits::MAX << $mantissa);
            let rest = (n << $mantissa).wrapping_sub(half).wrapping_add($bias << $mantissa);
            $t::from_bits(y.to_bits().wrapping_add(half)) * $t::from_bits(rest)
        }

        /// `½ (e^x - 1)` of the parts of [`reduced`], where `q` is `(e^r - 1 - r) / r²`.
        #[inline(always)]
        fn half_exp_m1(r: $t, n: $bits, q: $t) -> $t {
            let scale = power_of_two(n.wrapping_sub(1));
            scale.mul_add(q.mul_add(r * r, r), scale - 0.5)
        }

        /// `e^x - 1`, accurate near 0.
        #[inline(always)]
        pub(crate) fn exp_m1(x: $t) -> $t {
            let bounded = x.clamp($minus_one, $infinity);
            let (r, n) = reduced(bounded, bounded.mul_add(std::$t::consts::LOG2_E, ROUND));
            let y = half_exp_m1(r, n, polynomial!(r; $($exp),*));
            // So near to 0 it is `x`, which half of it may not hold.
            if x.abs() < $t::EPSILON { x } else { y + y }
        }

        /// `tanh x = h / (1 + h)`, where `h = ½ (e^{2|x|} - 1)`; written as `h - h² / (1 + h)` or, where `h` is large, as
        /// `1 - 1 / (1 + h)`, the quotient matters less than what it is subtracted from.
        #[inline(always)]
        pub(crate) fn tanh(x: $t) -> $t {
            let a = x.abs();
            // Beyond this the result is 1. A NaN passes.
            let a = if a > $one { $one } else { a };
            // Shifted by a quarter, so that `n` is not 0 only where what is subtracted in `h` is small beside it.
            let (r, n) = reduced(a + a, a.mul_add(2.0 * std::$t::consts::LOG2_E, -0.25) + ROUND);
            let h = half_exp_m1(r, n, polynomial!(r; $($tanh),*));
            let (first, second) = if h > 1.0 { (1.0, 1.0) } else { (h, h * h) };
            (first - second / (1.0 + h)).copysign(x)
        }

        /// `ln(2ᵉ (1 + f))` for `f` near 0: with `s = f / (2 + f)`, `ln(1 + f) = f - ½f² + s (½f² + s² P(s²))`.
        #[inline(always)]
        fn ln_of_parts(e: $t, f: $t) -> $t {
            let s = f / (2.0 + f);
            let (z, half) = (s * s, 0.5 * f * f);
            let rest = s.mul_add(polynomial!(z; $($ln),*).mul_add(z, half), e * $ln2_low);
            e.mul_add($ln2_high, f - (half - rest))
        }

        /// The natural logarithm.
        #[inline(always)]
        pub(crate) fn ln(x: $t) -> $t {
            let subnormal = x < $t::MIN_POSITIVE;
            let bits = if subnormal { x * (1.0 / $t::EPSILON) } else { x }.to_bits();
            // The mantissa is brought between √½ and √2.
            let e = (bits.wrapping_sub($half_root) as $signed) >> $mantissa;
            let f = $t::from_bits(bits.wrapping_sub((e as $bits) << $mantissa)) - 1.0;
            let y = ln_of_parts(if subnormal { e as $t - $mantissa as $t } else { e as $t }, f);
            let y = if x < $t::INFINITY { y } else { x };
            let y = if x == 0.0 { $t::NEG_INFINITY } else { y };
            if x < 0.0 { $t::NAN } else { y }
        }

        /// `ln(1 + x)`, accurate near 0.
        #[inline(always)]
        pub(crate) fn ln_1p(x: $t) -> $t {
            // `1 + x = u + lost`.
            let u = 1.0 + x;
            let back = u - 1.0;
            let lost = (1.0 - (u - back)) + (x - back);
            let e = (u.to_bits().wrapping_sub($half_root) as $signed) >> $mantissa;
            let m = $t::from_bits(u.to_bits().wrapping_sub((e as $bits) << $mantissa));
            // Where `u` is large, nothing that was lost matters.
            let f = lost.mul_add(power_of_two(e.min(64).wrapping_neg() as $bits), m - 1.0);
            let y = ln_of_parts(e as $t, f);
            let y = if x < $t::INFINITY && x != 0.0 { y } else { x };
            let y = if x == -1.0 { $t::NEG_INFINITY } else { y };
            if x < -1.0 { $t::NAN } else { y }
        }
    };
}

/// Functions of `f32`.
pub(crate) mod single {
    /// `x` to the power of `y`, in double precision.
    #[inline(always)]
    pub(crate) fn powf(x: f32, y: f32) -> f32 {
        let magnitude = super::double::exp(f64::from(y) * super::double::ln(f64::from(x.abs()))) as f32;
        let half = 0.5 * y;
        let (whole, even) = (y.floor() == y, half.floor() == half);
        let signed = if whole && !even { magnitude.copysign(x) } else { magnitude };
        let power = if x < 0.0 && x.is_finite() && !whole { f32::NAN } else { signed };
        // Where the exponent does not matter, or only its size.
        let one = y == 0.0 || x == 1.0 || (x == -1.0 && y.is_infinite());
        if one { 1.0 } else { power }
    }

    elementary! {
        f32 u32 i32,
        mantissa: 23,
        bias: 127,
        round: 12_582_912.0,
        ln2: [0.693_359_4, -2.121_944_4e-4],
        exp: [-104.0, 89.0; 1.381_454e-3, 8.368_745e-3, 4.166_839e-2, 1.666_652_1e-1, 0.499_999_94],
        exp_m1: -18.0,
        tanh: [9.5; 1.602_682_2e-3, 8.282_575e-3, 4.166_146e-2, 1.666_684_2e-1, 0.500_000_06],
        ln: [0x3f35_04f3; 0.298_730_73, 0.399_774_97, 0.666_667_76],
    }
    /// `erf x = 2/√π ∫₀ˣ e^{-t²} dt`: an odd polynomial below 1, else `1 - erfc |x|`.
    #[inline(always)]
    pub(crate) fn erf(x: f32) -> f32 {
        let a = x.abs();
        let large = 1.0 - erfc_of_positive(a);
        if a < 1.0 { erf_of_small(x) } else { large.copysign(x) }
    }

    /// `erfc x = 1 - erf x`, with a small relative error where it is small.
    #[inline(always)]
    pub(crate) fn erfc(x: f32) -> f32 {
        let a = x.abs();
        let tail = erfc_of_positive(a);
        let large = if x < 0.0 { 2.0 - tail } else { tail };
        if a < 0.5 { 1.0 - erf_of_small(x) } else { large }
    }

    /// `x + x P(x²)` for `|x| < 1`, `P` of degree 6 through Chebyshev points.
    #[inline(always)]
    fn erf_of_small(x: f32) -> f32 {
        let p = polynomial!(
            x * x; 7.875_875e-5, -8.016_864e-4, 5.189_087_4e-3, -2.685_421_2e-2, 1.128_359_5e-1, -3.761_262_7e-1, 1.283_791_7e-1
        );
        x.mul_add(p, x)
    }

    /// `erfc a = e^{-a²} R(t) / (1 + 2a)` for `a ≥ ½`, where `t = (a - 2.5) / (a + 2.5)` and `R` is a polynomial of degree 9
    /// through Chebyshev points up to 10.3, beyond which the result is 0.
    #[inline(always)]
    fn erfc_of_positive(a: f32) -> f32 {
        // A NaN passes through `clamp`.
        let a = a.clamp(0.0, 10.3);
        let t = (a - 2.5) / (a + 2.5);
        let p = polynomial!(
            t; 5.491_864e-4, 4.141_837e-4, -4.361_896_5e-3, 9.565_381e-4, 3.275_964_4e-2, -1.029_702_7e-1, 1.576_298_3e-1,
            -9.902_439e-2, -1.223_567_6e-1, 1.264_838_2
        );
        // `a²` rounded would cost as many units as it has: the rest, which is below 10⁻⁵, is a factor of its own.
        let square = a * a;
        let rest = a.mul_add(a, -square);
        let e = exp(-square);
        (-rest).mul_add(e, e) * (p / a.mul_add(2.0, 1.0))
    }
}

/// Functions of `f64`; the others are the standard library's.
pub(crate) mod double {
    /// `x` to the power of `y`.
    #[inline(always)]
    pub(crate) fn powf(x: f64, y: f64) -> f64 {
        x.powf(y)
    }

    /// The error function and its complement.
    pub(crate) use libm::{erf, erfc};

    elementary! {
        f64 u64 i64,
        mantissa: 52,
        bias: 1023,
        round: 6_755_399_441_055_744.0,
        ln2: [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10],
        exp: [
            -746.0, 710.0;
            2.091_489_872_717_552_4e-9, 2.510_551_354_184_705e-8, 2.755_727_313_289_604e-7, 2.755_725_468_572_880_3e-6,
            2.480_158_732_595_111e-5, 1.984_126_987_538_548e-4, 1.388_888_888_888_363_3e-3, 8.333_333_333_325_973e-3,
            4.166_666_666_666_667e-2, 1.666_666_666_666_666_7e-1, 0.5
        ],
        exp_m1: -38.0,
        tanh: [
            20.0;
            2.422_134_716_744_298_3e-9, 2.481_336_376_684_998e-8, 2.756_362_096_098_322_3e-7, 2.755_735_559_059_592_2e-6,
            2.480_158_284_204_856_6e-5, 1.984_126_987_964_480_9e-4, 1.388_888_888_976_513_7e-3, 8.333_333_333_323_345e-3,
            4.166_666_666_666_607e-2, 1.666_666_666_666_666_7e-1, 0.5
        ],
        ln: [
            0x3fe6_a09e_667f_3bcd;
            1.461_780_715_341_732_5e-1, 1.533_161_172_205_500_8e-1, 1.818_289_243_253_687e-1, 2.222_221_108_937_949_6e-1,
            2.857_142_862_625_385_4e-1, 0.399_999_999_998_988_9, 0.666_666_666_666_667
        ],
    }
}

/// -1, 0 or 1.
#[inline(always)]
pub(crate) fn sign<T: Scalar>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        T::ZERO
    }
}

/// `max(x, 0)`; a NaN stays.
#[inline(always)]
pub(crate) fn relu<T: Scalar>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid<T: Scalar>(x: T) -> T {
    // The exponential of what is not positive: nothing overflows, and a small result keeps its relative error.
    let e = (-x.abs()).exp();
    let (first, second) = if x < T::ZERO { (e, e * e) } else { (T::ONE, e) };
    first - second / (T::ONE + e)
}

/// `ln(1 + eˣ)` without overflow.
#[inline(always)]
pub(crate) fn softplus<T: Scalar>(x: T) -> T {
    let positive = if x > T::ZERO { x } else { T::ZERO };
    positive + (-x.abs()).exp().ln_1p()
}

/// Whether the value is not a number.
#[inline(always)]
pub(crate) fn is_nan<T: Scalar>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

#[cfg(test)]
mod tests {
    use super::single::*;
    use super::*;

    /// The largest distance from the `f64` function, in units of the last place of the true value.
    fn worst(f: fn(f32) -> f32, truth: fn(f64) -> f64) -> f64 {
        let step = if cfg!(miri) { 40_000_019 } else { 4_001 };
        let mut worst = 0.0f64;
        for bits in (0..u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            let expected = truth(f64::from(x));
            let rounded = expected as f32;
            if expected.is_nan() || rounded.is_infinite() || expected.abs() < f64::from(f32::MIN_POSITIVE) {
                continue;
            }
            let unit = f64::from(rounded.abs().next_up()) - f64::from(rounded.abs());
            worst = worst.max((f64::from(f(x)) - expected).abs() / unit);
        }
        worst
    }

    /// Checks a function of `f32` against that of `f64`: the largest error, in units of the last place, and special values.
    fn check(name: &str, f: fn(f32) -> f32, truth: fn(f64) -> f64, limit: f64) {
        let found = worst(f, truth);
        assert!(found < limit, "{name}: {found} units");
        for x in [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-40, -1e-40, 1e-45, -3.0] {
            let (found, expected) = (f(x), truth(f64::from(x)) as f32);
            let near = (found - expected).abs() <= limit as f32 * (expected.abs().next_up() - expected.abs());
            let zero = expected != 0.0 || found.is_sign_negative() == expected.is_sign_negative();
            assert!((near && zero) || found == expected || (found.is_nan() && expected.is_nan()), "{name} {x}: {found} {expected}");
        }
    }

    #[test]
    fn functions_of_single_precision_are_within_two_units_of_the_last_place() {
        check("exp", exp, f64::exp, 1.0);
        check("exp_m1", exp_m1, f64::exp_m1, 2.0);
        check("tanh", tanh, f64::tanh, 2.0);
        check("ln", ln, f64::ln, 2.0);
        check("ln_1p", ln_1p, f64::ln_1p, 2.0);
        check("sigmoid", sigmoid, sigmoid, 2.0);
        check("softplus", softplus, softplus, 2.0);
        check("erf", erf, libm::erf, 2.0);
        check("erfc", erfc, libm::erfc, 4.0);
    }

    #[test]
    fn powers_of_single_precision_are_within_a_unit_of_the_last_place() {
        let special =
            [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -1.5, 3.0, -3.0, 1e30, -1e30, 1e-40, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let ordinary = (0..2000u32).map(|i| f32::from_bits(0x0123_4567u32.wrapping_add(i.wrapping_mul(0x0061_c886))));
        for x in special.into_iter().chain(ordinary) {
            for y in special.into_iter().chain([0.33, -0.7, 1.9, 11.3, -25.0, 100.5]) {
                let (found, expected) = (powf(x, y), f64::from(x).powf(f64::from(y)) as f32);
                let same = found == expected && found.is_sign_negative() == expected.is_sign_negative();
                let near = (found - expected).abs() <= expected.abs().next_up() - expected.abs();
                assert!(same || (near && expected != 0.0) || (found.is_nan() && expected.is_nan()), "{x:e}^{y}: {found:e} {expected:e}");
            }
        }
    }

    #[test]
    fn exponentials_below_the_normal_range_are_rounded_once() {
        for x in [-87.5f32, -90.0, -100.0, -103.0] {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= 0.501 * f64::from(f32::from_bits(1)), "exp {x}");
        }
        assert_eq!(double::exp(-745.0), (-745.0f64).exp());
        assert_eq!((exp(88.8), exp(-104.0)), (f32::INFINITY, 0.0));
    }

    /// The largest distance from the standard library's function, in units of the last place of that.
    fn worst_of_double(f: fn(f64) -> f64, truth: fn(f64) -> f64) -> (f64, f64) {
        let step = if cfg!(miri) { 1 << 53 } else { (1 << 43) + 123_456_789 };
        let mut worst = (0.0f64, 0.0);
        for bits in (0..u64::MAX).step_by(step) {
            let x = f64::from_bits(bits);
            let expected = truth(x);
            if expected.is_nan() || expected.is_infinite() || expected.abs() < f64::MIN_POSITIVE {
                continue;
            }
            let error = (f(x) - expected).abs() / (expected.abs().next_up() - expected.abs());
            worst = if error > worst.0 { (error, x) } else { worst };
        }
        worst
    }

    #[test]
    fn functions_of_double_precision_are_near_the_standard_librarys() {
        let functions: [(&str, fn(f64) -> f64, fn(f64) -> f64); 5] = [
            ("exp", double::exp, f64::exp),
            ("exp_m1", double::exp_m1, f64::exp_m1),
            ("tanh", double::tanh, f64::tanh),
            ("ln", double::ln, f64::ln),
            ("ln_1p", double::ln_1p, f64::ln_1p),
        ];
        for (name, f, truth) in functions {
            let (found, at) = worst_of_double(f, truth);
            assert!(found <= 2.0, "{name}: {found} units at {at:e}");
            for x in [0.0, -0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN, 5e-324, -1e-310, -3.0] {
                let (found, expected) = (f(x), truth(x));
                let near = (found - expected).abs() <= 1e-15 * expected.abs();
                let zero = expected != 0.0 || found.is_sign_negative() == expected.is_sign_negative();
                assert!((near && zero) || found == expected || (found.is_nan() && expected.is_nan()), "{name} {x}: {found} {expected}");
            }
        }
    }
}
