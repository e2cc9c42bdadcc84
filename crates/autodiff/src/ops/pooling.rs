//! Pooling of sequences, images and volumes over windows.

use std::sync::Arc;

use super::arithmetic::or_panic;
use super::convolution::{three, windows_along};
use crate::kernels::pooling::{Span, Windows};
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

/// The windows over which is pooled along `D` axes. [`Pooling::new`] lays them side by side.
///
/// ```
/// use gradus_autodiff::Pooling;
/// let overlapping = Pooling { stride: [2, 2], padding: [1, 1], ..Pooling::new([3, 3]) };
/// assert_eq!((overlapping.size, overlapping.dilation), ([3, 3], [1, 1]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pooling<const D: usize> {
    /// The entries of a window along each axis, at least 1.
    pub size: [usize; D],
    /// The steps between windows, at least 1.
    pub stride: [usize; D],
    /// Entries added on both sides of each axis: minus infinity for a maximum, zeros for a mean.
    pub padding: [usize; D],
    /// The steps between entries of a window, at least 1.
    pub dilation: [usize; D],
    /// Whether a mean counts the padding in a window; if not, it is over the entries inside the image.
    pub count_padding: bool,
}

impl<const D: usize> Pooling<D> {
    /// Windows of this size side by side, without padding or dilation. A mean would count padding.
    pub const fn new(size: [usize; D]) -> Self {
        Self { size, stride: size, padding: [0; D], dilation: [1; D], count_padding: true }
    }

    fn spans(&self, axis: usize, input: usize, output: usize) -> Arc<[Span]> {
        let (size, padding, step) = (self.size[axis], self.padding[axis], self.dilation[axis]);
        let span = |o: usize| {
            let start = o * self.stride[axis];
            let skipped = padding.saturating_sub(start).div_ceil(step).min(size);
            let end = (padding + input).saturating_sub(start).div_ceil(step).min(size);
            let count = end.saturating_sub(skipped);
            let first = if count > 0 { start + skipped * step - padding } else { 0 };
            Span { first, count, step, divisor: if self.count_padding { size } else { count } }
        };
        (0..output).map(span).collect()
    }
}

/// The windows `⌊i n / output⌋ .. ⌈(i + 1) n / output⌉` of `n` entries.
fn adaptive_spans(n: usize, output: usize) -> Arc<[Span]> {
    let place = |i: usize, round_up: usize| ((i as u128 * n as u128 + round_up as u128) / output as u128) as usize;
    let span = |i: usize| {
        let (first, end) = (place(i, 0), place(i + 1, output - 1));
        Span { first, count: end - first, step: 1, divisor: end - first }
    };
    (0..output).map(span).collect()
}

/// The mean over windows along the last `axes` axes, or its transpose.
struct Mean {
    name: &'static str,
    windows: Windows,
    axes: usize,
    batch: usize,
    transposed: bool,
}

fn mean<T: Scalar>(x: &Tensor<T>, name: &'static str, windows: &Windows, axes: usize, transposed: bool) -> Tensor<T> {
    let (lead, _) = x.shape().split_at(x.rank() - axes);
    let planes = lead.iter().product();
    let (values, sizes) = match transposed {
        false => (windows.mean(x.as_slice(), planes), windows.spans.each_ref().map(|spans| spans.len())),
        true => (windows.spread(x.as_slice(), planes), windows.input),
    };
    let shape = crate::tensor::checked(&[lead, &sizes[3 - axes..]].concat());
    let batch = lead.first().copied().unwrap_or(1);
    Tensor::raw(values, shape).record([x.node().cloned(), None, None], || Mean { name, windows: windows.clone(), axes, batch, transposed })
}

impl<T: Scalar> Rule<T> for Mean {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, mean(&g, self.name, &self.windows, self.axes, !self.transposed));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.batch.is_multiple_of(batch)
    }
}

/// The greatest element of each window. Where it is is found again for the gradient: that is quicker than to write it down.
struct Maximum<T: Scalar> {
    name: &'static str,
    windows: Windows,
    x: Tensor<T>,
}

impl<T: Scalar> Maximum<T> {
    fn planes(&self) -> usize {
        self.x.shape()[..2].iter().product()
    }
}

impl<T: Scalar> Rule<T> for Maximum<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let (x, input) = (self.x.as_slice(), *self.x.shape_ref());
        let gradient = match cx.is_plain(&g) {
            true => Tensor::raw(self.windows.maximum_gradient(x, g.as_slice(), self.planes()), input),
            false => g.put(self.name, &self.windows.argmax(x, self.planes()), input),
        };
        cx.add(0, gradient);
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.x.shape()[0].is_multiple_of(batch)
    }
}

/// What is made of each window.
#[derive(Clone, Copy, PartialEq)]
enum Pool {
    Maximum,
    Mean,
}

impl<T: Scalar> Tensor<T> {
    /// The sizes along the last `D` axes, below batch and channels.
    fn image_sizes<const D: usize>(&self, operation: &'static str) -> Result<[usize; D], TensorError> {
        let sizes = self.shape().split_first_chunk::<2>().and_then(|(_, sizes)| sizes.try_into().ok());
        let what = format!("batch, channels and {D} more axes are needed");
        sizes.ok_or_else(|| TensorError::Argument { operation, what, shape: self.shape().to_vec() })
    }

    #[track_caller]
    fn pool<const D: usize>(&self, name: &'static str, pool: Pool, options: Pooling<D>) -> Result<Self, TensorError> {
        let input = self.image_sizes(name)?;
        let Pooling { size, stride, padding, dilation, .. } = options;
        let output = windows_along(name, self.shape(), input, size, stride, padding, dilation)?;
        self.over_windows(name, pool, input, output, |axis| options.spans(axis, input[axis], output[axis]))
    }

    #[track_caller]
    fn adaptive_pool<const D: usize>(&self, name: &'static str, pool: Pool, output: [usize; D]) -> Result<Self, TensorError> {
        let input = self.image_sizes(name)?;
        self.over_windows(name, pool, input, output, |axis| adaptive_spans(input[axis], output[axis]))
    }

    #[track_caller]
    fn over_windows<const D: usize>(
        &self,
        name: &'static str,
        pool: Pool,
        input: [usize; D],
        output: [usize; D],
        spans: impl Fn(usize) -> Arc<[Span]>,
    ) -> Result<Self, TensorError> {
        // Checked before the spans are made.
        let shape = Shape::new(&[&self.shape()[..2], &output[..]].concat())?;
        let whole = Span { first: 0, count: 1, step: 1, divisor: 1 };
        let spans: [Arc<[Span]>; 3] = std::array::from_fn(|axis| match axis.checked_sub(3 - D) {
            Some(axis) => spans(axis),
            None => [whole].into(),
        });
        let empty = |span: &Span| span.divisor == 0 || (pool == Pool::Maximum && span.count == 0);
        if spans.iter().any(|spans| spans.iter().any(empty)) {
            let what = format!("a window holds nothing of the image on the way to {output:?}");
            return Err(TensorError::Argument { operation: name, what, shape: self.shape().to_vec() });
        }
        let windows = Windows { input: three(input, 1), spans };
        Ok(match pool {
            Pool::Maximum => {
                let values = windows.maximum(self.as_slice(), shape[..2].iter().product());
                Tensor::raw(values, shape).record([self.node().cloned(), None, None], || Maximum { name, windows, x: self.detach() })
            }
            Pool::Mean => mean(self, name, &windows, D, false),
        })
    }
}

/// The public methods, of which there is one for each number of axes.
macro_rules! pooling {
    ($($(#[$doc:meta])* $name:ident, $try_name:ident, $options:ty, $make:ident($pool:ident);)*) => {
        impl<T: Scalar> Tensor<T> {
            $(
                $(#[$doc])*
                ///
                /// # Panics
                /// When the shapes do not fit; the form with `try_` returns the error instead.
                #[track_caller]
                pub fn $name(&self, windows: $options) -> Self {
                    or_panic(self.$try_name(windows))
                }

                #[doc = concat!("[`Tensor::", stringify!($name), "`], or what does not fit.")]
                ///
                /// # Errors
                /// [`TensorError::Argument`] for a tensor with another number of axes, a window that is larger than the padded
                /// image or holds nothing of it, a size, stride or dilation of 0; [`TensorError::TooLarge`].
                #[track_caller]
                pub fn $try_name(&self, windows: $options) -> Result<Self, TensorError> {
                    self.$make(stringify!($name), Pool::$pool, windows)
                }
            )*
        }
    };
}

pooling! {
    /// [`Tensor::max_pool2d`] of sequences `[batch, channels, length]`.
    max_pool1d, try_max_pool1d, Pooling<1>, pool(Maximum);

    /// The greatest element of each window of images `[batch, channels, height, width]`. The first of ties in row-major
    /// order takes the gradient. Windows that do not fit whole into the padded image are left out.
    ///
    /// ```
    /// use gradus_autodiff::{Pooling, Tensor};
    /// let image: Tensor = Tensor::from_fn(&[1, 1, 2, 4], |i| i as f32);
    /// assert_eq!(image.max_pool2d(Pooling::new([2, 2])).to_vec(), [5.0, 7.0]);
    /// ```
    max_pool2d, try_max_pool2d, Pooling<2>, pool(Maximum);

    /// [`Tensor::max_pool2d`] of volumes `[batch, channels, depth, height, width]`.
    max_pool3d, try_max_pool3d, Pooling<3>, pool(Maximum);

    /// [`Tensor::avg_pool2d`] of sequences `[batch, channels, length]`.
    avg_pool1d, try_avg_pool1d, Pooling<1>, pool(Mean);

    /// The mean of each window of images `[batch, channels, height, width]`. Windows that do not fit whole into the padded
    /// image are left out.
    ///
    /// ```
    /// use gradus_autodiff::{Pooling, Tensor};
    /// let image: Tensor = Tensor::ones(&[1, 1, 2, 2]);
    /// let corners = Pooling { padding: [1, 1], ..Pooling::new([2, 2]) };
    /// assert_eq!(image.avg_pool2d(corners).to_vec(), [0.25; 4]);
    /// assert_eq!(image.avg_pool2d(Pooling { count_padding: false, ..corners }).to_vec(), [1.0; 4]);
    /// ```
    avg_pool2d, try_avg_pool2d, Pooling<2>, pool(Mean);

    /// [`Tensor::avg_pool2d`] of volumes `[batch, channels, depth, height, width]`.
    avg_pool3d, try_avg_pool3d, Pooling<3>, pool(Mean);

    /// [`Tensor::adaptive_max_pool2d`] of sequences `[batch, channels, length]`.
    adaptive_max_pool1d, try_adaptive_max_pool1d, [usize; 1], adaptive_pool(Maximum);

    /// The greatest element of each of the windows `⌊i n / output⌋ .. ⌈(i + 1) n / output⌉` along each axis of images
    /// `[batch, channels, height, width]`, so that the result has the given height and width.
    adaptive_max_pool2d, try_adaptive_max_pool2d, [usize; 2], adaptive_pool(Maximum);

    /// [`Tensor::adaptive_max_pool2d`] of volumes `[batch, channels, depth, height, width]`.
    adaptive_max_pool3d, try_adaptive_max_pool3d, [usize; 3], adaptive_pool(Maximum);

    /// [`Tensor::adaptive_avg_pool2d`] of sequences `[batch, channels, length]`.
    adaptive_avg_pool1d, try_adaptive_avg_pool1d, [usize; 1], adaptive_pool(Mean);

    /// The mean of each of the windows `⌊i n / output⌋ .. ⌈(i + 1) n / output⌉` along each axis of images
    /// `[batch, channels, height, width]`, so that the result has the given height and width.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let image: Tensor = Tensor::from_fn(&[1, 1, 1, 5], |i| i as f32);
    /// assert_eq!(image.adaptive_avg_pool2d([1, 2]).to_vec(), [1.0, 3.0]);
    /// ```
    adaptive_avg_pool2d, try_adaptive_avg_pool2d, [usize; 2], adaptive_pool(Mean);

    /// [`Tensor::adaptive_avg_pool2d`] of volumes `[batch, channels, depth, height, width]`.
    adaptive_avg_pool3d, try_adaptive_avg_pool3d, [usize; 3], adaptive_pool(Mean);
}
