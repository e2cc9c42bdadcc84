use super::*;
use crate::*;

/// `w₂ tanh(w₁ x)` with both layers tapped.
fn tapped((w1, w2): &(T64, T64), x: &T64) -> T64 {
    let first = tap("layer", &x.matmul(w1).tanh());
    tap("layer", &first.matmul(w2)).sin()
}

#[test]
fn a_tap_is_the_identity_when_nobody_listens() {
    let x = random(&[3], 1);
    assert_eq!(tap("x", &x), x);
    let before = grad(|x: &T64| x.square().sum(), &x);
    assert_eq!(grad(|x: &T64| tap("x", &x.square()).sum(), &x), before);
    // Not even a node.
    let _ = grad(
        |x: &T64| {
            let y = x.square();
            assert_eq!(tap("y", &y).node().unwrap().id, y.node().unwrap().id);
            y.sum()
        },
        &x,
    );
}

#[test]
fn values_and_gradients_of_taps_in_order() {
    let (model, x) = ((random(&[3, 4], 1), random(&[4, 2], 2)), random(&[5, 3], 3));
    let f = |m: &(T64, T64)| tapped(m, &x).sum();
    let found = tapped_grad(f, &model);
    assert_eq!(found.value, f(&model));
    assert_close(&found.gradient, &grad(f, &model));
    let (first, second) = (x.matmul(&model.0).tanh(), x.matmul(&model.0).tanh().matmul(&model.1));
    let names: Vec<&str> = found.taps.iter().map(|tap| tap.name.as_str()).collect();
    assert_eq!(names, ["layer", "layer"]);
    assert_eq!((&found.taps[0].value, &found.taps[1].value), (&first, &second));
    assert_close(&found.taps[0].gradient, &grad(|h: &T64| h.matmul(&model.1).sin().sum(), &first));
    assert_close(&found.taps[1].gradient, &second.cos());
    assert_eq!(found.tap("layer").unwrap().value, first);
    assert!(found.tap("other").is_none());
    assert!(found.taps.iter().all(|tap| !tap.value.is_tracked() && !tap.gradient.is_tracked()));
    // The same without parameters, and for one output at a time.
    let alone = tapped_grad(|_: &Option<T64>| f(&model), &None);
    assert_eq!(alone.taps[0].gradient, found.taps[0].gradient);
    let (y, pullback) = tapped_vjp(|m: &(T64, T64)| tapped(m, &x), &model);
    let sum = (0..y.count()).map(|i| pullback(&T64::from_fn(y.shape(), |j| f64::from(i == j))).taps[0].gradient.clone());
    assert_close(&sum.fold(T64::zeros(&[5, 4]), |sum, g| sum + g), &found.taps[0].gradient);
}

#[test]
fn without_parameters_the_pass_stops_at_the_first_tap() {
    // A rule below the tap that must not run.
    let below = |x: &T64| custom_vjp(|x| x.square(), |_, _| panic!("went below the tap"), x);
    let f = |x: &T64| tap("h", &below(x)).square().sum();
    let x = T64::vector(&[1.0, 2.0]);
    let found = tapped_grad(|_: &Option<T64>| f(&x), &None);
    assert_eq!(found.taps[0].gradient.to_vec(), [2.0, 8.0]);
}

#[test]
fn constants_unused_values_and_repeated_taps() {
    let x = T64::vector(&[1.0, 2.0]);
    let f = |x: &T64| {
        let constant = tap("constant", &T64::vector(&[3.0, 4.0]));
        tap("unused", &x.square());
        let twice = tap("outer", &tap("inner", x));
        (twice * constant).sum()
    };
    let found = tapped_grad(f, &x);
    let gradients: Vec<Vec<f64>> = found.taps.iter().map(|tap| tap.gradient.to_vec()).collect();
    assert_eq!(gradients, [vec![1.0, 2.0], vec![0.0, 0.0], vec![3.0, 4.0], vec![3.0, 4.0]]);
    assert_eq!(found.gradient.to_vec(), [3.0, 4.0]);
}

#[test]
fn taps_inside_and_outside_of_other_derivatives() {
    let (w, x) = (random(&[3, 3], 1), random(&[3], 2));
    let hidden = |x: &T64| tap("h", &x.matmul(&w).tanh());
    // What is tapped is differentiated by an outer derivative: values, and gradients.
    let outer = |x: &T64| {
        let found = tapped_grad(|x: &T64| hidden(x).powf(3.0).sum(), x);
        (&found.taps[0].value * &found.taps[0].gradient).sum() + found.gradient.square().sum() + found.value
    };
    check::both_orders(outer, &x).unwrap();
    let values = |x: &T64| with_taps(|| hidden(x).sum()).1.remove(0).1;
    check::both_orders(values, &x).unwrap();
    assert_close(&jacobian(values, &x), &jacobian(|x: &T64| x.matmul(&w).tanh(), &x));
    // A tap inside an inner derivative: the output is that derivative, of which h is a part.
    let inner = |x: &T64| grad(|x: &T64| hidden(x).powf(3.0).sum(), x).square().sum();
    let found = tapped_grad(inner, &x);
    assert_close(&found.gradient, &grad(inner, &x));
    let shifted = |e: &T64| grad(|x: &T64| (x.matmul(&w).tanh() + e).powf(3.0).sum(), &x).square().sum();
    assert_close(&found.taps[0].gradient, &grad(shifted, &T64::zeros(&[3])));
    // Hessian-vector products pass through taps.
    let loss = |x: &T64| hidden(x).square().sum();
    let plain = |x: &T64| x.matmul(&w).tanh().square().sum();
    assert_close(&hvp(loss, &x, &x), &hvp(plain, &x, &x));
    let (product, heard) = with_taps(|| hvp(loss, &x, &x));
    assert_close(&product, &hvp(plain, &x, &x));
    assert_eq!(heard.len(), 1);
}

#[test]
fn the_innermost_listener_of_the_element_type_hears() {
    let (x, narrow) = (T64::ones(&[2]), T32::ones(&[3]));
    let mut inner = Vec::new();
    let (_, outer) = with_taps(|| {
        let hearing = || {
            tap("wide", &x);
            tap("narrow", &narrow)
        };
        inner = with_taps(hearing).1;
        tap("after", &x)
    });
    assert_eq!(inner.iter().map(|tap| tap.0.as_str()).collect::<Vec<_>>(), ["narrow"]);
    assert_eq!(outer.iter().map(|tap| tap.0.as_str()).collect::<Vec<_>>(), ["wide", "after"]);
    let (_, outer) = with_taps(|| tapped_grad(|x: &T64| tap("x", x).sum(), &x).value);
    assert!(outer.is_empty());
}

#[test]
fn listeners_end_when_the_function_panics_and_hear_not_themselves() {
    let x = T64::ones(&[2]);
    panic_of(|| drop(with_taps::<T64>(|| panic!("inside"))));
    assert_eq!(tapped_grad(|x: &T64| tap("x", x).sum(), &x).taps.len(), 1);
    let calls = |_: &str, x: &T64| tap("again", x) * 2.0;
    assert_eq!(with_taps_replaced(calls, || tap("x", &x).sum()).item(), 4.0);
    let other_shape = |_: &str, x: &T64| x.sum();
    let message = panic_of(|| drop(with_taps_replaced(other_shape, || tap("x", &x))));
    assert_eq!(message, "tap `x`: a value of shape [2] was replaced by shape []");
}

#[test]
fn what_is_not_recorded_inside_is_not_heard() {
    let x = T64::ones(&[2]);
    let custom = |x: &T64| custom_vjp(|x| tap("inside", &x.square()), |x, g| x * g * 2.0, x).sum();
    let recomputed = |x: &T64| checkpoint(|x: &T64| tap("inside", &x.square()), x).sum();
    for f in [&custom as &dyn Fn(&T64) -> T64, &recomputed] {
        let found = tapped_grad(|x: &T64| f(&tap("before", x)), &x);
        assert_eq!(found.taps.iter().map(|tap| tap.name.as_str()).collect::<Vec<_>>(), ["before"]);
        assert_eq!(found.gradient.to_vec(), [2.0, 2.0]);
        assert!(with_taps(|| grad(f, &x)).1.is_empty());
    }
}

#[test]
fn replacements_are_interventions() {
    let (model, x) = ((random(&[3, 4], 1), random(&[4, 2], 2)), random(&[5, 3], 3));
    let ablated = |mask: &T64| {
        let (mask, mut calls) = (mask.clone(), 0);
        let replace = move |_: &str, h: &T64| {
            calls += 1;
            if calls == 1 { h * &mask } else { h.clone() }
        };
        with_taps_replaced(replace, || tapped(&model, &x).sum())
    };
    let mask = T64::vector(&[1.0, 0.0, 1.0, 1.0]);
    let expected = (x.matmul(&model.0).tanh() * &mask).matmul(&model.1).sin().sum();
    assert_close(&ablated(&mask), &expected);
    check::both_orders(ablated, &mask).unwrap();
}
