//! Pooling of images over windows.

use crate::kernels::pooling::Windows;
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

/// The mean over windows, or its transpose.
struct Mean {
    windows: Windows,
    input: Shape,
    transposed: bool,
}

fn mean<T: Scalar>(x: &Tensor<T>, windows: Windows, output: Shape, transposed: bool) -> Tensor<T> {
    let input = *x.shape_ref();
    let values = if transposed { windows.spread(x.as_slice()) } else { windows.mean(x.as_slice()) };
    Tensor::raw(values, output).record([x.node().cloned(), None, None], || Mean { windows, input, transposed })
}

impl<T: Scalar> Rule<T> for Mean {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, mean(&g, self.windows, self.input, !self.transposed));
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.input[0].is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    #[track_caller]
    fn windows(&self, operation: &'static str, size: [usize; 2], stride: [usize; 2]) -> Result<(Windows, Shape), TensorError> {
        let &[batch, channels, height, width] = self.shape() else {
            let what = "an image needs the axes [batch, channels, height, width]".to_owned();
            return Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() });
        };
        let output = super::convolution::windows_along(operation, self.shape(), [height, width], size, stride, [0, 0], [1, 1])?;
        let windows = Windows { planes: batch * channels, input: [height, width], size, stride, output };
        Ok((windows, Shape::new(&[batch, channels, output[0], output[1]])?))
    }

    /// The greatest element of each window of images `[batch, channels, height, width]`. The first of ties in row-major
    /// order takes the gradient. Windows that do not fit whole are left out.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let image: Tensor = Tensor::from_fn(&[1, 1, 2, 4], |i| i as f32);
    /// assert_eq!(image.max_pool2d([2, 2], [2, 2]).to_vec(), [5.0, 7.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_max_pool2d`] returns the error instead.
    #[track_caller]
    pub fn max_pool2d(&self, size: [usize; 2], stride: [usize; 2]) -> Self {
        super::arithmetic::or_panic(self.try_max_pool2d(size, stride))
    }

    /// [`Tensor::max_pool2d`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for a tensor that is no image, a window larger than it, a window or stride of 0.
    #[track_caller]
    pub fn try_max_pool2d(&self, size: [usize; 2], stride: [usize; 2]) -> Result<Self, TensorError> {
        let (windows, shape) = self.windows("max_pool2d", size, stride)?;
        Ok(self.take("max_pool2d", &windows.argmax(self.as_slice()).into(), shape))
    }

    /// The mean of each window of images `[batch, channels, height, width]`. Windows that do not fit whole are left out.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_avg_pool2d`] returns the error instead.
    #[track_caller]
    pub fn avg_pool2d(&self, size: [usize; 2], stride: [usize; 2]) -> Self {
        super::arithmetic::or_panic(self.try_avg_pool2d(size, stride))
    }

    /// [`Tensor::avg_pool2d`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for a tensor that is no image, a window larger than it, a window or stride of 0.
    #[track_caller]
    pub fn try_avg_pool2d(&self, size: [usize; 2], stride: [usize; 2]) -> Result<Self, TensorError> {
        let (windows, shape) = self.windows("avg_pool2d", size, stride)?;
        Ok(mean(self, windows, shape, false))
    }
}
