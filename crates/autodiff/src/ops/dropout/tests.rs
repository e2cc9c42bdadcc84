use proptest::prelude::*;

use crate::tests::{T64, check_both, check_modes, check_per_example, random};
use crate::*;

fn stream(seed: u64) -> impl rand::Rng {
    gradus_base::stream(seed, "dropout-test", 0)
}

#[test]
fn what_is_dropped_is_zero_and_the_rest_is_scaled() {
    let x = T64::from_fn(&[100, 130], |i| i as f64 + 1.0);
    for rate in [1e-12, 0.1, 0.5, 0.99] {
        let y = x.dropout(rate, &mut stream(1));
        let kept = y.as_slice().iter().zip(x.as_slice()).filter(|(y, _)| **y != 0.0);
        assert!(kept.clone().all(|(y, x)| *y == x * (1.0 / (1.0 - rate))));
        // Six standard deviations of a binomial count.
        let (n, kept) = (13_000.0, kept.count() as f64);
        assert!((kept - n * (1.0 - rate)).abs() <= 6.0 * (n * rate * (1.0 - rate)).sqrt() + 1.0, "{rate}: {kept}");
    }
    // Each element is drawn on its own: dropped neighbours are as frequent as chance has them.
    let y = x.dropout(0.5, &mut stream(2)).to_vec();
    let both = y.windows(2).filter(|pair| pair == &[0.0, 0.0]).count() as f64;
    assert!((both - 13_000.0 / 4.0).abs() < 400.0, "{both}");
}

#[test]
fn a_rate_of_zero_draws_nothing() {
    use rand::Rng;
    let mut rng = stream(3);
    let x = random(&[3, 3], 1);
    assert_eq!(x.dropout(0.0, &mut rng), x);
    assert_eq!(rng.next_u32(), stream(3).next_u32());
}

#[test]
fn rates_outside_the_range_are_refused() {
    for rate in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = T64::zeros(&[2]).try_dropout(rate, &mut stream(1)).err();
        let what = format!("the rate {rate} is not in [0, 1)");
        assert_eq!(error, Some(TensorError::Argument { operation: "dropout", what, shape: vec![2] }));
    }
}

#[test]
fn infinite_values_are_dropped_too() {
    let y = T64::full(f64::INFINITY, &[200]).dropout(0.5, &mut stream(4));
    assert!(y.as_slice().iter().all(|y| *y == 0.0 || y.is_infinite()) && y.as_slice().contains(&0.0));
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let x: Tensor = Tensor::from_fn(&[300_001], |i| (i as f32).sin());
    let all = || (x.dropout(0.3, &mut stream(5)), grad(|x: &Tensor| x.dropout(0.3, &mut stream(5)).sum(), &x));
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    // Blocks line up with the bits: the gradient is the scale exactly where the value was kept.
    assert!(one.0.as_slice().iter().zip(one.1.as_slice()).zip(x.as_slice()).all(|((y, g), x)| *y == x * g));
    for threads in [2, 3, 7] {
        assert!(one == run(threads), "{threads} threads");
    }
}

#[test]
fn examples_are_kept_apart() {
    let f = |w: &T64, x: &T64| x.matmul(w).dropout(0.4, &mut stream(6)).square().sum_axis(1);
    // One example at a time draws other bits: the loop needs the same for every example.
    let x = random(&[1, 3], 1);
    check_per_example(f, &random(&[3, 70], 2), &x);
    let both = T64::concat(&[x.clone(), random(&[1, 3], 3)], 0);
    let w = random(&[3, 70], 2);
    let each = per_example(f, &w, &both).unwrap().gradients();
    let sum = grad(|w: &T64| f(w, &both).sum(), &w);
    assert!((each.sum_axis(0) - sum).abs().as_slice().iter().all(|d| *d < 1e-12));
    assert!((each.narrow(0, 0, 1).reshape(&[3, 70]) - grad(|w: &T64| f(w, &x).sum(), &w)).abs().as_slice().iter().all(|d| *d < 1e-12));
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn dropout(shape in check::strategies::shape(3, 5), rate in 0.0f64..0.95, seed in 0u64..1000) {
            let x = random(&shape, seed);
            check_both("dropout", |x| x.dropout(rate, &mut stream(seed)).square(), &x);
            check_modes("dropout", |x| x.dropout(rate, &mut stream(seed)).square(), &x);
        }
    }
}
