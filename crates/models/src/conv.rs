use gradus_autodiff::{Convolution, Params, Scalar, Tensor, TransposedConvolution};
use rand::Rng;

use crate::init;

/// The layers for one number of axes.
macro_rules! convolutions {
    ($axes:literal, $name:ident, $conv:ident, $kernel:literal, $image:literal;
     $transposed:ident, $conv_transpose:ident, $transposed_kernel:literal) => {
        #[doc = concat!("A convolution along ", stringify!($axes), " axes. Names and layouts are PyTorch's.")]
        #[derive(Clone, Debug, PartialEq, Params)]
        pub struct $name<T: Scalar = f32> {
            #[doc = concat!("The filters, `", $kernel, "`.")]
            pub weight: Tensor<T>,
            /// One number added to each filter's output, `[filters]`.
            pub bias: Option<Tensor<T>>,
            /// Steps, padding, dilation and groups.
            #[params(skip)]
            pub options: Convolution<$axes>,
        }

        impl<T: Scalar> $name<T> {
            /// A kernel of side `kernel` along each axis at stride 1, padded by `kernel / 2`, with PyTorch's initial values.
            #[track_caller]
            pub fn new(channels: usize, filters: usize, kernel: usize, rng: &mut impl Rng) -> Self {
                let options = Convolution { padding: [kernel / 2; $axes], ..Convolution::default() };
                Self::with_options(channels, filters, [kernel; $axes], options, rng)
            }

            /// A kernel of any size, steps and groups, with PyTorch's initial values.
            ///
            /// # Panics
            /// Unless the groups divide the channels.
            #[track_caller]
            pub fn with_options(
                channels: usize,
                filters: usize,
                kernel: [usize; $axes],
                options: Convolution<$axes>,
                rng: &mut impl Rng,
            ) -> Self {
                let groups = options.groups;
                assert!(groups > 0 && channels.is_multiple_of(groups), "{groups} groups do not share {channels} channels");
                let shape = [&[filters, channels / groups], &kernel[..]].concat();
                let fan_in = shape[1..].iter().product();
                let bias = Some(init::torch_uniform(&[filters], fan_in, rng));
                Self { weight: init::torch_uniform(&shape, fan_in, rng), bias, options }
            }

            #[doc = concat!("`", $image, "` to the same with `filters` channels and other sizes.")]
            #[track_caller]
            pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
                x.$conv(&self.weight, self.bias.as_ref(), self.options)
            }
        }

        #[doc = concat!("The transpose of a convolution along ", stringify!($axes), " axes, which makes images larger.")]
        ///
        /// Names and layouts are PyTorch's.
        #[derive(Clone, Debug, PartialEq, Params)]
        pub struct $transposed<T: Scalar = f32> {
            #[doc = concat!("The filters, `", $transposed_kernel, "`.")]
            pub weight: Tensor<T>,
            /// One number added to each filter's output, `[filters]`.
            pub bias: Option<Tensor<T>>,
            /// Steps, padding, dilation and groups.
            #[params(skip)]
            pub options: TransposedConvolution<$axes>,
        }

        impl<T: Scalar> $transposed<T> {
            /// A kernel of any size, steps and groups, with PyTorch's initial values.
            ///
            /// # Panics
            /// Unless the groups divide the filters.
            #[track_caller]
            pub fn with_options(
                channels: usize,
                filters: usize,
                kernel: [usize; $axes],
                options: TransposedConvolution<$axes>,
                rng: &mut impl Rng,
            ) -> Self {
                let groups = options.groups;
                assert!(groups > 0 && filters.is_multiple_of(groups), "{groups} groups do not share {filters} filters");
                let shape = [&[channels, filters / groups], &kernel[..]].concat();
                let fan_in = shape[1..].iter().product();
                let bias = Some(init::torch_uniform(&[filters], fan_in, rng));
                Self { weight: init::torch_uniform(&shape, fan_in, rng), bias, options }
            }

            #[doc = concat!("`", $image, "` to the same with `filters` channels and other sizes.")]
            #[track_caller]
            pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
                x.$conv_transpose(&self.weight, self.bias.as_ref(), self.options)
            }
        }
    };
}

convolutions!(1, Conv1d, conv1d, "[filters, channels / groups, length]", "[batch, channels, length]";
    ConvTranspose1d, conv_transpose1d, "[channels, filters / groups, length]");
convolutions!(2, Conv2d, conv2d, "[filters, channels / groups, height, width]", "[batch, channels, height, width]";
    ConvTranspose2d, conv_transpose2d, "[channels, filters / groups, height, width]");
convolutions!(3, Conv3d, conv3d, "[filters, channels / groups, depth, height, width]", "[batch, channels, depth, height, width]";
    ConvTranspose3d, conv_transpose3d, "[channels, filters / groups, depth, height, width]");

/// A convolution of each channel by itself, and then of all channels at each place (Sifre, Mallat 2014; Chollet 2017): nearly
/// what a convolution can do, with fewer parameters and products.
///
/// ```
/// use gradus_autodiff::{Params, Tensor};
/// use gradus_models::SeparableConv2d;
///
/// let layer: SeparableConv2d = SeparableConv2d::new(8, 16, 3, &mut gradus_base::stream(1, "weights", 0));
/// assert_eq!(layer.call(&Tensor::zeros(&[1, 8, 5, 5])).shape(), [1, 16, 5, 5]);
/// assert_eq!(layer.count(), 8 * 9 + 8 + 8 * 16 + 16);
/// ```
#[derive(Clone, Debug, PartialEq, Params)]
pub struct SeparableConv2d<T: Scalar = f32> {
    /// Of each channel: as many groups as channels.
    pub depthwise: Conv2d<T>,
    /// Of all channels at one place: a kernel of side 1.
    pub pointwise: Conv2d<T>,
}

impl<T: Scalar> SeparableConv2d<T> {
    /// A square kernel of side `kernel` at stride 1, padded by `kernel / 2`, with PyTorch's initial values.
    #[track_caller]
    pub fn new(channels: usize, filters: usize, kernel: usize, rng: &mut impl Rng) -> Self {
        let options = Convolution { padding: [kernel / 2; 2], groups: channels, ..Convolution::default() };
        let depthwise = Conv2d::with_options(channels, channels, [kernel; 2], options, rng);
        Self { depthwise, pointwise: Conv2d::new(channels, filters, 1, rng) }
    }

    /// `[batch, channels, height, width]` to the same with `filters` channels.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>) -> Tensor<T> {
        self.pointwise.call(&self.depthwise.call(x))
    }
}
