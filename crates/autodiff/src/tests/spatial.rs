//! Convolution, pooling and resizing.

use super::*;

/// The convolution by its definition, along three axes.
fn defined(x: &T64, w: &T64, options: Convolution<3>) -> Vec<f64> {
    let Convolution { stride, padding, dilation, groups } = options;
    let (&[batch, channels, ..], &[filters, depth, ..]) = (x.shape(), w.shape()) else { panic!() };
    let (input, kernel) = (&x.shape()[2..], &w.shape()[2..]);
    let output: Vec<usize> = (0..3).map(|i| (input[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1).collect();
    let places = |sizes: &[usize]| {
        let [a, b, c] = [sizes[0], sizes[1], sizes[2]];
        (0..a * b * c).map(move |i| [i / (b * c), i / c % b, i % c])
    };
    let offset = |place: [usize; 3], sizes: &[usize]| (place[0] * sizes[1] + place[1]) * sizes[2] + place[2];
    let mut y = Vec::new();
    for (n, f) in (0..batch).flat_map(|n| (0..filters).map(move |f| (n, f))) {
        let first = f / (filters / groups) * (channels / groups);
        for o in places(&output) {
            let mut sum = 0.0;
            for (c, k) in (0..depth).flat_map(|c| places(kernel).map(move |k| (c, k))) {
                let at: [isize; 3] = std::array::from_fn(|i| (o[i] * stride[i] + k[i] * dilation[i]) as isize - padding[i] as isize);
                if (0..3).all(|i| (0..input[i] as isize).contains(&at[i])) {
                    let at = offset(at.map(|i| i as usize), input);
                    let pixel = x.as_slice()[(n * channels + first + c) * input.iter().product::<usize>() + at];
                    sum += pixel * w.as_slice()[(f * depth + c) * kernel.iter().product::<usize>() + offset(k, kernel)];
                }
            }
            y.push(sum);
        }
    }
    y
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-11 * (1.0 + b.abs()))
}

#[test]
fn depthwise_convolution_by_hand() {
    let x = T64::from_fn(&[1, 2, 3], |i| i as f64);
    let w = T64::from_vec(vec![1.0, -1.0, 2.0, 10.0], &[2, 1, 2]).unwrap();
    let y = x.conv1d(&w, Some(&T64::vector(&[0.5, 0.0])), Convolution { groups: 2, ..Default::default() });
    assert_eq!(y.to_vec(), [-0.5, -0.5, 46.0, 58.0]);
    // With padding and steps of two, inside the kernel and between outputs.
    let wide = Convolution { stride: [2], padding: [1], dilation: [2], groups: 2 };
    assert_eq!(x.conv1d(&w, None, wide).to_vec(), [-1.0, 1.0, 40.0, 8.0]);
}

#[test]
fn convolutions_without_channels_images_or_filters() {
    for (x, w) in [([0, 2, 3], [4, 2, 2]), ([2, 0, 3], [4, 0, 2]), ([2, 2, 3], [0, 2, 2])] {
        let (x, w) = (random(&x, 1), random(&w, 2));
        let y = x.conv1d(&w, None, Convolution::default());
        assert!(y.as_slice().iter().all(|y| *y == 0.0));
        check_both("conv1d", |x| x.conv1d(&w, None, Convolution::default()).square(), &x);
        check_both("conv1d", |w| x.conv1d(w, None, Convolution::default()).square(), &w);
        let back = |y: &T64, w: &T64| y.conv_transpose1d(w, None, TransposedConvolution::default()).square();
        check_both("conv_transpose1d", |y| back(y, &w), &y);
        check_both("conv_transpose1d", |w| back(&y, w), &w);
    }
    assert_eq!(
        T64::ones(&[1, 1, 1]).conv1d(&T64::ones(&[1, 1, 1]), None, Convolution { padding: [1], ..Default::default() }).to_vec(),
        [0.0, 1.0, 0.0]
    );
}

#[test]
fn convolutions_that_do_not_fit() {
    let (x, grouped) = (T64::zeros(&[1, 4, 3]), |groups| Convolution::<1> { groups, ..Default::default() });
    let refused = |shape: &[usize], options| x.try_conv1d(&T64::zeros(shape), None, options).unwrap_err();
    let shape = vec![1, 4, 3];
    let argument = |what: &str, shape: &[usize]| TensorError::Argument { operation: "conv1d", what: what.into(), shape: shape.to_vec() };
    assert_eq!(refused(&[4, 1, 2], grouped(3)), argument("4 channels do not split into 3 groups", &shape));
    assert_eq!(refused(&[4, 1, 2], grouped(0)), argument("4 channels do not split into 0 groups", &shape));
    assert_eq!(refused(&[3, 2, 2], grouped(2)), argument("3 channels do not split into 2 groups", &[3, 2, 2]));
    let mismatch = |right: &[usize]| TensorError::Mismatch { operation: "conv1d", left: shape.clone(), right: right.to_vec() };
    assert_eq!(refused(&[4, 4, 2], grouped(2)), mismatch(&[4, 4, 2]));
    assert_eq!(refused(&[4, 4], grouped(1)), mismatch(&[4, 4]));
    let huge = |dilation| Convolution { dilation: [dilation], ..Default::default() };
    assert!(matches!(refused(&[4, 4, 2], huge(0)), TensorError::Argument { .. }));
    assert!(matches!(refused(&[4, 4, 2], huge(3)), TensorError::Argument { .. }));
    assert!(matches!(refused(&[4, 4, 3], huge(usize::MAX)), TensorError::Argument { .. }));

    let transposed = |x: &[usize], w: &[usize], options| T64::zeros(x).try_conv_transpose1d(&T64::zeros(w), None, options).unwrap_err();
    let default = TransposedConvolution::<1>::default();
    let operation = "conv_transpose1d";
    assert_eq!(transposed(&[1, 4, 3], &[2, 4, 2], default), TensorError::Mismatch { operation, left: vec![1, 4, 3], right: vec![2, 4, 2] });
    for options in [
        TransposedConvolution { groups: 3, ..default },
        TransposedConvolution { stride: [0], ..default },
        TransposedConvolution { dilation: [0], ..default },
        TransposedConvolution { output_padding: [1], ..default },
        TransposedConvolution { padding: [2], ..default },
        TransposedConvolution { padding: [usize::MAX], ..default },
        TransposedConvolution { stride: [usize::MAX], ..default },
        TransposedConvolution { dilation: [usize::MAX], ..default },
    ] {
        assert!(matches!(transposed(&[1, 4, 3], &[4, 2, 2], options), TensorError::Argument { operation: "conv_transpose1d", .. }));
    }
    assert!(matches!(transposed(&[1, 4, 0], &[4, 2, 2], default), TensorError::Argument { .. }));
    let far = TransposedConvolution { stride: [1 << 61], ..default };
    assert!(matches!(transposed(&[1, 4, 3], &[4, 2, 2], far), TensorError::TooLarge { .. }));
    let bias = T64::zeros(&[1, 4, 3]).try_conv_transpose1d(&T64::zeros(&[4, 2, 2]), Some(&T64::zeros(&[4])), default).unwrap_err();
    assert_eq!(bias, TensorError::Mismatch { operation, left: vec![1, 4, 3], right: vec![4] });
}

#[test]
fn per_example_gradients_of_grouped_and_transposed_convolutions() {
    let options = Convolution { padding: [1, 0], stride: [1, 2], dilation: [1, 2], groups: 2 };
    let f = |(w, b): &(T64, T64), x: &T64| {
        let y = x.conv2d(w, Some(b), options).tanh();
        y.reshape(&[x.shape()[0], y.count() / x.shape()[0]]).sum_axis(1)
    };
    check_per_example(f, &(random(&[6, 2, 3, 2], 1), random(&[6], 2)), &random(&[3, 4, 3, 5], 3));
    let options = TransposedConvolution { stride: [2, 1], output_padding: [1, 0], groups: 2, ..Default::default() };
    let f = |(w, b): &(T64, T64), x: &T64| {
        let y = x.conv_transpose2d(w, Some(b), options).tanh();
        y.reshape(&[x.shape()[0], y.count() / x.shape()[0]]).sum_axis(1)
    };
    let model = (random(&[4, 3, 2, 2], 1), random(&[6], 2));
    check_per_example(f, &model, &random(&[3, 4, 2, 3], 3));
    let images = random(&[3, 4, 2, 3], 3);
    check::gradient(|m| per_example(f, m, &images).unwrap().squared_norms().sum(), &model, 1e-5, 1e-6).unwrap();
    // Every two images of a batch are an example.
    let pairs = |w: &T64, x: &T64| {
        let x = x.reshape(&[2 * x.shape()[0], 4, 3]);
        let y = x.conv1d(w, None, Convolution { groups: 2, ..Default::default() }).tanh();
        y.reshape(&[x.shape()[0] / 2, 16]).sum_axis(1)
    };
    check_per_example(pairs, &random(&[4, 2, 2], 4), &random(&[3, 2, 4, 3], 5));
}

#[test]
fn padded_and_dilated_pooling_by_hand() {
    let x = T64::from_vec(vec![-1.0, -2.0, -3.0, -4.0, -5.0], &[1, 1, 5]).unwrap();
    let windows = Pooling { stride: [2], padding: [1], ..Pooling::new([3]) };
    assert_eq!(x.max_pool1d(windows).to_vec(), [-1.0, -2.0, -4.0]);
    assert_eq!(x.avg_pool1d(windows).to_vec(), [-1.0, -3.0, -3.0]);
    assert_eq!(x.avg_pool1d(Pooling { count_padding: false, ..windows }).to_vec(), [-1.5, -3.0, -4.5]);
    let dilated = Pooling { stride: [1], dilation: [2], ..Pooling::new([2]) };
    assert_eq!(x.max_pool1d(dilated).to_vec(), [-1.0, -2.0, -3.0]);
    assert_eq!(x.avg_pool1d(dilated).to_vec(), [-2.0, -3.0, -4.0]);
    assert_eq!(x.adaptive_max_pool1d([3]).to_vec(), [-1.0, -2.0, -4.0]);
    assert_eq!(x.adaptive_avg_pool1d([3]).to_vec(), [-1.5, -3.0, -4.5]);
    assert_eq!(x.adaptive_avg_pool1d([0]).shape(), [1, 1, 0]);
    let nan = T64::from_vec(vec![1.0, f64::NAN, 2.0], &[1, 1, 3]).unwrap();
    assert!(nan.max_pool1d(Pooling::new([3])).item().is_nan());
    let least = T64::full(f64::NEG_INFINITY, &[1, 1, 2]);
    assert_eq!(least.max_pool1d(Pooling { padding: [1], ..Pooling::new([2]) }).to_vec(), [f64::NEG_INFINITY; 2]);
}

#[test]
fn windows_that_do_not_fit() {
    let x = T64::zeros(&[1, 2, 3]);
    let argument = |operation, what: &str| TensorError::Argument { operation, what: what.into(), shape: vec![1, 2, 3] };
    assert_eq!(x.try_max_pool2d(Pooling::new([1, 1])).unwrap_err(), argument("max_pool2d", "batch, channels and 2 more axes are needed"));
    let outside = Pooling { padding: [2], ..Pooling::new([2]) };
    let nothing = "a window holds nothing of the image on the way to [3]";
    assert_eq!(x.try_max_pool1d(outside).unwrap_err(), argument("max_pool1d", nothing));
    assert_eq!(x.try_avg_pool1d(Pooling { count_padding: false, ..outside }).unwrap_err(), argument("avg_pool1d", nothing));
    assert_eq!(x.avg_pool1d(outside).shape(), [1, 2, 3]);
    let one = Pooling::new([1]);
    for bad in [
        Pooling::new([0]),
        Pooling::new([4]),
        Pooling { stride: [0], ..one },
        Pooling { dilation: [0], ..one },
        Pooling { padding: [usize::MAX], ..one },
        Pooling { dilation: [usize::MAX], ..Pooling::new([2]) },
        Pooling::new([usize::MAX]),
    ] {
        assert!(matches!(x.try_avg_pool1d(bad), Err(TensorError::Argument { operation: "avg_pool1d", .. })));
    }
    assert!(matches!(x.try_avg_pool1d(Pooling { padding: [1 << 61], ..one }), Err(TensorError::TooLarge { .. })));
    let empty = T64::zeros(&[1, 2, 0]);
    assert!(matches!(empty.try_adaptive_avg_pool1d([2]), Err(TensorError::Argument { operation: "adaptive_avg_pool1d", .. })));
    assert!(matches!(x.try_adaptive_avg_pool1d([usize::MAX]), Err(TensorError::TooLarge { .. })));
}

#[test]
fn resizing_by_hand() {
    let x = T64::vector(&[0.0, 1.0, 5.0]);
    let to = |size, interpolation| x.resize([size], interpolation).to_vec();
    assert_eq!(to(5, Interpolation::Nearest), [0.0, 0.0, 1.0, 1.0, 5.0]);
    assert_eq!(to(6, Interpolation::Linear), [0.0, 0.25, 0.75, 2.0, 4.0, 5.0]);
    assert_eq!(to(5, Interpolation::LinearCorners), [0.0, 0.5, 1.0, 3.0, 5.0]);
    assert_eq!(to(1, Interpolation::Linear), [1.0]);
    assert_eq!(to(1, Interpolation::LinearCorners), [0.0]);
    for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::LinearCorners] {
        assert_eq!(x.resize([3], interpolation), x);
        assert_eq!(x.resize([0], interpolation).shape(), [0]);
    }
    assert_eq!(T64::vector(&[f64::INFINITY, 1.0]).resize([3], Interpolation::Nearest).to_vec(), [f64::INFINITY, f64::INFINITY, 1.0]);
    assert_eq!(x.resize([], Interpolation::Linear), x);
}

#[test]
fn sizes_that_cannot_be_made() {
    let resize = |shape: &[usize], size| T64::zeros(shape).try_resize(size, Interpolation::Linear).unwrap_err();
    let argument = |what: &str, shape: &[usize]| TensorError::Argument { operation: "resize", what: what.into(), shape: shape.to_vec() };
    assert_eq!(resize(&[3], [2, 2]), argument("there are no 2 axes to resize", &[3]));
    assert_eq!(resize(&[3, 0], [2, 2]), argument("2 entries cannot be made from 0", &[3, 0]));
    assert!(matches!(resize(&[1 << 10, 1], [1, 1 << 60]), TensorError::TooLarge { .. }));
}

#[test]
fn pooling_and_resizing_keep_examples_apart_and_take_stacks() {
    let x = random(&[3, 2, 4, 5], 1);
    let windows = Pooling { padding: [1, 0], ..Pooling::new([2, 3]) };
    let pooled = |x: &T64| {
        let y = x.avg_pool2d(windows) + x.max_pool2d(windows);
        let y = y + x.adaptive_avg_pool2d([3, 1]) + x.adaptive_max_pool2d([3, 1]);
        y.resize([4, 3], Interpolation::Linear).resize([5, 2], Interpolation::LinearCorners).resize([2, 2], Interpolation::Nearest)
    };
    check_per_example(|w: &T64, x: &T64| (pooled(x) * w).tanh().reshape(&[x.shape()[0], 8]).sum_axis(1), &random(&[2, 2, 2], 2), &x);
    check_modes("avg_pool2d", |x| x.avg_pool2d(windows).square(), &x);
    check_modes("adaptive_avg_pool2d", |x| x.adaptive_avg_pool2d([3, 2]).square(), &x);
    check_modes("max_pool2d", |x| x.max_pool2d(windows).square(), &x);
    check_modes("resize", |x| x.resize([5, 4], Interpolation::Linear).square(), &x);
    check_modes("conv_transpose2d", |x| x.conv_transpose2d(&random(&[2, 1, 2, 2], 3), None, Default::default()).square(), &x);
}

#[test]
fn stacked_cotangents_of_convolutions() {
    let options = Convolution { stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 2 };
    let (x, w) = (random(&[2, 4, 4, 3], 1), random(&[6, 2, 3, 2], 2));
    check_modes("conv2d images", |x| x.conv2d(&w, None, options).square(), &x);
    check_modes("conv2d filters", |w| x.conv2d(w, None, options).square(), &w);
    let back = TransposedConvolution { stride: [1, 2], padding: [1, 0], groups: 2, ..Default::default() };
    let v = random(&[4, 3, 3, 2], 3);
    check_modes("conv_transpose2d images", |x| x.conv_transpose2d(&v, None, back).square(), &x);
    check_modes("conv_transpose2d filters", |v| x.conv_transpose2d(v, None, back).square(), &v);
    // The gradient of the filters is a convolution of its own, with cotangents of the filters' shape.
    check_modes("gradient of filters", |x| grad(|w: &T64| x.conv2d(w, None, options).square().sum(), &w), &x);
    check_modes("gradient of filters", |w| grad(|w: &T64| x.conv2d(w, None, options).square().sum(), w), &w);
    check_modes("conv1d without images", |w| T64::zeros(&[0, 2, 3]).conv1d(w, None, Convolution::default()), &random(&[2, 2, 2], 4));
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let wave = |shape: &[usize]| Tensor::<f32>::from_fn(shape, |i| (i as f32 * 0.37).sin());
    let (x, w, deep) = (wave(&[1, 64, 32, 32]), wave(&[64, 64, 3, 3]), wave(&[64, 1, 3, 3]));
    let same = Convolution { padding: [1, 1], ..Default::default() };
    let all = || {
        let of_one = |(x, w): &(Tensor, Tensor)| x.conv2d(w, None, same).square().sum();
        let depthwise = |(x, w): &(Tensor, Tensor)| x.conv2d(w, None, Convolution { groups: 64, ..same }).square().sum();
        let transposed = |(x, w): &(Tensor, Tensor)| x.conv_transpose2d(w, None, Default::default()).square().sum();
        let found =
            [grad(of_one, &(x.clone(), w.clone())), grad(depthwise, &(x.clone(), deep.clone())), grad(transposed, &(x.clone(), w.clone()))];
        let sizes = |x: &Tensor| x.resize([50, 50], Interpolation::Linear).adaptive_avg_pool2d([20, 20]).square().sum();
        let mut found: Vec<Tensor> = found.into_iter().flat_map(|(x, w)| [x, w]).collect();
        found.push(grad(sizes, &x));
        found.iter().map(|x| x.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    assert!([2, 5].into_iter().all(|threads| run(threads) == one));
}

mod properties {
    use super::*;

    /// The places inside the image of window `o` along an axis, by the definition.
    fn places(windows: Pooling<3>, axis: usize, input: usize, o: usize) -> Vec<usize> {
        let start = o * windows.stride[axis];
        let padded = (0..windows.size[axis]).map(|k| start + k * windows.dilation[axis]);
        padded.filter_map(|at| at.checked_sub(windows.padding[axis]).filter(|&at| at < input)).collect()
    }

    fn config() -> ProptestConfig {
        let config = ProptestConfig::default();
        if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 24, ..config } }
    }

    fn three(sizes: std::ops::Range<usize>) -> impl Strategy<Value = [usize; 3]> {
        [sizes.clone(), sizes.clone(), sizes]
    }

    fn options() -> impl Strategy<Value = Convolution<3>> {
        (three(1..3), three(0..3), three(1..3), 1usize..4).prop_map(|(stride, padding, dilation, groups)| Convolution {
            stride,
            padding,
            dilation,
            groups,
        })
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn convolutions(
            batch in 0usize..3, channels in 1usize..3, filters in 1usize..5, size in three(1..4), kernel in three(1..3),
            options in options(), seed in 0u64..1000,
        ) {
            let groups = options.groups;
            let x = random(&[&[batch, groups * channels], &size[..]].concat(), seed);
            let w = random(&[&[groups * filters, channels], &kernel[..]].concat(), seed + 1);
            prop_assume!((0..3).all(|i| size[i] + 2 * options.padding[i] > options.dilation[i] * (kernel[i] - 1)));
            let y = x.conv3d(&w, None, options);
            prop_assert!(close(y.as_slice(), &defined(&x, &w, options)));
            check_both("conv3d images", |x| x.conv3d(&w, None, options).square(), &x);
            check_both("conv3d filters", |w| x.conv3d(w, None, options).square(), &w);

            // Its transpose is the transposed convolution, where the output padding makes up for what was left over.
            let Convolution { stride, padding, dilation, groups } = options;
            let left = std::array::from_fn(|i| (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) % stride[i]);
            let back = TransposedConvolution { stride, padding, output_padding: left, dilation, groups };
            let z = random(y.shape(), seed + 2);
            let transposed = z.conv_transpose3d(&w, None, back);
            prop_assert_eq!(transposed.shape(), x.shape());
            let (here, there) = ((&y * &z).sum().item(), (&x * &transposed).sum().item());
            prop_assert!((here - there).abs() < 1e-11 * (1.0 + here.abs()));
            check_both("conv_transpose3d images", |z| z.conv_transpose3d(&w, None, back).square(), &z);
            check_both("conv_transpose3d filters", |w| z.conv_transpose3d(w, None, back).square(), &w);
        }

        #[test]
        fn fewer_axes_are_unit_axes(size in 1usize..6, kernel in 1usize..3, options in options(), seed in 0u64..1000) {
            let Convolution { stride: [stride, ..], padding: [padding, ..], dilation: [dilation, ..], groups } = options;
            let (x, w) = (random(&[2, groups * 2, size], seed), random(&[groups * 3, 2, kernel], seed + 1));
            prop_assume!(size + 2 * padding > dilation * (kernel - 1));
            let one = Convolution { stride: [stride], padding: [padding], dilation: [dilation], groups };
            let two = Convolution { stride: [stride, 1], padding: [padding, 0], dilation: [dilation, 1], groups };
            let (y, by_two) = (x.conv1d(&w, None, one), x.unsqueeze(3).conv2d(&w.unsqueeze(3), None, two));
            prop_assert!(close(y.as_slice(), by_two.as_slice()));
            let three = Convolution { stride: [1, stride, 1], padding: [0, padding, 0], dilation: [1, dilation, 1], groups };
            let by_three = x.unsqueeze(2).unsqueeze(4).conv3d(&w.unsqueeze(2).unsqueeze(4), None, three);
            prop_assert!(close(y.as_slice(), by_three.as_slice()));
        }

        #[test]
        fn pooling(
            batch in 0usize..3, channels in 1usize..3, input in three(1..5), size in three(1..4), stride in three(1..4),
            padding in three(0..2), dilation in three(1..3), count_padding: bool, seed in 0u64..1000,
        ) {
            let windows = Pooling { size, stride, padding, dilation, count_padding };
            let x = random(&[&[batch, channels], &input[..]].concat(), seed);
            let Ok(y) = x.try_avg_pool3d(windows) else { return Ok(()) };
            let greatest = x.try_max_pool3d(windows);
            let output: Vec<usize> = y.shape()[2..].to_vec();
            for (at, &mean) in y.as_slice().iter().enumerate() {
                let (plane, o) = (at / output.iter().product::<usize>(), at % output.iter().product::<usize>());
                let o = [o / (output[1] * output[2]), o / output[2] % output[1], o % output[2]];
                let axes: Vec<Vec<usize>> = (0..3).map(|i| places(windows, i, input[i], o[i])).collect();
                let pixels: Vec<f64> = axes[0].iter().flat_map(|d| axes[1].iter().map(move |h| (d, h)))
                    .flat_map(|(d, h)| axes[2].iter().map(move |w| ((d * input[1] + h) * input[2]) + w))
                    .map(|pixel| x.as_slice()[plane * input.iter().product::<usize>() + pixel]).collect();
                let divisor = if count_padding { size.iter().product() } else { pixels.len() };
                prop_assert!((mean - pixels.iter().sum::<f64>() / divisor as f64).abs() < 1e-12);
                match &greatest {
                    Ok(greatest) => prop_assert_eq!(greatest.as_slice()[at], pixels.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b))),
                    Err(_) => prop_assert!((0..3).any(|i| (0..output[i]).any(|o| places(windows, i, input[i], o).is_empty()))),
                }
            }
            check_both("avg_pool3d", |x| x.avg_pool3d(windows).square(), &x);
            if greatest.is_ok() {
                check_both("max_pool3d", |x| x.max_pool3d(windows).square(), &x);
            }
            check_both("adaptive_avg_pool3d", |x| x.adaptive_avg_pool3d(size).square(), &x);
            check_both("adaptive_max_pool3d", |x| x.adaptive_max_pool3d(size).square(), &x);
        }

        /// Windows that divide the axis are those of ordinary pooling; one window is the whole.
        #[test]
        fn adaptive_pooling(output in 1usize..4, times in 1usize..4, seed in 0u64..1000) {
            let x = random(&[2, 2, output * times], seed);
            let windows = Pooling::new([times]);
            prop_assert!(close(x.adaptive_avg_pool1d([output]).as_slice(), x.avg_pool1d(windows).as_slice()));
            prop_assert_eq!(x.adaptive_max_pool1d([output]), x.max_pool1d(windows));
            prop_assert!(close(x.adaptive_avg_pool1d([1]).as_slice(), x.mean_keep(2).as_slice()));
            prop_assert_eq!(x.adaptive_max_pool1d([output * times]), x);
        }

        #[test]
        fn resizing(shape in prop::collection::vec(0usize..3, 0..2), input in three(1..5), output in three(0..6), seed in 0u64..1000) {
            let x = random(&[&shape[..], &input[..]].concat(), seed);
            for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::LinearCorners] {
                check_both("resize", |x| x.resize(output, interpolation).square(), &x);
                // Weights sum to one.
                let flat = x.ones_like().resize(output, interpolation);
                prop_assert!(flat.as_slice().iter().all(|y| (y - 1.0).abs() < 1e-14));
            }
            // A line through the pixels' places stays that line where nothing is clamped.
            let line = T64::from_fn(&[input[0]], |i| i as f64);
            for (i, y) in line.resize([output[0]], Interpolation::Linear).to_vec().into_iter().enumerate() {
                let at = (i as f64 + 0.5) * input[0] as f64 / output[0] as f64 - 0.5;
                prop_assert!((y - at.clamp(0.0, input[0] as f64 - 1.0)).abs() < 1e-12);
            }
        }
    }
}
