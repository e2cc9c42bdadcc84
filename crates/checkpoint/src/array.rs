use crate::floats::{bf16_to_f32, decode, f8_e4m3_to_f32, f8_e5m2_to_f32, f16_to_f32};
use crate::{CheckpointError, DType, FloatType};
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

impl NamedArray {
    /// The array of `values` in row-major order, rounded to nearest (ties to even) where the type is narrower.
    ///
    /// [`Checkpoint::insert`](crate::Checkpoint::insert) checks that there are as many as the shape asks for.
    pub fn from_f32(name: impl Into<String>, float: FloatType, shape: &[usize], values: &[f32]) -> Self {
        let mut bytes = vec![0; values.len() * float.size()];
        float.write_f32(values, &mut bytes);
        Self { name: name.into(), dtype: float.dtype(), shape: shape.to_vec(), bytes }
    }

    /// As [`from_f32`](Self::from_f32), of `f64` values.
    pub fn from_f64(name: impl Into<String>, float: FloatType, shape: &[usize], values: &[f64]) -> Self {
        let mut bytes = vec![0; values.len() * float.size()];
        float.write_f64(values, &mut bytes);
        Self { name: name.into(), dtype: float.dtype(), shape: shape.to_vec(), bytes }
    }
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

    /// The elements as `f32`, without loss: from F32, F16, BF16, F8_E5M2 and F8_E4M3.
    ///
    /// # Errors
    /// [`CheckpointError::DType`] for elements of any other type.
    pub fn to_f32(self) -> Result<Vec<f32>, CheckpointError> {
        let mut values = vec![0.0; self.count()];
        self.read_f32(0, &mut values)?;
        Ok(values)
    }

    /// The elements as `f64`, without loss: from F64 and the types of [`to_f32`](Self::to_f32).
    ///
    /// # Errors
    /// [`CheckpointError::DType`] for elements of any other type.
    pub fn to_f64(self) -> Result<Vec<f64>, CheckpointError> {
        let mut values = vec![0.0; self.count()];
        self.read_f64(0, &mut values)?;
        Ok(values)
    }

    /// The elements from `start` on as `f32`, as many as `values` holds: for work on parts of a large array.
    ///
    /// # Errors
    /// As [`to_f32`](Self::to_f32).
    ///
    /// # Panics
    /// When the array ends before that.
    #[track_caller]
    pub fn read_f32(self, start: usize, values: &mut [f32]) -> Result<(), CheckpointError> {
        let part = self.part(start, values.len());
        match self.dtype {
            DType::F32 => decode(part, values, f32::from_le_bytes),
            DType::F16 => decode(part, values, |bytes| f16_to_f32(u16::from_le_bytes(bytes))),
            DType::BF16 => decode(part, values, |bytes| bf16_to_f32(u16::from_le_bytes(bytes))),
            DType::F8_E5M2 => decode(part, values, |[byte]| f8_e5m2_to_f32(byte)),
            DType::F8_E4M3 => decode(part, values, |[byte]| f8_e4m3_to_f32(byte)),
            _ => return Err(self.wrong_dtype("F32, F16, BF16, F8_E5M2 or F8_E4M3")),
        }
        Ok(())
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
        let part = self.part(start, values.len());
        match self.dtype {
            DType::F64 => decode(part, values, f64::from_le_bytes),
            DType::F32 => decode(part, values, |bytes| f32::from_le_bytes(bytes).into()),
            DType::F16 => decode(part, values, |bytes| f16_to_f32(u16::from_le_bytes(bytes)).into()),
            DType::BF16 => decode(part, values, |bytes| bf16_to_f32(u16::from_le_bytes(bytes)).into()),
            DType::F8_E5M2 => decode(part, values, |[byte]| f8_e5m2_to_f32(byte).into()),
            DType::F8_E4M3 => decode(part, values, |[byte]| f8_e4m3_to_f32(byte).into()),
            _ => return Err(self.wrong_dtype("F64, F32, F16, BF16, F8_E5M2 or F8_E4M3")),
        }
        Ok(())
    }

    /// The bytes of `count` elements from `start` on; of elements that are parts of bytes, which are not read as numbers,
    /// all.
    #[track_caller]
    fn part(self, start: usize, count: usize) -> &'a [u8] {
        match self.dtype.bitsize() {
            bits if bits.is_multiple_of(8) => &self.bytes[start * (bits / 8)..][..count * (bits / 8)],
            _ => self.bytes,
        }
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

impl From<Array<'_>> for NamedArray {
    fn from(array: Array<'_>) -> Self {
        Self { name: array.name.into(), dtype: array.dtype, shape: array.shape.to_vec(), bytes: array.bytes.to_vec() }
    }
}

/// The number of bytes that an array takes; `None` if it overflows or is not whole.
pub(crate) fn byte_count(dtype: DType, shape: &[usize]) -> Option<usize> {
    // A zero anywhere empties the array, however long the other axes are.
    let elements = if shape.contains(&0) { 0 } else { shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length))? };
    let bits = elements.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
