use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, Dimension, IxDyn, ShapeError};

use crate::{Scalar, Tensor, TensorError};

/// A copy of an array of `ndarray`, owned or a view, of any memory layout.
///
/// ```
/// use gradus_autodiff::Tensor;
/// let a = ndarray::arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
/// let x = Tensor::try_from(&a.t())?;
/// assert_eq!((x.shape(), x.to_vec()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
impl<T: Scalar, S: Data<Elem = T>, D: Dimension> TryFrom<&ArrayBase<S, D>> for Tensor<T> {
    type Error = TensorError;

    fn try_from(array: &ArrayBase<S, D>) -> Result<Self, TensorError> {
        Self::from_vec(array.iter().copied().collect(), array.shape())
    }
}

/// A view without a copy. It fails where `ndarray` refuses the sizes: no tensor is known for which that is so.
impl<'a, T: Scalar> TryFrom<&'a Tensor<T>> for ArrayViewD<'a, T> {
    type Error = ShapeError;

    fn try_from(tensor: &'a Tensor<T>) -> Result<Self, ShapeError> {
        Self::from_shape(IxDyn(tensor.shape()), tensor.as_slice())
    }
}

/// A copy. It fails where `ndarray` refuses the sizes: no tensor is known for which that is so.
impl<T: Scalar> TryFrom<&Tensor<T>> for ArrayD<T> {
    type Error = ShapeError;

    fn try_from(tensor: &Tensor<T>) -> Result<Self, ShapeError> {
        Self::from_shape_vec(IxDyn(tensor.shape()), tensor.to_vec())
    }
}
