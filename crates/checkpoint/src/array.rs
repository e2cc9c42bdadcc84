use crate::{CheckpointError, DType};
use std::path::Path;

/// An array that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedArray {
    /// The name, as in a `state_dict`: `encoder.0.weight`.
    pub name: String,
    /// The type of the elements.
    pub dtype: DType,
    /// The length of each axis; `[]` is a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order, each little-endian.
    pub bytes: Vec<u8>,
}

/// An array of a checkpoint, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array<'a> {
    /// The name, as in a `state_dict`: `encoder.0.weight`.
    pub name: &'a str,
    /// The type of the elements.
    pub dtype: DType,
    /// The length of each axis; `[]` is a scalar.
    pub shape: &'a [usize],
    /// The elements in row-major order, each little-endian.
    pub bytes: &'a [u8],
    pub(crate) file: &'a Path,
}

impl<'a> Array<'a> {
    /// This array, if it has the shape `expected`.
    ///
    /// # Errors
    /// [`CheckpointError::Shape`] if not.
    pub fn with_shape(self, expected: &[usize]) -> Result<Self, CheckpointError> {
        if self.shape == expected {
            return Ok(self);
        }
        Err(CheckpointError::Shape {
            file: self.file.to_owned(),
            name: self.name.to_owned(),
            expected: expected.to_vec(),
            found: self.shape.to_vec(),
        })
    }

    /// The elements as `f32`, without loss: from F32, F16 and BF16.
    ///
    /// # Errors
    /// [`CheckpointError::DType`] for elements of any other type.
    pub fn to_f32(self) -> Result<Vec<f32>, CheckpointError> {
        match self.dtype {
            DType::F32 => Ok(elements(self.bytes, f32::from_le_bytes).collect()),
            DType::F16 => Ok(elements(self.bytes, u16::from_le_bytes).map(f16_to_f32).collect()),
            DType::BF16 => Ok(elements(self.bytes, u16::from_le_bytes).map(bf16_to_f32).collect()),
            _ => Err(self.wrong_dtype("F32, F16 or BF16")),
        }
    }

    /// The elements as `f64`, without loss: from F64, F32, F16 and BF16.
    ///
    /// # Errors
    /// [`CheckpointError::DType`] for elements of any other type.
    pub fn to_f64(self) -> Result<Vec<f64>, CheckpointError> {
        let mut values = vec![0.0; self.count()];
        self.read_f64(0, &mut values)?;
        Ok(values)
    }

    /// The elements from `start` on as `f64`, as many as `values` holds: for work on parts of a large array.
    ///
    /// # Errors
    /// As [`to_f64`](Self::to_f64).
    ///
    /// # Panics
    /// When the array ends before that.
    #[track_caller]
    pub fn read_f64(self, start: usize, values: &mut [f64]) -> Result<(), CheckpointError> {
        fn fill<const N: usize>(bytes: &[u8], start: usize, values: &mut [f64], decode: impl Fn([u8; N]) -> f64) {
            let part = &bytes[start * N..(start + values.len()) * N];
            values.iter_mut().zip(elements(part, decode)).for_each(|(value, element)| *value = element);
        }
        match self.dtype {
            DType::F64 => fill(self.bytes, start, values, f64::from_le_bytes),
            DType::F32 => fill(self.bytes, start, values, |bytes| f32::from_le_bytes(bytes).into()),
            DType::F16 => fill(self.bytes, start, values, |bytes| f16_to_f32(u16::from_le_bytes(bytes)).into()),
            DType::BF16 => fill(self.bytes, start, values, |bytes| bf16_to_f32(u16::from_le_bytes(bytes)).into()),
            _ => return Err(self.wrong_dtype("F64, F32, F16 or BF16")),
        }
        Ok(())
    }

    /// The number of elements.
    pub fn count(self) -> usize {
        // The bytes fit the shape, whose axes may be so long that their product overflows where one of them is 0.
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    fn wrong_dtype(&self, expected: &'static str) -> CheckpointError {
        CheckpointError::DType { file: self.file.to_owned(), name: self.name.to_owned(), expected, found: self.dtype }
    }
}

/// The number of bytes that an array takes; `None` if it overflows or is not whole.
pub(crate) fn byte_count(dtype: DType, shape: &[usize]) -> Option<usize> {
    // A zero anywhere empties the array, however long the other axes are.
    let elements = if shape.contains(&0) { 0 } else { shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length))? };
    let bits = elements.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

fn elements<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    bytes.as_chunks::<N>().0.iter().map(move |&element| decode(element))
}

/// IEEE 754 binary16: 1 sign bit, 5 bits of exponent (bias 15), 10 bits of fraction.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = u32::from(bits & 0x3ff);
    match u32::from(bits >> 10 & 0x1f) {
        // Zero and subnormal numbers: multiples of 2^-24.
        0 => sign * fraction as f32 * 2f32.powi(-24),
        // Infinities and NaN: the payload moves to the top of the wider fraction.
        31 => f32::from_bits(u32::from(bits >> 15) << 31 | 0xff << 23 | fraction << 13),
        exponent => f32::from_bits(u32::from(bits >> 15) << 31 | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

/// The upper half of an `f32`.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
