use super::*;
use crate::*;

#[test]
fn a_model_of_jacobians() {
    let (model, x) = (network(1), random(&[5, 3], 9));
    let f = |m: &Network| m.call(&x);
    let (rows, columns) = (jacobian_reverse(f, &model), jacobian_forward(f, &model));
    assert_eq!(rows.weights[0].shape(), [5, 2, 3, 4]);
    assert_eq!(rows.bias.shape(), [5, 2, 4]);
    assert_eq!(rows.shift, model.shift, "buffers are kept");
    assert_close(&rows, &columns);
    let (y, pullback) = vjp(f, &model);
    let matrix = jacobian_matrix(f, &model);
    assert_eq!(matrix.shape(), [10, model.count()]);
    for i in 0..y.count() {
        let row = pullback(&T64::from_fn(y.shape(), |j| f64::from(i == j))).flatten();
        assert_close(&matrix.narrow(0, i, 1), &T64::from_vec(row.as_slice().to_vec(), &[1, row.len()]).unwrap());
    }
}

#[test]
fn tall_jacobians_are_made_by_columns_and_more_than_a_stack_of_them() {
    let w = random(&[3, 700], 1);
    let tall = |x: &T64| x.matmul(&w).tanh();
    let x = random(&[3], 2);
    assert_close(&jacobian(tall, &x), &jacobian_reverse(tall, &x));
    let wide = |x: &T64| x.matmul(&w.t()).tanh();
    let x = random(&[700], 2);
    assert_close(&jacobian_forward(wide, &x), &jacobian_reverse(wide, &x));
}

#[test]
fn jacobians_of_nothing_and_by_nothing() {
    let empty = T64::zeros(&[0]);
    for jacobian in [jacobian_reverse, jacobian_forward] as [fn(fn(&T64) -> T64, &T64) -> T64; 2] {
        assert_eq!(jacobian(|x| x.sum(), &empty).shape(), [0]);
        assert_eq!(jacobian(|x| x.square(), &empty).shape(), [0, 0]);
        assert_eq!(jacobian(|x| x.narrow(0, 0, 0), &T64::ones(&[2])).shape(), [0, 2]);
        assert_eq!(jacobian(|x| x.zeros_like(), &T64::ones(&[2])), T64::zeros(&[2, 2]));
        assert_eq!(jacobian(|_| T64::ones(&[7]), &T64::ones(&[2])), T64::zeros(&[7, 2]));
    }
    assert_eq!(jacobian_matrix(|_: &Vec<T64>| T64::ones(&[3]), &Vec::new()).shape(), [3, 0]);
}

#[test]
fn jacobians_are_differentiated() {
    let w = random(&[2, 7], 3);
    let f = |x: &T64| (x.square().matmul(&w)).sin();
    let x = random(&[2], 4);
    check::both_orders(|x: &T64| jacobian_reverse(f, x), &x).unwrap();
    check::both_orders(|x: &T64| jacobian_forward(f, x), &x).unwrap();
    // The derivative of a Jacobian, both by forward mode.
    let twice = |x: &T64| jacobian_forward(f, x);
    assert_close(&jacobian_forward(twice, &x), &jacobian_reverse(|x: &T64| jacobian_reverse(f, x), &x));
}

#[test]
fn linearised_functions_are_evaluated_once() {
    let (model, x) = (network(2), random(&[4, 3], 5));
    let evaluations = std::cell::Cell::new(0);
    let f = |m: &Network| {
        evaluations.set(evaluations.get() + 1);
        m.call(&x)
    };
    let at = linearize(f, &model);
    assert_eq!(*at.value(), model.call(&x));
    for seed in 0..3 {
        let tangent = network(10 + seed);
        assert_close(&at.jvp(&tangent), &jvp(|m: &Network| m.call(&x), &model, &tangent).1);
    }
    assert_eq!(evaluations.get(), 1);
    // Products as a function of the tangent, and of the point.
    let tangent = network(20);
    let along = |t: &Network| at.jvp(t).square().sum();
    check::gradient(along, &tangent, 1e-5, 1e-6).unwrap();
    check::both_orders(|m: &Network| linearize(|m: &Network| m.call(&x), m).jvp(&tangent), &model).unwrap();
}

#[test]
fn what_was_linearised_serves_several_threads() {
    let (model, x) = (network(3), random(&[4, 3], 5));
    let loss = |m: &Network| m.call(&x).square().sum();
    let (gradient, function) = (linearize_gradient(loss, &model), linearize(|m: &Network| m.call(&x), &model));
    let products = |seed| (gradient.hvp(&network(seed)), function.jvp(&network(seed)));
    let here: Vec<_> = (0..4).map(products).collect();
    let there: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..4).map(|seed| scope.spawn(move || products(seed))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for ((h, j), (h2, j2)) in here.iter().zip(&there) {
        assert_eq!((h.flatten(), j.to_vec()), (h2.flatten(), j2.to_vec()));
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn columns_and_rows_agree(n in 0usize..5, m in 0usize..7, seed in 0u64..1000) {
            let (a, b) = (random(&[n, m], seed), random(&[m], seed + 1));
            let f = |x: &T64| ((x.matmul(&a) * &b).tanh() + x.square().sum()).softplus();
            let x = random(&[n], seed + 2);
            let rows = jacobian_reverse(f, &x);
            prop_assert_eq!(rows.shape(), [m, n]);
            assert_close(&jacobian_forward(f, &x), &rows);
            assert_close(&jacobian(f, &x), &rows);
            assert_close(&jacobian_matrix(f, &x), &rows);
            let t = random(&[n], seed + 3);
            assert_close(&linearize(f, &x).jvp(&t), &rows.matmul(&t));
        }
    }
}
