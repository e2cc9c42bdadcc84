use candle_core::{DType, Device, DeviceLocation, WithDType};

use super::InteropError;
use crate::Tensor;

macro_rules! conversions {
    ($(#[$doc:meta])* $t:ident) => {
        $(#[$doc])*
        impl TryFrom<&candle_core::Tensor> for Tensor<$t> {
            type Error = InteropError;

            fn try_from(array: &candle_core::Tensor) -> Result<Self, InteropError> {
                let (expected, found): (DType, DType) = (<$t as WithDType>::DTYPE, array.dtype());
                if found != expected {
                    return Err(InteropError::CandleType { expected, found });
                }
                match array.device().location() {
                    DeviceLocation::Cpu => Ok(Self::from_vec(array.flatten_all()?.to_vec1()?, array.dims())?),
                    found => Err(InteropError::CandleDevice { found }),
                }
            }
        }

        /// A copy in the processor's memory, a constant for candle's gradients. It fails where candle does: no tensor is known
        /// for which that is so.
        impl TryFrom<&Tensor<$t>> for candle_core::Tensor {
            type Error = InteropError;

            fn try_from(tensor: &Tensor<$t>) -> Result<Self, InteropError> {
                Ok(Self::from_slice(tensor.as_slice(), tensor.shape(), &Device::Cpu)?)
            }
        }
    };
}

conversions! {
    /// A copy of a tensor of candle in the processor's memory, of any layout; candle's gradients do not go through it.
    ///
    /// ```
    /// use candle_core::Device;
    /// use gradus_autodiff::Tensor;
    ///
    /// let theirs = candle_core::Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
    /// let ours = Tensor::<f32>::try_from(&theirs.t()?)?;
    /// assert_eq!((ours.shape(), ours.to_vec()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    /// assert_eq!(candle_core::Tensor::try_from(&ours)?.dims(), [3, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    f32
}
conversions! {
    /// As for `f32`.
    f64
}
