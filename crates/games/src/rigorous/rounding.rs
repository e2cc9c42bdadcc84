//! The four operations and the root, rounded down and up.
//!
//! IEEE 754 rounds them to the nearest number, so a bound is at most one number away. Where the error, which these operations have
//! exactly, is zero or points the right way, the bound is the result itself.

/// Below this size, the error of a product or quotient may itself be rounded, and is not asked.
const SAFE: f64 = f64::from_bits((1023 - 960) << 52); // 2⁻⁹⁶⁰
/// Above this size, the halves of a number would overflow.
const LARGE: f64 = f64::from_bits((1023 + 990) << 52); // 2⁹⁹⁰

/// The result rounded down, given the nearest number and what it lacks of the truth (of which only the sign counts; NaN is unknown).
/// An infinity that is none of an operand's is too large a number.
#[inline]
fn down(nearest: f64, lacks: f64, exact_infinity: bool) -> f64 {
    if nearest.is_infinite() {
        return if nearest > 0.0 && !exact_infinity { f64::MAX } else { nearest };
    }
    if lacks >= 0.0 { nearest } else { nearest.next_down() }
}

/// What the product `p` of two numbers lacks of the truth, exactly (Dekker 1971, with Veltkamp's halves); NaN where it is too large or too
/// small to be asked. As fast as a fused multiply-add is where it is a call of a library, as on the plainest processors.
#[inline]
fn product_lacks(a: f64, b: f64, p: f64) -> f64 {
    const HALF: f64 = 134_217_729.0; // 2²⁷ + 1
    if !(p.abs() > SAFE && p.abs() < LARGE && a.abs() < LARGE && b.abs() < LARGE) {
        return f64::NAN;
    }
    let halves = |x: f64| {
        let scaled = HALF * x;
        let upper = scaled - (scaled - x);
        (upper, x - upper)
    };
    let ((a, a_rest), (b, b_rest)) = (halves(a), halves(b));
    a_rest * b_rest - (((p - a * b) - a_rest * b) - a * b_rest)
}

/// `a + b`, rounded down. For `∞ - ∞`, `-∞`.
#[inline]
pub(super) fn add_down(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if sum.is_nan() {
        return f64::NEG_INFINITY;
    }
    // Knuth's two-sum: what the sum lacks, exactly.
    let part = sum - a;
    let lacks = (a - (sum - part)) + (b - part);
    down(sum, lacks, a.is_infinite() || b.is_infinite())
}

/// `a · b`, rounded down. `0 · ∞` is 0: infinite ends stand for numbers.
#[inline]
pub(super) fn mul_down(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 {
        return 0.0;
    }
    let product = a * b;
    down(product, product_lacks(a, b, product), a.is_infinite() || b.is_infinite())
}

/// `a / b` for `b ≠ 0`, rounded down.
pub(super) fn div_down(a: f64, b: f64) -> f64 {
    if a == 0.0 {
        return 0.0;
    }
    if b.is_infinite() {
        // `b` stands for a number beyond the largest.
        return if (a > 0.0) == (b > 0.0) { 0.0 } else { div_down(a, f64::MAX.copysign(b)) };
    }
    let quotient = a / b;
    let rest = (-quotient).mul_add(b, a);
    let lacks = if quotient.abs() > SAFE && a.abs() > SAFE { rest * b.signum() } else { f64::NAN };
    down(quotient, lacks, a.is_infinite())
}

/// `√x` for `x ≥ 0`, rounded down.
pub(super) fn sqrt_down(x: f64) -> f64 {
    let root = x.sqrt();
    let lacks = if x > SAFE { (-root).mul_add(root, x) } else { f64::NAN };
    if x == 0.0 { 0.0 } else { down(root, lacks, true) }
}

/// `√x` for `x ≥ 0`, rounded up.
pub(super) fn sqrt_up(x: f64) -> f64 {
    let root = x.sqrt();
    let lacks = if x > SAFE { (-root).mul_add(root, x) } else { f64::NAN };
    if x == 0.0 { 0.0 } else { -down(-root, -lacks, true) }
}

#[inline]
pub(super) fn add_up(a: f64, b: f64) -> f64 {
    -add_down(-a, -b)
}

#[inline]
pub(super) fn mul_up(a: f64, b: f64) -> f64 {
    -mul_down(-a, b)
}

pub(super) fn div_up(a: f64, b: f64) -> f64 {
    -div_down(-a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_results_are_not_moved() {
        assert_eq!((add_down(1.0, 2.0), add_up(1.0, 2.0)), (3.0, 3.0));
        assert_eq!((mul_down(-1.5, 4.0), mul_up(-1.5, 4.0)), (-6.0, -6.0));
        assert_eq!((div_down(1.0, 4.0), div_up(1.0, 4.0)), (0.25, 0.25));
        assert_eq!((sqrt_down(9.0), sqrt_up(9.0)), (3.0, 3.0));
        assert_eq!((mul_down(0.0, f64::INFINITY), mul_up(f64::NEG_INFINITY, 0.0)), (0.0, 0.0));
    }

    #[test]
    fn others_enclose_by_one_number() {
        for (down, up) in [
            (add_down(0.1, 0.2), add_up(0.1, 0.2)),
            (mul_down(0.1, 0.1), mul_up(0.1, 0.1)),
            (div_down(1.0, 3.0), div_up(1.0, 3.0)),
            (sqrt_down(2.0), sqrt_up(2.0)),
        ] {
            assert_eq!(down.next_up(), up);
        }
        // 0.1 + 0.2 is above 0.3 as a number, and so is the truth.
        assert!(add_down(0.1, 0.2) <= 0.300_000_000_000_000_04 && add_up(0.1, 0.2) >= 0.300_000_000_000_000_04);
    }

    #[test]
    fn tiny_and_huge_results() {
        // Looks exact, as its error is too small to be a number, and is not.
        let (a, b) = (2f64.powi(-537) * (1.0 + 2f64.powi(-52)), 2f64.powi(-537) * (1.0 + 2f64.powi(-51)));
        assert!(mul_down(a, b) < mul_up(a, b));
        // The product of the upper halves overflows, that of the numbers does not.
        let (a, b) = (f64::from_bits(0x5fff_06c1_45c3_3116), f64::from_bits(0x5fe0_8088_7ecb_f742));
        assert!((a * b).is_finite() && mul_down(a, b) == (a * b).next_down() && mul_up(a, b) == (a * b).next_up());
        assert_eq!((mul_down(1e308, 10.0), mul_up(1e308, 10.0)), (f64::MAX, f64::INFINITY));
        assert_eq!((add_down(-f64::MAX, -f64::MAX), add_up(-f64::MAX, -f64::MAX)), (f64::NEG_INFINITY, f64::MIN));
        assert_eq!((mul_down(1e-200, 1e-200), mul_up(1e-200, 1e-200)), (0f64.next_down(), 0f64.next_up()));
        assert_eq!((div_down(1e-200, 1e200), div_up(1e-200, 1e200)), (0f64.next_down(), 0f64.next_up()));
        assert_eq!(div_down(1.0, f64::INFINITY), 0.0);
        assert!((f64::MIN_POSITIVE / 8.0..f64::MIN_POSITIVE).contains(&div_up(1.0, f64::INFINITY)));
        assert_eq!(add_down(f64::INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(add_up(f64::INFINITY, f64::NEG_INFINITY), f64::INFINITY);
    }
}
