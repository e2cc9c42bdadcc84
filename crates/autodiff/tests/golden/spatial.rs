use gradus_autodiff::{Convolution, Interpolation, Pooling, Tensor, TransposedConvolution, grad, hvp};

use crate::case::Golden;

type T64 = Tensor<f64>;
/// A name, the shapes of the inputs, and our function.
type Case = (&'static str, &'static [&'static [usize]], fn(&[T64]) -> T64);

fn wave(shape: &[usize], phase: f64) -> T64 {
    Tensor::from_fn(shape, |i| (1.3 * i as f64 + phase).sin())
}

const CASES: &[Case] = &[
    ("conv1d", &[&[2, 2, 5], &[3, 2, 3], &[3]], |x| x[0].conv1d(&x[1], Some(&x[2]), Convolution::default())),
    ("conv1d.options", &[&[2, 4, 6], &[6, 2, 2], &[6]], |x| {
        x[0].conv1d(&x[1], Some(&x[2]), Convolution { stride: [2], padding: [1], dilation: [2], groups: 2 })
    }),
    ("conv1d.depthwise", &[&[1, 4, 6], &[4, 1, 3], &[4]], |x| {
        x[0].conv1d(&x[1], Some(&x[2]), Convolution { padding: [1], groups: 4, ..Default::default() })
    }),
    ("conv2d", &[&[2, 2, 4, 3], &[3, 2, 2, 3], &[3]], |x| x[0].conv2d(&x[1], Some(&x[2]), Convolution::default())),
    ("conv2d.options", &[&[1, 4, 5, 4], &[4, 2, 2, 2], &[4]], |x| {
        x[0].conv2d(&x[1], Some(&x[2]), Convolution { stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 2 })
    }),
    ("conv3d.options", &[&[1, 2, 3, 4, 2], &[2, 1, 2, 2, 1], &[2]], |x| {
        let options = Convolution { stride: [1, 2, 1], padding: [0, 1, 1], dilation: [2, 1, 1], groups: 2 };
        x[0].conv3d(&x[1], Some(&x[2]), options)
    }),
    ("conv_transpose1d", &[&[2, 2, 4], &[2, 3, 3], &[3]], |x| x[0].conv_transpose1d(&x[1], Some(&x[2]), TransposedConvolution::default())),
    ("conv_transpose1d.options", &[&[1, 4, 3], &[4, 3, 2], &[6]], |x| {
        let options = TransposedConvolution { stride: [2], padding: [1], output_padding: [1], dilation: [2], groups: 2 };
        x[0].conv_transpose1d(&x[1], Some(&x[2]), options)
    }),
    ("conv_transpose2d.options", &[&[1, 4, 2, 2], &[4, 1, 2, 2], &[2]], |x| {
        let options = TransposedConvolution { stride: [2, 1], padding: [1, 0], output_padding: [1, 1], dilation: [1, 2], groups: 2 };
        x[0].conv_transpose2d(&x[1], Some(&x[2]), options)
    }),
    ("conv_transpose3d.options", &[&[1, 2, 2, 1, 2], &[2, 2, 2, 2, 1], &[2]], |x| {
        let options = TransposedConvolution { stride: [1, 2, 2], padding: [1, 0, 0], output_padding: [0, 1, 1], ..Default::default() };
        x[0].conv_transpose3d(&x[1], Some(&x[2]), options)
    }),
    ("max_pool1d", &[&[1, 2, 7]], |x| x[0].max_pool1d(THREE)),
    ("max_pool2d", &[&[1, 2, 5, 4]], |x| x[0].max_pool2d(IMAGE)),
    ("max_pool2d.dilation", &[&[1, 2, 5, 4]], |x| x[0].max_pool2d(Pooling { stride: [1, 1], dilation: [2, 3], ..Pooling::new([2, 2]) })),
    ("max_pool3d", &[&[1, 1, 3, 4, 3]], |x| x[0].max_pool3d(VOLUME)),
    ("avg_pool1d", &[&[1, 2, 7]], |x| x[0].avg_pool1d(THREE)),
    ("avg_pool2d", &[&[1, 2, 5, 4]], |x| x[0].avg_pool2d(IMAGE)),
    ("avg_pool2d.inside", &[&[1, 2, 5, 4]], |x| x[0].avg_pool2d(Pooling { count_padding: false, ..IMAGE })),
    ("avg_pool3d", &[&[1, 1, 3, 4, 3]], |x| x[0].avg_pool3d(VOLUME)),
    ("adaptive_max_pool1d", &[&[1, 2, 7]], |x| x[0].adaptive_max_pool1d([3])),
    ("adaptive_max_pool2d", &[&[1, 2, 5, 4]], |x| x[0].adaptive_max_pool2d([3, 2])),
    ("adaptive_max_pool3d", &[&[1, 1, 3, 4, 3]], |x| x[0].adaptive_max_pool3d([2, 3, 2])),
    ("adaptive_avg_pool1d", &[&[1, 2, 7]], |x| x[0].adaptive_avg_pool1d([3])),
    ("adaptive_avg_pool2d", &[&[1, 2, 5, 4]], |x| x[0].adaptive_avg_pool2d([3, 7])),
    ("adaptive_avg_pool3d", &[&[1, 1, 3, 4, 3]], |x| x[0].adaptive_avg_pool3d([2, 3, 2])),
    ("resize.nearest1d", &[&[1, 2, 5]], |x| x[0].resize([7], Interpolation::Nearest)),
    ("resize.nearest2d", &[&[1, 2, 5, 3]], |x| x[0].resize([3, 7], Interpolation::Nearest)),
    ("resize.linear1d", &[&[1, 2, 5]], |x| x[0].resize([8], Interpolation::Linear)),
    ("resize.linear2d", &[&[1, 2, 5, 3]], |x| x[0].resize([3, 7], Interpolation::Linear)),
    ("resize.linear3d", &[&[1, 1, 2, 5, 3]], |x| x[0].resize([3, 4, 2], Interpolation::Linear)),
    ("resize.corners1d", &[&[1, 2, 5]], |x| x[0].resize([8], Interpolation::LinearCorners)),
    ("resize.corners2d", &[&[1, 2, 5, 3]], |x| x[0].resize([3, 7], Interpolation::LinearCorners)),
    ("batch_norm.rows", &[&[5, 4], &[4], &[4]], |x| x[0].batch_norm(Some(&x[1]), Some(&x[2]), 0.1).0),
    ("batch_norm.images", &[&[2, 4, 3, 2], &[4], &[4]], |x| x[0].batch_norm(Some(&x[1]), Some(&x[2]), 0.1).0),
    ("batch_norm.long", &[&[2, 2, 33], &[2], &[2]], |x| x[0].batch_norm(Some(&x[1]), Some(&x[2]), 0.1).0),
    ("batch_norm.evaluation", &[&[2, 4, 3], &[4], &[4]], |x| {
        x[0].batch_norm_with(&wave(&[4], 30.0), &wave(&[4], 31.0).square(), Some(&x[1]), Some(&x[2]), 0.1)
    }),
    ("group_norm", &[&[2, 4, 3, 2], &[4], &[4]], |x| x[0].group_norm(2, Some(&x[1]), Some(&x[2]), 0.1)),
    ("instance_norm", &[&[2, 4, 3, 2], &[4], &[4]], |x| x[0].instance_norm(Some(&x[1]), Some(&x[2]), 0.1)),
    ("layer_norm", &[&[2, 3, 5], &[5], &[5]], |x| x[0].layer_norm(Some(&x[1]), Some(&x[2]), 0.1)),
    ("rms_norm", &[&[2, 3, 5], &[5]], |x| x[0].rms_norm(Some(&x[1]), 0.1)),
];

const THREE: Pooling<1> = Pooling { stride: [2], padding: [1], ..Pooling::new([3]) };
const IMAGE: Pooling<2> = Pooling { stride: [2, 1], padding: [1, 1], ..Pooling::new([2, 3]) };
const VOLUME: Pooling<3> = Pooling { stride: [1, 2, 2], padding: [0, 1, 1], ..Pooling::new([2, 2, 2]) };

#[test]
fn convolution_pooling_resizing_and_normalisation() {
    let golden = Golden::open("spatial");
    for (name, shapes, f) in CASES {
        let waves = |phase: f64| shapes.iter().zip(0..).map(|(shape, i)| wave(shape, phase + f64::from(i))).collect::<Vec<_>>();
        let loss = |x: &Vec<T64>| {
            let y = f(x);
            (y.square() * wave(y.shape(), 20.0)).sum()
        };
        let x = waves(0.0);
        golden.agrees(&format!("{name}.y"), &f(&x), 1e-13);
        let (gradients, products) = (grad(loss, &x), hvp(loss, &x, &waves(10.0)));
        for (i, (gradient, product)) in gradients.iter().zip(&products).enumerate() {
            golden.agrees(&format!("{name}.gradient.{i}"), gradient, 1e-12);
            golden.agrees(&format!("{name}.product.{i}"), product, 1e-12);
        }
    }
}

#[test]
fn batch_statistics() {
    let golden = Golden::open("spatial");
    let (_, statistics) = wave(&[2, 4, 3, 2], 0.0).batch_norm(None, None, 0.1);
    golden.agrees("statistics.mean", &statistics.mean, 1e-14);
    golden.agrees("statistics.unbiased_variance", &statistics.unbiased_variance(), 1e-14);
}
