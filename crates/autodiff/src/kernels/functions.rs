//! Elementary functions of `f32` without branches, so that loops over them vectorise. `f64` uses the standard library's.

use crate::Scalar;

/// `e^x`: the argument is reduced to `|r| ≤ ln 2 / 2` (Cody and Waite), then a polynomial of degree 7 (interpolation at Chebyshev points).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or infinite whatever the argument; a NaN passes through `clamp`.
    let clamped = x.clamp(-104.0, 89.0);
    let (y, n) = reduced_exp(clamped);
    // 2ⁿ in two factors, so that results below the normal range are rounded once and not cut off.
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `y` and a whole `n` of which `y 2ⁿ` is `e^x`.
#[inline(always)]
fn reduced_exp(x: f32) -> (f32, i32) {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Adding it rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.989_127_6e-4_f32;
    let p = p * r + 1.393_390_7e-3;
    let p = p * r + 8.333_311e-3;
    let p = p * r + 4.166_646_3e-2;
    let p = p * r + 1.666_666_7e-1;
    let p = p * r + 0.5;
    (p * r * r + r + 1.0, shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32)
}

/// `2ⁿ` for a normal result. Wrapping: a check for overflow would keep the loop around from being vectorised.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `tanh x`: an odd polynomial below 0.625, else `1 - 2 / (e^{2|x|} + 1)`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p = 2.289_317_4e-3_f32;
    let p = p * s - 8.340_916e-3;
    let p = p * s + 2.176_799_2e-2;
    let p = p * s - 5.395_914_5e-2;
    let p = p * s + 1.333_330_3e-1;
    let p = p * s - 3.333_333_3e-1;
    let small = p * s * x + x;
    // Beyond 10 the result is 1; so bounded, the exponential needs no other bounds. A NaN passes.
    let (y, n) = reduced_exp(2.0 * if a > 10.0 { 10.0 } else { a });
    let large = 1.0 - 2.0 / (y * power_of_two(n) + 1.0);
    if a < 0.625 { small.copysign(x) } else { large.copysign(x) }
}

/// `e^x - 1`, accurate near 0: `tanh(x/2) (e^x + 1)`.
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    tanh(0.5 * x) * (exp(x) + 1.0)
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
    let s = x * x;
    let p = 7.875_875e-5_f32;
    let p = p * s - 8.016_864e-4;
    let p = p * s + 5.189_087_4e-3;
    let p = p * s - 2.685_421_2e-2;
    let p = p * s + 1.128_359_5e-1;
    let p = p * s - 3.761_262_7e-1;
    let p = p * s + 1.283_791_7e-1;
    p * x + x
}

/// `erfc a = e^{-a²} R(t) / (1 + 2a)` for `a ≥ ½`, where `t = (a - 2.5) / (a + 2.5)` and `R` is a polynomial of degree 9
/// through Chebyshev points up to 10.3, beyond which the result is 0.
#[inline(always)]
fn erfc_of_positive(a: f32) -> f32 {
    // A NaN passes through `clamp`.
    let a = a.clamp(0.0, 10.3);
    let t = (a - 2.5) / (a + 2.5);
    let p = 5.491_864e-4_f32;
    let p = p * t + 4.141_837e-4;
    let p = p * t - 4.361_896_5e-3;
    let p = p * t + 9.565_381e-4;
    let p = p * t + 3.275_964_4e-2;
    let p = p * t - 1.029_702_7e-1;
    let p = p * t + 1.576_298_3e-1;
    let p = p * t - 9.902_439e-2;
    let p = p * t - 1.223_567_6e-1;
    let p = p * t + 1.264_838_2;
    // `a²` rounded would cost as many units as it has: `a = h + (a - h)` where `h²` is exact, and the rest is below 0.06.
    let h = f32::from_bits((a.to_bits() + 0x800) & !0xfff);
    let rest = (h - a) * (h + a);
    let q = rest * (1.0 / 24.0) + 1.0 / 6.0;
    let q = q * rest + 0.5;
    let q = q * rest + 1.0;
    let q = q * rest + 1.0;
    exp(-h * h) * q * p / (1.0 + 2.0 * a)
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
    T::ONE / (T::ONE + (-x).exp())
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
    use super::*;

    /// The largest distance from the `f64` function, in units of the last place of the true value.
    fn worst(f: fn(f32) -> f32, truth: fn(f64) -> f64) -> f64 {
        let step = if cfg!(miri) { 40_000_019 } else { 1_009 };
        let mut worst = 0.0f64;
        for bits in (0..u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            let expected = truth(f64::from(x));
            let rounded = expected as f32;
            if x.is_nan() || rounded.is_infinite() || expected.abs() < f64::from(f32::MIN_POSITIVE) {
                continue;
            }
            let unit = f64::from(rounded.abs().next_up()) - f64::from(rounded.abs());
            worst = worst.max((f64::from(f(x)) - expected).abs() / unit);
        }
        worst
    }

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        assert!(worst(exp, f64::exp) < 2.0, "{}", worst(exp, f64::exp));
        for (x, y) in
            [(0.0, 1.0), (-0.0, 1.0), (f32::INFINITY, f32::INFINITY), (f32::NEG_INFINITY, 0.0), (88.8, f32::INFINITY), (-104.0, 0.0)]
        {
            assert_eq!(exp(x), y, "exp {x}");
        }
        assert!(exp(f32::NAN).is_nan());
        for x in [-87.5f32, -90.0, -100.0, -103.0] {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= 1.5 * f64::from(f32::from_bits(1)), "exp {x}");
        }
    }

    #[test]
    fn tanh_is_within_three_units_of_the_last_place() {
        assert!(worst(tanh, f64::tanh) < 3.0, "{}", worst(tanh, f64::tanh));
        for (x, y) in [(0.0, 0.0), (f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0), (100.0, 1.0), (1e-40, 1e-40)] {
            assert_eq!(tanh(x), y, "tanh {x}");
        }
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn exp_m1_is_within_five_units_of_the_last_place() {
        assert!(worst(exp_m1, f64::exp_m1) < 5.0, "{}", worst(exp_m1, f64::exp_m1));
        for (x, y) in [(0.0, 0.0), (f32::INFINITY, f32::INFINITY), (f32::NEG_INFINITY, -1.0), (1e-40, 1e-40)] {
            assert_eq!(exp_m1(x), y, "exp_m1 {x}");
        }
        assert_eq!(exp_m1(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(exp_m1(f32::NAN).is_nan());
    }

    #[test]
    fn the_error_function_is_within_two_units_and_its_complement_within_six() {
        assert!(worst(erf, libm::erf) < 2.0, "{}", worst(erf, libm::erf));
        assert!(worst(erfc, libm::erfc) < 6.0, "{}", worst(erfc, libm::erfc));
        for (x, y) in [(0.0, 0.0), (f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0)] {
            assert_eq!((erf(x), erfc(x)), (y, 1.0 - y), "{x}");
        }
        assert_eq!(erf(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(erf(f32::NAN).is_nan() && erfc(f32::NAN).is_nan());
    }
}
