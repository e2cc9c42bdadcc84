use super::*;
use crate::*;

fn stream(index: u64) -> impl rand::Rng {
    gradus_base::stream(7, "hessian-test", index)
}

#[test]
fn products_at_one_point_are_those_of_hvp() {
    let (model, x) = (network(1), random(&[5, 3], 9));
    let evaluations = std::cell::Cell::new(0);
    let loss = |m: &Network| {
        evaluations.set(evaluations.get() + 1);
        m.call(&x).square().mean()
    };
    let at = linearize_gradient(loss, &model);
    for seed in 0..3 {
        let v = network(20 + seed);
        let product = at.hvp(&v);
        assert_eq!(product.shift, model.shift, "buffers are kept");
        assert_close(&product, &hvp(|m: &Network| m.call(&x).square().mean(), &model, &v));
    }
    assert_eq!(evaluations.get(), 1);
    let (value, gradient) = value_and_grad(loss, &model);
    assert_eq!((at.value(), at.gradient().flatten()), (&value, gradient.flatten()));
    assert!(!at.value().is_tracked() && at.gradient().leaves().iter().all(|g| !g.is_tracked()));
}

#[test]
fn linearised_gradients_are_differentiated() {
    let (model, x, v) = (network(1), random(&[2, 3], 9), network(5));
    let loss = |m: &Network| m.call(&x).square().mean();
    // By the point: third derivatives, and the fourth in the check of second order.
    check::both_orders(|m: &Network| linearize_gradient(loss, m).hvp(&v).dot(&v), &model).unwrap();
    // By the vector, from outside and from inside another derivative.
    let at = linearize_gradient(loss, &model);
    assert_close(&grad(|v: &Network| at.hvp(v).dot(v) * 0.5, &v), &at.hvp(&v));
    let both = |p: &(Network, Network)| linearize_gradient(loss, &p.0).hvp(&p.1).dot(&v);
    check::both_orders(both, &(model.clone(), v.clone())).unwrap();
    // Made inside a derivative by other variables, which are a constant factor to the Hessian.
    let scaled = |a: &T64| linearize_gradient(|m: &Network| loss(m) * a, &model).hvp(&v).dot(&v);
    assert_close(&grad(scaled, &T64::scalar(3.0)), &at.hvp(&v).dot(&v));
    // Value and gradient have the outer history.
    let value = |m: &Network| {
        let at = linearize_gradient(loss, m);
        at.value().square() + at.gradient().dot(&v)
    };
    check::both_orders(value, &model).unwrap();
}

#[test]
fn the_diagonal_is_that_of_the_hessian() {
    let a = random(&[3, 3], 1);
    let f = |x: &T64| (x.matmul(&a).sin() * x).sum() + x.sum().powf(3.0);
    let x = random(&[3], 2).square() + 0.2;
    let full = hessian(f, &x);
    let diagonal = hessian_diagonal(f, &x);
    assert_close(&diagonal, &T64::from_fn(&[3], |i| full.as_slice()[i * 4]));
    assert_close(&hessian_trace(f, &x), &diagonal.sum());
    check::both_orders(|x: &T64| hessian_diagonal(f, x), &x).unwrap();
    // More entries than one stack, some of them in a tensor without elements, one constant to the function.
    let parts = (random(&[15, 20], 3), T64::zeros(&[0]), T64::ones(&[2]));
    let g = |(w, none, _): &(T64, T64, T64)| w.powf(4.0).sum() + w.sum().square() + none.sum();
    let found = hessian_diagonal(g, &parts);
    assert_close(&found, &(parts.0.square() * 12.0 + 2.0, T64::zeros(&[0]), T64::zeros(&[2])));
}

#[test]
fn hutchinsons_estimates_are_within_their_errors() {
    let (model, x) = (network(4), random(&[6, 3], 9));
    let loss = |m: &Network| m.call(&x).square().sum();
    let exact = hessian_diagonal(loss, &model);
    let found = hessian_diagonal_estimate(loss, &model, 2000, &mut stream(0)).unwrap();
    let errors = found.mean.axpy(-1.0, &exact).zip_map(&found.standard_error, |d, s| d / &(s + 1e-12)).flatten();
    // Standard scores: 99.99 % of normal ones are below 3.9, and their mean square is 1.
    assert!(errors.iter().all(|z| z.abs() < 4.5), "{errors}");
    let mean_square = errors.norm_squared() / errors.len() as f64;
    assert!((0.4..2.0).contains(&mean_square), "{mean_square}");
    let trace = hessian_trace_estimate(loss, &model, 2000, &mut stream(1)).unwrap();
    let score = (trace.mean.item() - hessian_trace(loss, &model).item()) / trace.standard_error.item();
    assert!(score.abs() < 4.0, "{score}");
    // The variance of an entry of one probe is the sum of the squares of the others of its row.
    let a = T64::from_vec(vec![1.0, 2.0, 2.0, 5.0], &[2, 2]).unwrap();
    let quadratic = |x: &T64| (x.matmul(&a) * x).sum() * 0.5;
    let found = hessian_diagonal_estimate(quadratic, &T64::zeros(&[2]), 4000, &mut stream(2)).unwrap();
    assert!(found.standard_error.as_slice().iter().all(|s| (s / (2.0 / 4000f64.sqrt()) - 1.0).abs() < 0.01), "{found:?}");
}

#[test]
fn estimates_are_of_their_stream_alone_and_need_two_probes() {
    let f = |x: &T64| (x * &x.sum()).sum();
    let x = random(&[3], 1);
    let estimate = |index| hessian_diagonal_estimate(f, &x, 5, &mut stream(index)).unwrap();
    assert_eq!(estimate(0), estimate(0));
    assert_ne!(estimate(0), estimate(1));
    for probes in [0, 1] {
        let error = hessian_diagonal_estimate(f, &x, probes, &mut stream(0)).unwrap_err();
        assert!(matches!(error, TensorError::Argument { operation: "hessian estimate", .. }));
        assert!(hessian_trace_estimate(f, &x, probes, &mut stream(0)).is_err());
    }
    check::both_orders(|x: &T64| hessian_diagonal_estimate(|x: &T64| f(x).powf(3.0), x, 3, &mut stream(0)).unwrap().mean, &x).unwrap();
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn diagonals_and_products_are_those_of_the_hessian(n in 0usize..6, seed in 0u64..1000) {
            let (a, x, v) = (random(&[n, n], seed), random(&[n], seed + 1), random(&[n], seed + 2));
            let f = |x: &T64| (x.matmul(&a).tanh() * x.cos()).sum();
            let full = hessian(f, &x);
            let at = linearize_gradient(f, &x);
            let diagonal = at.diagonal();
            assert_close(&diagonal, &T64::from_fn(&[n], |i| full.as_slice()[i * (n + 1)]));
            assert_close(&hessian_trace(f, &x), &diagonal.sum());
            assert_close(&at.hvp(&v), &full.matmul(&v));
            assert_close(&at.hvp(&v), &hvp(f, &x, &v));
        }
    }
}
