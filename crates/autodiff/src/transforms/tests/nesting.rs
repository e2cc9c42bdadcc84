use std::sync::Arc;

use super::*;
use crate::*;

/// A scalar function of a vector.
type Function = Arc<dyn Fn(&T64) -> T64 + Send + Sync>;

fn direction() -> T64 {
    T64::vector(&[0.7, -0.4, 0.5])
}

fn base() -> Function {
    let w = random(&[3, 3], 1);
    Arc::new(move |x| (x.matmul(&w).tanh().square().sum() + (x * &x.sin()).sum()).exp())
}

/// The same function: its values taken from transforms, or its inside wrapped.
const VALUES: [fn(Function) -> Function; 10] = [
    |f| {
        Arc::new(move |x| {
            let f = f.clone();
            checkpoint(move |x: &T64| f(x), x)
        })
    },
    |f| Arc::new(move |x| tap("y", &f(&tap("x", x)))),
    |f| Arc::new(move |x| with_taps(|| f(x)).0),
    |f| Arc::new(move |x| vjp(|x: &T64| f(x), x).0),
    |f| Arc::new(move |x| jvp(|x: &T64| f(x), x, &direction()).0),
    |f| Arc::new(move |x| linearize(|x: &T64| f(x), x).value().clone()),
    |f| Arc::new(move |x| linearize_gradient(|x: &T64| f(x), x).value().clone()),
    |f| Arc::new(move |x| tapped_grad(|x: &T64| f(x), x).value),
    |f| {
        Arc::new(move |x| {
            let g = f.clone();
            custom_vjp(|x| f(x), move |x, u| grad(|x: &T64| g(x), x) * u, x)
        })
    },
    |f| Arc::new(move |x| of_one_example(&f, x).losses().sum()),
];

/// The derivative along the direction.
const DERIVATIVES: [fn(Function) -> Function; 15] = [
    |f| Arc::new(move |x| grad(|x: &T64| f(x), x).dot(&direction())),
    |f| Arc::new(move |x| vjp(|x: &T64| f(x), x).1(&T64::scalar(1.0)).dot(&direction())),
    |f| Arc::new(move |x| jvp(|x: &T64| f(x), x, &direction()).1),
    |f| Arc::new(move |x| linearize(|x: &T64| f(x), x).jvp(&direction())),
    |f| Arc::new(move |x| linearize_gradient(|x: &T64| f(x), x).gradient().dot(&direction())),
    |f| Arc::new(move |x| jacobian_reverse(|x: &T64| f(x), x).dot(&direction())),
    |f| Arc::new(move |x| jacobian_forward(|x: &T64| f(x), x).dot(&direction())),
    |f| {
        Arc::new(move |x| {
            jacobian_matrix(|x: &T64| f(&(x * &direction()).reshape(&[3])), &(x / direction())).matmul(&T64::ones(&[3])).sum()
        })
    },
    |f| Arc::new(move |x| tapped_grad(|x: &T64| f(x), x).gradient.dot(&direction())),
    |f| Arc::new(move |x| tapped_grad(|_: &Option<T64>| f(&tap("x", x)), &None).taps[0].gradient.dot(&direction())),
    |f| Arc::new(move |x| with_taps(|| grad(|x: &T64| f(&tap("x", x)), x)).0.dot(&direction())),
    |f| Arc::new(move |x| of_one_example(&f, x).dot(&direction()).sum()),
    |f| Arc::new(move |x| of_one_example(&f, x).weighted_sum(&T64::ones(&[1])).dot(&direction())),
    |f| {
        Arc::new(move |x| {
            let f = f.clone();
            checkpoint(move |x: &T64| grad(|x: &T64| f(x), x).dot(&direction()), x)
        })
    },
    |f| Arc::new(move |x| grad_with(ReluRule::Plain, |step: &T64| f(&(x + &(step * &direction()))), &T64::scalar(0.0))),
];

/// The second derivative along the direction.
const SECOND: [fn(Function) -> Function; 5] = [
    |f| Arc::new(move |x| hvp(|x: &T64| f(x), x, &direction()).dot(&direction())),
    |f| Arc::new(move |x| linearize_gradient(|x: &T64| f(x), x).hvp(&direction()).dot(&direction())),
    |f| Arc::new(move |x| hessian(|x: &T64| f(x), x).matmul(&direction()).dot(&direction())),
    |f| Arc::new(move |x| linearize(|x: &T64| grad(|x: &T64| f(x), x), x).jvp(&direction()).dot(&direction())),
    |f| Arc::new(move |x| hessian_diagonal(|step: &T64| f(&(x + &(step * &direction()))), &T64::scalar(0.0))),
];

/// `f` as the loss of a single example.
fn of_one_example(f: &Function, x: &T64) -> ExampleGrads<T64> {
    per_example(|x: &T64, one: &T64| f(x) * one, x, &T64::ones(&[1])).unwrap()
}

/// The function that a nesting of transforms makes, and the number of derivatives in it.
fn nested(choices: &[usize]) -> (Function, usize) {
    let (values, derivatives) = (VALUES.len(), VALUES.len() + DERIVATIVES.len());
    choices.iter().fold((base(), 0), |(f, order), &choice| match choice {
        _ if choice < values => (VALUES[choice](f), order),
        _ if choice < derivatives => (DERIVATIVES[choice - values](f), order + 1),
        _ => (SECOND[choice - derivatives](f), order + 2),
    })
}

const ALL: usize = VALUES.len() + DERIVATIVES.len() + SECOND.len();

fn check(choices: &[usize]) {
    let (f, order) = nested(choices);
    let plain = (0..order).fold(base(), |f, _| DERIVATIVES[0](f));
    let x = T64::vector(&[0.3, -0.2, 0.4]);
    let (found, expected) = (f(&x).item(), plain(&x).item());
    assert!((found - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "{choices:?}: {found} and {expected}");
    assert!(!f(&x).is_tracked(), "{choices:?}");
}

#[test]
fn every_transform_in_every_other() {
    (0..ALL).for_each(|outer| (0..ALL).for_each(|inner| check(&[inner, outer])));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn transforms_nest_in_any_order(choices in prop::collection::vec(0usize..ALL, 1..5)) {
            prop_assume!(nested(&choices).1 <= 4);
            check(&choices);
        }
    }
}

/// A value that leaves an inner derivative still knows its levels. A later derivative of the same depth must not go into it.
#[test]
fn what_left_a_derivative_is_a_constant_to_its_siblings() {
    let x = T64::vector(&[0.3, -0.2]);
    let f = |x: &T64| {
        let (value, gradient) = value_and_grad(|x: &T64| x.powf(3.0).sum(), x);
        let by = |z: &T64| z * &checkpoint(|(v, g): &(T64, T64)| (v * g).sin().sum(), &(value.clone(), gradient.clone()));
        grad(|z: &T64| by(z).square().sum(), x).sum()
    };
    check::both_orders(f, &x).unwrap();
}

#[test]
fn taps_outlive_the_derivatives_that_they_were_heard_in() {
    let x = T64::vector(&[0.3, -0.2]);
    let (_, taps) = with_taps(|| hvp(|x: &T64| tap("h", &x.square()).square().sum(), &x, &x));
    assert!(!taps[0].1.is_tracked());
    let sum = std::thread::spawn(move || taps[0].1.sum().item()).join().unwrap();
    assert!((sum - 0.13).abs() < 1e-12);
    // But inside an outer derivative they are its own.
    let values = |x: &T64| with_taps(|| grad(|x: &T64| tap("h", &x.square()).square().sum(), x)).1.remove(0).1.sum();
    assert_eq!(grad(values, &x).to_vec(), [0.6, -0.4]);
}

/// The same with examples: what left a deeper derivative has none. The factors against their formulas.
#[test]
fn what_left_a_derivative_is_the_same_for_all_examples() {
    let (w, x, v) = (random(&[3], 1), random(&[2, 3], 2), random(&[3], 3));
    let loss = |factor: &T64, w: &T64| {
        let losses = |w: &T64, x: &T64| x.matmul(&(w * factor)).tanh();
        per_example(losses, w, &x).unwrap().squared_norms().sum()
    };
    let plain = |w: &T64, x: &T64| x.matmul(w).sin();
    type Pair<'a> = (&'a dyn Fn(&T64) -> T64, &'a dyn Fn(&T64) -> T64);
    let pairs: [Pair<'_>; 8] = [
        (&|w| hvp(|w: &T64| w.powf(3.0).sum(), w, &v), &|w| w * &v * 6.0),
        (&|w| linearize_gradient(|w: &T64| w.sin().sum(), w).hvp(&v), &|w| -(w.sin() * &v)),
        (&|w| hessian_diagonal(|w: &T64| w.powf(4.0).sum(), w), &|w| w.square() * 12.0),
        (&|w| jvp(|w: &T64| w.powf(3.0), w, &v).1, &|w| w.square() * &v * 3.0),
        (&|w| jacobian(|w: &T64| w.sin().sum(), w), &|w| w.cos()),
        (&|w| tapped_grad(|w: &T64| tap("h", &w.square()).sin().sum(), w).taps.remove(0).gradient, &|w| w.square().cos()),
        (&|w| per_example(plain, w, &x).unwrap().losses().sum(), &|w| x.matmul(w).sin().sum()),
        (&|w| per_example(plain, w, &x).unwrap().squared_norms().sum(), &|w| (x.matmul(w).cos().square() * x.square().sum_axis(1)).sum()),
    ];
    for (found, expected) in pairs {
        let (found, expected) = (|w: &T64| loss(&found(w), w), |w: &T64| loss(&expected(w), w));
        assert_close(&grad(found, &w), &grad(expected, &w));
        assert_close(&hvp(found, &w, &v), &hvp(expected, &w, &v));
    }
}
