//! Two-dimensional convolution. Its output, its gradient with respect to the images and that with respect to the filters
//! are three bilinear maps, and each one's derivatives are the other two.

use crate::kernels::convolution::Geometry;
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

/// Which of the three: of images and filters, of output gradient and filters, of images and output gradient.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Output,
    Images,
    Filters,
}

struct Convolution<T: Scalar> {
    kind: Kind,
    geometry: Geometry,
    a: Tensor<T>,
    b: Tensor<T>,
}

fn bilinear<T: Scalar>(kind: Kind, geometry: Geometry, a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
    let Geometry { batch, channels, input, filters, kernel, output, .. } = geometry;
    let (values, shape) = match kind {
        Kind::Output => (geometry.convolve(a.as_slice(), b.as_slice()), [batch, filters, output[0], output[1]]),
        Kind::Images => (geometry.convolve_transposed(a.as_slice(), b.as_slice()), [batch, channels, input[0], input[1]]),
        Kind::Filters => (geometry.correlate(a.as_slice(), b.as_slice()), [filters, channels, kernel[0], kernel[1]]),
    };
    let y = Tensor::raw(values, crate::tensor::checked(&shape));
    y.record([a.node().cloned(), b.node().cloned(), None], || Convolution { kind, geometry, a: a.clone(), b: b.clone() })
}

impl<T: Scalar> Rule<T> for Convolution<T> {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let of = |kind, a: &Tensor<T>, b: &Tensor<T>| bilinear(kind, self.geometry, a, b);
        if cx.wants(0) {
            let b = cx.get(&self.b);
            cx.add(
                0,
                match self.kind {
                    Kind::Output => of(Kind::Images, &g, &b),
                    Kind::Images => of(Kind::Output, &g, &b),
                    Kind::Filters => of(Kind::Images, &b, &g),
                },
            );
        }
        if cx.wants(1) {
            let a = cx.get(&self.a);
            cx.add(
                1,
                match self.kind {
                    Kind::Output => of(Kind::Filters, &a, &g),
                    Kind::Images => of(Kind::Filters, &g, &a),
                    Kind::Filters => of(Kind::Output, &a, &g),
                },
            );
        }
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        self.kind != Kind::Filters && parent == 0 && self.geometry.batch.is_multiple_of(batch)
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, recording: bool) -> Option<Factor<T>> {
        let geometry = self.geometry;
        // The patches are no recorded operation.
        if self.kind != Kind::Output || parent != 1 || recording || !geometry.batch.is_multiple_of(batch) {
            return None;
        }
        let patches = Tensor::raw(
            geometry.all_patch_rows(self.a.as_slice()),
            crate::tensor::checked(&[geometry.batch * geometry.positions(), geometry.patch()]),
        );
        let g = g.reshape(&[geometry.batch, geometry.filters, geometry.positions()]).t();
        Some(Factor::Outer { rows: g.reshape(&[geometry.batch * geometry.positions(), geometry.filters]), columns: patches })
    }
}

impl<T: Scalar> Tensor<T> {
    /// The convolution (cross-correlation, as everywhere in deep learning) of images `[batch, channels, height, width]`
    /// with filters `weight` `[filters, channels, kernel height, kernel width]`, plus `bias` `[filters]`:
    /// `[batch, filters, output height, output width]` with output `⌊(size + 2 padding - kernel) / stride⌋ + 1`. `stride`
    /// and `padding` (of zeros, on both sides) are for height and width.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let image: Tensor = Tensor::from_fn(&[1, 1, 3, 3], |i| i as f32);
    /// let mean = Tensor::full(0.25, &[1, 1, 2, 2]);
    /// assert_eq!(image.conv2d(&mean, None, [1, 1], [0, 0]).to_vec(), [2.0, 3.0, 5.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv2d`] returns the error instead.
    #[track_caller]
    pub fn conv2d(&self, weight: &Self, bias: Option<&Self>, stride: [usize; 2], padding: [usize; 2]) -> Self {
        super::arithmetic::or_panic(self.try_conv2d(weight, bias, stride, padding))
    }

    /// [`Tensor::conv2d`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`] for shapes that do not fit each other, [`TensorError::Argument`] for a kernel that is
    /// larger than the padded image, a kernel without entries or a stride of 0.
    #[track_caller]
    pub fn try_conv2d(&self, weight: &Self, bias: Option<&Self>, stride: [usize; 2], padding: [usize; 2]) -> Result<Self, TensorError> {
        let mismatch =
            |other: &Self| TensorError::Mismatch { operation: "conv2d", left: self.shape().to_vec(), right: other.shape().to_vec() };
        let (&[batch, channels, height, width], &[filters, depth, kh, kw]) = (self.shape(), weight.shape()) else {
            return Err(mismatch(weight));
        };
        if channels != depth {
            return Err(mismatch(weight));
        }
        if let Some(bias) = bias.filter(|bias| bias.shape() != [filters]) {
            return Err(mismatch(bias));
        }
        let output = windows_along("conv2d", self.shape(), [height, width], [kh, kw], stride, padding)?;
        // The sizes of the output, and of one image's patches, are checked before the kernel allocates them.
        Shape::new(&[batch, filters, output[0], output[1]])?;
        Shape::new(&[channels, kh, kw, output[0], output[1]])?;
        let geometry = Geometry { batch, channels, input: [height, width], filters, kernel: [kh, kw], stride, padding, output };
        let y = bilinear(Kind::Output, geometry, self, weight);
        Ok(match bias {
            Some(bias) => y + bias.reshape(&[1, filters, 1, 1]),
            None => y,
        })
    }
}

/// The number of windows along height and width.
pub(super) fn windows_along(
    operation: &'static str,
    shape: &[usize],
    input: [usize; 2],
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<[usize; 2], TensorError> {
    let argument = |what: String| TensorError::Argument { operation, what, shape: shape.to_vec() };
    let mut output = [0; 2];
    for axis in 0..2 {
        let padded = padding[axis].checked_mul(2).and_then(|p| p.checked_add(input[axis]));
        let Some(padded) = padded else { return Err(argument(format!("a padding of {} is too large", padding[axis]))) };
        if stride[axis] == 0 || size[axis] == 0 {
            return Err(argument(format!("the window {size:?} and the stride {stride:?} must be positive")));
        }
        let Some(room) = padded.checked_sub(size[axis]) else {
            return Err(argument(format!("the window {size:?} is larger than the image with a padding of {padding:?}")));
        };
        output[axis] = room / stride[axis] + 1;
    }
    Ok(output)
}
