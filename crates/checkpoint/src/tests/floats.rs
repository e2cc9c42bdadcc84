use crate::floats::*;
use crate::{Checkpoint, CheckpointError, DType, FloatType, NamedArray};

/// The number of `bits` by the definition of a format with `exponent` and `fraction` bits that has infinities.
fn defined(bits: u16, exponent: u32, fraction: u32) -> f64 {
    let bias = (1 << (exponent - 1)) - 1;
    let (e, f) = (i32::from(bits >> fraction) & ((1 << exponent) - 1), f64::from(bits & ((1 << fraction) - 1)));
    let sign = if bits >> (exponent + fraction) & 1 == 1 { -1.0 } else { 1.0 };
    let unit = 2f64.powi(-(fraction as i32));
    sign * match e {
        0 => f * unit * 2f64.powi(1 - bias),
        _ if e < (1 << exponent) - 1 => (1.0 + f * unit) * 2f64.powi(e - bias),
        _ if f == 0.0 => f64::INFINITY,
        _ => f64::NAN,
    }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// The nearest number of a format with increasing `numbers` (from 0 to the last finite one, by their bits) to a magnitude:
/// by search, from the definition of rounding to nearest, ties to even.
fn nearest(numbers: &[f64], beyond: f64, x: f64) -> u16 {
    let above = numbers.partition_point(|&y| y <= x);
    let (low, high) = (above - 1, numbers.get(above).copied().unwrap_or(beyond));
    let (down, up) = (x - numbers[low], high - x);
    (if down < up || down == up && low % 2 == 0 { low } else { above }) as u16
}

#[test]
fn every_16_bit_pattern_by_definition() {
    for bits in 0..=u16::MAX {
        assert!(same(f16_to_f32(bits).into(), defined(bits, 5, 10)), "{bits:#x}");
        assert!(same(bf16_to_f32(bits).into(), defined(bits, 8, 7)), "{bits:#x}");
    }
}

#[test]
fn every_16_bit_number_is_rounded_to_itself() {
    for bits in 0..=u16::MAX {
        for (wide, narrow) in [(f16_to_f32(bits), f32_to_f16 as fn(f32) -> u16), (bf16_to_f32(bits), f32_to_bf16)] {
            if wide.is_nan() {
                continue;
            }
            assert_eq!(narrow(wide), bits);
        }
        // NaN stays NaN with its sign.
        if f16_to_f32(bits).is_nan() {
            assert!(f16_to_f32(f32_to_f16(f16_to_f32(bits))).is_nan());
            assert_eq!(f32_to_f16(f16_to_f32(bits)) >> 15, bits >> 15);
        }
        if bf16_to_f32(bits).is_nan() {
            assert!(bf16_to_f32(f32_to_bf16(bf16_to_f32(bits))).is_nan());
            assert_eq!(f32_to_bf16(bf16_to_f32(bits)) >> 15, bits >> 15);
        }
    }
}

#[test]
fn midpoints_go_to_the_even_neighbour_and_their_neighbours_to_the_nearest() {
    let formats: [(fn(f32) -> u16, FloatType, u32, u32, u16); 2] =
        [(f32_to_f16, FloatType::F16, 5, 10, 0x7c00), (f32_to_bf16, FloatType::Bf16, 8, 7, 0x7f80)];
    for (narrow, float, exponent, fraction, infinity) in formats {
        let wide = |x: f64| {
            let mut bytes = [0; 2];
            float.write_f64(&[x], &mut bytes);
            u16::from_le_bytes(bytes)
        };
        for low in 0..infinity {
            let here = defined(low, exponent, fraction);
            // As if the exponents went on: beyond the last number, half of a further step still rounds down.
            let step =
                if low + 1 < infinity { defined(low + 1, exponent, fraction) - here } else { here - defined(low - 1, exponent, fraction) };
            let middle = here + step / 2.0;
            let even = low + (low & 1);
            assert_eq!((narrow(middle as f32), wide(middle)), (even, even), "{low:#x}");
            assert_eq!(narrow((middle as f32).next_down()), low);
            assert_eq!(narrow((middle as f32).next_up()), low + 1);
            // So near to the middle that rounding to f32 first would make a tie of it.
            assert_eq!((wide(middle.next_down()), wide(middle.next_up())), (low, low + 1), "{low:#x}");
            assert_eq!((wide(-middle.next_down()), wide(-middle.next_up())), (low | 0x8000, (low + 1) | 0x8000));
        }
    }
}

#[test]
fn edges_of_the_formats() {
    let half = |x: f64| {
        let mut bytes = [0; 4];
        FloatType::F16.write_f64(&[x], &mut bytes[..2]);
        FloatType::F16.write_f32(&[x as f32], &mut bytes[2..]);
        assert_eq!(bytes[..2], bytes[2..], "{x}");
        u16::from_le_bytes([bytes[0], bytes[1]])
    };
    assert_eq!([half(65504.0), half(65519.0), half(65520.0), half(1e300), half(f64::INFINITY)], [0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x7c00]);
    assert_eq!([half(-0.0), half(1e-300), half(-1e-300), half(2f64.powi(-25)), half(2f64.powi(-24))], [0x8000, 0, 0x8000, 0, 1]);
    assert_eq!(f32_to_bf16(f32::MAX), 0x7f80);
    assert_eq!(f32_to_bf16(f32::from_bits(0x7f80_0001)), 0x7fc0);
    assert_eq!(f32_to_bf16(f32::from_bits(0xff80_0001)), 0xffc0);
    assert!(round_trip(FloatType::Bf16, f64::NAN).is_nan() && round_trip(FloatType::F16, f64::NAN).is_nan());
    assert_eq!(round_trip(FloatType::Bf16, 1e300), f64::INFINITY);
    // Of the specification of merging: 1 + 2^-9 is no bf16 number, 1 + 2^-7 and 1 + 2^-6 are.
    assert_eq!(round_trip(FloatType::Bf16, 1.0 + 2f64.powi(-9)), 1.0);
    assert_eq!(round_trip(FloatType::Bf16, 1.0 + 2f64.powi(-7)), 1.0 + 2f64.powi(-7));
}

fn round_trip(float: FloatType, x: f64) -> f64 {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert(NamedArray::from_f64("x", float, &[1], &[x])).unwrap();
    checkpoint.to_f64("x").unwrap()[0]
}

#[test]
fn every_8_bit_pattern() {
    for bits in 0..=u8::MAX {
        assert!(same(f8_e5m2_to_f32(bits).into(), defined(bits.into(), 5, 2)), "{bits:#x}");
        // Without infinities, the greatest exponent is one more of the ordinary ones.
        let (e, f) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
        let magnitude = match (e, f) {
            (15, 7.0) => f64::NAN,
            (0, f) => f / 8.0 * 2f64.powi(-6),
            (e, f) => (1.0 + f / 8.0) * 2f64.powi(e - 7),
        };
        let expected = if bits >> 7 == 1 { -magnitude } else { magnitude };
        assert!(same(f8_e4m3_to_f32(bits).into(), expected), "{bits:#x}");
    }
    // Table 1 of the paper: the greatest numbers.
    assert_eq!((f8_e4m3_to_f32(0x7e), f8_e5m2_to_f32(0x7b)), (448.0, 57344.0));
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert(NamedArray { name: "a".into(), dtype: DType::F8_E4M3, shape: vec![2], bytes: vec![0x38, 0xb8] }).unwrap();
    checkpoint.insert(NamedArray { name: "b".into(), dtype: DType::F8_E5M2, shape: vec![2], bytes: vec![0x3c, 0xbc] }).unwrap();
    for name in ["a", "b"] {
        assert_eq!((checkpoint.to_f32(name).unwrap(), checkpoint.to_f64(name).unwrap()), (vec![1.0, -1.0], vec![1.0, -1.0]));
    }
}

#[test]
fn types_that_are_not_numbers_to_us() {
    for (dtype, shape) in [(DType::F4, 2), (DType::F8_E8M0, 1), (DType::I32, 1)] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert(NamedArray { name: "a".into(), dtype, shape: vec![shape], bytes: vec![0; dtype.bitsize() * shape / 8] }).unwrap();
        assert!(matches!(checkpoint.to_f32("a"), Err(CheckpointError::DType { found, .. }) if found == dtype));
        assert!(matches!(checkpoint.to_f64("a"), Err(CheckpointError::DType { found, .. }) if found == dtype));
        assert_eq!(FloatType::of(dtype), None);
    }
    for float in [FloatType::F64, FloatType::F32, FloatType::F16, FloatType::Bf16] {
        assert_eq!(FloatType::of(float.dtype()), Some(float));
        assert_eq!(float.size() * 8, float.dtype().bitsize());
    }
    let wrong = std::panic::catch_unwind(|| FloatType::F16.write_f32(&[1.0], &mut [0; 3]));
    assert!(wrong.is_err());
}

mod properties {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static F16: LazyLock<Vec<f64>> = LazyLock::new(|| (0..0x7c00).map(|bits| defined(bits, 5, 10)).collect());
    static BF16: LazyLock<Vec<f64>> = LazyLock::new(|| (0..0x7f80).map(|bits| defined(bits, 8, 7)).collect());

    proptest! {
        #[test]
        fn rounding_is_to_nearest(bits: u64, exponent in -30i32..20) {
            // Random numbers of `f64` near the range of binary16, and of any exponent.
            let fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
            for x in [fraction * 2f64.powi(exponent), f64::from_bits(bits & !(1 << 63))] {
                if !x.is_finite() { continue }
                for (float, numbers, beyond) in [(FloatType::F16, &*F16, 65536.0), (FloatType::Bf16, &*BF16, 2f64.powi(128))] {
                    let mut bytes = [0; 2];
                    float.write_f64(&[x], &mut bytes);
                    let expected = if x >= beyond { numbers.len() as u16 } else { nearest(numbers, beyond, x) };
                    prop_assert_eq!(u16::from_le_bytes(bytes), expected, "{}", x);
                    let narrow = x as f32;
                    float.write_f32(&[narrow], &mut bytes);
                    let narrow = f64::from(narrow);
                    let expected = if narrow >= beyond { numbers.len() as u16 } else { nearest(numbers, beyond, narrow) };
                    prop_assert_eq!(u16::from_le_bytes(bytes), expected, "{}", narrow);
                }
            }
        }

        #[test]
        fn wide_numbers_are_kept(values in proptest::collection::vec(any::<f64>(), 0..9)) {
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let mut checkpoint = Checkpoint::new();
            checkpoint.insert(NamedArray::from_f64("x", FloatType::F64, &[values.len()], &values)).unwrap();
            prop_assert_eq!(bits(&checkpoint.to_f64("x").unwrap()), bits(&values));
            let mut part = vec![0.0; values.len().saturating_sub(1)];
            checkpoint.get("x").unwrap().read_f64(values.len().min(1), &mut part).unwrap();
            prop_assert_eq!(bits(&part), bits(&values[values.len().min(1)..]));
        }
    }
}
