//! Convolution along one, two or three axes. Its output, its gradient with respect to the images and that with respect to
//! the filters are three bilinear maps, and each one's derivatives are the other two. The second is also called the
//! transposed convolution.

use super::arithmetic::or_panic;
use crate::kernels::convolution::Geometry;
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

/// How a convolution along `D` axes walks over its input. The default takes every position and all channels together.
///
/// ```
/// use gradus_autodiff::Convolution;
/// let same = Convolution { padding: [1, 1], ..Default::default() };
/// assert_eq!(same, Convolution { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution<const D: usize> {
    /// The steps between outputs, at least 1.
    pub stride: [usize; D],
    /// Zeros on both sides of each axis.
    pub padding: [usize; D],
    /// The steps between entries of the kernel, at least 1.
    pub dilation: [usize; D],
    /// Parts into which channels and filters are split, each part of the filters seeing its part of the channels; as many
    /// as channels for a depthwise convolution.
    pub groups: usize,
}

impl<const D: usize> Default for Convolution<D> {
    fn default() -> Self {
        Self { stride: [1; D], padding: [0; D], dilation: [1; D], groups: 1 }
    }
}

/// A transposed convolution along `D` axes, in terms of the convolution that it is the transpose of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransposedConvolution<const D: usize> {
    /// The steps between the outputs of one input after the other, at least 1.
    pub stride: [usize; D],
    /// Outputs left out on both sides of each axis.
    pub padding: [usize; D],
    /// Outputs added behind each axis, because several output sizes belong to one input size; below the stride or the
    /// dilation.
    pub output_padding: [usize; D],
    /// The steps between entries of the kernel, at least 1.
    pub dilation: [usize; D],
    /// Parts into which the channels of input and output are split.
    pub groups: usize,
}

impl<const D: usize> Default for TransposedConvolution<D> {
    fn default() -> Self {
        Self { stride: [1; D], padding: [0; D], output_padding: [0; D], dilation: [1; D], groups: 1 }
    }
}

/// Which of the three: of images and filters, of output gradient and filters, of images and output gradient.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Output,
    Images,
    Filters,
}

impl Kind {
    /// The operands' roles.
    fn operands(self) -> [Kind; 2] {
        match self {
            Kind::Output => [Kind::Images, Kind::Filters],
            Kind::Images => [Kind::Output, Kind::Filters],
            Kind::Filters => [Kind::Images, Kind::Output],
        }
    }
}

/// A convolution along the last `axes` of the geometry's three.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    axes: usize,
    geometry: Geometry,
}

/// The parent that is a bias.
const BIAS: usize = 2;

struct Bilinear<T: Scalar> {
    kind: Kind,
    operation: Operation,
    a: Tensor<T>,
    b: Tensor<T>,
}

impl Operation {
    /// Of images of size `input`, kernels and outputs, with so many channels and filters in each group. The sizes of all, and
    /// of one image's patches, are checked before a kernel allocates them.
    fn new<const D: usize>(
        name: &'static str,
        options: Convolution<D>,
        [batch, channels, filters]: [usize; 3],
        [input, kernel, output]: [[usize; D]; 3],
    ) -> Result<Self, TensorError> {
        let Convolution { stride, padding, dilation, groups } = options;
        for (depth, sizes) in [(filters, output), (channels, input)] {
            Shape::new(&[&[batch, groups, depth], &sizes[..]].concat())?;
        }
        Shape::new(&[&[channels], &kernel[..], &output[..]].concat())?;
        let geometry = Geometry {
            batch,
            groups,
            channels,
            filters,
            input: three(input, 1),
            kernel: three(kernel, 1),
            stride: three(stride, 1),
            padding: three(padding, 0),
            dilation: three(dilation, 1),
            output: three(output, 1),
        };
        Ok(Self { name, axes: D, geometry })
    }

    /// The output, or its transpose, plus a bias for each of its channels.
    #[track_caller]
    fn with_bias<T: Scalar>(self, kind: Kind, a: &Tensor<T>, b: &Tensor<T>, bias: Option<&Tensor<T>>) -> Result<Tensor<T>, TensorError> {
        match bias {
            Some(bias) if bias.shape() != [self.shape(kind)[1]] => Err(a.mismatch(self.name, bias)),
            _ => Ok(self.apply_with(kind, a, b, bias)),
        }
    }

    fn shape(&self, kind: Kind) -> Vec<usize> {
        let Geometry { batch, groups, channels, filters, input, kernel, output, .. } = self.geometry;
        let (lead, sizes) = match kind {
            Kind::Output => ([batch, groups * filters], output),
            Kind::Images => ([batch, groups * channels], input),
            Kind::Filters => ([groups * filters, channels], kernel),
        };
        [&lead, &sizes[3 - self.axes..]].concat()
    }

    #[track_caller]
    fn apply<T: Scalar>(self, kind: Kind, a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
        self.apply_with(kind, a, b, None)
    }

    /// The bias is one for each channel of an output or of images.
    #[track_caller]
    fn apply_with<T: Scalar>(self, kind: Kind, a: &Tensor<T>, b: &Tensor<T>, bias: Option<&Tensor<T>>) -> Tensor<T> {
        let (x, y, start) = (a.as_slice(), b.as_slice(), bias.map(Tensor::as_slice));
        let values = match kind {
            Kind::Output => self.geometry.convolve(x, y, start),
            Kind::Images => self.geometry.convolve_transposed(x, y, start),
            Kind::Filters => self.geometry.correlate(x, y),
        };
        let y = Tensor::raw(values, crate::tensor::checked(&self.shape(kind)));
        let parents = [a.node().cloned(), b.node().cloned(), bias.and_then(Tensor::node).cloned()];
        y.record(parents, || Bilinear { kind, operation: self, a: a.clone(), b: b.clone() })
    }

    /// The shape that a bias is broadcast from.
    fn bias_shape(&self, kind: Kind) -> Vec<usize> {
        let mut shape = vec![1; self.axes + 2];
        shape[1] = self.shape(kind)[1];
        shape
    }

    /// [`Operation::apply`] to each tensor of a stack in place of operand `which`, stacked. In `output[batch, filter] =
    /// Σ images[batch, channel] filters[filter, channel]` an operand shares one index with the result: that takes the stack in.
    fn apply_to_stack<T: Scalar>(self, kind: Kind, a: &Tensor<T>, b: &Tensor<T>, which: usize) -> Tensor<T> {
        let (role, stack, mut all) = (kind.operands()[which], [a, b][which], self);
        let count = stack.shape()[0];
        // The index, and its axis in the operand and in the result, where groups have an axis of their own.
        let (size, from, to) = match (kind, which) {
            (Kind::Output | Kind::Images, 0) => (&mut all.geometry.batch, 0, 0),
            (Kind::Output, _) => (&mut all.geometry.filters, 1, 2),
            (Kind::Images, _) | (Kind::Filters, 0) => (&mut all.geometry.channels, 2, 2),
            (Kind::Filters, _) => (&mut all.geometry.filters, 2, 1),
        };
        *size *= count;
        let axes = 3 + self.axes;
        let into: Vec<usize> = (1..=from).chain([0]).chain(from + 1..=axes).collect();
        let operand = stack.reshape(&[&[count], &self.split(role)[..]].concat()).permute(&into).reshape(&all.shape(role));
        let y = if which == 0 { all.apply(kind, &operand, b) } else { all.apply(kind, a, &operand) };
        let mut split = self.split(kind);
        split.insert(to, count);
        let out: Vec<usize> = [to].into_iter().chain(0..to).chain(to + 1..=axes).collect();
        y.reshape(&split).permute(&out).reshape(&[&[count], &self.shape(kind)[..]].concat())
    }

    /// The shape with an axis of its own for the groups.
    fn split(&self, kind: Kind) -> Vec<usize> {
        let Geometry { batch, groups, channels, filters, .. } = self.geometry;
        let lead = match kind {
            Kind::Output => [batch, groups, filters],
            Kind::Images => [batch, groups, channels],
            Kind::Filters => [groups, filters, channels],
        };
        [&lead, &self.shape(kind)[2..]].concat()
    }

    /// The gradients of the filters for each of `examples` equal parts of the batch, stacked: every example is a group of
    /// its own. `images` and `g` are those of a [`Kind::Filters`].
    fn filters_of_examples<T: Scalar>(mut self, images: &Tensor<T>, g: &Tensor<T>, examples: usize) -> Tensor<T> {
        let of_each = self.geometry.batch / examples;
        self.geometry.batch = of_each;
        self.geometry.groups *= examples;
        let own_groups = |x: &Tensor<T>| {
            let parts = x.reshape(&[&[examples, of_each], &x.shape()[1..]].concat());
            let (axes, sizes) = ([&[1, 0], &(2..parts.rank()).collect::<Vec<_>>()[..]].concat(), &x.shape()[2..]);
            parts.permute(&axes).reshape(&[&[of_each, examples * x.shape()[1]], sizes].concat())
        };
        self.apply(Kind::Filters, &own_groups(images), &own_groups(g))
    }
}

impl<T: Scalar> Rule<T> for Bilinear<T> {
    fn name(&self) -> &'static str {
        self.operation.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let stacked = g.rank() > self.operation.axes + 2;
        let of = |kind: Kind, a: &Tensor<T>, b: &Tensor<T>, place_of_g: usize| match stacked {
            false => self.operation.apply(kind, a, b),
            true => self.operation.apply_to_stack(kind, a, b, place_of_g),
        };
        if cx.wants(0) {
            let b = cx.get(&self.b);
            cx.add(
                0,
                match self.kind {
                    Kind::Output => of(Kind::Images, &g, &b, 0),
                    Kind::Images => of(Kind::Output, &g, &b, 0),
                    Kind::Filters => of(Kind::Images, &b, &g, 1),
                },
            );
        }
        if cx.wants(1) {
            let a = cx.get(&self.a);
            cx.add(
                1,
                match self.kind {
                    Kind::Output => of(Kind::Filters, &a, &g, 1),
                    Kind::Images => of(Kind::Filters, &g, &a, 0),
                    Kind::Filters => of(Kind::Output, &a, &g, 1),
                },
            );
        }
        if cx.wants(BIAS) {
            let shape = self.operation.bias_shape(self.kind);
            let sum = cx.sum_to(&g, &shape);
            cx.add(BIAS, sum.reshape(&cx.shape(&shape[1..2])));
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        self.kind != Kind::Filters && parent == 0 && self.operation.geometry.batch.is_multiple_of(batch)
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, recording: bool) -> Option<Factor<T>> {
        let geometry = self.operation.geometry;
        if parent == BIAS {
            let shape = crate::tensor::checked(&self.operation.bias_shape(self.kind));
            return Factor::of_repeated(g, &shape, batch);
        }
        if self.kind == Kind::Filters || parent != 1 || !geometry.batch.is_multiple_of(batch) {
            return None;
        }
        // The patches are no recorded operation, and a product of factors has no groups.
        if self.kind == Kind::Images || recording || geometry.groups > 1 {
            let (images, g) = if self.kind == Kind::Output { (&self.a, g) } else { (g, &self.a) };
            let filters = self.operation.filters_of_examples(images, g, batch);
            return Some(Factor::Dense(filters.reshape(&[batch, filters.count() / batch])));
        }
        let (positions, rows) = (geometry.positions(), geometry.batch * geometry.positions());
        let patches = Tensor::raw(geometry.all_patch_rows(self.a.as_slice()), crate::tensor::checked(&[rows, geometry.patch()]));
        let g = g.reshape(&[geometry.batch, geometry.filters, positions]).t();
        Some(Factor::Outer { rows: g.reshape(&[rows, geometry.filters]), columns: patches })
    }
}

/// The sizes along three axes, of which the first are units where there are fewer.
pub(super) fn three<const D: usize>(sizes: [usize; D], unit: usize) -> [usize; 3] {
    let mut all = [unit; 3];
    all[3 - D..].copy_from_slice(&sizes);
    all
}

/// The first two sizes of a shape and the `D` others, if it has those.
fn sizes<const D: usize>(shape: &[usize]) -> Option<([usize; 2], [usize; D])> {
    let (lead, sizes) = shape.split_first_chunk::<2>()?;
    Some((*lead, sizes.try_into().ok()?))
}

impl<T: Scalar> Tensor<T> {
    /// [`Tensor::conv2d`] of sequences `[batch, channels, length]` with filters `[filters, channels / groups, kernel]`:
    /// `[batch, filters, output length]`.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv1d`] returns the error instead.
    #[track_caller]
    pub fn conv1d(&self, weight: &Self, bias: Option<&Self>, options: Convolution<1>) -> Self {
        or_panic(self.try_conv1d(weight, bias, options))
    }

    /// [`Tensor::conv1d`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_conv2d`].
    #[track_caller]
    pub fn try_conv1d(&self, weight: &Self, bias: Option<&Self>, options: Convolution<1>) -> Result<Self, TensorError> {
        self.convolution("conv1d", weight, bias, options)
    }

    /// The convolution (cross-correlation, as everywhere in deep learning) of images `[batch, channels, height, width]`
    /// with filters `weight` `[filters, channels / groups, kernel height, kernel width]`, plus `bias` `[filters]`:
    /// `[batch, filters, output height, output width]`, of which each size is
    /// `⌊(size + 2 padding - dilation (kernel - 1) - 1) / stride⌋ + 1`.
    ///
    /// ```
    /// use gradus_autodiff::{Convolution, Tensor};
    /// let image: Tensor = Tensor::from_fn(&[1, 1, 3, 3], |i| i as f32);
    /// let mean = Tensor::full(0.25, &[1, 1, 2, 2]);
    /// assert_eq!(image.conv2d(&mean, None, Convolution::default()).to_vec(), [2.0, 3.0, 5.0, 6.0]);
    /// let corners = Convolution { dilation: [2, 2], ..Default::default() };
    /// assert_eq!(image.conv2d(&mean, None, corners).to_vec(), [4.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv2d`] returns the error instead.
    #[track_caller]
    pub fn conv2d(&self, weight: &Self, bias: Option<&Self>, options: Convolution<2>) -> Self {
        or_panic(self.try_conv2d(weight, bias, options))
    }

    /// [`Tensor::conv2d`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`] for shapes that do not fit each other, [`TensorError::Argument`] for channels or filters
    /// that do not split into the groups, a kernel that is larger than the padded image, a kernel without entries, or a
    /// stride, dilation or number of groups of 0, [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_conv2d(&self, weight: &Self, bias: Option<&Self>, options: Convolution<2>) -> Result<Self, TensorError> {
        self.convolution("conv2d", weight, bias, options)
    }

    /// [`Tensor::conv2d`] of volumes `[batch, channels, depth, height, width]` with filters
    /// `[filters, channels / groups, kernel depth, kernel height, kernel width]`.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv3d`] returns the error instead.
    #[track_caller]
    pub fn conv3d(&self, weight: &Self, bias: Option<&Self>, options: Convolution<3>) -> Self {
        or_panic(self.try_conv3d(weight, bias, options))
    }

    /// [`Tensor::conv3d`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_conv2d`].
    #[track_caller]
    pub fn try_conv3d(&self, weight: &Self, bias: Option<&Self>, options: Convolution<3>) -> Result<Self, TensorError> {
        self.convolution("conv3d", weight, bias, options)
    }

    /// [`Tensor::conv_transpose2d`] of sequences `[batch, channels, length]` with a weight
    /// `[channels, filters / groups, kernel]`.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv_transpose1d`] returns the error instead.
    #[track_caller]
    pub fn conv_transpose1d(&self, weight: &Self, bias: Option<&Self>, options: TransposedConvolution<1>) -> Self {
        or_panic(self.try_conv_transpose1d(weight, bias, options))
    }

    /// [`Tensor::conv_transpose1d`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_conv_transpose2d`].
    #[track_caller]
    pub fn try_conv_transpose1d(&self, weight: &Self, bias: Option<&Self>, options: TransposedConvolution<1>) -> Result<Self, TensorError> {
        self.transposed_convolution("conv_transpose1d", weight, bias, options)
    }

    /// The transpose of [`Tensor::conv2d`], as a linear map of images: from `[batch, channels, height, width]` with a weight
    /// `[channels, filters / groups, kernel height, kernel width]` (the weight of the convolution that maps the other way),
    /// plus `bias` `[filters]`, to `[batch, filters, output height, output width]`, of which each size is
    /// `(size - 1) stride - 2 padding + dilation (kernel - 1) + output padding + 1`.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, TransposedConvolution};
    /// let image: Tensor = Tensor::from_fn(&[1, 1, 1, 2], |i| i as f32 + 1.0);
    /// let twice = TransposedConvolution { stride: [2, 2], ..Default::default() };
    /// let doubled = image.conv_transpose2d(&Tensor::ones(&[1, 1, 2, 2]), None, twice);
    /// assert_eq!(doubled.to_vec(), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv_transpose2d`] returns the error instead.
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Self, bias: Option<&Self>, options: TransposedConvolution<2>) -> Self {
        or_panic(self.try_conv_transpose2d(weight, bias, options))
    }

    /// [`Tensor::conv_transpose2d`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`] for shapes that do not fit each other, [`TensorError::Argument`] for channels that do not
    /// split into the groups, an image or a kernel without entries, a stride, dilation or number of groups of 0, an output
    /// padding that reaches both stride and dilation, or a padding that leaves no output, [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_conv_transpose2d(&self, weight: &Self, bias: Option<&Self>, options: TransposedConvolution<2>) -> Result<Self, TensorError> {
        self.transposed_convolution("conv_transpose2d", weight, bias, options)
    }

    /// [`Tensor::conv_transpose2d`] of volumes `[batch, channels, depth, height, width]` with a weight
    /// `[channels, filters / groups, kernel depth, kernel height, kernel width]`.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_conv_transpose3d`] returns the error instead.
    #[track_caller]
    pub fn conv_transpose3d(&self, weight: &Self, bias: Option<&Self>, options: TransposedConvolution<3>) -> Self {
        or_panic(self.try_conv_transpose3d(weight, bias, options))
    }

    /// [`Tensor::conv_transpose3d`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_conv_transpose2d`].
    #[track_caller]
    pub fn try_conv_transpose3d(&self, weight: &Self, bias: Option<&Self>, options: TransposedConvolution<3>) -> Result<Self, TensorError> {
        self.transposed_convolution("conv_transpose3d", weight, bias, options)
    }

    #[track_caller]
    fn convolution<const D: usize>(
        &self,
        name: &'static str,
        weight: &Self,
        bias: Option<&Self>,
        options: Convolution<D>,
    ) -> Result<Self, TensorError> {
        let (Some(([batch, channels], input)), Some(([filters, depth], kernel))) = (sizes::<D>(self.shape()), sizes::<D>(weight.shape()))
        else {
            return Err(self.mismatch(name, weight));
        };
        self.splits(name, channels, options.groups)?;
        weight.splits(name, filters, options.groups)?;
        if channels / options.groups != depth {
            return Err(self.mismatch(name, weight));
        }
        let Convolution { stride, padding, dilation, groups } = options;
        let output = windows_along(name, self.shape(), input, kernel, stride, padding, dilation)?;
        let operation = Operation::new(name, options, [batch, depth, filters / groups], [input, kernel, output])?;
        operation.with_bias(Kind::Output, self, weight, bias)
    }

    #[track_caller]
    fn transposed_convolution<const D: usize>(
        &self,
        name: &'static str,
        weight: &Self,
        bias: Option<&Self>,
        options: TransposedConvolution<D>,
    ) -> Result<Self, TensorError> {
        let (Some(([batch, filters], output)), Some(([depth, channels], kernel))) = (sizes::<D>(self.shape()), sizes::<D>(weight.shape()))
        else {
            return Err(self.mismatch(name, weight));
        };
        if filters != depth {
            return Err(self.mismatch(name, weight));
        }
        self.splits(name, filters, options.groups)?;
        let input = options.output(name, self.shape(), output, kernel)?;
        // The convolution of which this is the transpose: from our output to our input.
        let TransposedConvolution { stride, padding, dilation, groups, .. } = options;
        let forward = Convolution { stride, padding, dilation, groups };
        let operation = Operation::new(name, forward, [batch, channels, filters / groups], [input, kernel, output])?;
        operation.with_bias(Kind::Images, self, weight, bias)
    }

    fn mismatch(&self, operation: &'static str, other: &Self) -> TensorError {
        TensorError::Mismatch { operation, left: self.shape().to_vec(), right: other.shape().to_vec() }
    }

    pub(super) fn splits(&self, operation: &'static str, channels: usize, groups: usize) -> Result<(), TensorError> {
        if groups > 0 && channels.is_multiple_of(groups) {
            return Ok(());
        }
        let what = format!("{channels} channels do not split into {groups} groups");
        Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() })
    }
}

impl<const D: usize> TransposedConvolution<D> {
    /// The output's sizes.
    fn output(&self, operation: &'static str, shape: &[usize], input: [usize; D], kernel: [usize; D]) -> Result<[usize; D], TensorError> {
        let Self { stride, padding, output_padding, dilation, .. } = *self;
        let argument = |what: String| Err(TensorError::Argument { operation, what, shape: shape.to_vec() });
        let mut output = [0; D];
        for axis in 0..D {
            if [input, kernel, stride, dilation].iter().any(|sizes| sizes[axis] == 0) {
                return argument(format!("image, kernel {kernel:?}, stride {stride:?} and dilation {dilation:?} must be positive"));
            }
            if output_padding[axis] >= stride[axis].max(dilation[axis]) {
                return argument(format!("an output padding of {output_padding:?} reaches stride {stride:?} and dilation {dilation:?}"));
            }
            let steps = (input[axis] - 1).checked_mul(stride[axis]);
            let reach = (kernel[axis] - 1).checked_mul(dilation[axis]).and_then(|reach| reach.checked_add(output_padding[axis] + 1));
            let whole = steps.zip(reach).and_then(|(steps, reach)| steps.checked_add(reach));
            let size = whole.zip(padding[axis].checked_mul(2)).and_then(|(whole, cut)| whole.checked_sub(cut));
            let Some(size) = size.filter(|&size| size > 0) else {
                return argument(format!("stride {stride:?}, dilation {dilation:?} and padding {padding:?} leave no possible output"));
            };
            output[axis] = size;
        }
        Ok(output)
    }
}

/// The number of windows along each axis.
pub(super) fn windows_along<const D: usize>(
    operation: &'static str,
    shape: &[usize],
    input: [usize; D],
    size: [usize; D],
    stride: [usize; D],
    padding: [usize; D],
    dilation: [usize; D],
) -> Result<[usize; D], TensorError> {
    let argument = |what: String| Err(TensorError::Argument { operation, what, shape: shape.to_vec() });
    let mut output = [0; D];
    for axis in 0..D {
        let padded = padding[axis].checked_mul(2).and_then(|p| p.checked_add(input[axis]));
        let Some(padded) = padded else { return argument(format!("a padding of {} is too large", padding[axis])) };
        if [size, stride, dilation].iter().any(|sizes| sizes[axis] == 0) {
            return argument(format!("the window {size:?}, the stride {stride:?} and the dilation {dilation:?} must be positive"));
        }
        let reach = (size[axis] - 1).checked_mul(dilation[axis]).and_then(|reach| reach.checked_add(1));
        let Some(room) = reach.and_then(|reach| padded.checked_sub(reach)) else {
            let what = format!("the window {size:?} with dilation {dilation:?} is larger than the image with a padding of {padding:?}");
            return argument(what);
        };
        output[axis] = room / stride[axis] + 1;
    }
    Ok(output)
}
