use super::{T64, check_both, check_modes, check_per_example, random};
use crate::{Tensor, grad, hvp};

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
