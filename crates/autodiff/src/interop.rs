//! Tensors from and to other libraries' arrays and files: NPY always, and behind features of their names `ndarray` and
//! `candle`. Everything is copied, but for views, and what arrives is a constant.

#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "ndarray")]
mod ndarray;
#[cfg(test)]
mod tests;

use std::path::Path;

use gradus_base::npy::{NpyArray, NpyError, NpyValues};

use crate::{Scalar, Tensor, TensorError};

/// Why an array of another library or a file is not a tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InteropError {
    /// More axes or elements than a tensor can have.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A bad NPY file, or one with elements that do not fit the tensor's type without loss.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// A tensor of candle has elements of another type than the tensor asked for.
    #[cfg(feature = "candle")]
    #[error("expected elements of type {expected:?}, found {found:?}")]
    CandleType {
        /// The type asked for.
        expected: candle_core::DType,
        /// Candle's.
        found: candle_core::DType,
    },
    /// A tensor of candle is not in the processor's memory; candle's `to_device` brings it there.
    #[cfg(feature = "candle")]
    #[error("expected a tensor in the processor's memory, found one in {found:?}")]
    CandleDevice {
        /// Where it is.
        found: candle_core::DeviceLocation,
    },
    /// Candle could not make or copy its tensor.
    #[cfg(feature = "candle")]
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl<T: Scalar> Tensor<T> {
    /// The tensor of an NPY array. `f32` takes elements of `f4`, `i1`, `u1`, `i2`, `u2` and `b1`; `f64` also `f8`, `i4` and
    /// `u4`: what always fits without loss.
    ///
    /// # Errors
    /// [`NpyError::Type`] for other elements, [`TensorError::Rank`] for more than 8 axes.
    pub fn from_npy(array: &NpyArray) -> Result<Self, InteropError> {
        let (single, values) = (size_of::<T>() == size_of::<f32>(), array.values());
        let converted: Option<Vec<T>> = if single {
            values.to_f32().map(|values| values.into_iter().map(|x| T::from_f64(x.into())).collect())
        } else {
            values.to_f64().map(|values| values.into_iter().map(T::from_f64).collect())
        };
        let expected = if single { "f4, i1, u1, i2, u2 or b1" } else { "f8, f4, i1, u1, i2, u2, i4, u4 or b1" };
        let wrong = || NpyError::Type { file: "<memory>".into(), expected, found: values.type_name().into() };
        Ok(Self::from_vec(converted.ok_or_else(wrong)?, array.shape())?)
    }

    /// The values as an NPY array of `f4` or `f8`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let x: Tensor = Tensor::from_fn(&[2, 3], |i| i as f32);
    /// assert_eq!(Tensor::<f32>::from_npy(&x.to_npy()?)?.to_vec(), x.to_vec());
    /// # Ok::<(), gradus_autodiff::InteropError>(())
    /// ```
    ///
    /// # Errors
    /// [`NpyError`], as [`NpyArray::new`]; no tensor is known that has one.
    pub fn to_npy(&self) -> Result<NpyArray, InteropError> {
        let values: NpyValues =
            if size_of::<T>() == size_of::<f32>() { self.cast::<f32>().to_vec().into() } else { self.cast::<f64>().to_vec().into() };
        Ok(NpyArray::new(self.shape(), values)?)
    }

    /// Reads a tensor from a file that `numpy.save` wrote, of the elements that [`from_npy`](Self::from_npy) takes.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let folder = tempfile::tempdir()?;
    /// let file = folder.path().join("x.npy");
    /// let x: Tensor<f64> = Tensor::vector(&[0.5, 0.25]);
    /// x.write_npy(&file)?;
    /// assert_eq!(Tensor::<f64>::read_npy(&file)?.to_vec(), [0.5, 0.25]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`NpyError`], naming the file; [`TensorError::Rank`] for more than 8 axes.
    pub fn read_npy(file: impl AsRef<Path>) -> Result<Self, InteropError> {
        let array = NpyArray::read(&file)?;
        Self::from_npy(&array).map_err(|error| match error {
            InteropError::Npy(NpyError::Type { expected, found, .. }) => {
                NpyError::Type { file: file.as_ref().into(), expected, found }.into()
            }
            error => error,
        })
    }

    /// Writes the values to a file that `numpy.load` reads, whole or not at all.
    ///
    /// # Errors
    /// [`NpyError::Io`].
    pub fn write_npy(&self, file: impl AsRef<Path>) -> Result<(), InteropError> {
        Ok(self.to_npy()?.write(file)?)
    }
}
