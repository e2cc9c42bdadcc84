//! Floating-point numbers of 8 and 16 bits: how they widen to `f32`, and how wider numbers round to them. Everything is
//! without branches, so that loops over slices become vector instructions.

use crate::DType;

/// The types of elements that are written from numbers, rounded to nearest with ties to even.
///
/// ```
/// use gradus_checkpoint::FloatType;
///
/// let mut bytes = [0; 4];
/// FloatType::Bf16.write_f32(&[1.0, -2.0], &mut bytes);
/// assert_eq!(bytes, [0x80, 0x3f, 0x00, 0xc0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16: 5 bits of exponent, 10 of fraction. Numbers of magnitude 65520 and more become infinite.
    F16,
    /// bfloat16, the upper half of an F32: 8 bits of exponent, 7 of fraction.
    Bf16,
}

impl FloatType {
    /// The type of that name; `None` for any other, such as integers and the 8-bit types.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F64 => Some(Self::F64),
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Its name in the format.
    pub fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// The bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Writes `values` as little-endian elements, each rounded once. NaN stays NaN, and what is too large becomes infinite.
    ///
    /// # Panics
    /// If `bytes` are not [`size`](Self::size) for each value.
    #[track_caller]
    pub fn write_f32(self, values: &[f32], bytes: &mut [u8]) {
        match self {
            Self::F64 => encode(values, bytes, |x| f64::from(x).to_le_bytes()),
            Self::F32 => encode(values, bytes, f32::to_le_bytes),
            Self::F16 => encode(values, bytes, |x| f32_to_f16(x).to_le_bytes()),
            Self::Bf16 => encode(values, bytes, |x| f32_to_bf16(x).to_le_bytes()),
        }
    }

    /// As [`write_f32`](Self::write_f32), from `f64`: here too there is one rounding, not one to `f32` and another.
    ///
    /// # Panics
    /// If `bytes` are not [`size`](Self::size) for each value.
    #[track_caller]
    pub fn write_f64(self, values: &[f64], bytes: &mut [u8]) {
        match self {
            Self::F64 => encode(values, bytes, f64::to_le_bytes),
            Self::F32 => encode(values, bytes, |x| (x as f32).to_le_bytes()),
            Self::F16 => encode(values, bytes, |x| f32_to_f16(round_to_odd(x)).to_le_bytes()),
            Self::Bf16 => encode(values, bytes, |x| f32_to_bf16(round_to_odd(x)).to_le_bytes()),
        }
    }
}

#[track_caller]
fn encode<const N: usize, T: Copy>(values: &[T], bytes: &mut [u8], encode: impl Fn(T) -> [u8; N]) {
    let (elements, rest) = bytes.as_chunks_mut::<N>();
    assert!(elements.len() == values.len() && rest.is_empty(), "{} values of {N} bytes do not fill the bytes", values.len());
    elements.iter_mut().zip(values).for_each(|(element, &value)| *element = encode(value));
}

/// Fills `values` with the little-endian elements of `bytes`, which are as many.
pub(crate) fn decode<const N: usize, T>(bytes: &[u8], values: &mut [T], decode: impl Fn([u8; N]) -> T) {
    values.iter_mut().zip(bytes.as_chunks::<N>().0).for_each(|(value, &element)| *value = decode(element));
}

/// 1 sign bit, 5 bits of exponent (bias 15), 10 bits of fraction.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    // Zero and subnormal numbers are multiples of 2^-24. In infinities and NaN all bits of the exponent are set.
    let subnormal = (magnitude as f32 * 2f32.powi(-24)).to_bits();
    let normal = (magnitude << 13) + ((127 - 15) << 23);
    let special = magnitude << 13 | 0xff << 23;
    let wide = if magnitude < 0x400 { subnormal } else { normal };
    let wide = if magnitude >= 0x7c00 { special } else { wide };
    f32::from_bits(wide | u32::from(bits >> 15) << 31)
}

/// The nearest, ties to even.
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    // Half of the last place that goes is added, less one where the last that stays is even. A carry into the exponent
    // is right: it is the next power of two.
    let normal = (magnitude + 0xfff + (magnitude >> 13 & 1)).wrapping_sub((127 - 15) << 23) >> 13;
    // From 1/2 to 1, numbers are multiples of 2^-24, as the subnormal ones of the result: the addition rounds.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
    let half = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let half = if magnitude >= 0x477f_f000 { 0x7c00 } else { half };
    let half = if magnitude > 0x7f80_0000 { nan } else { half };
    (half | (x.to_bits() >> 16 & 0x8000)) as u16
}

/// The upper half of an `f32`.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest, ties to even.
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A NaN whose fraction lies in the lower half alone would become infinite.
    (if x.is_nan() { bits | 0x40_0000 } else { rounded } >> 16) as u16
}

/// 1 sign bit, 5 bits of exponent, 2 bits of fraction: the upper half of a binary16 (Micikevicius and others 2022).
pub(crate) fn f8_e5m2_to_f32(bits: u8) -> f32 {
    f16_to_f32(u16::from(bits) << 8)
}

/// 1 sign bit, 4 bits of exponent (bias 7), 3 bits of fraction; no infinities, and NaN only where all bits are set
/// (Micikevicius and others 2022, "FP8 formats for deep learning", table 1).
pub(crate) fn f8_e4m3_to_f32(bits: u8) -> f32 {
    let magnitude = u32::from(bits & 0x7f);
    let subnormal = (magnitude as f32 * 2f32.powi(-9)).to_bits();
    let normal = (magnitude << 20) + ((127 - 7) << 23);
    let wide = if magnitude < 8 { subnormal } else { normal };
    let wide = if magnitude == 0x7f { f32::NAN.to_bits() } else { wide };
    f32::from_bits(wide | u32::from(bits >> 7) << 31)
}

/// The neighbour among `f32` whose last bit is odd, unless `x` is an `f32` itself. Rounding that to 16 bits then is as
/// rounding `x` at once: the odd bit says that something was left over, so that there is no false tie (Boldo and
/// Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd").
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let bits = nearest.to_bits();
    let wide = f64::from(nearest);
    let odd = if wide.abs() > x.abs() { bits.wrapping_sub(1) } else { bits.wrapping_add(1) };
    let inexact = wide != x && !x.is_nan() && bits & 1 == 0;
    f32::from_bits(if inexact { odd } else { bits })
}
