use super::{T64, check_both, check_modes, check_per_example, random};
use crate::{Scalar, Tensor, fuse, grad, hvp};

type Function = (&'static str, fn(&T64) -> T64);

/// Functions with derivatives everywhere.
const SMOOTH: [Function; 12] = [
    ("exp_m1", Tensor::exp_m1),
    ("atan", Tensor::atan),
    ("sinh", Tensor::sinh),
    ("cosh", Tensor::cosh),
    ("erf", Tensor::erf),
    ("erfc", Tensor::erfc),
    ("log_sigmoid", Tensor::log_sigmoid),
    ("silu", Tensor::silu),
    ("gelu", Tensor::gelu),
    ("gelu_tanh", Tensor::gelu_tanh),
    ("ln_1p", |x| x.square().ln_1p()),
    ("tan", |x| (x.tanh() * 1.2).tan()),
];

/// Functions with a corner at 0, 1 or -1.
const CORNERED: [Function; 4] = [
    ("elu", |x| x.elu(0.7)),
    ("leaky_relu", |x| x.leaky_relu(0.1)),
    ("clamp", |x| x.clamp(-1.0, 1.0)),
    ("clamp on one side", |x| x.clamp(f64::NEG_INFINITY, 0.0)),
];

#[test]
fn derivatives_of_pointwise_functions_stack_and_keep_examples() {
    let x = random(&[4, 3], 1);
    let w = random(&[3, 2], 2);
    for (name, f) in SMOOTH.into_iter().chain(CORNERED) {
        check_modes(name, |x| f(x).square(), &x);
        check_per_example(|w: &T64, x: &T64| f(&f(&x.tanh()).tanh().matmul(w).tanh()).sum_axis(1), &w, &x);
    }
}

#[test]
fn the_gradient_of_a_sum_is_that_of_a_product_with_ones() {
    let functions: [Function; 8] = [
        ("itself", Tensor::clone),
        ("tanh", Tensor::tanh),
        ("affine", |x| x.clone().affine(3.0, 1.0)),
        ("quotient", |x| x / 3.0),
        ("product with itself", |x| x * x),
        ("reshape", |x| x.reshape(&[4, 3]).exp()),
        ("twice", |x| x.sin() + x),
        ("fuse", |x| fuse(|[x, b]| (x * b).tanh() * x + x, [x, &T64::vector(&[1.0, -2.0, 0.5, 3.0])])),
    ];
    let x = random(&[3, 4], 5);
    let check = |name: &str, a: T64, b: T64| {
        assert_eq!(a.shape(), b.shape(), "{name}");
        let close = a.as_slice().iter().zip(b.as_slice()).all(|(a, b)| (a - b).abs() <= 1e-14 * (1.0 + b.abs()));
        assert!(close, "{name}: {a:?} {b:?}");
    };
    for (name, f) in functions {
        for scale in [1.0, 0.3] {
            let summed = |x: &T64| f(x).sum() * scale;
            let weighed = |x: &T64| (f(x).reshape(&[12]) * T64::ones(&[12])).sum() * scale;
            check(name, grad(summed, &x), grad(weighed, &x));
            check(name, hvp(summed, &x, &x), hvp(weighed, &x, &x));
            let both = |x: &T64| summed(x) + x.sum_axis(0).sum() + x.sum();
            check(name, grad(both, &x), grad(weighed, &x) + 2.0);
        }
    }
}

#[test]
fn corners_have_the_documented_derivatives() {
    let slope = |f: fn(&T64) -> T64, x: &[f64]| grad(|x: &T64| f(x).sum(), &T64::vector(x)).to_vec();
    assert_eq!(slope(|x| x.clamp(-1.0, 2.0), &[-1.5, -1.0, 0.0, 2.0, 2.5, f64::NAN]), [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(slope(|x| x.leaky_relu(0.25), &[-2.0, 0.0, 3.0]), [0.25, 0.25, 1.0]);
    assert_eq!(slope(|x| x.elu(0.5), &[0.0, 3.0, f64::NEG_INFINITY]), [0.5, 1.0, 0.0]);
    let x = T64::vector(&[-1.5, f64::NAN, 5.0]).clamp(2.0, 1.0).to_vec();
    assert!((x[0], x[2]) == (1.0, 1.0) && x[1].is_nan());
    // The branch that is not taken overflows, and must not reach the derivatives.
    let far = T64::vector(&[1000.0, -1000.0]);
    let second = |f: fn(&T64) -> T64| hvp(|x: &T64| f(x).sum(), &far, &far.ones_like());
    for f in [|x: &T64| x.elu(1.0), Tensor::silu, Tensor::gelu, Tensor::gelu_tanh, Tensor::log_sigmoid] {
        assert_eq!(second(f).to_vec(), [0.0, 0.0]);
    }
}

/// Checks that values and two derivatives are numbers at finite points to the ends of the range.
fn extremes_are_numbers<T: Scalar>(name: &str, f: impl Fn(&Tensor<T>) -> Tensor<T>, top: f64) {
    let magnitudes = [0.0, 1e-38, 1.0, 30.0, 40.0, 88.0, 104.0, 710.0, 746.0, 1e4, 1e10, 2e19, 1e38, 1e150, 1e200, 1e307];
    let points = magnitudes.into_iter().filter(|x| *x <= top).flat_map(|x| [T::from_f64(x), T::from_f64(-x)]).collect::<Vec<_>>();
    let x = Tensor::vector(&points);
    let sum = |x: &Tensor<T>| f(x).sum();
    let found = [f(&x), grad(sum, &x), hvp(sum, &x, &x.ones_like())];
    for (order, y) in found.iter().enumerate() {
        points.iter().zip(y.as_slice()).for_each(|(x, y)| assert!(y.is_finite(), "{name}, derivative {order} at {x:e}: {y}"));
    }
}

#[test]
fn extremes_reach_no_infinity_times_zero() {
    macro_rules! check {
        ($($name:ident)*) => {$(
            extremes_are_numbers::<f64>(stringify!($name), Tensor::$name, f64::MAX);
            extremes_are_numbers::<f32>(stringify!($name), Tensor::$name, f64::from(f32::MAX));
        )*};
    }
    check!(sigmoid tanh softplus log_sigmoid relu silu gelu gelu_tanh erf erfc atan);
    extremes_are_numbers("elu", |x: &T64| x.elu(0.7), f64::MAX);
}

#[test]
fn tails_keep_their_relative_accuracy() {
    let x = T64::vector(&[-37.0, -26.0, -5.0]);
    // The function and two derivatives at each point, computed with 60 digits.
    let cases: [(&str, fn(&T64) -> T64, [[f64; 3]; 3]); 5] = [
        ("exp_m1", |x| x.exp_m1(), {
            let slope = [8.533_047_625_744_066e-17, 5.109_089_028_063_325e-12, 6.737_946_999_085_467e-3];
            [slope.map(|y| y - 1.0), slope, slope]
        }),
        (
            "silu",
            Tensor::silu,
            [
                [-3.157_227_621_525_304e-15, -1.328_363_147_289_677_7e-10, -3.346_425_462_142_428e-2],
                [-3.071_897_145_267_863e-15, -1.277_272_257_002_518_8e-10, -2.654_743_242_966_592e-2],
                [-2.986_566_669_010_422e-15, -1.226_181_366_709_095_1e-10, -1.949_922_549_003_250_5e-2],
            ],
        ),
        (
            "gelu",
            Tensor::gelu,
            [
                [-2.118_461_352_334_093_4e-298, -6.437_764_620_308_812e-148, -1.433_257_859_395_97e-6],
                [-7.838_298_669_418_516e-297, -1.673_811_529_247_938_2e-146, -7.146_946_001_792_295e-6],
                [-2.898_048_955_934_136e-295, -4.345_453_220_722_152e-145, -3.419_454_883_888_885e-5],
            ],
        ),
        (
            "erfc",
            |x| (x * -0.5).erfc(),
            [
                [7.019_961_574_985_679e-151, 1.739_557_315_466_724_5e-75, 4.069_520_174_449_59e-4],
                [1.300_584_674_776_082e-149, 2.268_076_098_957_147e-74, 1.089_142_115_176_355e-3],
                [2.406_081_648_335_752e-148, 2.948_498_928_644_291e-73, 2.722_855_287_940_887e-3],
            ],
        ),
        (
            "softplus",
            Tensor::softplus,
            [
                [8.533_047_625_744_065e-17, 5.109_089_028_050_273e-12, 6.715_348_489_118_069e-3],
                [8.533_047_625_744_065e-17, 5.109_089_028_037_222e-12, 6.692_850_924_284_856e-3],
                [8.533_047_625_744_064e-17, 5.109_089_028_011_119e-12, 6.648_056_670_790_155e-3],
            ],
        ),
    ];
    for (name, f, expected) in cases {
        let sum = |x: &T64| f(x).sum();
        for (order, (found, expected)) in [f(&x), grad(sum, &x), hvp(sum, &x, &x.ones_like())].iter().zip(expected).enumerate() {
            for (y, e) in found.as_slice().iter().zip(expected) {
                assert!((y - e).abs() <= 1e-12 * e.abs(), "{name}, derivative {order}: {y:e} {e:e}");
            }
        }
    }
}

#[test]
fn rounding_and_its_straight_through_forms() {
    let x = T64::vector(&[-2.5, -0.5, -0.2, 0.5, 1.5, 2.6]);
    assert_eq!(x.round().to_vec(), [-2.0, 0.0, 0.0, 0.0, 2.0, 3.0]);
    assert_eq!(x.floor().to_vec(), [-3.0, -1.0, -1.0, 0.0, 1.0, 2.0]);
    assert_eq!(x.ceil().to_vec(), [-2.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    let weights = random(&[6], 4);
    for (f, derivative) in [
        (Tensor::round as fn(&T64) -> T64, x.zeros_like()),
        (Tensor::floor, x.zeros_like()),
        (Tensor::ceil, x.zeros_like()),
        (Tensor::sign, x.zeros_like()),
        (Tensor::round_straight_through, weights.clone()),
        (Tensor::sign_straight_through, weights.clone()),
    ] {
        assert_eq!(grad(|x: &T64| (f(x) * &weights).sum(), &x), derivative);
        assert_eq!(hvp(|x: &T64| (f(x) * &weights).sum(), &x, &x), x.zeros_like());
    }
    assert_eq!(x.sign_straight_through(), x.sign());
}

#[test]
fn single_precision_keeps_the_tails() {
    let x: Tensor = Tensor::vector(&[-9.0, -5.0, -1e-20, 9.0, 30.0]);
    let wide = x.cast::<f64>();
    for (found, expected) in [(x.erfc(), wide.erfc()), (x.gelu(), wide.gelu()), (x.gelu_tanh(), wide.gelu_tanh()), (x.silu(), wide.silu())]
    {
        for (&a, &b) in found.as_slice().iter().zip(expected.as_slice()) {
            assert!((f64::from(a) - b).abs() <= 1e-5 * b.abs() + 1e-40, "{a} {b}");
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::check::strategies;
    use crate::tests::properties::config;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn pointwise_functions(x in strategies::shape(3, 3).prop_flat_map(|shape| strategies::tensor(shape, -3.0..3.0))) {
            for (name, f) in SMOOTH {
                check_both(name, f, &x);
            }
            // At least 0.01 from the corners.
            let away = T64::from_fn(x.shape(), |i| {
                let x = x.as_slice()[i];
                if (x - x.round()).abs() < 0.01 { x + 0.02 } else { x }
            });
            for (name, f) in CORNERED {
                check_both(name, |x| f(x).square(), &away);
            }
        }
    }
}
